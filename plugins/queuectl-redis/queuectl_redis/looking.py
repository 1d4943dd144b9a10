"""Looking at history, queues and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from queuectl.api.model import Fault, History, QueueStat, Sample

from .rows import STATES, attempt_of, audit_of, job_of, text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .link import Link

QUEUES = 100  # that one script looks at
MINUTES = 60


def history_of(attempts: Sequence[Any], audits: Sequence[bytes]) -> History:
    return History(
        tuple([attempt_of(number, data) for number, data in attempts]), tuple([audit_of(data) for data in audits])
    )


def history(link: Link, id: str) -> History:
    return history_of(*link.step("history", id))


def stat(link: Link, now: int | None) -> list[QueueStat]:
    names = sorted(text_of(name) for name in link.step("queues"))
    found = []
    for start in range(0, len(names), QUEUES):
        some = names[start : start + QUEUES]
        rows = link.step("stat", len(some), *some, now=now)
        found += [_stat(name, *row) for name, row in zip(some, rows, strict=True)]
    return found


def _stat(name: str, kept: Sequence[bytes | None], ready: int, oldest: bytes) -> QueueStat:
    paused, reason, cap, runs, ms, *counts = kept
    return QueueStat(
        name,
        {state: int(n or 0) for state, n in zip(STATES, counts, strict=True)},
        ready,
        int(oldest) if oldest else None,
        paused == b"1",
        text_of(reason or b""),
        None if cap is None else int(cap),
        int(runs or 0),
        int(ms or 0),
    )


def samples(link: Link, since: int, until: int) -> list[Sample]:
    first, last = since // 60_000, until // 60_000
    found: list[Sample] = []
    while True:
        rows = link.step("samples", first, last, MINUTES)
        for minute, kept in rows:
            some = [_sample(int(minute), *pair) for pair in zip(kept[::2], kept[1::2], strict=True)]
            found += sorted(some)
        if len(rows) < MINUTES:
            return found
        first = int(rows[-1][0]) + 1


def _sample(minute: int, field: bytes, n: bytes) -> Sample:
    measure, bucket, queue = text_of(field).split(" ", 2)
    return Sample(minute, queue, measure, int(bucket), int(n))


def faults(link: Link, limit: int) -> list[Fault]:
    if limit < 1:
        return []
    groups = [
        Fault(text_of(fault), int(n), int(first), int(last), job_of(row))
        for fault, n, first, last, row in link.step("faults", limit)
    ]
    return sorted(groups, key=lambda group: (-group.n, -group.last_at, group.fault))[:limit]
