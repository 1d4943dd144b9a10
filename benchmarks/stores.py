"""Large storages to measure on, made quickly."""

from __future__ import annotations

import time
from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Any

from queuectl.api.model import Attempt, History, Job, NewJob, Outcome, OutcomeKind, Settings, State, bucket_of
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


#: What a week of a busy house is made of, for ``week``.
QUEUES = ("default", "mail", "images", "feeds", "reports")
COMMANDS = (
    "echo {}",
    "curl -fsS http://localhost/feed/{}",
    "convert in-{}.png out.png",
    "send-mail --to {}",
    "report {}",
)
ENDS = ("exit 1", "exit 7", "exit 75", "signal 9", "timeout: after 30 s")


def week(storage: SQLiteStorage, done: int, dead: int, seed: int = 7) -> None:
    """So many completed and dead jobs over the last week, in several queues, with the histograms that belong to them.

    The same *seed* makes the same jobs.
    """
    rng = Random(seed)
    now = time.time_ns() // 1_000_000
    total, span = done + dead, 7 * 86_400_000
    deaths = set(rng.sample(range(total), dead))
    tally: Counter[tuple[int, str, str, int]] = Counter()
    settings = Settings(max_retries=0).text()
    for begin in range(0, total, STEP):
        lot = []
        for n in range(begin, min(begin + STEP, total)):
            kind = rng.randrange(len(QUEUES))
            queue, command = QUEUES[kind], COMMANDS[kind].format(n)
            at, ran, waited = now - span + n * span // total, int(rng.expovariate(0.001)), int(rng.expovariate(0.0005))
            state = State.DEAD if n in deaths else State.COMPLETED
            reason = ENDS[rng.randrange(len(ENDS))] if n in deaths else "exit 0"
            spec = NewJob(
                command, queue=queue, settings=settings, tags=(f"tag{n % 20}",) if n % 10 == 0 else (), cwd="/"
            )
            outcome = Outcome(OutcomeKind.EXITED, int(n in deaths), at - ran, at)
            job = Job(
                str(n + 1),
                n + 1,
                spec,
                state,
                at - ran,
                at - ran - waited,
                at,
                1,
                1,
                0,
                1,
                reason=reason,
                outcome=outcome,
            )
            lot.append((job, History((Attempt(1, 1, "pool", state, outcome),), ())))
            tally[at // 60_000, queue, state.value, bucket_of(ran)] += 1
            tally[at // 60_000, queue, "wait", bucket_of(waited)] += 1
        storage.load(lot)
    keep_samples(storage, tally)


def keep_samples(storage: SQLiteStorage, tally: Counter[tuple[int, str, str, int]]) -> None:
    """Histograms as settlements would have left them: what is loaded counts in none."""
    db = storage._db
    with db.writing:
        numbers = {name: number for number, name in db.execute("SELECT id, name FROM queue")}
        for (minute, queue, measure, bucket), n in tally.items():
            db.execute("INSERT INTO minute VALUES (?, ?, ?, ?, ?)", (minute, numbers[queue], measure, bucket, n))
