"""What the subjects of the storage suite have in common: a storage, a moment, and short words for usual steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest

from queuectl.api.model import Claim, Exchange, Job, NewJob, Outcome, OutcomeKind, QueueStat, Settlement, State, Turn
from queuectl.api.storage import Ability, Storage
from queuectl.core import transitions

OpenStorage = Callable[[], Storage]

#: The moment at which most tests begin. Storages get the time from the test, so nothing here waits.
NOW = 1_800_000_000_000
SECOND, MINUTE = 1000, 60_000


class Subject:
    """The base of all subjects. See ``queuectl.testing.storage`` for what an author supplies."""

    #: Whether ``open_storage`` works in another process. Set it to False for a storage that lives in one.
    processes: ClassVar[bool] = True

    @pytest.fixture
    def open_storage(self) -> OpenStorage:
        """Returns a function that opens the storage under test; called again it is another process's view of it."""
        raise NotImplementedError("give your suite a fixture `open_storage` that returns a function")

    @pytest.fixture
    def view(self, open_storage: OpenStorage) -> Iterator[OpenStorage]:
        """Opens further views, and closes them after the test."""
        opened: list[Storage] = []

        def view() -> Storage:
            opened.append(open_storage())
            return opened[-1]

        yield view
        for storage in opened:
            storage.close()

    @pytest.fixture
    def storage(self, view: OpenStorage) -> Storage:
        """The storage under test, empty."""
        return view()


def need(storage: Storage, ability: Ability) -> None:
    """Skip a test, by name, whose ability the storage does not declare."""
    if ability not in storage.abilities:
        pytest.skip(f"{type(storage).__name__} does not declare the ability {ability.name}")


# -- short words ----------------------------------------------------------------------------------


def job(command: str = "true", **fields: Any) -> NewJob:
    return NewJob(command, **fields)


def put(storage: Storage, *jobs: NewJob, now: int = NOW) -> list[str]:
    """Enqueue; the ids."""
    return [receipt.id for receipt in storage.enqueue(jobs, now=now)]


def put_one(storage: Storage, now: int = NOW, **fields: Any) -> str:
    return put(storage, job(**fields), now=now)[0]


def take(storage: Storage, want: int = 1, *, pool: str = "pool", now: int = NOW, **turn: Any) -> list[Claim]:
    """Claim."""
    return list(storage.exchange(Turn(pool, want=want, now=now, **turn)).claims)


def take_one(storage: Storage, *, pool: str = "pool", now: int = NOW) -> Claim:
    (claim,) = take(storage, pool=pool, now=now)
    return claim


def hand_in(storage: Storage, *settlements: Settlement, pool: str = "pool", now: int = NOW, want: int = 0) -> Exchange:
    """Settle."""
    return storage.exchange(Turn(pool, settlements, want=want, now=now))


def ended(code: int = 0, ms: int = 1500, **fields: Any) -> Outcome:
    return Outcome(OutcomeKind.EXITED, code, NOW, NOW + ms, **fields)


def completed(claim: Claim, **fields: Any) -> Settlement:
    return transitions.settle(claim, ended())._replace(**fields)


def failed(claim: Claim, delay: float = 10.0, **fields: Any) -> Settlement:
    """An attempt that failed; another is due after *delay* seconds."""
    outcome = ended(3)
    return transitions.settle(claim, outcome, verdict="retry", delay=delay, decided=True)._replace(**fields)


def dead(claim: Claim, **fields: Any) -> Settlement:
    return transitions.settle(claim, ended(4), verdict="dead", decided=True)._replace(**fields)


def lost(claim: Claim, **fields: Any) -> Settlement:
    return transitions.settle(claim, Outcome(OutcomeKind.LOST, None, NOW, NOW + 5))._replace(**fields)


def cancelled(claim: Claim, **fields: Any) -> Settlement:
    return transitions.settle(claim, Outcome(OutcomeKind.CANCELLED, None, NOW, NOW + 5))._replace(**fields)


def released(claim: Claim) -> Settlement:
    return transitions.release(claim)


def read(storage: Storage, id: str) -> Job:
    """The job as it is now."""
    (found,) = storage.get([id])
    assert found is not None, f"job {id} is gone"
    return found


def state_of(storage: Storage, id: str) -> State:
    return read(storage, id).state


def stat_of(storage: Storage, queue: str = "default", now: int = NOW) -> QueueStat:
    return next(stat for stat in storage.stat(now=now) if stat.name == queue)


def counts_of(storage: Storage, queue: str = "default", now: int = NOW) -> dict[str, int]:
    """The counts of a queue that are not zero."""
    return {state.value: n for state, n in stat_of(storage, queue, now).counts.items() if n}


def names(claims: list[Claim] | tuple[Claim, ...]) -> list[str]:
    """The commands of claims: the tests call their jobs so."""
    return [claim.job.spec.command for claim in claims]


def one_in_each_state(storage: Storage) -> dict[State, str]:
    """A job in each state; their ids. The pool "pool" holds the one that is processing."""
    ids: dict[State, str] = {}
    for state in (State.COMPLETED, State.FAILED, State.DEAD, State.CANCELLED, State.PROCESSING):
        ids[state] = put_one(storage, command=state.value)
        claim = take_one(storage)
        if state is State.COMPLETED:
            hand_in(storage, completed(claim))
        elif state is State.FAILED:
            hand_in(storage, failed(claim))
        elif state is State.DEAD:
            hand_in(storage, dead(claim))
        elif state is State.CANCELLED:
            hand_in(storage, cancelled(claim))
    ids[State.PENDING] = put_one(storage, command="pending")
    assert {state: state_of(storage, id) for state, id in ids.items()} == {state: state for state in ids}
    return ids
