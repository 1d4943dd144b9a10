"""Finding jobs: which lines hold them, in which order, and where to go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from queuectl.api.errors import BadInput
from queuectl.api.model import FINISHED, Job, Page, State, Where, fault_of

from .rows import NUMBER, job_of, maybe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .link import Link

    Get = Callable[[Sequence[str]], Sequence[Job | None]]

#: Rows that one script looks at, and all scripts of one call: where no line serves a filter, a page comes short.
LOOKS, LOOKS_IN_ALL = 500, 10_000
ROWS = 100
#: How far a clock may be set back before ``since`` misses jobs.
SLACK = 86_400_000
_END = 1 << 53


class Phase(NamedTuple):
    """Some lines that are merged: one after the other the phases hold all that is looked for."""

    lines: tuple[str, ...] = ()
    state: State | None = None
    backwards: bool = True
    of_every_queue: str | None = None
    by_age: bool = False  # the score is a moment that no later row exceeds: where ``since`` can stop
    place: int = 0  # the phase's number


def phases(where: Where) -> list[Phase]:
    """The lines that hold the jobs of *where*, in the order that ``Storage.find`` promises."""
    if where.tags is not None:
        return [Phase(tuple([f"t:{tag}" for tag in dict.fromkeys(where.tags)]))]
    if where.faults is not None:
        return [Phase(tuple([f"ft:{fault}" for fault in dict.fromkeys(where.faults)]))]
    if where.states is None:
        return [Phase(("all",))]
    found: list[Phase] = []
    queues = None if where.queues is None else tuple(dict.fromkeys(where.queues))
    for state in dict.fromkeys(where.states):
        number = NUMBER[state]
        if state in FINISHED and queues is None:
            found.append(Phase((f"f:{number}",), state, by_age=True))
        elif state in FINISHED:
            found.append(Phase(tuple([f"f:{number}:{name}" for name in queues or ()]), state, by_age=True))
        elif state is State.PROCESSING:
            found.append(Phase(("s:2",), state))
        elif state is State.FAILED:
            found.append(Phase(("s:1",), state, backwards=False))
        else:
            for line in ("r:", "l:"):
                names = tuple([line + name for name in queues or ()])
                found.append(Phase(names, state, False, line if queues is None else None))
    return [phase._replace(place=n) for n, phase in enumerate(found)]


def find(link: Link, get: Get, where: Where, limit: int, cursor: str | None) -> Page:
    limit = max(1, limit)
    if where.ids is not None:
        return _by_ids(get, where, limit, cursor)
    jobs: list[Job] = []
    looked = 0
    line = phases(where)
    place, after = _parse(cursor, line)
    while place < len(line):
        rows, onward, n = _look(link, where, line[place], after, min(ROWS, limit - len(jobs)))
        jobs += rows
        looked += n
        if onward is None:
            place, after = place + 1, None
        else:
            after = onward
        if len(jobs) >= limit or looked - len(jobs) >= LOOKS_IN_ALL:
            break
    if place >= len(line):
        return Page(tuple(jobs), None)
    if after is None:  # between two phases: there may be nothing behind
        return Page(tuple(jobs), f"{place}")
    return Page(tuple(jobs), f"{place},{after[0]},{after[1]}")


After = tuple[int, int]


def _look(
    link: Link, where: Where, phase: Phase, after: After | None, limit: int
) -> tuple[list[Job], After | None, int]:
    """Some jobs of a phase, where it goes on, and how many rows were looked at."""
    if not phase.lines and phase.of_every_queue is None:
        return [], None, 0
    since = where.since
    states = (phase.state,) if phase.state is not None else where.states
    rows, score, seq, looked = link.step(
        "find",
        int(phase.backwards),
        *(("", "") if after is None else (f"={after[1]:013}", after[0])),
        limit,
        LOOKS,
        len(phase.lines),
        *phase.lines,
        maybe(phase.of_every_queue),
        *_set(where.queues),
        *_set(None if states is None else [str(NUMBER[state]) for state in states]),
        *_set(where.tags),
        *_set(where.faults),
        "" if since is None else since,
        maybe(where.text),
    )
    jobs = [job_of(row) for row in rows]
    if seq == b"":
        return jobs, None, looked
    if since is not None and phase.by_age and float(score) < since - SLACK:
        return jobs, None, looked
    return jobs, (int(float(score)), int(seq)), looked


def _set(names: Sequence[str] | None) -> list[Any]:
    return [""] if names is None else [f"={len(names)}", *names]


def _by_ids(get: Get, where: Where, limit: int, cursor: str | None) -> Page:
    """Newest enqueued first; each once."""
    _, after = _parse(cursor, [Phase()])
    last = after[1] if after is not None else _END
    found = [job for job in get(list(dict.fromkeys(where.ids or ()))) if job is not None and matches(job, where)]
    rest = sorted((job for job in found if job.seq < last), key=lambda job: -job.seq)
    page = rest[:limit]
    return Page(tuple(page), f"0,0,{page[-1].seq}" if len(rest) > len(page) else None)


def matches(job: Job, where: Where) -> bool:
    """Whether a job is one of *where*, its ids aside."""
    return (
        (where.queues is None or job.spec.queue in where.queues)
        and (where.states is None or job.state in where.states)
        and (where.tags is None or bool(set(where.tags) & set(job.spec.tags)))
        and (where.since is None or job.created_at >= where.since)
        and (where.text is None or where.text in job.spec.command)
        and (
            where.faults is None or (job.state is State.DEAD and fault_of(job.spec.command, job.reason) in where.faults)
        )
    )


def _parse(cursor: str | None, line: Sequence[Phase]) -> tuple[int, After | None]:
    """Where to go on. A cursor may come from a URL."""
    if cursor is None:
        return 0, None
    try:
        if len(cursor) > 60:
            raise ValueError
        place, *key = [int(part) for part in cursor.split(",")]
        if any(abs(part) > _END for part in key) or not 0 <= place < len(line) or len(key) not in (0, 2):
            raise ValueError
        if key and key[1] < 0:
            raise ValueError
    except ValueError as error:
        raise BadInput(f"{cursor[:40]!r} is not a cursor of this list") from error
    return place, (key[0], key[1]) if key else None


def pages(link: Link, get: Get, where: Where, limit: int) -> Iterator[Sequence[Job]]:
    """All jobs of *where*, in lots; what is done to one lot does not disturb the next."""
    cursor: str | None = None
    while True:
        page = find(link, get, where, limit=limit, cursor=cursor)
        yield page.jobs
        cursor = page.cursor
        if cursor is None:
            return
