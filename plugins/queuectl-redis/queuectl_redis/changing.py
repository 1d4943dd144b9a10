"""What people do to jobs and queues that exist: cancel, retry, delete, pause, limit, prune."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from queuectl.api.model import FINISHED, Action, Change, Job, State, Where, targets_of

from .rows import NUMBER, STATES, audit_text, text_of
from .searching import matches, pages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from queuectl.api.model import Route

    from .link import Link
    from .searching import Get

BATCH = 100
MINUTES = 100
SAMPLES_KEPT = 90 * 86_400_000  # the histograms of so long are kept whatever is pruned

#: The states that an action applies to, in the order they are looked for.
APPLIES = {
    Action.CANCEL: (State.PROCESSING, State.PENDING, State.FAILED),
    Action.RETRY: (State.DEAD, State.CANCELLED, State.FAILED, State.COMPLETED),
    Action.DELETE: (State.COMPLETED, State.DEAD, State.CANCELLED, State.PENDING, State.FAILED),
}
EVENTS = {Action.CANCEL: "cancelled", Action.RETRY: "retried"}


def apply(
    link: Link,
    get: Get,
    action: Action,
    where: Where,
    *,
    actor: str,
    note: str,
    routes: Sequence[Route],
    limit: int,
    now: int | None,
) -> list[Change]:
    """In lots; each job is looked at again where it is changed, for it may have moved on since it was found."""
    asked = None if where.states is None else set(where.states)
    states = [state for state in APPLIES[action] if asked is None or state in asked]
    faults = [""] if where.faults is None else [len(where.faults), *where.faults]
    changes: list[Change] = []
    for lot in _lots(link, get, where, tuple(states), min(BATCH, max(1, limit))) if limit > 0 else ():
        if not lot:
            continue
        answer = link.writes(
            "apply",
            os.urandom(8).hex(),
            action.value,
            actor,
            audit_text(action.value, actor, note),
            limit - len(changes),
            len(states),
            *[NUMBER[state] for state in states],
            *faults,
            len(lot),
            *[word for job in lot for word in _words(job, action, routes)],
            now=now,
        )
        changes += [_change(*row) for row in answer]
        if len(changes) >= limit:
            break
    return changes


def _words(job: Job, action: Action, routes: Sequence[Route]) -> list[Any]:
    """The number of a job, and whom it is told to what becomes of it."""
    targets = targets_of(routes, EVENTS[action], job.spec) if routes and action in EVENTS else []
    return [f"{job.seq:013}", len(targets), *targets]


def _lots(link: Link, get: Get, where: Where, states: tuple[State, ...], size: int) -> Iterator[Sequence[Job]]:
    if where.ids is None:
        yield from pages(link, get, where._replace(states=states), size)
        return
    ids = list(dict.fromkeys(where.ids))
    for start in range(0, len(ids), BATCH):
        yield [job for job in get(ids[start : start + BATCH]) if job is not None and matches(job, where)]


def _change(id: bytes, was: int, became: int | bytes) -> Change:
    return Change(text_of(id), STATES[int(was)], None if became == b"" else STATES[int(became)])


def set_queue(
    link: Link,
    name: str,
    *,
    paused: bool | None,
    reason: str,
    limit: int | None,
    seed: bool,
    actor: str,
    now: int | None,
) -> None:
    said = f"limit {limit}" if paused is None else "pause" if paused else "resume"
    link.writes(
        "set_queue",
        name,
        "" if paused is None else int(paused),
        reason,
        "none" if limit is None else "" if limit == -1 else limit,
        int(seed),
        audit_text(said, actor, f"queue {name}"),
        now=now,
    )


def prune(link: Link, before: int, states: Sequence[State] | None, limit: int, now: int | None) -> int:
    """Finished jobs, oldest first, in lots; and old histograms are summed up."""
    wanted = FINISHED if states is None else FINISHED.intersection(states)
    numbers = sorted(NUMBER[state] for state in wanted)
    gone = 0
    while gone < limit and numbers:
        most = min(BATCH, limit - gone)
        went = link.writes("prune", before, most, len(numbers), *numbers, now=now)
        gone += went
        if went < most:
            break
    while link.writes("fold", _oldest_kept(link, now), MINUTES, now=now) == MINUTES:
        pass
    return gone


def _oldest_kept(link: Link, now: int | None) -> int:
    if now is None:
        now = int(link.step("clock"))
    return (now - SAMPLES_KEPT) // 60_000 - 1
