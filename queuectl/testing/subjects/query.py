"""Query: finding jobs, their history and the figures."""

from __future__ import annotations

from collections import Counter

import pytest

from queuectl.api.errors import BadInput
from queuectl.api.model import Action, History, Sample, State, Where, bucket_of, fault_of
from queuectl.api.storage import Ability, Storage

from .subject import (
    MINUTE,
    NOW,
    SECOND,
    OpenStorage,
    Subject,
    completed,
    counts_of,
    dead,
    failed,
    hand_in,
    job,
    lost,
    need,
    one_in_each_state,
    put,
    put_one,
    read,
    stat_of,
    take,
    take_one,
)


def found(storage: Storage, limit: int = 100, **where: object) -> list[str]:
    """The commands of all pages, in order."""
    commands: list[str] = []
    cursor = None
    while True:
        page = storage.find(Where(**where), limit=limit, cursor=cursor)  # type: ignore[arg-type]
        assert len(page.jobs) <= limit
        commands += [job.spec.command for job in page.jobs]
        cursor = page.cursor
        if cursor is None:
            return commands


def die(storage: Storage, *ends: tuple[str, str]) -> list[str]:
    """Jobs of these commands that died for these reasons, one a second; their ids."""
    ids = put(storage, *[job(command) for command, _ in ends])
    claims = {claim.job.id: claim for claim in take(storage, len(ends))}
    for second, (id, (_, reason)) in enumerate(zip(ids, ends, strict=True)):
        hand_in(storage, dead(claims[id])._replace(reason=reason), now=NOW + second * SECOND)
    return ids


class QueryTests(Subject):
    """Looking changes nothing, and sees everything."""

    def test_jobs_come_in_the_order_asked(self, storage: Storage) -> None:
        """None for each that is unknown, also where the name looks like a number."""
        a, b = put(storage, job("a"), job("b", id="b"))
        asked = [b, "nobody", a, "0", "-1", "007", "9" * 40, "²", b, ""]
        assert [job and job.spec.command for job in storage.get(asked)] == (
            ["b", None, "a", None, None, None, None, None, "b", None]
        )

    def test_an_empty_storage_is_no_error(self, storage: Storage) -> None:
        """Any command may be the first."""
        assert storage.find().jobs == () and storage.find().cursor is None
        assert list(storage.stat(now=NOW)) == [] and list(storage.pools()) == []
        assert storage.history("1") == History() and list(storage.samples(0, NOW)) == []
        assert list(storage.get([])) == [] and list(storage.resolve("a")) == []

    def test_newest_first(self, storage: Storage) -> None:
        """What somebody has just done is what they look for; by enqueuing, whatever has happened since."""
        put(storage, *[job(str(n)) for n in range(5)])
        hand_in(storage, completed(take_one(storage)))
        assert found(storage) == ["4", "3", "2", "1", "0"]

    def test_finished_jobs_newest_ended_first(self, storage: Storage) -> None:
        """By when they ended, not by when they were enqueued."""
        put(storage, *[job(str(n)) for n in range(4)])
        claims = take(storage, 4)
        for moment, place in enumerate((2, 0, 3, 1)):
            hand_in(storage, completed(claims[place]), now=NOW + moment)
        assert found(storage, states=(State.COMPLETED,)) == ["1", "3", "0", "2"]
        assert found(storage, states=(State.COMPLETED,), queues=("default",)) == ["1", "3", "0", "2"]

    def test_pending_jobs_in_the_order_they_will_run(self, storage: Storage) -> None:
        """Ready ones by priority, due time, insertion, over all queues; then those to come, by due time."""
        put(
            storage,
            job("later2", run_at=NOW + 2 * MINUTE, priority=9),
            job("b", queue="b"),
            job("a", queue="a"),
            job("first", queue="b", priority=1),
            job("later1", run_at=NOW + MINUTE, queue="c"),
            job("early", run_at=NOW - 1),
        )
        expected = ["first", "early", "b", "a", "later1", "later2"]
        for limit in (1, 2, 3, 100):
            assert found(storage, limit, states=(State.PENDING,)) == expected
        assert found(storage, 1, states=(State.PENDING,), queues=("b", "c")) == ["first", "b", "later1"]

    def test_failed_jobs_by_when_they_are_due(self, storage: Storage) -> None:
        """Who looks at them wants to know what is tried again next."""
        put(storage, job("a"), job("b", queue="q"), job("c"))
        delays = {"a": 30, "b": 10, "c": 20}
        for claim in take(storage, 3):
            hand_in(storage, failed(claim, delay=delays[claim.job.spec.command]))
        assert found(storage, 1, states=(State.FAILED,)) == ["b", "c", "a"]
        assert found(storage, 1, states=(State.FAILED,), queues=("default",)) == ["c", "a"]

    def test_processing_jobs_newest_claimed_first(self, storage: Storage) -> None:
        """The same order as finished ones: by the last change."""
        put(storage, job("a"), job("b"), job("c"))
        for moment in range(3):
            take_one(storage, now=NOW + moment)
        assert found(storage, 1, states=(State.PROCESSING,)) == ["c", "b", "a"]

    def test_states_come_in_the_order_given(self, storage: Storage) -> None:
        """State by state."""
        one_in_each_state(storage)
        order = (State.DEAD, State.PENDING, State.PROCESSING, State.COMPLETED, State.FAILED, State.CANCELLED)
        for limit in (1, 4, 100):
            assert found(storage, limit, states=order) == [state.value for state in order]

    @pytest.mark.parametrize("limit", [1, 3, 10, 1000])
    def test_pages_join_without_a_gap_or_a_double(self, storage: Storage, limit: int) -> None:
        """A cursor says where to go on; equal keys are told apart."""
        put(storage, *[job(str(n), queue=f"q{n % 3}", priority=n % 2) for n in range(30)])
        for claim in take(storage, 12):
            hand_in(storage, completed(claim))
        newest = [str(n) for n in reversed(range(30))]
        assert found(storage, limit) == newest
        assert found(storage, limit, queues=("q0", "q2")) == [n for n in newest if int(n) % 3 != 1]
        assert sorted(found(storage, limit, states=tuple(State))) == sorted(newest)
        every_queue = found(storage, limit, states=(State.COMPLETED,), queues=("q0", "q1", "q2"))
        assert every_queue == found(storage, states=(State.COMPLETED,)) and len(every_queue) == 12

    def test_a_cursor_holds_while_jobs_come_and_go(self, storage: Storage) -> None:
        """Pages are by key, not by place: what is new or gone shifts nothing."""
        ids = put(storage, *[job(str(n)) for n in range(6)])
        page = storage.find(limit=2)
        put(storage, job("new"))
        storage.apply(Action.DELETE, Where(ids=(ids[5], ids[4], ids[2])), now=NOW)
        rest = storage.find(limit=10, cursor=page.cursor)
        assert [found.spec.command for found in rest.jobs] == ["3", "1", "0"] and rest.cursor is None

    def test_a_full_last_page_has_no_cursor(self, storage: Storage) -> None:
        """Or else the next one is empty; but never a circle."""
        put(storage, job("a"), job("b"))
        page = storage.find(limit=2)
        assert len(page.jobs) == 2
        assert page.cursor is None or storage.find(limit=2, cursor=page.cursor).jobs == ()

    def test_a_cursor_from_elsewhere_is_bad_input(self, storage: Storage) -> None:
        """It comes from a URL that anybody may edit."""
        for cursor in ("", "x", "[]", "{}", "null", '"a"', "[[1]]", "[1.5, 2]", "[" * 10_000):
            with pytest.raises(BadInput):
                storage.find(cursor=cursor)

    def test_filters_must_all_hold(self, storage: Storage) -> None:
        """Each restricts what the others leave."""
        put(storage, job("mail one", queue="mail"), job("mail two", queue="web"), job("other", queue="mail"))
        assert found(storage, queues=("mail",), text="mail") == ["mail one"]
        assert found(storage, queues=("mail",), states=(State.COMPLETED,)) == []
        assert found(storage, queues=()) == [] and found(storage, states=()) == [] and found(storage, ids=()) == []
        assert found(storage, queues=("nowhere",)) == []

    def test_by_id(self, storage: Storage) -> None:
        """Newest first; an id that is asked twice is found once, an unknown one not at all."""
        ids = put(storage, job("a"), job("b", id="named"), job("c"))
        assert found(storage, 1, ids=(ids[0], "named", "nobody", ids[0])) == ["b", "a"]
        assert found(storage, ids=tuple(ids), states=(State.COMPLETED,)) == []

    def test_by_text(self, storage: Storage) -> None:
        """Any part of the command as it stands: no wild cards, capitals matter."""
        put(storage, job("backup 100% of /home"), job("backup _all"), job("Backup"))
        assert found(storage, text="100%") == ["backup 100% of /home"]
        assert found(storage, text="_") == ["backup _all"]
        assert found(storage, 1, text="backup") == ["backup _all", "backup 100% of /home"]
        assert found(storage, text="backup", states=(State.PENDING,)) == ["backup 100% of /home", "backup _all"]

    def test_by_age(self, storage: Storage) -> None:
        """``since`` is about when a job was created, whatever happened to it."""
        put(storage, job("old"), now=NOW)
        put(storage, job("new"), now=NOW + MINUTE)
        hand_in(storage, completed(take_one(storage, now=NOW + MINUTE)), now=NOW + 2 * MINUTE)
        assert found(storage, since=NOW + 1) == ["new"]
        assert found(storage, since=NOW + MINUTE) == ["new"]
        assert found(storage, since=NOW, states=(State.COMPLETED,)) == ["old"]
        assert found(storage, since=NOW + 1, states=(State.COMPLETED,)) == []

    def test_by_tag(self, storage: Storage) -> None:
        """Any of the tags asked for; newest first, each once."""
        need(storage, Ability.TAGS)
        put(storage, job("a", tags=("x", "y")), job("b", tags=("y",)), job("c"), job("d", tags=("z", "x"), queue="q"))
        assert found(storage, 1, tags=("x", "y")) == ["d", "b", "a"]
        assert found(storage, tags=("x",), queues=("q",)) == ["d"]
        assert found(storage, tags=("x",), states=(State.PENDING,), text="a") == ["a"]
        assert found(storage, tags=("nothing",)) == [] and found(storage, tags=()) == []

    def test_dead_jobs_are_grouped_by_how_they_failed(self, storage: Storage) -> None:
        """The same command but for its numbers, and the same end; the largest group first, then the latest."""
        need(storage, Ability.FAULTS)
        die(storage, ("get 1", "exit 7"), ("get 22", "exit 7"), ("get 3", "exit 8"), ("put 1", "exit 7"))
        groups = storage.faults()
        assert [(g.n, g.latest.spec.command, g.latest.reason) for g in groups] == [
            (2, "get 22", "exit 7"),
            (1, "put 1", "exit 7"),
            (1, "get 3", "exit 8"),
        ]
        assert [g.fault for g in groups] == [fault_of(g.latest.spec.command, g.latest.reason) for g in groups]
        assert (groups[0].first_at, groups[0].last_at) == (NOW, NOW + SECOND)
        assert [group.n for group in storage.faults(limit=1)] == [2]

    def test_a_group_has_no_more_than_the_dead(self, storage: Storage) -> None:
        """Who is retried or deleted has left it, and who dies again is in it again, for what it died of this time."""
        need(storage, Ability.FAULTS)
        again, gone, _ = die(storage, ("get 1", "exit 7"), ("get 2", "exit 7"), ("get 3", "exit 7"))
        storage.apply(Action.RETRY, Where(ids=(again,)), now=NOW)
        storage.apply(Action.DELETE, Where(ids=(gone,)), now=NOW)
        assert [group.n for group in storage.faults()] == [1]
        hand_in(storage, dead(take_one(storage))._replace(reason="exit 8"), now=NOW + MINUTE)
        assert sorted((group.n, group.latest.reason) for group in storage.faults()) == [(1, "exit 7"), (1, "exit 8")]

    def test_by_fault(self, storage: Storage) -> None:
        """Newest dead first; in pages; together with every other filter; for an action too."""
        need(storage, Ability.FAULTS)
        die(storage, ("get 1", "exit 7"), ("get 2", "exit 7"), ("get 3", "exit 7"), ("put", "exit 7"))
        put(storage, job("get 4"))
        fault, other = fault_of("get 0", "exit 7"), fault_of("put", "exit 7")
        for limit in (1, 2, 100):
            assert found(storage, limit, faults=(fault,)) == ["get 3", "get 2", "get 1"]
            assert found(storage, limit, faults=(fault, other, fault)) == ["put", "get 3", "get 2", "get 1"]
        assert found(storage, faults=(fault,), text="2") == ["get 2"]
        assert found(storage, faults=(fault,), states=(State.DEAD,)) == ["get 3", "get 2", "get 1"]
        assert found(storage, faults=(fault,), states=(State.PENDING,)) == []
        assert found(storage, faults=()) == [] and found(storage, faults=("0" * 16,)) == []
        ids = tuple(job.id for job in storage.find().jobs)
        assert found(storage, faults=(other,), ids=ids) == ["put"]
        changes = storage.apply(Action.RETRY, Where(faults=(fault,)), now=NOW)
        assert len(changes) == 3 and [group.n for group in storage.faults()] == [1]

    def test_a_prefix_finds_given_ids(self, storage: Storage) -> None:
        """Up to two: enough to know that it is ambiguous. Issued numbers are no prefixes of each other."""
        put(storage, job(id="backup-1"), job(id="backup-2"), job(id="backup-3"), job(id="build"), job(), job(id="ü1"))
        assert list(storage.resolve("bui")) == ["build"]
        assert list(storage.resolve("build")) == ["build"]
        assert len(storage.resolve("b")) == 2
        assert list(storage.resolve("backup-3")) == ["backup-3"]
        assert list(storage.resolve("ü")) == ["ü1"]
        assert list(storage.resolve("x")) == [] and list(storage.resolve("Build")) == []
        assert list(storage.resolve("%")) == [] and list(storage.resolve("b_")) == []

    def test_history_of_a_job_that_nothing_happened_to(self, storage: Storage) -> None:
        """Is empty, as is that of one that does not exist."""
        assert storage.history(put_one(storage)) == History() == storage.history("nobody")

    def test_counts_follow_every_change(self, storage: Storage, view: OpenStorage) -> None:
        """They are kept, not counted: each step has to keep them right."""
        one_in_each_state(storage)
        assert counts_of(view()) == {state.value: 1 for state in State}
        storage.apply(Action.RETRY, Where(states=(State.DEAD, State.FAILED)), now=NOW)
        assert counts_of(storage) == {"pending": 3, "processing": 1, "completed": 1, "cancelled": 1}
        storage.apply(Action.CANCEL, Where(states=(State.PENDING,)), now=NOW)
        storage.apply(Action.DELETE, Where(states=(State.COMPLETED,)), now=NOW)
        assert counts_of(storage) == {"processing": 1, "cancelled": 4}

    def test_a_queue_stays_known_when_it_is_empty(self, storage: Storage) -> None:
        """Its settings and its figures go on."""
        id = put_one(storage, queue="q")
        storage.apply(Action.DELETE, Where(ids=(id,)), now=NOW)
        assert counts_of(storage, "q") == {}

    def test_ready_is_what_is_due_now(self, storage: Storage) -> None:
        """Open queue or not; also what became due while nobody looked."""
        put(storage, job(), job(), job(run_at=NOW + SECOND), job(run_at=NOW + MINUTE))
        storage.set_queue("default", paused=True, now=NOW)
        assert stat_of(storage).ready == 2
        assert stat_of(storage, now=NOW + SECOND).ready == 3
        storage.set_queue("default", paused=False, now=NOW)
        take(storage, 1, now=NOW + SECOND)
        assert stat_of(storage, now=NOW + SECOND).ready == 2

    def test_oldest_due_is_the_head_of_the_line(self, storage: Storage) -> None:
        """How long the next job has waited; None when nothing waits."""
        assert put_one(storage, run_at=NOW + MINUTE)
        assert stat_of(storage).oldest_due is None
        assert stat_of(storage, now=NOW + 2 * MINUTE).oldest_due == NOW + MINUTE
        put(storage, job(run_at=NOW - 5), job(run_at=NOW - 9))
        assert stat_of(storage).oldest_due == NOW - 9

    def test_runs_and_their_time_are_summed(self, storage: Storage) -> None:
        """Every attempt that ended, whatever came of it; a clock that was set back takes nothing away."""
        put(storage, job(), job(), job())
        claims = take(storage, 3)
        backwards = completed(claims[2])
        assert backwards.outcome is not None
        backwards = backwards._replace(outcome=backwards.outcome._replace(ended_at=NOW - 1000))
        hand_in(storage, completed(claims[0]), failed(claims[1]), backwards)
        assert (stat_of(storage).runs, stat_of(storage).run_ms) == (3, 3000)

    def test_histograms_are_kept_by_the_minute(self, storage: Storage) -> None:
        """What was enqueued; waiting from due to claimed; running by what came of it."""
        put(storage, job(queue="a", run_at=NOW - 700), job(queue="b", run_at=NOW - 700))
        first, second = take(storage, 2, now=NOW)
        hand_in(storage, completed(first), lost(second), now=NOW + MINUTE)
        minute = NOW // MINUTE
        run, waited = bucket_of(1500), bucket_of(700)
        assert sorted(storage.samples(NOW, NOW + MINUTE)) == [
            Sample(minute, "a", "enqueued", 0, 1),
            Sample(minute, "a", "wait", waited, 1),
            Sample(minute, "b", "enqueued", 0, 1),
            Sample(minute, "b", "wait", waited, 1),
            Sample(minute + 1, "a", "completed", run, 1),
            Sample(minute + 1, "b", "lost", bucket_of(5), 1),
        ]
        assert [sample.minute for sample in storage.samples(NOW + MINUTE, NOW + 9 * MINUTE)] == [minute + 1] * 2
        assert list(storage.samples(NOW + 2 * MINUTE, NOW + 9 * MINUTE)) == []

    def test_equal_samples_are_counted_together(self, storage: Storage) -> None:
        """A histogram does not grow with its jobs."""
        put(storage, *[job() for _ in range(20)])
        claims = take(storage, 20)
        hand_in(storage, *[dead(claim) for claim in claims])
        assert sorted((s.measure, s.n) for s in storage.samples(NOW, NOW)) == [
            ("dead", 20),
            ("enqueued", 20),
            ("wait", 20),
        ]

    def test_what_is_enqueued_is_counted_once(self, storage: Storage) -> None:
        """Also with a settlement; not what a unique key kept out, and not again for a retry."""
        need(storage, Ability.UNIQUE)
        put(storage, job(unique_key="k"), job(unique_key="k"))
        claim = take_one(storage)
        hand_in(storage, dead(claim)._replace(then=(job(queue="next"),)))
        storage.apply(Action.RETRY, Where(ids=(claim.job.id,)), now=NOW)
        enqueued = [(s.queue, s.bucket, s.n) for s in storage.samples(NOW, NOW) if s.measure == "enqueued"]
        assert sorted(enqueued) == [("default", 0, 1), ("next", 0, 1)]

    @pytest.mark.parametrize("width", [1, 3, 60, 1_000_000_000])
    def test_histograms_are_added_up_over_stretches_of_time(self, storage: Storage, width: int) -> None:
        """Each is filed under its first minute, counted from the epoch; what is outside is not in it."""
        for at in (0, 1, 2, 5, 59, 60, 200):
            moment = NOW + at * MINUTE
            put(storage, job(queue="a"), job(queue="b"), now=moment)
            hand_in(storage, *[completed(claim) for claim in take(storage, 2, now=moment)], now=moment)
        first, last = NOW + MINUTE, NOW + 61 * MINUTE
        sums: Counter[tuple[int, str, str, int]] = Counter()
        for minute, queue, measure, bucket, n in storage.samples(first, last):
            sums[minute // width * width, queue, measure, bucket] += n
        assert [*storage.summed(first, last, width)] == [Sample(*key, n) for key, n in sorted(sums.items())]
        assert sums.total() == 5 * 6 and not storage.summed(NOW + 300 * MINUTE, NOW + 400 * MINUTE, width)

    def test_nothing_is_lost_from_the_sum_of_all_histograms(self, storage: Storage) -> None:
        """Old minutes may be summed up into minute 0; what counters are made of never falls."""
        put(storage, *[job() for _ in range(4)])
        hand_in(storage, *[completed(claim) for claim in take(storage, 3)])

        def total() -> Counter[tuple[str, str, int]]:
            sums: Counter[tuple[str, str, int]] = Counter()
            for sample in storage.samples(0, 2 * NOW):
                sums[sample.queue, sample.measure, sample.bucket] += sample.n
            return sums

        before, year = total(), 365 * 24 * 60 * MINUTE
        storage.prune(0, now=NOW + year)
        storage.prune(0, now=NOW + year)
        assert total() == before and before.total() == 10
        hand_in(storage, completed(take_one(storage, now=NOW + year)), now=NOW + year)
        storage.prune(0, now=NOW + 2 * year)
        assert total().total() == 12

    def test_looking_changes_nothing(self, storage: Storage) -> None:
        """Neither order nor counts, however often."""
        one_in_each_state(storage)
        ids = [found.id for found in storage.find().jobs]
        before = [read(storage, id) for id in ids]
        storage.find(Where(states=tuple(State)))
        storage.stat(now=NOW + MINUTE)
        storage.samples(0, NOW)
        storage.pools()
        assert [read(storage, id) for id in ids] == before
