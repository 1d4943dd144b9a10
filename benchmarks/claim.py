"""What a turn of a pool costs while a million jobs are in the way: scheduled for later, paused, or at a limit.

Everything in the way has a higher priority than what is claimed. A turn settles one job and claims the next, in the
storage alone; it is measured in CPU time and without fsync, since both would only hide a difference.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from benchmarks.harness import Report, Spread, interleave, parser, ratio, scratch
from queuectl.api.model import NewJob, Outcome, OutcomeKind, Settings, Turn
from queuectl.builtin.sqlite.storage import SQLiteStorage
from queuectl.core.transitions import settle

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

DONE = Outcome(OutcomeKind.EXITED, 0, 0, 12)
FAR = 4_000_000_000_000


def opened(folder: Path, name: str) -> SQLiteStorage:
    return SQLiteStorage(str(folder / f"{name}.db"), durability="normal")


def fill(storage: SQLiteStorage, jobs: int, **fields: object) -> None:
    """Put *jobs* in the way, in several steps: one would be a transaction of a gigabyte."""
    job = NewJob("/bin/true", priority=9, settings=Settings().text(), environment='{"PATH":"/bin"}', cwd="/", **fields)  # type: ignore[arg-type]
    for begin in range(0, jobs, 50_000):
        storage.enqueue([job] * min(50_000, jobs - begin))


def stores(folder: Path, jobs: int) -> dict[str, SQLiteStorage]:
    """An empty storage, and one for each thing that may be in the way."""
    empty, later, paused, full = (opened(folder, name) for name in ("empty", "later", "paused", "full"))
    fill(later, jobs, run_at=FAR)
    fill(paused, jobs, queue="paused")
    paused.set_queue("paused", paused=True)
    fill(full, jobs, queue="full")
    full.set_queue("full", limit=1)
    assert len(full.exchange(Turn("other", want=5, lease=1e6)).claims) == 1
    return {"empty": empty, "later": later, "paused": paused, "full": full}


def turns(storage: SQLiteStorage, want: int, count: int) -> Callable[[], float]:
    """A case: seconds of CPU for one turn that settles *want* jobs and claims as many."""

    def measure() -> float:
        storage.enqueue([NewJob("/bin/true", cwd="/")] * (want * (count + 1)))
        claims = storage.exchange(Turn("pool", want=want)).claims
        begin = time.process_time()
        for _ in range(count):
            settled = tuple([settle(claim, DONE) for claim in claims])
            claims = storage.exchange(Turn("pool", settled, want=want)).claims
            assert len(claims) == want
        spent = time.process_time() - begin
        storage.exchange(Turn("pool", tuple([settle(claim, DONE) for claim in claims])))
        return spent / count

    return measure


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser(__doc__ or "", rounds=15)
    options.add_argument("--jobs", type=int, default=1_000_000, help="how many are in the way")
    asked = options.parse_args(arguments)
    jobs, rounds = (20_000, 3) if asked.quick else (asked.jobs, asked.rounds)
    report = Report("claim", f"a turn with {jobs:,} jobs in the way, against an empty storage", asked)
    with scratch() as place:
        made = stores(place.path, jobs)
        for want, count in ((1, 300), (8, 60)):
            cases = {name: turns(storage, want, count) for name, storage in made.items()}
            times = interleave(cases, rounds=rounds, report=report, warmup=2)
            empty = Spread.of([1000 * seconds for seconds in times["empty"]])
            report.add(f"{want} settled and claimed, empty", empty, "ms CPU")
            for name in ("later", "paused", "full"):
                report.add(f"{want} settled and claimed, {name}", ratio(times, name, "empty"), "× empty", at_most=1.25)
        for storage in made.values():
            storage.close()
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
