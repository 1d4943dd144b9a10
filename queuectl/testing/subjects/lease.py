"""Lease: pools come, prove that they live, and are inherited from when they don't."""

from __future__ import annotations

import pytest

from queuectl.api.model import Action, Claim, Held, Pool, State, Turn, Where
from queuectl.api.storage import Storage

from .subject import (
    NOW,
    SECOND,
    OpenStorage,
    Subject,
    completed,
    failed,
    hand_in,
    job,
    put,
    put_one,
    read,
    released,
    take,
    take_one,
)


def known(storage: Storage) -> list[str]:
    return [pool.id for pool in storage.pools()]


def held(*claims: Claim) -> list[Held]:
    """What a pool believes that it holds."""
    return [Held(claim.job.id, claim.token) for claim in claims]


class LeaseTests(Subject):
    """Joining, leaving, heartbeats and taking over."""

    def test_what_a_pool_says_of_itself_is_known(self, storage: Storage, view: OpenStorage) -> None:
        """Other hosts show it to people."""
        pool = Pool("p1", "host", 123, NOW, ("a", "b"), 4, version="1.2")
        storage.join(pool, lease=30, now=NOW)
        assert list(view().pools()) == [pool._replace(lease_until=NOW + 30 * SECOND)]

    def test_joining_again_renews_what_is_known(self, storage: Storage) -> None:
        """A pool that replaced itself by its new version keeps its id."""
        storage.join(Pool("p1", "host", 1, NOW, workers=1), lease=30, now=NOW)
        storage.join(Pool("p1", "host", 1, NOW, workers=5), lease=30, now=NOW + SECOND)
        assert [(pool.workers, pool.lease_until) for pool in storage.pools()] == [(5, NOW + 31 * SECOND)]

    def test_a_turn_does_not_forget_what_a_pool_said(self, storage: Storage) -> None:
        """It only renews the lease."""
        storage.join(Pool("p1", "host", 1, NOW, workers=3), lease=30, now=NOW)
        storage.exchange(Turn("p1", lease=60, now=NOW + SECOND))
        assert [(pool.workers, pool.lease_until) for pool in storage.pools()] == [(3, NOW + 61 * SECOND)]

    def test_a_pool_that_leaves_is_forgotten(self, storage: Storage) -> None:
        """If it holds nothing; if it was never there, nothing happens."""
        storage.join(Pool("p1", "host", 1, NOW), lease=30, now=NOW)
        storage.leave("p1")
        storage.leave("nobody")
        assert known(storage) == []

    def test_a_pool_that_leaves_with_claims_leaves_them_to_others(self, storage: Storage) -> None:
        """Its lease ends now: nobody has to wait for it."""
        put_one(storage)
        claim = take_one(storage, pool="gone")
        storage.leave("gone")
        assert [(pool.id, pool.lease_until) for pool in storage.pools()] == [("gone", 0)]
        (adopted,) = storage.reap("heir", now=NOW)
        assert adopted.job.id == claim.job.id

    def test_a_heartbeat_renews_the_lease(self, storage: Storage) -> None:
        """Of the pool, whatever it holds: nothing is taken from it before the lease has run out."""
        put_one(storage)
        claim = take_one(storage, pool="mine")
        storage.heartbeat("mine", held(claim), lease=60, now=NOW + 50 * SECOND)
        assert list(storage.reap("heir", now=NOW + 109 * SECOND)) == []
        assert len(storage.reap("heir", now=NOW + 111 * SECOND)) == 1

    def test_a_turn_renews_the_lease(self, storage: Storage) -> None:
        """A busy pool needs no heartbeat."""
        put_one(storage)
        take_one(storage, pool="mine")
        storage.exchange(Turn("mine", lease=60, now=NOW + 50 * SECOND))
        assert list(storage.reap("heir", now=NOW + 109 * SECOND)) == []

    def test_a_heartbeat_that_agrees_has_no_news(self, storage: Storage) -> None:
        """The usual case."""
        put(storage, job(), job(), job())
        claims = take(storage, 3)
        pulse = storage.heartbeat("pool", held(*claims), lease=60, now=NOW)
        assert (pulse.lost, pulse.cancel, pulse.found) == ((), (), ())

    def test_a_heartbeat_finds_claims_whose_reply_was_lost(self, storage: Storage) -> None:
        """They are the pool's, with a live lease: if it is not told they hang for ever."""
        put(storage, job(), job())
        claims = take(storage, 2)
        pulse = storage.heartbeat("pool", held(claims[0]), lease=60, now=NOW)
        assert list(pulse.found) == [claims[1]] and pulse.lost == ()

    def test_a_heartbeat_tells_what_was_lost(self, storage: Storage) -> None:
        """What another pool holds by now, what is settled, and what was never there: stop it, do not settle it."""
        put(storage, job(), job(), job())
        adopted, settled, kept = take(storage, 3)
        hand_in(storage, completed(settled))
        storage.reap("heir", dead=["pool"], limit=1, now=NOW)
        (taken,) = [claim for claim in (adopted, kept) if read(storage, claim.job.id).pool == "heir"]
        believed = [*held(adopted, settled, kept), Held("nobody", 1)]
        pulse = storage.heartbeat("pool", believed, lease=60, now=NOW)
        assert sorted(pulse.lost) == sorted([taken.job.id, settled.job.id, "nobody"])
        assert pulse.found == ()

    @pytest.mark.parametrize("way", ["delete", "prune"])
    def test_an_old_token_does_not_fit_a_later_job_of_the_same_id(self, storage: Storage, way: str) -> None:
        """Names that users give come again, and a pool may sleep for a night: it is not to settle what another runs."""
        put_one(storage, id="nightly")
        old = take_one(storage, pool="sleeper")
        (adopted,) = storage.reap("heir", dead=["sleeper"], now=NOW)
        hand_in(storage, completed(adopted), pool="heir")
        if way == "delete":
            storage.apply(Action.DELETE, Where(ids=("nightly",)), now=NOW)
        else:
            storage.prune(NOW + 1, now=NOW)
        for again in (1, 2):
            put_one(storage, id="nightly")
            new = take_one(storage, pool="another")
            assert (new.token, new.job.attempts) == (2 + again, 1)
            for late in (old, adopted):
                assert hand_in(storage, completed(late), pool="sleeper").refused == ("nightly",)
                assert storage.heartbeat("sleeper", held(late), lease=60, now=NOW).lost == ("nightly",)
            assert read(storage, "nightly") == new.job
            hand_in(storage, completed(new), pool="another")
            storage.apply(Action.DELETE, Where(ids=("nightly",)), now=NOW)

    def test_an_old_token_of_its_own_job_is_lost_and_the_new_one_found(self, storage: Storage) -> None:
        """A pool is told about tokens, not about names."""
        put_one(storage)
        claim = take_one(storage)
        hand_in(storage, released(claim))
        again = take_one(storage)
        pulse = storage.heartbeat("pool", held(claim), lease=60, now=NOW)
        assert pulse.lost == (claim.job.id,) and list(pulse.found) == [again]

    def test_a_heartbeat_hears_of_cancels(self, storage: Storage) -> None:
        """Of the pool's own jobs, again and again until they are settled: an answer may be lost."""
        put(storage, job(), job())
        mine, other = take_one(storage, pool="mine"), take_one(storage, pool="other")
        storage.apply(Action.CANCEL, Where(ids=(mine.job.id, other.job.id)), now=NOW)
        for _ in range(2):
            pulse = storage.heartbeat("mine", held(mine), lease=60, now=NOW)
            assert pulse.cancel == (mine.job.id,)

    def test_nobody_takes_from_a_living_pool(self, storage: Storage) -> None:
        """Its lease has not run out."""
        put_one(storage)
        take_one(storage, pool="living")
        assert list(storage.reap("heir", now=NOW + 59 * SECOND)) == []

    def test_claims_of_a_silent_pool_are_adopted(self, storage: Storage, view: OpenStorage) -> None:
        """Under a fresh token, with the attempt unchanged: what becomes of it is not the storage's to say."""
        put_one(storage)
        claim = take_one(storage, pool="silent")
        (adopted,) = view().reap("heir", lease=60, now=NOW + 61 * SECOND)
        assert adopted.token == claim.token + 1
        assert adopted.job == claim.job._replace(pool="heir", token=claim.token + 1)
        assert read(storage, claim.job.id) == adopted.job
        assert known(storage) == ["heir"]

    def test_a_pool_known_to_be_dead_is_inherited_from_at_once(self, storage: Storage) -> None:
        """Its lock was free: no need to wait for its lease."""
        put_one(storage)
        take_one(storage, pool="dead")
        assert len(storage.reap("heir", dead=["dead"], now=NOW)) == 1

    def test_a_pool_known_to_live_is_spared_whatever_its_lease(self, storage: Storage) -> None:
        """A stopped process keeps its jobs: a lease never decides where a lock can."""
        put_one(storage)
        take_one(storage, pool="stopped")
        assert list(storage.reap("heir", alive=["stopped"], now=NOW + 9999 * SECOND)) == []
        assert "stopped" in known(storage)

    def test_a_living_pool_without_claims_stays_known(self, storage: Storage) -> None:
        """An idle pool is no dead one."""
        storage.join(Pool("idle", "host", 1, NOW), lease=60, now=NOW)
        storage.reap("heir", now=NOW + SECOND)
        assert "idle" in known(storage)

    def test_a_silent_pool_without_claims_is_forgotten(self, storage: Storage) -> None:
        """Nothing is left to inherit."""
        storage.join(Pool("silent", "host", 1, NOW), lease=60, now=NOW)
        storage.join(Pool("dead", "host", 1, NOW), lease=600, now=NOW)
        storage.reap("heir", dead=["dead"], now=NOW + 61 * SECOND)
        assert known(storage) == ["heir"]

    def test_a_limited_reap_leaves_the_rest_for_the_next(self, storage: Storage) -> None:
        """A pool that still holds something stays known, so that its claims are found."""
        put(storage, *[job() for _ in range(5)])
        take(storage, 5, pool="dead")
        first = storage.reap("heir", dead=["dead"], limit=3, now=NOW)
        assert len(first) == 3 and "dead" in known(storage)
        second = storage.reap("heir", dead=["dead"], limit=3, now=NOW)
        assert len(second) == 2 and "dead" not in known(storage)
        assert len({claim.job.id for claim in [*first, *second]}) == 5

    def test_the_fenced_owner_is_refused(self, storage: Storage) -> None:
        """It comes back from a pause and hands in: too late, another decides."""
        put_one(storage)
        claim = take_one(storage, pool="fenced")
        (adopted,) = storage.reap("heir", dead=["fenced"], now=NOW)
        assert hand_in(storage, completed(claim), pool="fenced").refused == (claim.job.id,)
        assert read(storage, claim.job.id).state is State.PROCESSING
        assert hand_in(storage, completed(adopted), pool="heir").refused == ()
        assert hand_in(storage, completed(claim), pool="fenced").refused == (claim.job.id,)

    def test_a_reaper_can_be_reaped(self, storage: Storage) -> None:
        """It dies over its inheritance like anybody else."""
        put_one(storage)
        take_one(storage, pool="first")
        storage.reap("second", dead=["first"], lease=60, now=NOW)
        (claim,) = storage.reap("third", now=NOW + 61 * SECOND)
        assert (claim.token, claim.job.pool, claim.job.attempts) == (3, "third", 1)
        assert hand_in(storage, completed(claim), pool="third").refused == ()

    def test_a_pool_does_not_reap_itself(self, storage: Storage) -> None:
        """Not even when it was silent for long: whoever calls is alive."""
        put_one(storage)
        claim = take_one(storage, pool="me")
        assert list(storage.reap("me", dead=["me"], now=NOW + 9999 * SECOND)) == []
        assert read(storage, claim.job.id) == claim.job

    def test_reaping_renews_the_reapers_lease(self, storage: Storage) -> None:
        """What it has just inherited must not be taken from it."""
        put_one(storage)
        take_one(storage, pool="dead")
        storage.reap("heir", dead=["dead"], lease=60, now=NOW + 500 * SECOND)
        assert list(storage.reap("third", now=NOW + 559 * SECOND)) == []

    def test_a_cancel_survives_adoption(self, storage: Storage) -> None:
        """The heir has to know that the job is to be ended."""
        put_one(storage)
        claim = take_one(storage, pool="dead")
        storage.apply(Action.CANCEL, Where(ids=(claim.job.id,)), now=NOW)
        (adopted,) = storage.reap("heir", dead=["dead"], now=NOW)
        assert adopted.job.cancel
        assert storage.exchange(Turn("heir", now=NOW)).cancel == (claim.job.id,)

    def test_waiting_and_finished_jobs_are_nobodys(self, storage: Storage) -> None:
        """Reaping is about claims."""
        put(storage, job(), job(), job())
        first, second = take(storage, 2, pool="dead")
        hand_in(storage, completed(first), failed(second), pool="dead")
        assert list(storage.reap("heir", dead=["dead"], now=NOW)) == []
