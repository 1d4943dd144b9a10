"""Change: what people do to jobs and queues that exist."""

from __future__ import annotations

import pytest

from queuectl.api.model import Action, Audit, Change, History, Settlement, State, Turn, Where
from queuectl.api.storage import Ability, Storage

from .subject import (
    MINUTE,
    NOW,
    SECOND,
    OpenStorage,
    Subject,
    cancelled,
    completed,
    counts_of,
    dead,
    failed,
    hand_in,
    job,
    names,
    need,
    one_in_each_state,
    put,
    put_one,
    read,
    released,
    stat_of,
    state_of,
    take,
    take_one,
)


class ApplyTests(Subject):
    """Cancel, retry, delete."""

    def test_a_waiting_job_is_cancelled_at_once(self, storage: Storage) -> None:
        """Ready, scheduled, or waiting for another try: nobody runs it."""
        put(storage, job("retry"))
        hand_in(storage, failed(take_one(storage)))
        put(storage, job("ready"), job("later", run_at=NOW + MINUTE))
        changes = storage.apply(Action.CANCEL, Where(), now=NOW + SECOND)
        assert {change.now for change in changes} == {State.CANCELLED}
        assert {change.was for change in changes} == {State.PENDING, State.FAILED}
        assert take(storage, 9, now=NOW + 5 * MINUTE) == []
        assert counts_of(storage) == {"cancelled": 3} and stat_of(storage).ready == 0
        assert {found.updated_at for found in storage.find().jobs} == {NOW + SECOND}

    def test_a_running_job_is_marked(self, storage: Storage) -> None:
        """Its pool hears of it and ends it; until then it is what it is."""
        claim_id = put_one(storage)
        claim = take_one(storage)
        (change,) = storage.apply(Action.CANCEL, Where(ids=(claim_id,)), now=NOW)
        assert change == Change(claim_id, State.PROCESSING, State.PROCESSING)
        assert read(storage, claim_id).cancel and read(storage, claim_id).token == claim.token
        hand_in(storage, cancelled(claim))
        assert state_of(storage, claim_id) is State.CANCELLED and not read(storage, claim_id).cancel

    def test_what_is_marked_already_is_left_alone(self, storage: Storage) -> None:
        """Else who goes on until nothing is changed would never end."""
        put(storage, job(), job())
        take(storage, 2)
        assert len(storage.apply(Action.CANCEL, Where(), limit=1, now=NOW)) == 1
        assert len(storage.apply(Action.CANCEL, Where(), limit=1, now=NOW)) == 1
        assert list(storage.apply(Action.CANCEL, Where(), limit=1, now=NOW)) == []

    @pytest.mark.parametrize("state", [State.DEAD, State.CANCELLED, State.COMPLETED, State.FAILED])
    def test_a_retry_starts_anew(self, storage: Storage, state: State) -> None:
        """Due now, tries and losses 0; attempts go on counting, and the history stays."""
        id = one_in_each_state(storage)[state]
        before = read(storage, id)
        attempts = storage.history(id).attempts
        (change,) = storage.apply(Action.RETRY, Where(ids=(id,)), now=NOW + SECOND)
        assert change == Change(id, state, State.PENDING)
        after = read(storage, id)
        assert (after.state, after.run_at, after.tries, after.losses) == (State.PENDING, NOW + SECOND, 0, 0)
        assert (after.attempts, after.token) == (before.attempts, before.token)
        assert after.outcome == before.outcome
        assert storage.history(id).attempts == attempts
        claims = {claim.job.id: claim for claim in take(storage, 9, now=NOW + SECOND)}
        assert claims[id].job.attempts == before.attempts + 1 and claims[id].token == before.token + 1

    def test_a_deleted_job_is_gone_with_all_that_was_known_of_it(self, storage: Storage) -> None:
        """Its history and its output go too."""
        ids = one_in_each_state(storage)
        changes = storage.apply(Action.DELETE, Where(), now=NOW)
        assert {change.id for change in changes} == set(ids.values()) - {ids[State.PROCESSING]}
        assert {change.now for change in changes} == {None}
        assert [found.id for found in storage.find().jobs] == [ids[State.PROCESSING]]
        assert storage.history(ids[State.DEAD]) == History()
        assert counts_of(storage) == {"processing": 1}

    def test_an_id_of_a_deleted_job_may_be_given_again(self, storage: Storage) -> None:
        """To people it is free, and nothing of the first sticks to the second."""
        put_one(storage, id="again", tags=("x",) if Ability.TAGS in storage.abilities else ())
        hand_in(storage, completed(take_one(storage)))
        storage.apply(Action.DELETE, Where(ids=("again",)), now=NOW)
        put_one(storage, id="again")
        assert storage.history("again") == History() and read(storage, "again").attempts == 0
        if Ability.TAGS in storage.abilities:
            assert storage.find(Where(tags=("x",))).jobs == ()

    def test_where_an_action_does_not_apply_nothing_happens(self, storage: Storage) -> None:
        """And it is not listed: the list is what was changed."""
        ids = one_in_each_state(storage)
        before = {id: read(storage, id) for id in ids.values()}
        finished = (ids[State.COMPLETED], ids[State.DEAD], ids[State.CANCELLED])
        assert list(storage.apply(Action.CANCEL, Where(ids=finished), now=NOW)) == []
        assert list(storage.apply(Action.RETRY, Where(ids=(ids[State.PENDING], ids[State.PROCESSING])), now=NOW)) == []
        assert list(storage.apply(Action.DELETE, Where(ids=(ids[State.PROCESSING], "nobody")), now=NOW)) == []
        assert {id: read(storage, id) for id in ids.values()} == before

    def test_changes_come_in_the_order_of_the_ids(self, storage: Storage) -> None:
        """A caller says what became of each; an id given twice is changed once."""
        ids = put(storage, *[job() for _ in range(5)])
        order = (ids[3], ids[0], "nobody", ids[4], ids[3])
        changes = storage.apply(Action.CANCEL, Where(ids=order), now=NOW)
        assert [change.id for change in changes] == [ids[3], ids[0], ids[4]]

    def test_only_what_matches_is_changed(self, storage: Storage) -> None:
        """All filters hold for changes as they do for looking."""
        put(storage, job("a", queue="q"), job("b", queue="q"), job("a"), job("c"))
        assert len(storage.apply(Action.CANCEL, Where(queues=("q",), text="a"), now=NOW)) == 1
        assert len(storage.apply(Action.CANCEL, Where(states=(State.FAILED,)), now=NOW)) == 0
        assert (counts_of(storage, "q"), counts_of(storage)) == ({"cancelled": 1, "pending": 1}, {"pending": 2})

    def test_a_limit_bounds_one_call_and_calls_reach_all(self, storage: Storage) -> None:
        """No call holds others up for long; going on until fewer come gets all."""
        put(storage, *[job() for _ in range(25)])
        sizes = [len(storage.apply(Action.CANCEL, Where(), limit=10, now=NOW)) for _ in range(4)]
        assert sizes == [10, 10, 5, 0]

    def test_each_change_leaves_an_audit_row(self, storage: Storage) -> None:
        """Who, when, why: a job's events are its attempts and these."""
        id = put_one(storage)
        storage.apply(Action.CANCEL, Where(ids=(id,)), actor="ann", note="wrong file", now=NOW + 1)
        storage.apply(Action.RETRY, Where(ids=(id,)), actor="bob", now=NOW + 2)
        take_one(storage, now=NOW + 3)
        storage.apply(Action.CANCEL, Where(ids=(id,)), now=NOW + 4)
        assert storage.history(id).audits == (
            Audit(NOW + 1, "cancel", "ann", "wrong file"),
            Audit(NOW + 2, "retry", "bob", ""),
            Audit(NOW + 4, "cancel", "", ""),
        )

    def test_what_was_left_alone_has_no_audit_row(self, storage: Storage) -> None:
        """Nothing was done to it."""
        id = put_one(storage)
        storage.apply(Action.RETRY, Where(ids=(id,)), actor="ann", now=NOW)
        assert storage.history(id).audits == ()


class QueueTests(Subject):
    """Pausing and limiting queues."""

    def test_settings_of_a_queue_are_kept(self, storage: Storage, view: OpenStorage) -> None:
        """For all processes; what is not said stays as it is."""
        storage.set_queue("q", paused=True, reason="maintenance", now=NOW)
        storage.set_queue("q", limit=4, now=NOW)
        stat = stat_of(view(), "q")
        assert (stat.paused, stat.pause_reason, stat.limit) == (True, "maintenance", 4)
        storage.set_queue("q", paused=False, now=NOW)
        stat = stat_of(storage, "q")
        assert (stat.paused, stat.pause_reason, stat.limit) == (False, "", 4)

    def test_setting_makes_a_queue_known(self, storage: Storage) -> None:
        """Before it has a job."""
        storage.set_queue("new", limit=2, now=NOW)
        assert [(stat.name, stat.limit) for stat in storage.stat(now=NOW)] == [("new", 2)]

    def test_a_seed_changes_nothing_that_is_known(self, storage: Storage) -> None:
        """The configuration seeds; afterwards what people set rules."""
        storage.set_queue("q", limit=2, seed=True, now=NOW)
        storage.set_queue("q", limit=9, seed=True, now=NOW)
        assert stat_of(storage, "q").limit == 2
        put_one(storage, queue="used")
        storage.set_queue("used", limit=9, paused=True, seed=True, now=NOW)
        assert stat_of(storage, "used").limit is None and not stat_of(storage, "used").paused

    def test_pausing_ends_no_running_job(self, storage: Storage) -> None:
        """It only lets no further ones start."""
        put(storage, job(), job())
        claim = take_one(storage)
        storage.set_queue("default", paused=True, now=NOW)
        assert hand_in(storage, completed(claim), want=1).refused == ()
        assert counts_of(storage) == {"completed": 1, "pending": 1}

    def test_queues_are_sorted_by_name(self, storage: Storage) -> None:
        """People look for them."""
        for name in ("b", "a", "c"):
            storage.set_queue(name, paused=False, now=NOW)
        assert [stat.name for stat in storage.stat(now=NOW)] == ["a", "b", "c"]

    def test_a_limit_of_zero_lets_nothing_start(self, storage: Storage) -> None:
        """It is a number like any other."""
        storage.set_queue("default", limit=0, now=NOW)
        put_one(storage)
        assert take(storage) == []


class PruneTests(Subject):
    """Making room."""

    def finish(self, storage: Storage, *moments: int) -> None:
        for moment in moments:
            put_one(storage, command=str(moment))
            hand_in(storage, completed(take_one(storage)), now=NOW + moment)

    def test_what_ended_before_goes_the_oldest_first(self, storage: Storage) -> None:
        """What ended at that moment or later stays."""
        self.finish(storage, 30, 10, 20, 40)
        assert storage.prune(NOW + 40, limit=2, now=NOW) == 2
        assert sorted(found.spec.command for found in storage.find().jobs) == ["30", "40"]
        assert storage.prune(NOW + 40, limit=2, now=NOW) == 1
        assert storage.prune(NOW + 40, limit=2, now=NOW) == 0
        assert counts_of(storage) == {"completed": 1}

    def test_only_finished_jobs_go(self, storage: Storage) -> None:
        """Nothing that is still to be done."""
        ids = one_in_each_state(storage)
        assert storage.prune(NOW + MINUTE, now=NOW) == 3
        left = {found.id for found in storage.find().jobs}
        assert left == {ids[State.PENDING], ids[State.FAILED], ids[State.PROCESSING]}

    def test_only_the_states_asked_for(self, storage: Storage) -> None:
        """The DLQ is usually kept longer."""
        ids = one_in_each_state(storage)
        assert storage.prune(NOW + MINUTE, states=(State.COMPLETED, State.PENDING), now=NOW) == 1
        assert storage.get([ids[State.COMPLETED]]) == [None]
        assert storage.prune(NOW + MINUTE, states=(), now=NOW) == 0

    def test_history_and_tags_go_with_the_job(self, storage: Storage) -> None:
        """Nothing stays behind that nobody can reach."""
        tags = ("x",) if Ability.TAGS in storage.abilities else ()
        id = put_one(storage, id="gone", tags=tags)
        hand_in(storage, dead(take_one(storage), stdout=b"x"))
        storage.prune(NOW + MINUTE, now=NOW)
        assert storage.history(id) == History() and storage.read_output(id, 1, "stdout") == b""
        if tags:
            assert storage.find(Where(tags=tags)).jobs == ()

    def test_figures_outlive_jobs(self, storage: Storage) -> None:
        """How much was done does not change when it is tidied up."""
        self.finish(storage, 1, 2)
        before = list(storage.samples(NOW, NOW))
        storage.prune(NOW + MINUTE, now=NOW)
        assert stat_of(storage).runs == 2 and list(storage.samples(NOW, NOW)) == before


class WakeTests(Subject):
    """Listening."""

    def test_news_makes_the_line_readable(self, storage: Storage, view: OpenStorage) -> None:
        """A pool sleeps on it: enqueuing, changing jobs and opening a queue are news."""
        need(storage, Ability.LISTEN)
        import select

        listener = storage.listen("pool")
        assert listener is not None
        other = view()
        steps = (
            lambda: put(other, job(id="a")),
            lambda: put(other, job(id="b", run_at=NOW + MINUTE)),
            lambda: other.apply(Action.CANCEL, Where(ids=("a",)), now=NOW),
            lambda: other.set_queue("default", limit=3, now=NOW),
        )
        try:
            for step in steps:
                listener.drain()
                assert select.select([listener], [], [], 0)[0] == [], "not quiet after drain()"
                step()
                assert select.select([listener], [], [], 10)[0] == [listener]
            listener.drain()
        finally:
            listener.close()
            listener.close()
        put(other, job())

    def test_room_in_a_limited_queue_is_news_for_others(self, storage: Storage, view: OpenStorage) -> None:
        """One pool's settlement is another one's work; so are jobs that follow, and jobs given back."""
        need(storage, Ability.LISTEN)
        import select

        listener = storage.listen("idle")
        assert listener is not None
        busy = view()
        busy.set_queue("default", limit=1, now=NOW)
        put(busy, job("a"), job("b"))

        def heard(settlement: Settlement) -> bool:
            listener.drain()
            assert hand_in(busy, settlement, pool="busy").refused == ()
            return bool(select.select([listener], [], [], 10)[0])

        try:
            assert heard(completed(take_one(busy, pool="busy"))), "room in a limited queue"
            assert heard(released(take_one(busy, pool="busy"))), "a job that was given back"
            assert heard(completed(take_one(busy, pool="busy"), then=(job("c"),))), "a job that follows"
        finally:
            listener.close()

    def test_many_wake_ups_do_not_block_the_sender(self, storage: Storage, view: OpenStorage) -> None:
        """Nobody waits for a pool that does not read."""
        need(storage, Ability.LISTEN)
        listener = storage.listen("deaf")
        assert listener is not None
        other = view()
        for _ in range(400):
            other.set_queue("q", paused=False, now=NOW)
        listener.drain()
        listener.close()

    def test_changed_tells_of_others(self, storage: Storage, view: OpenStorage) -> None:
        """The net below a lost wake-up; a storage that cannot tell says yes."""
        other = view()
        storage.changed()
        put(other, job())
        assert storage.changed()
        assert names(list(storage.exchange(Turn("pool", want=1, now=NOW)).claims)) == ["true"]
