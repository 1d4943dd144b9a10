"""Enqueue: what was accepted is there, whole, once, under an id of its own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from queuectl.api.errors import JobExists, QueueCTLError
from queuectl.api.model import Action, NewJob, Settings, State, Where
from queuectl.api.storage import Ability, Storage

from .subject import (
    NOW,
    SECOND,
    OpenStorage,
    Subject,
    completed,
    counts_of,
    failed,
    hand_in,
    job,
    need,
    put,
    put_one,
    read,
    state_of,
    take,
    take_one,
)


class EnqueueTests(Subject):
    """Storing jobs."""

    def test_receipts_come_back_in_the_order_asked(self, storage: Storage) -> None:
        """A caller matches receipts with its jobs by their place: nothing else tells two equal jobs apart."""
        receipts = storage.enqueue([job("a"), job("b", id="named"), job("c")], now=NOW)
        assert [receipt.created for receipt in receipts] == [True, True, True]
        assert [read(storage, receipt.id).spec.command for receipt in receipts] == ["a", "b", "c"]
        assert receipts[1].id == "named"

    def test_issued_ids_are_decimal_numbers_that_rise(self, storage: Storage) -> None:
        """People type them, and tell by them which job came first."""
        ids = put(storage, *[job() for _ in range(20)]) + put(storage, job())
        assert all(id.isascii() and id.isdecimal() for id in ids)
        assert [int(id) for id in ids] == sorted({int(id) for id in ids})

    def test_everything_that_was_asked_for_comes_back(self, storage: Storage) -> None:
        """The storage is where a job's definition lives: what it drops or changes is lost."""
        spec = NewJob(
            command="echo 'héllo ✓ 🎉'\n\t\"x\"; exit 3",
            argv=("echo", "", "a b", "-n", "\x01", "é\udcff"),
            id="a-job.with:odd_name",
            queue="mail",
            priority=-1000,
            run_at=NOW + 5 * SECOND,
            cwd="/some/folder \udcfe",
            env={"A": "1", "EMPTY": "", "ÜML": "a=b\n"},
            settings=Settings(max_retries=7, timeout=1.5, executor_options={"a": [1, {"b": None}]}).text(),
            environment=json.dumps({"PATH": "/bin" * 500}),
        )
        if Ability.UNIQUE in storage.abilities:
            spec = spec._replace(unique_key="key \u2603")
        if Ability.TAGS in storage.abilities:
            spec = spec._replace(tags=("b", "a", "with space"))
        put(storage, spec)
        stored = read(storage, "a-job.with:odd_name")
        assert stored.spec == spec
        assert stored.settings.max_retries == 7 and stored.settings.executor_options == {"a": [1, {"b": None}]}
        assert (stored.state, stored.run_at, stored.created_at, stored.updated_at) == (
            State.PENDING,
            NOW + 5 * SECOND,
            NOW,
            NOW,
        )
        assert (stored.attempts, stored.tries, stored.losses, stored.token, stored.pool) == (0, 0, 0, 0, None)
        assert stored.outcome is None and not stored.cancel

    def test_a_command_may_be_long(self, storage: Storage) -> None:
        """Command lines of a megabyte exist."""
        command = "echo " + "x" * 1_000_000
        assert read(storage, put_one(storage, command=command)).spec.command == command

    def test_an_id_that_exists_refuses_the_whole_call(self, storage: Storage) -> None:
        """All of the jobs or none: a caller that hears of an error may repeat the whole call."""
        put_one(storage, id="taken")
        before = storage.stat(now=NOW)
        with pytest.raises(JobExists, match="taken"):
            storage.enqueue([job("a"), job("b", id="taken"), job("c", queue="new")], now=NOW)
        assert storage.stat(now=NOW) == before
        assert [found.id for found in storage.find().jobs] == ["taken"]

    def test_an_id_given_twice_in_one_call_is_refused(self, storage: Storage) -> None:
        """Two jobs of one name would be one job that runs twice."""
        with pytest.raises(JobExists, match="twin"):
            storage.enqueue([job(id="twin"), job(id="twin")], now=NOW)
        assert storage.find().jobs == ()

    def test_an_id_of_digits_is_never_the_users(self, storage: Storage) -> None:
        """It would be taken for an issued one, or be issued again."""
        with pytest.raises(QueueCTLError):
            storage.enqueue([job(id="123")], now=NOW)
        assert storage.get(["123"]) == [None]

    def test_a_given_id_does_not_answer_to_its_number(self, storage: Storage) -> None:
        """Numbers name jobs whose id was issued; another job's place in the line is nobody's id."""
        put(storage, job(id="named"))
        seq = read(storage, "named").seq
        assert storage.get([str(seq)]) == [None]

    def test_an_issued_id_is_never_given_again(self, storage: Storage) -> None:
        """Not even after its job was deleted: logs and people still speak of it."""
        first = put_one(storage)
        seq = read(storage, first).seq
        storage.apply(Action.DELETE, Where(ids=(first,)), now=NOW)
        second = put_one(storage)
        assert second != first and read(storage, second).seq > seq

    def test_a_refused_call_does_not_confuse_the_next(self, storage: Storage) -> None:
        """What a process remembers of a step that failed must go with it."""
        put_one(storage, id="taken")
        fresh: dict[str, Any] = {"queue": "fresh", "settings": '{"max_retries":9}', "environment": '{"X":"1"}'}
        with pytest.raises(JobExists):
            storage.enqueue([job(**fresh), job(id="taken")], now=NOW)
        id = put_one(storage, **fresh)
        assert read(storage, id).spec == job(**fresh)

    def test_no_jobs_are_no_receipts(self, storage: Storage) -> None:
        """An empty batch is a batch."""
        assert list(storage.enqueue([], now=NOW)) == []

    def test_without_run_at_a_job_is_due_now(self, storage: Storage) -> None:
        """And what was asked for stays apart from what became of it."""
        id = put_one(storage)
        assert read(storage, id).run_at == NOW and read(storage, id).spec.run_at is None

    def test_a_run_at_in_the_past_is_kept(self, storage: Storage) -> None:
        """It is a place in the line: before those that are due now."""
        put(storage, job("now"), job("earlier", run_at=NOW - SECOND))
        assert [claim.job.spec.command for claim in take(storage, 2)] == ["earlier", "now"]

    def test_another_process_sees_it_at_once(self, storage: Storage, view: OpenStorage) -> None:
        """Enqueue and the pool are different processes."""
        other = view()
        put(storage, job(id="seen"))
        assert state_of(other, "seen") is State.PENDING

    def test_more_than_a_batch_is_stored_in_order(self, storage: Storage) -> None:
        """A storage that can't take all in one step takes them in several, none missing, none twice."""
        n = 2500 if storage.batch is None else 2 * storage.batch + 3
        ids = put(storage, *[job(str(place)) for place in range(n)])
        assert len(set(ids)) == n
        assert counts_of(storage) == {"pending": n}
        assert [read(storage, id).spec.command for id in (ids[0], ids[n // 2], ids[-1])] == [
            "0",
            str(n // 2),
            str(n - 1),
        ]

    def test_the_name_of_a_queue_may_be_anything(self, storage: Storage) -> None:
        """Quotes, separators and wild cards mean nothing to a storage."""
        odd = ["a'b", 'c"d', "e:f", "{g}", "h%", "_", "ü ✓", "i\\j", "*"]
        for queue in odd:
            put_one(storage, queue=queue, command=queue)
        assert sorted(stat.name for stat in storage.stat(now=NOW)) == sorted(odd)
        for queue in odd:
            (claim,) = take(storage, 5, queues={queue: None})
            assert claim.job.spec.queue == queue


class UniqueTests(Subject):
    """``unique_key``: at most one unfinished job per key."""

    def test_a_second_job_of_a_key_is_not_stored(self, storage: Storage) -> None:
        """Its receipt names the first: that is the job the caller wanted."""
        need(storage, Ability.UNIQUE)
        first = put_one(storage, unique_key="nightly")
        (receipt,) = storage.enqueue([job("other", unique_key="nightly", queue="q")], now=NOW)
        assert (receipt.id, receipt.created) == (first, False)
        assert [found.id for found in storage.find().jobs] == [first]
        assert counts_of(storage) == {"pending": 1}

    def test_keys_count_within_one_call_too(self, storage: Storage) -> None:
        """The rule is about what is stored, not about calls."""
        need(storage, Ability.UNIQUE)
        receipts = storage.enqueue(
            [job("a", unique_key="k"), job("b", id="b", unique_key="k"), job("c", unique_key="l")], now=NOW
        )
        assert [receipt.created for receipt in receipts] == [True, False, True]
        assert receipts[1].id == receipts[0].id

    def test_a_given_id_is_what_the_receipt_names(self, storage: Storage) -> None:
        """Ids are what callers know jobs by."""
        need(storage, Ability.UNIQUE)
        put_one(storage, id="keeper", unique_key="k")
        assert storage.enqueue([job(unique_key="k")], now=NOW)[0].id == "keeper"

    def test_a_key_is_held_until_the_job_is_finished(self, storage: Storage) -> None:
        """While it runs and while it waits for another try it is unfinished; afterwards the key is free."""
        need(storage, Ability.UNIQUE)
        first = put_one(storage, unique_key="k")
        claim = take_one(storage)
        assert put_one(storage, unique_key="k") == first
        hand_in(storage, failed(claim))
        assert put_one(storage, unique_key="k") == first
        claim = take_one(storage, now=NOW + 20 * SECOND)
        hand_in(storage, completed(claim))
        assert put_one(storage, unique_key="k") != first

    def test_a_retry_does_not_make_two_of_a_key(self, storage: Storage) -> None:
        """A finished job whose key another has by now is left alone, and not listed as changed."""
        need(storage, Ability.UNIQUE)
        first = put_one(storage, unique_key="k")
        hand_in(storage, completed(take_one(storage)))
        put_one(storage, unique_key="k")
        assert list(storage.apply(Action.RETRY, Where(ids=(first,)), now=NOW)) == []
        assert state_of(storage, first) is State.COMPLETED
        assert counts_of(storage) == {"completed": 1, "pending": 1}

    def test_of_two_finished_jobs_of_a_key_one_is_retried(self, storage: Storage) -> None:
        """Also when both are asked for in one call."""
        need(storage, Ability.UNIQUE)
        for _ in range(2):
            put_one(storage, unique_key="k")
            hand_in(storage, completed(take_one(storage)))
        assert len(storage.apply(Action.RETRY, Where(), now=NOW)) == 1
        assert counts_of(storage) == {"completed": 1, "pending": 1}

    def test_a_deleted_job_frees_its_key(self, storage: Storage) -> None:
        """What is gone holds nothing."""
        need(storage, Ability.UNIQUE)
        first = put_one(storage, unique_key="k")
        storage.apply(Action.DELETE, Where(ids=(first,)), now=NOW)
        assert storage.enqueue([job(unique_key="k")], now=NOW)[0].created
