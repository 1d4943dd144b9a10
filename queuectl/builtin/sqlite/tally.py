"""The kept counts: gathered while a transaction runs, written once for each changed row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from queuectl.api.model import bucket_of

from . import statements
from .rows import PENDING, READY

if TYPE_CHECKING:
    from .database import Database

_SQL = statements.load("exchange")

#: The places of a queue's row of changes: ready, the six states in the order of their numbers, runs, run_ms.
READY_PLACE, STATE_PLACE, RUNS_PLACE, MS_PLACE = 0, 1, 7, 8


class Tally:
    """Changes of counts by queue, and samples of histograms."""

    def __init__(self) -> None:
        self.queues: dict[int, list[int]] = {}
        self.samples: dict[tuple[int, int, str, int], int] = {}
        self.sent: dict[str, int] = {}  # deliveries by target

    def send(self, target: str) -> None:
        self.sent[target] = self.sent.get(target, 0) + 1

    def row(self, queue: int) -> list[int]:
        row = self.queues.get(queue)
        if row is None:
            row = self.queues[queue] = [0] * 9
        return row

    def move(self, queue: int, was: tuple[int, int] | None, now: tuple[int, int] | None) -> None:
        """A job of *queue* goes from one (state, due) to another; None is outside."""
        row = self.row(queue)
        if was is not None:
            row[STATE_PLACE + was[0]] -= 1
            row[READY_PLACE] -= was[1] == READY
        if now is not None:
            row[STATE_PLACE + now[0]] += 1
            row[READY_PLACE] += now[1] == READY

    def arrive(self, queue: int, due: int) -> None:
        self.move(queue, None, (PENDING, due))

    def enqueued(self, at: int, queue: int, n: int) -> None:
        key = (at // 60_000, queue, "enqueued", 0)
        self.samples[key] = self.samples.get(key, 0) + n

    def sample(self, at: int, queue: int, measure: str, ms: int) -> None:
        key = (at // 60_000, queue, measure, bucket_of(max(0, ms)))
        self.samples[key] = self.samples.get(key, 0) + 1

    def run(self, at: int, queue: int, kind: str, ms: int) -> None:
        """An attempt ended after *ms*."""
        row = self.row(queue)
        row[RUNS_PLACE] += 1
        row[MS_PLACE] += ms
        self.sample(at, queue, kind, ms)

    def write(self, db: Database) -> None:
        for queue, row in self.queues.items():
            if any(row):
                db.execute(_SQL["count"], (*row, queue))
        for key, n in self.samples.items():
            db.execute(_SQL["sample"], (*key, n))
        for target, n in self.sent.items():
            db.execute(_SQL["sent"], (target, n))
