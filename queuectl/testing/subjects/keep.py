"""Keep: what jobs printed, what notifiers are to hear, and what holds for every storage from its first day."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from queuectl.api.errors import NotSupported
from queuectl.api.model import INLINE_OUTPUT, Action, Delivery, Event, Held, OutboxStat, Route, State, Where
from queuectl.api.storage import Ability, Storage

from .subject import (
    NOW,
    SECOND,
    OpenStorage,
    Subject,
    completed,
    dead,
    ended,
    failed,
    hand_in,
    job,
    need,
    one_in_each_state,
    put,
    put_one,
    read,
    take,
    take_one,
)


class OutputTests(Subject):
    """What attempts printed."""

    def test_short_output_rides_on_the_settlement(self, storage: Storage, view: OpenStorage) -> None:
        """Bytes as they were: output is not text."""
        id = put_one(storage)
        out, err = bytes(range(256)) * (INLINE_OUTPUT // 256), b"\xff\x00oops\n"
        hand_in(storage, completed(take_one(storage), stdout=out, stderr=err))
        other = view()
        assert (other.output_size(id, 1, "stdout"), other.output_size(id, 1, "stderr")) == (len(out), len(err))
        assert other.read_output(id, 1, "stdout", 0, 1 << 20) == out
        assert other.read_output(id, 1, "stderr") == err

    def test_output_is_read_in_pieces(self, storage: Storage) -> None:
        """From any offset; empty at the end and beyond."""
        id = put_one(storage)
        hand_in(storage, completed(take_one(storage), stdout=b"0123456789"))
        assert storage.read_output(id, 1, "stdout", 3, 4) == b"3456"
        assert storage.read_output(id, 1, "stdout", 8, 4) == b"89"
        assert storage.read_output(id, 1, "stdout", 10, 4) == b"" == storage.read_output(id, 1, "stdout", 99, 4)

    def test_where_there_is_none_it_is_empty(self, storage: Storage) -> None:
        """No such job, no such attempt, nothing printed: all the same to who reads."""
        id = put_one(storage)
        assert (storage.read_output(id, 1, "stdout"), storage.output_size(id, 1, "stdout")) == (b"", 0)
        hand_in(storage, completed(take_one(storage)))
        for who, attempt in (("nobody", 1), (id, 2), (id, 0), (id, 1)):
            assert (
                storage.read_output(who, attempt, "stderr") == b"" and storage.output_size(who, attempt, "stderr") == 0
            )

    def test_long_output_comes_in_pieces_before_the_settlement(self, storage: Storage, view: OpenStorage) -> None:
        """A piece that is repeated, because a reply was lost, is there once."""
        id = put_one(storage, id="long/../name")
        claim = take_one(storage)
        whole = os.urandom(300_000)
        for offset in (0, 100_000, 100_000, 200_000, 0):
            storage.put_output(claim.job, 1, "stdout", offset, whole[offset : offset + 100_000])
        storage.put_output(claim.job, 1, "stderr", 7, b"")
        hand_in(storage, completed(claim))
        other = view()
        assert (other.output_size(id, 1, "stdout"), other.output_size(id, 1, "stderr")) == (len(whole), 0)
        read = b"".join(other.read_output(id, 1, "stdout", offset, 70_000) for offset in range(0, 300_000, 70_000))
        assert read == whole

    def test_what_rides_on_the_settlement_is_the_stream(self, storage: Storage) -> None:
        """Even if it is empty and pieces came before it."""
        id = put_one(storage)
        claim = take_one(storage)
        storage.put_output(claim.job, 1, "stdout", 0, b"a piece")
        hand_in(storage, completed(claim, stdout=b""))
        assert (storage.output_size(id, 1, "stdout"), storage.read_output(id, 1, "stdout")) == (0, b"")

    def test_a_file_is_taken_over(self, storage: Storage, tmp_path: Path) -> None:
        """The pool has it on disk already; afterwards it is the storage's."""
        id = put_one(storage)
        claim = take_one(storage)
        path = tmp_path / "out"
        path.write_bytes(b"x" * 200_000)
        storage.keep_output(claim.job, 1, "stdout", str(path))
        hand_in(storage, completed(claim))
        assert not path.exists()
        assert storage.output_size(id, 1, "stdout") == 200_000
        assert storage.read_output(id, 1, "stdout", 199_990, 100) == b"x" * 10

    def test_each_attempt_has_its_own(self, storage: Storage) -> None:
        """The first failure is often the interesting one."""
        id = put_one(storage)
        hand_in(storage, failed(take_one(storage), delay=0, stdout=b"one"))
        claim = take_one(storage)
        storage.put_output(claim.job, 2, "stdout", 0, b"two")
        hand_in(storage, completed(claim))
        assert [storage.read_output(id, n, "stdout") for n in (1, 2)] == [b"one", b"two"]

    @pytest.mark.parametrize("way", ["delete", "prune"])
    def test_output_goes_with_its_job(self, storage: Storage, way: str) -> None:
        """And nothing of it shows up under a later job of the same name."""
        for expected in (b"secret", b""):
            id = put_one(storage, id="named")
            claim = take_one(storage)
            if expected:
                storage.put_output(claim.job, 1, "stdout", 0, expected)
            hand_in(storage, completed(claim, stderr=expected or None))
            assert storage.read_output(id, 1, "stdout") == expected == storage.read_output(id, 1, "stderr")
            if way == "delete":
                storage.apply(Action.DELETE, Where(ids=(id,)), now=NOW)
            else:
                storage.prune(NOW + SECOND, now=NOW)
            assert storage.output_size(id, 1, "stdout") == 0


class LiveTests(Subject):
    """What running jobs write, seen from other hosts."""

    def test_the_pool_of_a_watched_job_hears_of_it(self, storage: Storage, view: OpenStorage) -> None:
        """In each answer, for as long as was asked; nobody else's pool, and nothing of a job that does not run."""
        need(storage, Ability.LIVE)
        ids = put(storage, job(), job(), job())
        mine, other = take_one(storage, pool="mine"), take_one(storage, pool="other")
        for id in (*ids, "nobody"):
            view().watch(id, hold=10, now=NOW)
        assert hand_in(storage, pool="mine").watched == (mine.job.id,)
        for moment, expected in ((NOW + 9 * SECOND, (mine.job.id,)), (NOW + 10 * SECOND, ())):
            pulse = storage.heartbeat("mine", [Held(mine.job.id, mine.token)], lease=60, now=moment)
            assert pulse.watched == expected
        assert storage.heartbeat("other", [], lease=60, now=NOW).watched == (other.job.id,)
        assert take_one(storage, pool="mine").job.id == ids[2]
        assert hand_in(storage, pool="mine", now=NOW + SECOND).watched == (mine.job.id,)

    def test_watching_wakes_the_pool(self, storage: Storage, view: OpenStorage) -> None:
        """A line is to be seen within a second; a busy pool may not turn for longer."""
        need(storage, Ability.LIVE)
        need(storage, Ability.LISTEN)
        import select

        listener = storage.listen("mine")
        assert listener is not None
        try:
            put_one(storage)
            claim = take_one(storage, pool="mine")
            listener.drain()
            view().watch(claim.job.id, now=NOW)
            assert select.select([listener], [], [], 10)[0] == [listener]
        finally:
            listener.close()

    def test_what_is_shown_is_seen(self, storage: Storage, view: OpenStorage) -> None:
        """Piece by piece, from any offset; bytes as they are."""
        need(storage, Ability.LIVE)
        id = put_one(storage)
        claim = take_one(storage)
        assert view().shown_output(id, 1, "stdout") == (0, b"")
        for offset, data in ((0, b"one\xff"), (4, b"two")):
            storage.show_output(claim.job, 1, "stdout", offset, data)
        assert view().shown_output(id, 1, "stdout") == (0, b"one\xfftwo")
        assert view().shown_output(id, 1, "stdout", 4) == (4, b"two")
        assert view().shown_output(id, 1, "stdout", 7) == (7, b"")
        assert view().shown_output(id, 1, "stderr") == (0, b"") == view().shown_output("nobody", 1, "stdout")

    def test_after_a_gap_what_was_before_is_gone(self, storage: Storage) -> None:
        """Who looks for it is told where it goes on."""
        need(storage, Ability.LIVE)
        id = put_one(storage)
        claim = take_one(storage)
        storage.show_output(claim.job, 1, "stdout", 0, b"begin")
        storage.show_output(claim.job, 1, "stdout", 5000, b"later")
        assert storage.shown_output(id, 1, "stdout", 3) == (5000, b"later")
        assert storage.shown_output(id, 1, "stdout", 5002) == (5002, b"ter")

    def test_much_can_be_shown_and_the_last_of_it_seen(self, storage: Storage) -> None:
        """Nobody keeps the whole of a flood twice."""
        need(storage, Ability.LIVE)
        id = put_one(storage)
        claim = take_one(storage)
        whole = os.urandom(1000) * 2000
        for offset in range(0, len(whole), 50_000):
            storage.show_output(claim.job, 1, "stdout", offset, whole[offset : offset + 50_000])
        begin, seen = storage.shown_output(id, 1, "stdout")
        assert len(seen) >= 65_536 and seen == whole[begin:]
        offset = len(whole) - 7
        assert storage.shown_output(id, 1, "stdout", offset) == (offset, whole[-7:])

    def test_what_was_shown_is_not_what_is_kept(self, storage: Storage) -> None:
        """It goes with the attempt; the next one has its own."""
        need(storage, Ability.LIVE)
        id = put_one(storage)
        claim = take_one(storage)
        storage.show_output(claim.job, 1, "stdout", 0, b"shown")
        hand_in(storage, failed(claim, delay=0, stdout=b"kept"))
        assert storage.read_output(id, 1, "stdout") == b"kept"
        assert storage.shown_output(id, 1, "stdout")[1] == b""
        again = take_one(storage)
        storage.show_output(again.job, 2, "stdout", 0, b"again")
        assert storage.shown_output(id, 2, "stdout") == (0, b"again")


class OutboxTests(Subject):
    """Events for durable notifiers, stored with the step that caused them."""

    def test_events_of_enqueued_jobs(self, storage: Storage) -> None:
        """One for each created job and each target."""
        need(storage, Ability.OUTBOX)
        receipts = storage.enqueue(
            [job("a", env={"A": "1"}), job("b")], deliveries=(Route("hook"), Route("mail")), now=NOW
        )
        deliveries = storage.take_deliveries(now=NOW)
        assert [(d.target, d.event.kind, d.event.job.id) for d in deliveries] == [
            (target, "enqueued", receipt.id) for receipt in receipts for target in ("hook", "mail")
        ]
        assert deliveries[0].event.job == read(storage, receipts[0].id) and deliveries[0].event.at == NOW

    def test_a_job_that_was_not_stored_is_no_news(self, storage: Storage) -> None:
        """Its key was taken: nothing happened."""
        need(storage, Ability.OUTBOX)
        need(storage, Ability.UNIQUE)
        put_one(storage, unique_key="k")
        storage.enqueue([job(unique_key="k")], deliveries=(Route("hook"),), now=NOW)
        assert list(storage.take_deliveries(now=NOW)) == []

    def test_events_ride_on_settlements(self, storage: Storage) -> None:
        """They come back as they were; none with a settlement that is refused, none with a repeat."""
        need(storage, Ability.OUTBOX)
        put_one(storage, argv=("a", "b"))
        claim = take_one(storage)
        event = Event("failed", NOW + 5, claim.job._replace(state=State.FAILED, outcome=ended(3)), ended(3))
        settlement = failed(claim, deliveries=(Delivery("hook", event),))
        hand_in(storage, settlement._replace(token=99), settlement, settlement)
        (delivery,) = storage.take_deliveries(now=NOW)
        assert delivery == Delivery("hook", event, delivery.id, NOW, 1)

    def test_the_id_of_a_delivery_is_given_by_the_storage(self, storage: Storage) -> None:
        """Whatever one that rides on a settlement says: no number is given twice."""
        need(storage, Ability.OUTBOX)
        storage.enqueue([job()], deliveries=(Route("hook"),), now=NOW)
        (first,) = storage.take_deliveries(now=NOW)
        claim = take_one(storage)
        event = Event("completed", NOW, claim.job)
        hand_in(storage, completed(claim, deliveries=(Delivery("hook", event, first.id), Delivery("hook", event, 77))))
        ids = [delivery.id for delivery in storage.take_deliveries(now=NOW)]
        assert len({first.id, *ids}) == 3

    def test_routes_decide_what_is_stored(self, storage: Storage) -> None:
        """By event, queue and tag, all of which must hold; each target once, however many of its routes want it."""
        need(storage, Ability.OUTBOX)
        need(storage, Ability.TAGS)
        routes = (
            Route("all"),
            Route("q", queues=("q", "r")),
            Route("tagged", tags=("x", "y")),
            Route("both", queues=("q",), tags=("x",)),
            Route("both", tags=("z",)),
            Route("retries", events=("retried", "cancelled")),
            Route("all", queues=("q",)),
        )
        storage.enqueue([job("a"), job("b", id="b")], deliveries=routes, now=NOW)
        storage.enqueue([job("c", queue="q", tags=("z", "x"))], deliveries=routes, now=NOW)
        storage.apply(Action.CANCEL, Where(ids=("b",)), deliveries=routes, now=NOW)
        told = [(d.event.kind, d.event.job.spec.command, d.target) for d in storage.take_deliveries(now=NOW)]
        assert told == [
            ("enqueued", "a", "all"),
            ("enqueued", "b", "all"),
            *(("enqueued", "c", target) for target in ("all", "q", "tagged", "both")),
            ("cancelled", "b", "all"),
            ("cancelled", "b", "retries"),
        ]

    def test_each_target_takes_its_own(self, storage: Storage) -> None:
        """What waits for one that cannot be reached holds up nobody else."""
        need(storage, Ability.OUTBOX)
        storage.enqueue([job() for _ in range(5)], deliveries=(Route("down"), Route("up")), now=NOW)
        assert [d.target for d in storage.take_deliveries(targets=("up",), limit=3, now=NOW)] == ["up"] * 3
        assert list(storage.take_deliveries(targets=("nobody",), now=NOW)) == []
        assert len(storage.take_deliveries(targets=("up", "down"), now=NOW)) == 7

    def test_what_failed_is_due_again_later(self, storage: Storage, view: OpenStorage) -> None:
        """Not before its time, and then counted: by that one knows how long to wait the next time."""
        need(storage, Ability.OUTBOX)
        storage.enqueue([job(), job()], deliveries=(Route("hook"),), now=NOW)
        first, second = storage.take_deliveries(hold=60, now=NOW)
        storage.postpone([first.id, 999], 90, error="answered 500", now=NOW)
        assert [(d.id, d.tries) for d in view().take_deliveries(hold=60, now=NOW + 60 * SECOND)] == [(second.id, 2)]
        assert [(d.id, d.tries) for d in storage.take_deliveries(now=NOW + 90 * SECOND)] == [(first.id, 2)]

    def test_what_was_not_tried_is_given_back(self, storage: Storage) -> None:
        """At once, to anybody, and its tries are what they were."""
        need(storage, Ability.OUTBOX)
        storage.enqueue([job()], deliveries=(Route("hook"),), now=NOW)
        (first,) = storage.take_deliveries(now=NOW)
        storage.postpone([first.id], 0, now=NOW)
        (again,) = storage.take_deliveries(now=NOW)
        assert again == first and again.tries == 1

    def test_new_ones_do_not_starve_what_is_due_again(self, storage: Storage) -> None:
        """What has been due for longest comes first."""
        need(storage, Ability.OUTBOX)
        storage.enqueue([job()], deliveries=(Route("hook"),), now=NOW)
        (failed_once,) = storage.take_deliveries(now=NOW)
        storage.postpone([failed_once.id], 1, error="answered 500", now=NOW)
        storage.enqueue([job()], deliveries=(Route("hook"),), now=NOW + 2 * SECOND)
        assert [d.id for d in storage.take_deliveries(limit=1, now=NOW + 3 * SECOND)] == [failed_once.id]

    def test_what_is_too_old_is_dropped_and_counted(self, storage: Storage) -> None:
        """The oldest first, a limited number in one call, also what somebody has just taken."""
        need(storage, Ability.OUTBOX)
        for at in (NOW, NOW + SECOND, NOW + 2 * SECOND):
            storage.enqueue([job()], deliveries=(Route("hook"), Route("mail")), now=at)
        storage.take_deliveries(limit=1, now=NOW + 2 * SECOND)
        assert [storage.drop_deliveries(NOW + 2 * SECOND, limit=3) for _ in range(3)] == [3, 1, 0]
        assert [(s.target, s.waiting, s.dropped) for s in storage.outbox()] == [("hook", 1, 2), ("mail", 1, 2)]

    def test_what_waits_is_known(self, storage: Storage, view: OpenStorage) -> None:
        """How much, since when, when the next is due, what became of the rest, and why the last one failed."""
        need(storage, Ability.OUTBOX)
        assert list(storage.outbox()) == []
        storage.enqueue([job(), job()], deliveries=(Route("hook"),), now=NOW)
        storage.enqueue([job()], deliveries=(Route("hook"), Route("mail")), now=NOW + SECOND)
        taken = storage.take_deliveries(targets=("hook",), limit=2, hold=60, now=NOW + SECOND)
        storage.postpone([taken[1].id], 30, error="answered 500", now=NOW + 2 * SECOND)
        hook = OutboxStat("hook", 3, NOW, NOW + SECOND, error="answered 500", error_at=NOW + 2 * SECOND)
        assert list(view().outbox()) == [hook, OutboxStat("mail", 1, NOW + SECOND, NOW + SECOND)]
        storage.delivered([taken[0].id, taken[0].id, 999])
        assert storage.outbox()[0] == OutboxStat("hook", 2, NOW, NOW + SECOND, delivered=1)
        storage.delivered([d.id for d in storage.take_deliveries(now=NOW + 99 * SECOND)])
        assert [(s.target, s.waiting, s.oldest_at, s.due_at, s.delivered) for s in storage.outbox()] == [
            ("hook", 0, None, None, 3),
            ("mail", 0, None, None, 1),
        ]

    def test_what_people_do_is_told(self, storage: Storage) -> None:
        """Cancelled and retried; a mark is not yet a cancellation, and what is deleted is nobody's news."""
        need(storage, Ability.OUTBOX)
        ids = one_in_each_state(storage)
        for action in (Action.CANCEL, Action.RETRY, Action.DELETE):
            wanted = (ids[State.PENDING], ids[State.PROCESSING])
            storage.apply(action, Where(ids=wanted), deliveries=(Route("hook"),), now=NOW)
        told = storage.take_deliveries(now=NOW)
        assert [(d.event.kind, d.event.job.id) for d in told] == [
            ("cancelled", ids[State.PENDING]),
            ("retried", ids[State.PENDING]),
        ]
        assert told[0].event.job.state is State.CANCELLED

    def test_what_is_taken_is_kept_from_others_for_a_while(self, storage: Storage, view: OpenStorage) -> None:
        """Two couriers do not tell the same thing; if one dies the other does."""
        need(storage, Ability.OUTBOX)
        storage.enqueue([job() for _ in range(5)], deliveries=(Route("hook"),), now=NOW)
        first = storage.take_deliveries(limit=3, hold=60, now=NOW)
        second = view().take_deliveries(limit=9, hold=60, now=NOW)
        assert (len(first), len(second)) == (3, 2)
        assert list(storage.take_deliveries(now=NOW + 59 * SECOND)) == []
        again = storage.take_deliveries(now=NOW + 60 * SECOND)
        assert [d.id for d in again] == [d.id for d in [*first, *second]], "oldest first"

    def test_what_is_delivered_is_forgotten(self, storage: Storage) -> None:
        """Saying so twice is harmless."""
        need(storage, Ability.OUTBOX)
        storage.enqueue([job(), job()], deliveries=(Route("hook"),), now=NOW)
        first, second = storage.take_deliveries(now=NOW)
        storage.delivered([first.id])
        storage.delivered([first.id, 999])
        assert [d.id for d in storage.take_deliveries(now=NOW + 99 * SECOND)] == [second.id]


class UndeclaredTests(Subject):
    """What a storage does not declare it refuses by name: nothing asked for is silently dropped."""

    def test_unique_keys_are_refused(self, storage: Storage) -> None:
        """Two jobs where one was asked for would be worse than none."""
        if Ability.UNIQUE in storage.abilities:
            pytest.skip("declares the ability UNIQUE")
        with pytest.raises(NotSupported):
            storage.enqueue([job(unique_key="k")], now=NOW)
        assert storage.find().jobs == ()

    def test_tags_are_refused(self, storage: Storage) -> None:
        """A filter that is ignored finds the wrong jobs, and deletes them."""
        if Ability.TAGS in storage.abilities:
            pytest.skip("declares the ability TAGS")
        with pytest.raises(NotSupported):
            storage.find(Where(tags=("x",)))

    def test_faults_are_refused(self, storage: Storage) -> None:
        """For the same reason; and an empty list of groups would say that nothing is dead."""
        if Ability.FAULTS in storage.abilities:
            pytest.skip("declares the ability FAULTS")
        with pytest.raises(NotSupported):
            storage.find(Where(faults=("x",)))
        with pytest.raises(NotSupported):
            storage.faults()

    def test_deliveries_are_refused(self, storage: Storage) -> None:
        """At least once is a promise."""
        if Ability.OUTBOX in storage.abilities:
            pytest.skip("declares the ability OUTBOX")
        with pytest.raises(NotSupported):
            storage.enqueue([job()], deliveries=(Route("hook"),), now=NOW)
        assert storage.find().jobs == ()
        assert list(storage.outbox()) == []

    def test_moving_is_refused(self, storage: Storage) -> None:
        """An export that has nothing in it would look like an empty storage."""
        if Ability.MOVING in storage.abilities:
            pytest.skip("declares the ability MOVING")
        with pytest.raises(NotSupported):
            list(storage.export())
        with pytest.raises(NotSupported):
            storage.load([])

    def test_a_backup_is_refused(self, storage: Storage, tmp_path: Path) -> None:
        """People rely on it."""
        if Ability.BACKUP in storage.abilities:
            pytest.skip("declares the ability BACKUP")
        with pytest.raises(NotSupported):
            storage.backup(str(tmp_path / "copy"))

    def test_there_is_no_line_to_listen_on(self, storage: Storage) -> None:
        """The caller then polls."""
        if Ability.LISTEN in storage.abilities:
            pytest.skip("declares the ability LISTEN")
        assert storage.listen("pool") is None


class LifeTests(Subject):
    """Opening, closing, identity."""

    def test_the_identity_is_the_storages(self, storage: Storage, view: OpenStorage) -> None:
        """What belongs to it is filed under it: every view has the same."""
        assert storage.identity and storage.identity == view().identity

    def test_closing_twice_is_harmless(self, open_storage: object) -> None:
        """Programs end in many ways."""
        storage: Storage = open_storage()  # type: ignore[operator]
        storage.close()
        storage.close()

    def test_what_is_stored_outlives_the_one_who_stored_it(self, storage: Storage, open_storage: object) -> None:
        """Another view, opened later, knows everything."""
        first: Storage = open_storage()  # type: ignore[operator]
        put(first, job(id="kept"))
        hand_in(first, dead(take_one(first)))
        first.close()
        second: Storage = open_storage()  # type: ignore[operator]
        assert read(second, "kept").state is State.DEAD and len(second.history("kept").attempts) == 1
        second.close()

    def test_check_finds_no_error(self, storage: Storage) -> None:
        """After ordinary use every count agrees."""
        one_in_each_state(storage)
        storage.apply(Action.RETRY, Where(states=(State.DEAD,)), now=NOW)
        take(storage, 1)
        assert [finding for finding in storage.check() if finding.level == "error"] == []
