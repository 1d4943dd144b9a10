"""The outbox: events on their way to durable notifiers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from queuectl.api.model import Delivery, OutboxStat

from .rows import delivery_of, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .link import Link

BATCH = 100


def take(link: Link, targets: Sequence[str] | None, limit: int, hold: float, now: int | None) -> list[Delivery]:
    if limit < 1:
        return []
    names = [""] if targets is None else ["=", len(set(targets)), *sorted(set(targets))]
    taken = link.writes("take_deliveries", limit, round(1000 * hold), *names, now=now)
    return [delivery_of(id, fields) for id, fields in taken]


def delivered(link: Link, ids: Sequence[int]) -> None:
    for some in _lots(ids):
        link.writes("delivered", len(some), *some)


def postpone(link: Link, ids: Sequence[int], delay: float, error: str, now: int | None) -> None:
    for some in _lots(ids):
        link.writes("postpone", round(1000 * delay), error, len(some), *some, now=now)


def drop(link: Link, before: int, limit: int) -> int:
    return int(link.writes("drop_deliveries", before, limit)) if limit > 0 else 0


def outbox(link: Link) -> list[OutboxStat]:
    return sorted([_stat(*row) for row in link.step("outbox")])


def _stat(target: bytes, waiting: int, oldest: bytes, due: bytes, sent: Sequence[bytes | None]) -> OutboxStat:
    delivered, dropped, error, error_at = sent
    return OutboxStat(
        text_of(target),
        waiting,
        int(oldest) if oldest else None,
        int(due) if due else None,
        int(delivered or 0),
        int(dropped or 0),
        text_of(error or b""),
        int(error_at) if error_at else None,
    )


def _lots(ids: Sequence[int]) -> Iterator[list[Any]]:
    wide = [f"{id:013}" for id in ids]
    for start in range(0, len(wide), BATCH):
        yield wide[start : start + BATCH]
