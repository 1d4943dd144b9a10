"""Events on their way to durable notifiers."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from queuectl.api.model import Delivery, OutboxStat

from . import statements
from .rows import event_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from queuectl.api.model import Event

    from .database import Database
    from .tally import Tally

_SQL = statements.load("outbox")


# -- in the step that caused them ------------------------------------------------------------------


def put(db: Database, targets: Iterable[str], event: Event, now: int, tally: Tally) -> None:
    """One row for each target, in a running transaction."""
    text = ""
    for target in targets:
        text = text or event.text()
        db.execute(_SQL["put"], (target, now, now, text))
        tally.send(target)


def put_all(db: Database, deliveries: Iterable[Delivery], now: int, tally: Tally) -> None:
    """What rides on a settlement: mostly one event for several targets."""
    event, text = None, ""
    for delivery in deliveries:
        if delivery.event is not event:
            event, text = delivery.event, delivery.event.text()
        db.execute(_SQL["put"], (delivery.target, now, now, text))
        tally.send(delivery.target)


# -- for couriers -----------------------------------------------------------------------------------


def take(db: Database, targets: Sequence[str] | None, limit: int, hold: float, now: int) -> list[Delivery]:
    with db.writing:
        if targets is None:
            targets = [row[0] for row in db.execute(_SQL["targets"])]
        due = [row for target in set(targets) for row in db.execute(_SQL["due"], (target, now, limit)).fetchall()]
        until = now + round(1000 * hold)
        rows = [db.execute(_SQL["take"], (until, id)).fetchone() for _, id in sorted(due)[:limit]]
        return [Delivery(target, event_of(event), id, at, tries) for target, event, id, at, tries in rows]


def delivered(db: Database, ids: Sequence[int]) -> None:
    with db.writing:
        for target, n in _each(db, _SQL["delivered"], [(id,) for id in ids]).items():
            db.execute(_SQL["arrived"], (n, n, target))


def postpone(db: Database, ids: Sequence[int], delay: float, error: str, now: int) -> None:
    with db.writing:
        due = now + round(1000 * delay)
        for target in _each(db, _SQL["postpone"], [(due, 0 if error else 1, id) for id in ids]):
            if error:
                db.execute(_SQL["failed"], (error, now, target))


def drop(db: Database, before: int, limit: int) -> int:
    with db.writing:
        old = db.execute(_SQL["old"], (limit, before)).fetchall()
        gone = _each(db, _SQL["delivered"], old)
        for target, n in gone.items():
            db.execute(_SQL["dropped"], (n, n, target))
        return gone.total()


def _each(db: Database, statement: str, rows: Iterable[tuple[int, ...]]) -> Counter[str]:
    """Run a statement that returns the target of the row it found; how many it found of each."""
    found: Counter[str] = Counter()
    for row in rows:
        for (target,) in db.execute(statement, row).fetchall():
            found[target] += 1
    return found


def stats(db: Database) -> list[OutboxStat]:
    with db.reading:
        return [
            OutboxStat(name, waiting, *_moments(db, name, waiting), delivered, dropped, error, error_at)
            for name, waiting, delivered, dropped, error, error_at in db.execute(_SQL["targets"]).fetchall()
        ]


def _moments(db: Database, target: str, waiting: int) -> tuple[int | None, int | None]:
    """When the oldest of what waits was stored, and when the first of it is due."""
    if not waiting:
        return None, None
    oldest = db.execute(_SQL["oldest"], (target,)).fetchone()
    due = db.execute(_SQL["first_due"], (target,)).fetchone()
    return (oldest and oldest[0]), (due and due[0])
