"""Large storages to measure on, made quickly."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from queuectl.api.model import Attempt, History, Job, NewJob, Outcome, OutcomeKind, Settings, State
from queuectl.builtin.sqlite.storage import SQLiteStorage

if TYPE_CHECKING:
    from pathlib import Path

FAR = 4_000_000_000_000  # milliseconds: the year 2096
STEP = 20_000  # jobs in one transaction


def opened(folder: Path, name: str, durability: str = "normal") -> SQLiteStorage:
    return SQLiteStorage(str(folder / f"{name}.db"), durability=durability)


def waiting(storage: SQLiteStorage, jobs: int, **fields: Any) -> None:
    """So many pending jobs; ``run_at=FAR`` for scheduled ones."""
    job = NewJob("/bin/true", settings=Settings().text(), environment='{"PATH":"/bin"}', cwd="/", **fields)
    for begin in range(0, jobs, STEP):
        storage.enqueue([job] * min(STEP, jobs - begin))


def finished(storage: SQLiteStorage, jobs: int) -> None:
    """So many completed jobs, one attempt each, that ended in the last days a millisecond apart."""
    spec = NewJob("/bin/true", settings=Settings().text(), environment='{"PATH":"/bin"}', cwd="/")
    start = time.time_ns() // 1_000_000 - jobs - 1000
    for begin in range(1, jobs + 1, STEP):
        lot = []
        for number in range(begin, min(begin + STEP, jobs + 1)):
            at = start + number
            outcome = Outcome(OutcomeKind.EXITED, 0, at - 20, at)
            job = Job(str(number), number, spec, State.COMPLETED, at - 30, at - 30, at, 1, 1, 0, 1, outcome=outcome)
            lot.append((job, History((Attempt(1, 1, "pool", State.COMPLETED, outcome),), ())))
        storage.load(lot)
