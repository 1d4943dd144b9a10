"""What people do to jobs and queues that exist: cancel, retry, delete, pause, limit, prune."""

from __future__ import annotations

import heapq
import json
from itertools import islice
from typing import TYPE_CHECKING, Any

from queuectl.api.model import FINISHED, Action, Change, Event, State, Where, targets_of

from . import statements
from .exchange import attempt_span
from .looking import Search, job_at, walk
from .outbox import put
from .rows import CANCELLED, NOT_WAITING, NUMBER, PENDING, PROCESSING, READY, STATES, job_id, seq_of
from .tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from queuectl.api.model import Route

    from .database import Database

_SQL = statements.load("changing")
SAMPLES_KEPT = 90 * 86_400_000  # the histograms of so long are kept whatever is pruned

#: The states that an action applies to, in the order they are looked for.
APPLIES = {
    Action.CANCEL: (State.PROCESSING, State.PENDING, State.FAILED),
    Action.RETRY: (State.DEAD, State.CANCELLED, State.FAILED, State.COMPLETED),
    Action.DELETE: (State.COMPLETED, State.DEAD, State.CANCELLED, State.PENDING, State.FAILED),
}
_EVENTS = {Action.CANCEL: "cancelled", Action.RETRY: "retried"}


class Applied:
    """What ``apply`` did, and which attempts' files are left to remove."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.gone: list[tuple[int, int]] = []  # (seq, attempts)


def apply(
    db: Database,
    action: Action,
    where: Where,
    *,
    actor: str,
    note: str,
    routes: Sequence[Route],
    limit: int,
    now: int,
) -> Applied:
    applied, tally = Applied(), Tally()
    with db.writing:
        for seq in _candidates(db, action, where, limit, applied.changes):
            row = db.execute(_SQL["state"], (seq,)).fetchone()
            change = _act(db, action, row, tally, actor, now)
            if change is None:
                continue
            applied.changes.append(change)
            if action is Action.DELETE:  # the job has no history any more; its queue has
                applied.gone.append((seq, row[6]))
                said = f"job {change.id}: {note}" if note else f"job {change.id}"
                db.execute(_SQL["audit"], (now, None, row[2], action.value, actor, said))
            else:
                db.execute(_SQL["audit"], (now, seq, None, action.value, actor, note))
            if routes and change.now not in (None, State.PROCESSING):
                event = Event(_EVENTS[action], now, job_at(db, seq))
                put(db, targets_of(routes, event.kind, event.job.spec), event, now, tally)
        tally.write(db)
    return applied


def _candidates(db: Database, action: Action, where: Where, limit: int, changes: list[Change]) -> Iterator[int]:
    """The matching jobs, until *limit* of them are changed. Found in lots: what is walked must not change meanwhile."""
    if where.ids is not None:
        yield from _by_ids(db, where, limit, changes)
        return
    asked = None if where.states is None else set(where.states)
    states = tuple([state for state in APPLIES[action] if asked is None or state in asked])
    search = Search(db, where._replace(states=states))
    place, after = 0, None
    while len(changes) < limit:
        rows = walk(search, place, after)
        lot = list(islice(((n, look) for n, look in rows if search.matches(look)), limit))
        rows.close()
        for number, look in lot:
            if len(changes) >= limit:
                return
            yield look.seq
            place, after = number, look.key
        if len(lot) < limit:
            return


def _by_ids(db: Database, where: Where, limit: int, changes: list[Change]) -> Iterator[int]:
    """In the order given."""
    search = Search(db, where)
    matching = {look.seq for _, look in walk(search, 0, None) if search.matches(look)}
    for id in where.ids or ():
        seq = seq_of(db, id)
        if seq in matching and seq is not None and len(changes) < limit:
            matching.remove(seq)
            yield seq


def _act(db: Database, action: Action, row: Any, tally: Tally, actor: str, now: int) -> Change | None:
    """One job; None if the action does not apply to it."""
    seq, given, queue, state, due, cancel, _ = row
    id, was = job_id(seq, given), STATES[state]
    if was not in APPLIES[action]:
        return None
    if action is Action.CANCEL:
        if state == PROCESSING:
            if cancel:
                return None
            db.execute(_SQL["cancel_running"], (seq,))
            return Change(id, was, State.PROCESSING)
        reason = f"cancelled by {actor}" if actor else "cancelled"
        db.execute(_SQL["cancel_waiting"], (now, reason, seq))
        tally.move(queue, (state, due), (CANCELLED, NOT_WAITING))
        return Change(id, was, State.CANCELLED)
    if action is Action.RETRY:
        db.execute(_SQL["retry"], (now, now, seq))
        if not db.conn.changes():
            return None
        tally.move(queue, (state, due), (PENDING, READY))
        return Change(id, was, State.PENDING)
    tally.move(queue, (state, due), None)
    delete(db, seq)
    return Change(id, was, None)


def delete(db: Database, seq: int) -> None:
    """Remove a job with all that is known of it."""
    (extra,) = db.execute(_SQL["tags"], (seq,)).fetchone()
    if extra and (tags := json.loads(extra).get("tags")):
        db.execute(_SQL["delete_tags"], (seq, json.dumps(tags)))
    db.execute(_SQL["delete_attempts"], attempt_span(seq))
    db.execute(_SQL["delete_released"], (seq,))
    db.execute(_SQL["delete_audits"], (seq,))
    db.execute(_SQL["keep_token"], (seq,))
    db.execute(_SQL["delete_job"], (seq,))


def prune(db: Database, before: int, states: Sequence[State] | None, limit: int, now: int) -> list[tuple[int, int]]:
    """Delete finished jobs, oldest first; (seq, attempts) of each."""
    tally = Tally()
    gone = []
    with db.writing:
        lines = [
            db.execute(_SQL["oldest"], (NUMBER[state], before, limit)).fetchall()
            for state in (FINISHED if states is None else FINISHED.intersection(states))
        ]
        oldest = heapq.merge(*lines, key=lambda row: (row[1], row[0]))
        for seq, _ in islice(oldest, limit):
            _, _, queue, state, due, _, attempts = db.execute(_SQL["state"], (seq,)).fetchone()
            tally.move(queue, (state, due), None)
            delete(db, seq)
            gone.append((seq, attempts))
        last = ((now - SAMPLES_KEPT) // 60_000 - 1,)
        db.execute(_SQL["sum_samples"], last)
        db.execute(_SQL["delete_samples"], last)
        tally.write(db)
    return gone


def set_queue(
    db: Database, name: str, *, paused: bool | None, reason: str, limit: int | None, seed: bool, actor: str, now: int
) -> bool:
    """Whether anything was done. Seeding what is known, the usual case, takes no lock."""
    if seed:
        with db.reading:
            if db.execute(_SQL["queue"], (name,)).fetchone():
                return False
    with db.writing:
        if seed and db.execute(_SQL["queue"], (name,)).fetchone():
            return False
        queue = db.queue_id(name)
        if paused is not None:
            db.execute(_SQL["pause"], (int(paused), reason if paused else "", queue))
            db.execute(_SQL["audit"], (now, None, queue, "pause" if paused else "resume", actor, reason))
        if limit != -1:
            db.execute(_SQL["cap"], (limit, queue))
            if not seed:
                db.execute(_SQL["audit"], (now, None, queue, "limit", actor, "none" if limit is None else str(limit)))
    return True
