"""Exchange: settle and claim in one step; each job to one holder, in order, within the limits."""

from __future__ import annotations

import pytest

from queuectl.api.model import Action, Outcome, OutcomeKind, State, Turn, Where
from queuectl.api.storage import Ability, Storage
from queuectl.core import transitions

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
    ended,
    failed,
    hand_in,
    job,
    lost,
    names,
    need,
    put,
    put_one,
    read,
    released,
    stat_of,
    state_of,
    take,
    take_one,
)


class ClaimTests(Subject):
    """Who gets which job, and when."""

    def test_a_claim_is_the_job_and_its_token(self, storage: Storage) -> None:
        """A pool has all it needs to run the job, without asking again."""
        id = put_one(storage, command="x", env={"A": "1"})
        claim = take_one(storage, now=NOW + SECOND)
        assert claim.job == read(storage, id)
        assert (claim.job.state, claim.job.pool, claim.job.attempts) == (State.PROCESSING, "pool", 1)
        assert claim.job.updated_at == NOW + SECOND
        assert claim.token == claim.job.token == 1

    def test_a_job_is_claimed_once(self, storage: Storage, view: OpenStorage) -> None:
        """Whoever asks again gets another, or nothing."""
        put(storage, job("a"), job("b"))
        assert names(take(storage)) == ["a"]
        assert names(take(view(), 5, pool="other")) == ["b"]
        assert take(storage, 5) == []

    def test_nothing_wanted_is_nothing_claimed(self, storage: Storage) -> None:
        """A pool without a free worker only settles."""
        put_one(storage)
        assert take(storage, 0) == []

    def test_high_priority_first_then_due_first_then_first_in(self, storage: Storage) -> None:
        """The order that was promised to people."""
        put(
            storage,
            job("low", priority=-5),
            job("second", run_at=NOW - 10),
            job("third", run_at=NOW - 5),
            job("first", run_at=NOW - 20),
            job("high", priority=1000),
            job("fourth", run_at=NOW - 5),
        )
        assert names(take(storage, 10)) == ["high", "first", "second", "third", "fourth", "low"]

    def test_the_order_holds_over_many_turns(self, storage: Storage) -> None:
        """However many are wanted at a time."""
        put(storage, *[job(str(n), priority=n % 7) for n in range(60)])
        expected = sorted(range(60), key=lambda n: (-(n % 7), n))
        taken: list[str] = []
        for want in (1, 2, 3, 5, 8, 13, 28):
            taken += names(take(storage, want))
        assert taken == [str(n) for n in expected]

    def test_priority_and_due_time_hold_across_queues(self, storage: Storage) -> None:
        """Queues are lines, not ranks."""
        put(
            storage,
            *[
                job(f"{queue}{n}", queue=queue, priority=n, run_at=NOW - ord(queue))
                for queue in "cab"
                for n in range(4)
            ],
        )
        expected = [f"{queue}{n}" for n in (3, 2, 1, 0) for queue in "cba"]
        assert names(take(storage, 5)) + names(take(storage, 20)) == expected

    def test_many_queues_share_one_turn(self, storage: Storage) -> None:
        """Each job once, however the lines are merged."""
        put(storage, *[job(f"{queue}.{n}", queue=f"q{queue}") for n in range(3) for queue in range(30)])
        taken = names(take(storage, 50)) + names(take(storage, 50))
        assert sorted(taken) == sorted(f"{queue}.{n}" for n in range(3) for queue in range(30))

    def test_what_is_not_due_is_not_claimed(self, storage: Storage) -> None:
        """Whatever its priority."""
        put(storage, job("later", priority=9, run_at=NOW + 5 * SECOND), job("now"))
        assert names(take(storage, 5)) == ["now"]
        assert take(storage, 5, now=NOW + 5 * SECOND - 1) == []
        assert names(take(storage, 5, now=NOW + 5 * SECOND)) == ["later"]

    def test_next_due_tells_how_long_to_sleep(self, storage: Storage) -> None:
        """A pool that waits wakes for it."""
        put(storage, job(run_at=NOW + 9 * SECOND), job(run_at=NOW + 3 * SECOND))
        assert storage.exchange(Turn("pool", want=1, now=NOW)).next_due == NOW + 3 * SECOND
        put(storage, job())
        assert storage.exchange(Turn("pool", want=1, now=NOW)).next_due == NOW + 3 * SECOND

    def test_next_due_is_none_without_such_jobs(self, storage: Storage) -> None:
        """Nothing to wake for."""
        put_one(storage)
        assert storage.exchange(Turn("pool", want=1, now=NOW)).next_due is None

    def test_a_crowd_that_became_due_is_served_without_sleeping(self, storage: Storage) -> None:
        """A turn may let only so many in; then it says ``more``, and calling at once gets the rest."""
        n = 700
        put(storage, *[job(run_at=NOW + 1) for _ in range(n)])
        taken: set[str] = set()
        for _ in range(n):
            exchange = storage.exchange(Turn("pool", want=500, now=NOW + 1))
            taken |= {claim.job.id for claim in exchange.claims}
            if len(exchange.claims) < 500 and not exchange.more:
                break
        assert len(taken) == n

    def test_more_is_not_said_of_what_cannot_be_had(self, storage: Storage) -> None:
        """Else a pool would turn in circles."""
        put(storage, job(queue="other"), job(run_at=NOW + MINUTE), job(queue="paused"))
        storage.set_queue("paused", paused=True, now=NOW)
        exchange = storage.exchange(Turn("pool", want=5, queues={"default": None, "paused": None}, now=NOW))
        assert exchange.claims == () and not exchange.more

    def test_only_the_named_queues_are_served(self, storage: Storage) -> None:
        """``worker start --queues``; a name that does not exist is no error."""
        put(storage, job("a", queue="a", priority=9), job("b", queue="b"), job("c", queue="c"))
        assert names(take(storage, 5, queues={"b": None, "c": None, "nowhere": None})) == ["b", "c"]
        assert take(storage, 5, queues={}) == []

    def test_a_queue_may_be_given_a_ceiling_for_the_turn(self, storage: Storage) -> None:
        """A pool's own share; the rest comes from the others."""
        put(
            storage,
            *[job(f"a{n}", queue="a", priority=9) for n in range(5)],
            *[job(f"b{n}", queue="b") for n in range(5)],
        )
        assert names(take(storage, 5, queues={"a": 2, "b": None})) == ["a0", "a1", "b0", "b1", "b2"]
        assert names(take(storage, 5, queues={"a": 0})) == []

    def test_a_paused_queue_gives_nothing(self, storage: Storage, view: OpenStorage) -> None:
        """For all pools, from the commit on; resumed, it goes on where it was."""
        put(storage, job("a", queue="a", priority=9), job("b", queue="b"))
        view().set_queue("a", paused=True, now=NOW)
        assert names(take(storage, 5)) == ["b"]
        storage.set_queue("a", paused=False, now=NOW)
        assert names(take(storage, 5)) == ["a"]

    def test_a_limit_holds_over_all_pools(self, storage: Storage, view: OpenStorage) -> None:
        """It is the queue's, not a pool's."""
        storage.set_queue("a", limit=3, now=NOW)
        put(storage, *[job(queue="a", priority=9) for _ in range(10)], job("b", queue="b"))
        first = take(storage, 2, pool="one")
        second = take(view(), 5, pool="two")
        assert [claim.job.spec.queue for claim in first + second] == ["a", "a", "a", "b"]
        assert take(storage, 5, pool="one") == []
        assert stat_of(storage, "a").counts[State.PROCESSING] == 3

    def test_a_settlement_makes_room_in_the_same_turn(self, storage: Storage) -> None:
        """Else a limited queue would stand still for a turn after each job."""
        storage.set_queue("default", limit=1, now=NOW)
        put(storage, job("a"), job("b"))
        claim = take_one(storage)
        exchange = hand_in(storage, completed(claim), want=3)
        assert names(exchange.claims) == ["b"]

    def test_a_limit_of_none_is_no_limit(self, storage: Storage) -> None:
        """And lifting it takes effect at once."""
        storage.set_queue("default", limit=1, now=NOW)
        put(storage, *[job() for _ in range(4)])
        assert len(take(storage, 4)) == 1
        storage.set_queue("default", limit=None, now=NOW)
        assert len(take(storage, 4)) == 3

    def test_a_lowered_limit_ends_no_running_job(self, storage: Storage) -> None:
        """It only lets no further ones start until there is room."""
        put(storage, *[job() for _ in range(5)])
        running = take(storage, 3)
        storage.set_queue("default", limit=2, now=NOW)
        assert hand_in(storage, completed(running[0]), want=5).claims == ()
        assert len(hand_in(storage, completed(running[1]), want=5).claims) == 1
        assert state_of(storage, running[2].job.id) is State.PROCESSING

    def test_an_unknown_pool_becomes_known(self, storage: Storage) -> None:
        """Its lease has to live somewhere."""
        storage.exchange(Turn("new", now=NOW))
        assert [pool.id for pool in storage.pools()] == ["new"]

    def test_a_retried_job_brings_its_last_outcome(self, storage: Storage) -> None:
        """Verdict and backoff look at what happened before."""
        put_one(storage)
        hand_in(storage, failed(take_one(storage), delay=0))
        claim = take_one(storage)
        assert claim.job.outcome == ended(3)
        assert (claim.job.attempts, claim.job.tries, claim.token) == (2, 1, 2)


class SettleTests(Subject):
    """What becomes of a claim."""

    def test_settle_and_claim_are_one_step(self, storage: Storage) -> None:
        """One commit for what ended and what is next."""
        put(storage, job("a"), job("b"), job("c"))
        first, second = take(storage, 2)
        exchange = hand_in(storage, completed(first), failed(second), want=2)
        assert names(exchange.claims) == ["c"] and exchange.refused == ()
        assert (state_of(storage, first.job.id), state_of(storage, second.job.id)) == (State.COMPLETED, State.FAILED)

    def test_a_settled_job_carries_what_was_said(self, storage: Storage) -> None:
        """State, reason, figures and outcome are what people see."""
        id = put_one(storage)
        settlement = dead(take_one(storage), tries=4, losses=1, reason="because")
        hand_in(storage, settlement, now=NOW + 7)
        after = read(storage, id)
        assert (after.state, after.tries, after.losses, after.reason) == (State.DEAD, 4, 1, "because")
        assert (after.outcome, after.updated_at, after.pool, after.cancel) == (settlement.outcome, NOW + 7, None, False)
        assert (after.attempts, after.token) == (1, 1)

    def test_a_failed_job_is_due_after_its_delay(self, storage: Storage) -> None:
        """Counted from the storage's now: clocks of workers differ."""
        id = put_one(storage)
        hand_in(storage, failed(take_one(storage), delay=2.5), now=NOW + SECOND)
        assert read(storage, id).run_at == NOW + 3500
        assert take(storage, now=NOW + 3499) == []
        assert take(storage, now=NOW + 3500)[0].job.id == id

    def test_without_delay_a_job_may_be_claimed_in_the_same_turn(self, storage: Storage) -> None:
        """A lost job comes back at once."""
        put_one(storage)
        exchange = hand_in(storage, lost(take_one(storage), delay=0.0), want=1)
        assert [(claim.job.attempts, claim.job.tries) for claim in exchange.claims] == [(2, 0)]

    def test_each_attempt_is_kept(self, storage: Storage) -> None:
        """History is what happened, in order, whatever came of it."""
        id = put_one(storage)
        first = failed(take_one(storage), delay=1)
        hand_in(storage, first)
        second = lost(take_one(storage, pool="two", now=NOW + SECOND), delay=0.0)
        hand_in(storage, second, pool="two", now=NOW + SECOND)
        outcome = Outcome(OutcomeKind.SIGNALLED, 9, NOW + 1, NOW + 2, "killed", 10, 20, 1)
        claim = take_one(storage, now=NOW + SECOND)
        hand_in(storage, transitions.settle(claim, outcome, verdict="dead", decided=True), now=NOW + 2 * SECOND)
        attempts = storage.history(id).attempts
        assert [(a.number, a.token, a.pool, a.state) for a in attempts] == [
            (1, 1, "pool", State.FAILED),
            (2, 2, "two", State.PENDING),
            (3, 3, "pool", State.DEAD),
        ]
        assert [a.outcome for a in attempts] == [first.outcome, second.outcome, outcome]
        assert [a.run_at for a in attempts] == [NOW + SECOND, NOW + SECOND, None]

    def test_a_stale_token_is_refused_and_the_rest_applied(self, storage: Storage) -> None:
        """One fenced job must not hold up the others of its pool."""
        put(storage, job("a"), job("b"), job("c"))
        stale, good, other = take(storage, 3, pool="old")
        storage.reap("new", dead=["old"], limit=1, now=NOW)
        taken_over = [claim for claim in (stale, good, other) if read(storage, claim.job.id).pool == "new"]
        assert len(taken_over) == 1
        exchange = hand_in(storage, completed(stale), completed(good), completed(other), pool="old")
        assert exchange.refused == (taken_over[0].job.id,)
        assert counts_of(storage) == {"processing": 1, "completed": 2}
        assert storage.history(taken_over[0].job.id).attempts == ()

    def test_a_token_of_the_future_or_of_nobody_is_refused(self, storage: Storage) -> None:
        """Only who was given a claim can end it."""
        waiting = put_one(storage, command="waiting", run_at=NOW + MINUTE)
        put_one(storage)
        claim = take_one(storage)
        never = completed(claim)._replace(id=waiting, token=0)
        unknown = completed(claim)._replace(id="nobody")
        unissued = completed(claim)._replace(id="999999")
        early = completed(claim)._replace(token=claim.token + 1)
        exchange = hand_in(storage, never, unknown, unissued, early)
        assert sorted(exchange.refused) == sorted([waiting, "nobody", "999999", claim.job.id])
        assert counts_of(storage) == {"pending": 1, "processing": 1}

    @pytest.mark.parametrize("ending", [completed, dead, failed, lost, cancelled])
    def test_a_repeated_settlement_is_accepted_and_changes_nothing(self, storage: Storage, ending: object) -> None:
        """The reply may have been lost: the pool repeats, and must not be told that it lost a job that it finished."""
        id = put_one(storage, queue="q")
        settlement = ending(take_one(storage))  # type: ignore[operator]
        hand_in(storage, settlement)
        before = (read(storage, id), storage.history(id), storage.stat(now=NOW), list(storage.samples(0, NOW * 2)))
        assert hand_in(storage, settlement, now=NOW).refused == ()
        assert (
            read(storage, id),
            storage.history(id),
            storage.stat(now=NOW),
            list(storage.samples(0, NOW * 2)),
        ) == before

    def test_a_repeat_is_accepted_after_the_job_went_on(self, storage: Storage) -> None:
        """Also when another holds it by now: that one is not disturbed."""
        id = put_one(storage)
        settlement = failed(take_one(storage), delay=0)
        hand_in(storage, settlement)
        claim = take_one(storage, pool="other")
        assert hand_in(storage, settlement).refused == ()
        assert read(storage, id) == claim.job

    def test_a_repeat_twice_in_one_turn_counts_once(self, storage: Storage) -> None:
        """A pool that is unsure may hand in both."""
        put_one(storage)
        settlement = completed(take_one(storage))
        assert hand_in(storage, settlement, settlement).refused == ()
        assert stat_of(storage).runs == 1

    def test_a_released_claim_keeps_its_place_and_gives_its_number_back(self, storage: Storage) -> None:
        """It never started: to everybody it looks as if it had not been claimed."""
        put(storage, job("first"), job("second"))
        claim = take_one(storage, now=NOW + SECOND)
        exchange = hand_in(storage, released(claim), now=NOW + 2 * SECOND)
        assert exchange.refused == ()
        after = read(storage, claim.job.id)
        assert (after.state, after.attempts, after.tries, after.run_at) == (State.PENDING, 0, 0, claim.job.run_at)
        assert after.token == claim.token, "a token never goes down"
        assert storage.history(after.id).attempts == ()
        assert stat_of(storage).runs == 0
        again = take_one(storage, now=NOW + 3 * SECOND)
        assert (again.job.spec.command, again.job.attempts, again.token) == ("first", 1, claim.token + 1)

    def test_a_released_retry_is_failed_again(self, storage: Storage) -> None:
        """It waits for the same try as before."""
        put_one(storage)
        hand_in(storage, failed(take_one(storage), delay=0))
        claim = take_one(storage)
        hand_in(storage, released(claim))
        assert counts_of(storage) == {"failed": 1}
        assert read(storage, claim.job.id).outcome == ended(3)
        assert take_one(storage).job.attempts == 2

    def test_a_repeated_release_is_accepted(self, storage: Storage) -> None:
        """Like any settlement, also when the job was claimed and given back again since."""
        id = put_one(storage)
        first = released(take_one(storage))
        assert [hand_in(storage, first).refused for _ in range(2)] == [(), ()]
        second = released(take_one(storage))
        assert hand_in(storage, first, second).refused == ()
        claim = take_one(storage, pool="other")
        assert hand_in(storage, first, second).refused == ()
        assert read(storage, id) == claim.job

    def test_jobs_that_follow_are_stored_with_the_settlement(self, storage: Storage) -> None:
        """Chains need nothing else: both happen or neither."""
        put_one(storage)
        claim = take_one(storage)
        follow = (job("next", id="next", priority=5), job("later", id="later", run_at=NOW + MINUTE, queue="q"))
        exchange = hand_in(storage, completed(claim, then=follow), want=2)
        assert names(exchange.claims) == ["next"]
        assert read(storage, "later").spec == follow[1]
        assert exchange.next_due == NOW + MINUTE

    def test_jobs_that_follow_come_once_and_only_with_the_settlement(self, storage: Storage) -> None:
        """Not with a repeat, and not with a settlement that is refused."""
        put_one(storage)
        claim = take_one(storage)
        settlement = completed(claim, then=(job("next", run_at=NOW + MINUTE),))
        refused = settlement._replace(token=claim.token + 7, then=(job("never", run_at=NOW + MINUTE),))
        hand_in(storage, refused, settlement)
        hand_in(storage, settlement, refused)
        assert [found.spec.command for found in storage.find(Where(states=(State.PENDING,))).jobs] == ["next"]

    def test_a_job_that_cannot_follow_hinders_nothing_else(self, storage: Storage) -> None:
        """Its id exists, is given twice or is a number: it is left out and named. Results of others are not its
        hostages, or they would be handed in for ever.
        """
        put(storage, *[job() for _ in range(3)], job("taken", id="taken", run_at=NOW + MINUTE))
        first, second, third = take(storage, 3)
        later = NOW + MINUTE
        bad = (job("x", id="taken", run_at=later), job("x", id="17", run_at=later))
        good = (job("a", id="a", run_at=later), job("b", run_at=later))
        exchange = hand_in(
            storage,
            completed(first, then=(*bad, *good, job("x", id="a", run_at=later))),
            completed(second, then=(job("x", id="a", run_at=later), job("c", id="c", run_at=later))),
            completed(third),
        )
        assert exchange.refused == () and exchange.unstored == ("taken", "17", "a", "a")
        assert counts_of(storage) == {"completed": 3, "pending": 4}
        waiting = storage.find(Where(states=(State.PENDING,))).jobs
        assert sorted(found.spec.command for found in waiting) == ["a", "b", "c", "taken"]
        repeat = hand_in(storage, completed(first, then=bad))
        assert repeat.refused == () and repeat.unstored == ()

    def test_a_job_that_follows_and_is_not_stored_makes_no_queue(self, storage: Storage) -> None:
        """Its unique key is another's."""
        need(storage, Ability.UNIQUE)
        put(storage, job(priority=1), job(unique_key="k"))
        hand_in(storage, completed(take_one(storage), then=(job(queue="q", unique_key="k"),)))
        assert [stat.name for stat in storage.stat(now=NOW)] == ["default"]

    def test_a_cancelled_job_does_not_wait_again(self, storage: Storage) -> None:
        """Whoever asked for it was told so; the pool may not have heard before it handed in."""
        id = put_one(storage)
        claim = take_one(storage)
        storage.apply(Action.CANCEL, Where(ids=(id,)), now=NOW)
        hand_in(storage, failed(claim))
        after = read(storage, id)
        assert after.state is State.CANCELLED and not after.cancel
        assert storage.history(id).attempts[0].state is State.CANCELLED
        assert counts_of(storage) == {"cancelled": 1}

    def test_a_released_job_that_was_cancelled_is_cancelled(self, storage: Storage) -> None:
        """The same without an attempt."""
        id = put_one(storage)
        claim = take_one(storage)
        storage.apply(Action.CANCEL, Where(ids=(id,)), now=NOW)
        hand_in(storage, released(claim))
        assert state_of(storage, id) is State.CANCELLED and storage.history(id).attempts == ()

    def test_a_job_that_ended_by_itself_before_the_cancel_keeps_its_end(self, storage: Storage) -> None:
        """It is what happened."""
        id = put_one(storage)
        claim = take_one(storage)
        storage.apply(Action.CANCEL, Where(ids=(id,)), now=NOW)
        hand_in(storage, completed(claim))
        assert state_of(storage, id) is State.COMPLETED and not read(storage, id).cancel

    def test_the_pool_hears_of_a_cancel_in_its_next_turn(self, storage: Storage) -> None:
        """Of its own jobs only, until they are settled."""
        put(storage, job("a"), job("b"))
        mine = take_one(storage, pool="mine")
        take_one(storage, pool="other")
        assert storage.exchange(Turn("mine", now=NOW)).cancel == ()
        storage.apply(Action.CANCEL, Where(), now=NOW)
        assert storage.exchange(Turn("mine", now=NOW)).cancel == (mine.job.id,)
        assert hand_in(storage, cancelled(mine), pool="mine").cancel == ()
