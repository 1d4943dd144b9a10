"""The storage suite is worth what it notices: a storage that breaks one rule and nothing else fails its test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from queuectl.api.model import (
    Action,
    Change,
    Claim,
    Exchange,
    Held,
    History,
    Job,
    NewJob,
    Page,
    Pulse,
    QueueStat,
    Receipt,
    Route,
    Sample,
    Settlement,
    State,
    Turn,
    Where,
)
from queuectl.api.storage import Ability
from queuectl.testing.memory import MemoryStorage
from queuectl.testing.storage import OpenStorage, StorageSuite
from queuectl.testing.subjects.subject import NOW


class HalfABatch(MemoryStorage):
    """What comes before the job that is refused is stored."""

    def enqueue(self, jobs: Sequence[NewJob], **given: Any) -> Sequence[Receipt]:
        return [receipt for job in jobs for receipt in super(HalfABatch, self).enqueue([job], **given)]


class Renumbering(MemoryStorage):
    """The highest number is given again once it is free."""

    def enqueue(self, jobs: Sequence[NewJob], **given: Any) -> Sequence[Receipt]:
        self._shelf.next_seq = max(self._shelf.jobs, default=0) + 1
        return super().enqueue(jobs, **given)


class Forgetful(MemoryStorage):
    """The variables of the job are not kept."""

    def enqueue(self, jobs: Sequence[NewJob], **given: Any) -> Sequence[Receipt]:
        return super().enqueue([job._replace(env={}) for job in jobs], **given)


class Keyless(MemoryStorage):
    """Unique keys are ignored."""

    def _holder(self, key: str | None) -> None:
        return None


class Changing(MemoryStorage):
    """Settlements are changed on their way; subclasses say how."""

    def exchange(self, turn: Turn) -> Exchange:
        return super().exchange(turn._replace(settlements=tuple([self.change(s) for s in turn.settlements])))

    def change(self, settlement: Settlement) -> Settlement:
        raise NotImplementedError


class Trusting(Changing):
    """Whoever settles has the right token."""

    def change(self, settlement: Settlement) -> Settlement:
        job = self._find(settlement.id)
        return settlement if job is None else settlement._replace(token=job.token)


class Strict(MemoryStorage):
    """A repeated settlement is refused."""

    def _settle(self, settlement: Settlement, unstored: list[str], now: int) -> bool:
        job = self._find(settlement.id)
        running = job is not None and job.state is State.PROCESSING and job.token == settlement.token
        return running and super()._settle(settlement, unstored, now)


class AllOrNothing(MemoryStorage):
    """One settlement that is refused holds up the others."""

    def exchange(self, turn: Turn) -> Exchange:
        for each in turn.settlements:
            job = self._find(each.id)
            if job is None or job.token != each.token:
                return Exchange(refused=tuple([s.id for s in turn.settlements]))
        return super().exchange(turn)


class Punishing(Changing):
    """A claim that was given back goes to the end of the line, as an attempt."""

    def change(self, settlement: Settlement) -> Settlement:
        from queuectl.testing.subjects.subject import ended

        if not settlement.released:
            return settlement
        return settlement._replace(released=False, outcome=ended(), delay=0.0)


class Hasty(MemoryStorage):
    """What is not due is claimed too."""

    def exchange(self, turn: Turn) -> Exchange:
        self._shelf.ready.update(job.seq for job in self._shelf.jobs.values() if job.state is State.PENDING)
        return super().exchange(turn)


class LastInFirstOut(MemoryStorage):
    """Equal jobs come newest first."""

    def _choose(self, turn: Turn) -> Any:
        return list(reversed(super()._choose(turn)))


class Unlimited(MemoryStorage):
    """A limit is kept, and shown, and forgotten when it counts."""

    def _choose(self, turn: Turn) -> Any:
        queues = dict(self._shelf.queues)
        self._shelf.queues.update({name: queue._replace(limit=None) for name, queue in queues.items()})
        chosen = super()._choose(turn)
        self._shelf.queues.update(queues)
        return chosen


class PerPoolLimit(MemoryStorage):
    """A limit holds for each pool by itself."""

    def _choose(self, turn: Turn) -> Any:
        jobs = dict(self._shelf.jobs)
        for seq, job in jobs.items():
            if job.pool not in (None, turn.pool):
                self._shelf.jobs[seq] = job._replace(state=State.COMPLETED, pool=None)
        chosen = super()._choose(turn)
        self._shelf.jobs.update(jobs)
        return chosen


class Deaf(MemoryStorage):
    """A pool is not told what it holds without knowing."""

    def heartbeat(self, pool: str, held: Sequence[Held], **given: Any) -> Pulse:
        return super().heartbeat(pool, held, **given)._replace(found=())


class ByName(MemoryStorage):
    """A heartbeat compares names, not tokens."""

    def heartbeat(self, pool: str, held: Sequence[Held], **given: Any) -> Pulse:
        jobs = [(each, self._find(each.id)) for each in held]
        return super().heartbeat(pool, [Held(each.id, job.token if job else 0) for each, job in jobs], **given)


class Unfenced(MemoryStorage):
    """Adoption leaves the token as it is."""

    def reap(self, pool: str, **given: Any) -> Sequence[Claim]:
        claims = []
        for claim in super().reap(pool, **given):
            job = claim.job._replace(token=claim.token - 1)
            self._shelf.jobs[job.seq] = job
            claims.append(Claim(job, job.token))
        return claims


class Greedy(MemoryStorage):
    """A lease that has run out decides, whatever lock is held."""

    def reap(self, pool: str, **given: Any) -> Sequence[Claim]:
        return super().reap(pool, **{**given, "alive": ()})


class Counting(MemoryStorage):
    """An adopted job begins another attempt."""

    def reap(self, pool: str, **given: Any) -> Sequence[Claim]:
        claims = super().reap(pool, **given)
        return [Claim(claim.job._replace(attempts=claim.job.attempts + 1), claim.token) for claim in claims]


class ByPlace(MemoryStorage):
    """A cursor is a number of rows to skip."""

    def find(self, where: Where = Where(), *, limit: int = 100, cursor: str | None = None) -> Page:
        skip = int(cursor or 0)
        jobs = super().find(where, limit=10**6).jobs
        more = len(jobs) > skip + limit
        return Page(jobs[skip : skip + limit], str(skip + limit) if more else None)


class AllFilters(MemoryStorage):
    """A filter by text does not look at the queue."""

    def find(self, where: Where = Where(), *, limit: int = 100, cursor: str | None = None) -> Page:
        return super().find(where._replace(queues=None) if where.text else where, limit=limit, cursor=cursor)


class Drifting(MemoryStorage):
    """A retry does not count."""

    retried = 0

    def apply(self, action: Action, where: Where, **given: Any) -> Sequence[Change]:
        changes = super().apply(action, where, **given)
        self.retried += len(changes) if action is Action.RETRY else 0
        return changes

    def stat(self, *, now: int | None = None) -> Sequence[QueueStat]:
        stats = super().stat(now=now)
        return [s._replace(counts={**s.counts, State.PENDING: s.counts[State.PENDING] - self.retried}) for s in stats]


class Eager(MemoryStorage):
    """A running job is cancelled under its worker."""

    def apply(self, action: Action, where: Where, **given: Any) -> Sequence[Change]:
        changes = super().apply(action, where, **given)
        for seq, job in list(self._shelf.jobs.items()):
            if job.cancel:
                self._shelf.jobs[seq] = job._replace(state=State.CANCELLED, pool=None, cancel=False)
        return changes


class Amnesic(MemoryStorage):
    """A retry forgets what was."""

    def apply(self, action: Action, where: Where, **given: Any) -> Sequence[Change]:
        changes = super().apply(action, where, **given)
        if action is Action.RETRY:
            self._shelf.attempts.clear()
        return changes


class Overruling(MemoryStorage):
    """The configuration overrules what people set."""

    def set_queue(self, name: str, **given: Any) -> None:
        super().set_queue(name, **{**given, "seed": False})


class Sweeping(MemoryStorage):
    """Pruning takes the figures too."""

    def prune(self, before: int, **given: Any) -> int:
        self._shelf.samples.clear()
        return super().prune(before, **given)


class Sticky(MemoryStorage):
    """Output stays when its job goes."""

    def read_output(self, id: str, attempt: int, stream: str, offset: int = 0, size: int = 1 << 16) -> bytes:
        kept: dict[tuple[str, int, str], bytes] = self.__dict__.setdefault("kept", {})
        found = super().read_output(id, attempt, stream, offset, size)
        return kept.setdefault((id, attempt, stream), found)


class Doubling(MemoryStorage):
    """A piece that is repeated is appended."""

    def put_output(self, job: Any, attempt: int, stream: str, offset: int, data: bytes) -> None:
        end = len(self._shelf.outputs.get((job.seq, attempt, stream), b""))
        super().put_output(job, attempt, stream, end, data)


class Chatty(MemoryStorage):
    """Taken deliveries are not kept from others."""

    def take_deliveries(self, **given: Any) -> Any:
        return super().take_deliveries(**{**given, "hold": 0.0})


class Hostage(MemoryStorage):
    """A job that cannot follow holds up every result of its turn."""

    def exchange(self, turn: Turn) -> Exchange:
        answer = super().exchange(turn)
        if answer.unstored:
            raise ValueError(f"a job with the id {answer.unstored[0]} exists already")
        return answer


class Shouting(MemoryStorage):
    """Routes are not asked: everybody is told of everything."""

    def enqueue(self, jobs: Any, *, deliveries: Any = (), now: int | None = None) -> Any:
        return super().enqueue(jobs, deliveries=[Route(route.target) for route in deliveries], now=now)


class Mixed(MemoryStorage):
    """Deliveries are taken for whoever is in front."""

    def take_deliveries(self, **given: Any) -> Any:
        return super().take_deliveries(**{**given, "targets": None})


class Pushy(MemoryStorage):
    """What failed is due again at once."""

    def postpone(self, ids: Sequence[int], delay: float, **given: Any) -> None:
        super().postpone(ids, 0.0, **given)


class Untold(MemoryStorage):
    """What is given up is counted as if it had arrived."""

    def drop_deliveries(self, before: int, *, limit: int = 1000) -> int:
        gone = [id for id in sorted(self._shelf.outbox)[:limit] if self._shelf.outbox[id][0].at < before]
        self.delivered(gone)
        return len(gone)


class Silent(MemoryStorage):
    """Nobody is woken."""

    def _wake(self) -> None:
        pass


class Blurred(MemoryStorage):
    """Samples go to the wrong minute."""

    def samples(self, since: int, until: int) -> Sequence[Sample]:
        return [sample._replace(minute=sample.minute - 1) for sample in super().samples(since, until)]


class Loading(MemoryStorage):
    """Loads in a way of its own; subclasses say how."""

    def load(self, jobs: Sequence[tuple[Job, History]], **given: Any) -> int:
        return super().load([self.arrives(*pair) for pair in jobs], **given)

    def arrives(self, job: Job, history: History) -> tuple[Job, History]:
        raise NotImplementedError


class Blank(Loading):
    """What people did is not moved."""

    def arrives(self, job: Job, history: History) -> tuple[Job, History]:
        return job, history._replace(audits=())


class Punctual(Loading):
    """Everything that is loaded is due now."""

    def arrives(self, job: Job, history: History) -> tuple[Job, History]:
        return job._replace(run_at=NOW), history


class Speechless(MemoryStorage):
    """Output is not moved."""

    def load(self, jobs: Sequence[tuple[Job, History]], **given: Any) -> int:
        return super().load(jobs, **{**given, "outputs": {}})


class Burning(MemoryStorage):
    """The attempt that was running where a job comes from is gone."""

    def load(self, jobs: Sequence[tuple[Job, History]], **given: Any) -> int:
        new = super().load(jobs, **given)
        for job, _ in jobs:
            if job.state is State.PROCESSING:
                self._shelf.jobs[job.seq] = self._shelf.jobs[job.seq]._replace(attempts=job.attempts)
        return new


class Replacing(MemoryStorage):
    """What is there gives way to what is loaded."""

    def load(self, jobs: Sequence[tuple[Job, History]], **given: Any) -> int:
        for job, _ in jobs:
            if (there := self._find(job.id)) is not None and there.state is not State.PROCESSING:
                self._delete(there)
        return super().load(jobs, **given)


class Uncounted(MemoryStorage):
    """Numbers go on where they were, whatever was loaded."""

    def load(self, jobs: Sequence[tuple[Job, History]], **given: Any) -> int:
        following = self._shelf.next_seq
        new = super().load(jobs, **given)
        self._shelf.next_seq = following
        return new


class Undeclared(MemoryStorage):
    """What is not declared is done all the same, or half."""

    abilities: ClassVar[frozenset[Ability]] = frozenset()


BROKEN: Sequence[tuple[type[MemoryStorage], str]] = [
    (HalfABatch, "test_an_id_that_exists_refuses_the_whole_call"),
    (Renumbering, "test_an_issued_id_is_never_given_again"),
    (Forgetful, "test_everything_that_was_asked_for_comes_back"),
    (Keyless, "test_a_second_job_of_a_key_is_not_stored"),
    (Keyless, "test_a_retry_does_not_make_two_of_a_key"),
    (Trusting, "test_a_stale_token_is_refused_and_the_rest_applied"),
    (Trusting, "test_the_fenced_owner_is_refused"),
    (Strict, "test_a_repeat_is_accepted_after_the_job_went_on"),
    (Strict, "test_a_repeated_release_is_accepted"),
    (AllOrNothing, "test_a_stale_token_is_refused_and_the_rest_applied"),
    (Punishing, "test_a_released_claim_keeps_its_place_and_gives_its_number_back"),
    (Hasty, "test_what_is_not_due_is_not_claimed"),
    (LastInFirstOut, "test_high_priority_first_then_due_first_then_first_in"),
    (Unlimited, "test_a_limit_holds_over_all_pools"),
    (PerPoolLimit, "test_a_limit_holds_over_all_pools"),
    (Deaf, "test_a_heartbeat_finds_claims_whose_reply_was_lost"),
    (ByName, "test_an_old_token_of_its_own_job_is_lost_and_the_new_one_found"),
    (Unfenced, "test_claims_of_a_silent_pool_are_adopted"),
    (Unfenced, "test_a_reaper_can_be_reaped"),
    (Greedy, "test_a_pool_known_to_live_is_spared_whatever_its_lease"),
    (Counting, "test_claims_of_a_silent_pool_are_adopted"),
    (ByPlace, "test_a_cursor_holds_while_jobs_come_and_go"),
    (AllFilters, "test_filters_must_all_hold"),
    (Drifting, "test_counts_follow_every_change"),
    (Eager, "test_a_running_job_is_marked"),
    (Overruling, "test_a_seed_changes_nothing_that_is_known"),
    (Sweeping, "test_figures_outlive_jobs"),
    (Doubling, "test_long_output_comes_in_pieces_before_the_settlement"),
    (Chatty, "test_what_is_taken_is_kept_from_others_for_a_while"),
    (Hostage, "test_a_job_that_cannot_follow_hinders_nothing_else"),
    (Shouting, "test_routes_decide_what_is_stored"),
    (Mixed, "test_each_target_takes_its_own"),
    (Pushy, "test_what_failed_is_due_again_later"),
    (Untold, "test_what_is_too_old_is_dropped_and_counted"),
    (Silent, "test_news_makes_the_line_readable"),
    (Blurred, "test_histograms_are_kept_by_the_minute"),
    (Speechless, "test_short_output_comes_with_its_job_and_long_output_after_it"),
    (Burning, "test_what_was_running_arrives_as_pending"),
    (Replacing, "test_a_job_that_is_there_is_left_alone"),
    (Uncounted, "test_numbers_go_on_after_the_highest_loaded"),
    (Punctual, "test_what_was_loaded_runs_in_its_order"),
    (Undeclared, "test_unique_keys_are_refused"),
    (Undeclared, "test_tags_are_refused"),
    (Undeclared, "test_faults_are_refused"),
    (Undeclared, "test_deliveries_are_refused"),
    (Undeclared, "test_moving_is_refused"),
    (Undeclared, "test_there_is_no_line_to_listen_on"),
]


@pytest.mark.parametrize(
    ("storage", "test"), [pytest.param(*row, id=f"{row[0].__name__}-{row[1].removeprefix('test_')}") for row in BROKEN]
)
def test_a_broken_storage_is_noticed(storage: type[MemoryStorage], test: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import select

    first = storage()

    def at_once(read: Any, write: Any, other: Any, seconds: float) -> Any:
        return real(read, write, other, 0)

    real = select.select
    monkeypatch.setattr(select, "select", at_once)  # what a broken storage never says is not waited for
    rule = getattr(StorageSuite(), test)
    wanted = rule.__code__.co_varnames[: rule.__code__.co_argcount]
    given = {"storage": first, "view": lambda: storage(first)}
    with pytest.raises((AssertionError, ValueError, pytest.fail.Exception)):
        rule(**{name: value for name, value in given.items() if name in wanted})
    for listener in list(first._shelf.listeners):
        listener.close()


@pytest.mark.parametrize("way", ["delete", "prune"])
def test_output_that_stays_is_noticed(way: str) -> None:
    with pytest.raises(AssertionError):
        StorageSuite().test_output_goes_with_its_job(Sticky(), way)


@pytest.mark.parametrize("storage", [Blank, Speechless, Burning])
def test_what_is_lost_on_the_way_is_noticed(storage: type[MemoryStorage]) -> None:
    with pytest.raises(AssertionError):
        StorageSuite().test_a_whole_storage_moves(storage(), "in")


def test_a_history_that_is_lost_is_noticed() -> None:
    with pytest.raises(AssertionError):
        StorageSuite().test_a_retry_starts_anew(Amnesic(), State.DEAD)


@pytest.mark.parametrize(
    "storage",
    [ByName, Counting, Deaf, Drifting, Greedy, Hasty, Keyless, PerPoolLimit, Renumbering, Strict, Trusting, Unfenced],
)
def test_random_calls_notice_it_too(storage: type[MemoryStorage]) -> None:
    """Whatever rule is broken, some of the first lives of the state machine run into it."""
    from queuectl.testing.machine import run_machine

    def new_storage() -> OpenStorage:
        first = storage()
        return lambda: storage(first)

    with pytest.raises((AssertionError, ValueError, KeyError)):
        run_machine(new_storage, examples=400, steps=50, shrink=False)  # it stops at the first that does
