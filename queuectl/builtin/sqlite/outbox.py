"""Events on their way to durable notifiers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from queuectl.api.model import Delivery

from . import statements
from .rows import event_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .database import Database

_SQL = statements.load("outbox")


def take(db: Database, limit: int, hold: float, now: int) -> list[Delivery]:
    with db.writing:
        rows = db.execute(_SQL["take"], (now + round(1000 * hold), now, limit)).fetchall()
        return [Delivery(target, event_of(event), id) for id, target, event in sorted(rows)]


def delivered(db: Database, ids: Sequence[int]) -> None:
    with db.writing:
        db.conn.executemany(_SQL["delivered"], [(id,) for id in ids])
