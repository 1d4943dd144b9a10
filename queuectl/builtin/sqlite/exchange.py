"""The step a pool lives by: settle what ended, promote what has become due, claim what is next."""

from __future__ import annotations

import heapq
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from queuectl.api.model import Claim, Exchange, Outcome, Settlement, State, Turn, fault_of

from . import statements
from .database import unpack
from .enqueueing import insert, storable
from .rows import (
    ATTEMPT_COLUMNS,
    CANCELLED,
    DEAD,
    FAILED,
    JOB_COLUMNS,
    LATER,
    NOT_WAITING,
    NUMBER,
    PENDING,
    PROCESSING,
    READY,
    attempt_id,
    job_id,
    job_of,
    outcome_of,
)
from .tally import READY_PLACE, STATE_PLACE, Tally

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .database import Database

_SQL = {
    name: text.replace("{job}", JOB_COLUMNS).replace("{attempt}", ATTEMPT_COLUMNS)
    for name, text in statements.load("exchange").items()
}
#: The most jobs that become ready in one turn: more would hold the lock for long.
PROMOTE = 200


class Opened(NamedTuple):
    """Queues in which settlements made something possible that no pool could have known of."""

    places: set[int]  # a running job ended: news for others if the queue has a limit
    jobs: set[int]  # a job became due: news for others if this turn does not claim it


class Done(NamedTuple):
    """An exchange, and whether other pools should look: there is work that they could not have known of."""

    exchange: Exchange
    news: bool


def exchange(db: Database, turn: Turn, now: int) -> Done:
    """One turn, in one transaction."""
    with db.writing:
        tally, opened = Tally(), Opened(set(), set())
        unstored: list[str] = []
        refused = tuple([s.id for s in turn.settlements if not settle(db, s, now, tally, opened, unstored)])
        next_due = promote(db, now, tally)
        claims, news = claim(db, turn, now, tally, opened) if turn.want > 0 or opened.places else ([], False)
        tally.write(db)
        db.execute(_SQL["renew"], (turn.pool, now + round(1000 * turn.lease)))
        cancel = tuple([job_id(*row) for row in db.execute(_SQL["cancelling"], (turn.pool,))])
    more = len(claims) < turn.want and next_due is not None and next_due <= now
    return Done(Exchange(tuple(claims), refused, next_due, more, cancel, tuple(unstored)), news)


# -- settle ---------------------------------------------------------------------------------------


def settle(db: Database, settlement: Settlement, now: int, tally: Tally, opened: Opened, unstored: list[str]) -> bool:
    """Apply one settlement; False if its token no longer holds. Adds to *unstored* what cannot follow from it."""
    token = settlement.token
    row = find(db, settlement.id)
    if row is None:
        return False
    seq, queue, state, held, attempts, run_at, cancel, pool = row
    if state != PROCESSING or held != token:
        return applied_before(db, seq, token)
    new, reason = NUMBER[settlement.state], settlement.reason
    if cancel and new in (PENDING, FAILED):
        new, reason = CANCELLED, "cancelled"  # the pool had not heard of it: who was told it is cancelled is right
    due = NOT_WAITING
    if new in (PENDING, FAILED):
        if not settlement.released:
            run_at = now + round(1000 * (settlement.delay or 0))
        due = READY if run_at <= now else LATER
        if due == READY:
            opened.jobs.add(queue)
    opened.places.add(queue)
    if settlement.outcome is not None and not settlement.released:
        outcome = settlement.outcome
        _record(db, settlement, attempt_id(seq, attempts), new, pool, run_at if due else None)
        kind = outcome.kind.value if new == PENDING else (State.CANCELLED if new == CANCELLED else settlement.state)
        tally.run(now, queue, kind, max(0, outcome.ended_at - outcome.started_at))
    else:
        attempts -= 1
        db.execute(_SQL["release"], (seq, token))
    db.execute(
        _SQL["settle"],
        (new, due, run_at, now, attempts, settlement.tries, settlement.losses, reason, seq),
    )
    if new == DEAD:
        keep_fault(db, seq, reason)
    tally.move(queue, (PROCESSING, NOT_WAITING), (new, due))
    if settlement.then:
        follow = storable(db, settlement.then, unstored)
        receipts, _ = insert(db, follow, now, tally)
        stored = [job for job, receipt in zip(follow, receipts, strict=True) if receipt.created]
        opened.jobs.update([db.queue_id(job.queue) for job in stored])
    if settlement.deliveries:
        from .outbox import put_all

        put_all(db, settlement.deliveries, now, tally)
    return True


def keep_fault(db: Database, seq: int, reason: str) -> None:
    """The fingerprint of a job that has died."""
    ((command,),) = db.execute(_SQL["command"], (seq,)).fetchall()
    db.execute(_SQL["fault"], (fault_of(unpack(command), reason), seq))


def applied_before(db: Database, seq: int, token: int) -> bool:
    """Whether a settlement under *token* is a repeat of one that was applied."""
    return bool(
        db.execute(_SQL["has_token"], (*attempt_span(seq), token)).fetchone()
        or db.execute(_SQL["was_released"], (seq, token)).fetchone()
    )


def find(db: Database, id: str) -> Any:
    """What settling needs to know of a job, or None."""
    if id.isdecimal() and id.isascii():
        return db.execute(_SQL["by_seq"], (int(id),)).fetchone() if len(id) < 19 else None
    return db.execute(_SQL["by_id"], (id,)).fetchone()


def attempt_span(seq: int) -> tuple[int, int]:
    """The first and the last id that attempts of a job can have."""
    return attempt_id(seq, 0), attempt_id(seq + 1, 0) - 1


def _record(db: Database, settlement: Settlement, id: int, state: int, pool: str, run_at: int | None) -> None:
    outcome = settlement.outcome
    assert outcome is not None
    db.execute(
        _SQL["attempt"],
        (
            id,
            settlement.token,
            pool,
            state,
            run_at,
            outcome.kind.value,
            outcome.code,
            outcome.started_at,
            outcome.ended_at,
            outcome.detail,
            outcome.stdout_size,
            outcome.stderr_size,
            outcome.left,
            settlement.stdout,
            settlement.stderr,
        ),
    )


# -- promote --------------------------------------------------------------------------------------


def promote(db: Database, now: int, tally: Tally) -> int | None:
    """Let what has become due into the ready order; when the next will be due, which may be in the past."""
    head = db.execute(_SQL["next_due"]).fetchone()
    if head is None or head[0] > now:
        return None if head is None else int(head[0])
    for (queue,) in db.execute(_SQL["promote"], (now, PROMOTE)):
        tally.row(queue)[READY_PLACE] += 1
    head = db.execute(_SQL["next_due"]).fetchone()
    return None if head is None else int(head[0])


# -- claim ----------------------------------------------------------------------------------------


class Pick(NamedTuple):
    """A job that is to be claimed, as the run order sees it."""

    rank: int
    run_at: int
    seq: int
    state: int
    queue: int


def claim(db: Database, turn: Turn, now: int, tally: Tally, opened: Opened) -> tuple[list[Claim], bool]:
    """Up to ``turn.want`` jobs for the pool, and whether what was opened leaves something for others."""
    free, limited = free_places(db, tally)
    claims = []
    for chosen in pick(db, places_for(db, turn.queues, free), turn.want):
        row = db.execute(_SQL["claim"], (turn.pool, now, chosen.seq)).fetchone()
        job = job_of(db, row, latest(db, chosen.seq) if row[7] > 1 else None)
        claims.append(Claim(job, job.token))
        tally.move(chosen.queue, (chosen.state, READY), (PROCESSING, NOT_WAITING))
        tally.sample(now, chosen.queue, "wait", now - chosen.run_at)
        free[chosen.queue] -= 1
    news = opened.jobs | (opened.places & limited)
    return claims, any(free.get(queue, 0) > 0 for queue in news)


def free_places(db: Database, tally: Tally) -> tuple[dict[int, int], set[int]]:
    """How many jobs of each open queue could start now, by what is ready and by its limit; which have a limit."""
    free: dict[int, int] = {}
    limited: set[int] = set()
    changes = tally.queues
    for queue, name, paused, cap, ready, processing in db.execute(_SQL["queues"]):
        if paused:
            continue
        if changed := changes.get(queue):
            ready += changed[READY_PLACE]
            processing += changed[STATE_PLACE + PROCESSING]
        places = ready if cap is None else min(ready, cap - processing)
        if places > 0:
            free[queue] = places
            db.queue_names[queue] = name
            if cap is not None:
                limited.add(queue)
    return free, limited


def places_for(db: Database, queues: Mapping[str, int | None] | None, free: Mapping[int, int]) -> dict[int, int]:
    """Of those places, the ones a turn may take."""
    if queues is None:
        return dict(free)
    places = {}
    for queue, n in free.items():
        most = queues.get(db.queue_names[queue], 0)
        if most is None or most > 0:
            places[queue] = n if most is None else min(n, most)
    return places


def pick(db: Database, places: dict[int, int], want: int) -> list[Pick]:
    """The next jobs in run order, at most so many from each queue: the heads of the open queues, then a merge.

    Never one order over all queues: that walks what is blocked.
    """
    if not places or want <= 0:
        return []
    if len(places) == 1:
        ((queue, most),) = places.items()
        return list(_line(db, queue, min(want, most)))
    heads = [Pick(*row) for row in db.execute(_SQL["heads"], (json.dumps(list(places)), want))]
    lines: dict[int, Iterator[Pick]] = {}
    chosen: list[Pick] = []
    while heads and len(chosen) < want:
        best = heads[0]
        queue = best.queue
        chosen.append(best)
        places[queue] -= 1
        following = None
        if places[queue] > 0 and len(chosen) < want:
            if queue not in lines:
                lines[queue] = _line(db, queue, places[queue] + 1)
                next(lines[queue])  # the head itself
            following = next(lines[queue], None)
        if following is None:
            heapq.heappop(heads)
        else:
            heapq.heapreplace(heads, following)
    return chosen


def _line(db: Database, queue: int, most: int) -> Iterator[Pick]:
    for rank, run_at, seq, state in db.execute(_SQL["line"], (queue, most)):
        yield Pick(rank, run_at, seq, state, queue)


def latest(db: Database, seq: int) -> Outcome | None:
    """How the latest ended attempt of a job ended."""
    row = db.execute(_SQL["outcome"], attempt_span(seq)).fetchone()
    return None if row is None else outcome_of(row)
