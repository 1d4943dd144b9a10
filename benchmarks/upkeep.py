"""Whether claims wait while a million jobs are pruned, exported or backed up, and how much memory that takes.

One process settles and claims in a loop, as a pool with full durability does, while the command runs beside it. A
*pause* is what one turn takes. The disk and the neighbours make pauses of their own: the longest of a loop with
nothing beside it stands in the first rows.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.harness import Report, Scratch, parser, scratch
from benchmarks.stores import finished, opened, waiting
from queuectl.api.model import Outcome, OutcomeKind, Turn
from queuectl.core.transitions import settle

if TYPE_CHECKING:
    from collections.abc import Callable

    from queuectl.builtin.sqlite.storage import SQLiteStorage

DONE = Outcome(OutcomeKind.EXITED, 0, 0, 12)
ALONE = 5.0
PACE = 0.005  # seconds between turns: a tight loop would measure two programs that fight for a core
FEW = 10_000

#: In this order: the last one leaves nothing.
COMMANDS = {
    "backup": ("backup", "copy.db"),
    "export": ("export", "jobs.ndjson"),
    "prune": ("prune", "--older-than", "0", "--yes"),
}


class Watched(NamedTuple):
    """What a loop of turns saw while something went on."""

    pauses: list[float]  # milliseconds
    seconds: float

    @property
    def longest(self) -> float:
        return max(self.pauses)

    @property
    def p99(self) -> float:
        return statistics.quantiles(self.pauses, n=100)[98]


def watch(storage: SQLiteStorage, goes_on: Callable[[], bool]) -> Watched:
    """Settle and claim, one turn after the other."""
    claims = storage.exchange(Turn("pool", want=1)).claims
    begin = time.monotonic()
    pauses = []
    while goes_on():
        started = time.perf_counter()
        answer = storage.exchange(Turn("pool", tuple([settle(claim, DONE) for claim in claims]), want=1))
        pauses.append(1000 * (time.perf_counter() - started))
        claims = answer.claims
        if not claims:
            waiting(storage, 1_000, queue="fresh", priority=1)
        time.sleep(PACE)
    seconds = time.monotonic() - begin
    storage.exchange(Turn("pool", tuple([settle(claim, DONE) for claim in claims])))
    return Watched(pauses, seconds)


#: Runs a command and says how much memory it had at most. The kernel counts in what the process was forked from, so
#: that has to be small.
WRAPPER = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)
"""


class Running:
    """A command under way, and the most memory it had (MiB)."""

    def __init__(self, place: Scratch, words: tuple[str, ...]) -> None:
        argv = [sys.executable, "-I", "-S", "-c", WRAPPER, *place.queuectl(*words)]
        self._child = subprocess.Popen(argv, env=place.env, cwd=place.path, stdout=subprocess.PIPE, text=True)
        self.peak = 0.0

    def goes_on(self) -> bool:
        if self._child.poll() is None:
            return True
        said, _ = self._child.communicate()
        if self._child.returncode:
            raise SystemExit(f"upkeep: {self._child.args!r} exited with {self._child.returncode}")
        self.peak = int(said) / 1024
        return False


def measure(jobs: int, report: Report | None) -> dict[str, float]:
    """All commands on a storage of so many finished jobs; the peak memory of each."""
    peaks = {}
    with scratch() as place:
        storage = opened(place.path, "bench")
        begin = time.monotonic()
        finished(storage, jobs)
        waiting(storage, 1_000, queue="fresh", priority=1)
        storage.close()
        storage = opened(place.path, "bench", durability="full")
        if report:
            report.say(f"{jobs:,} finished jobs made in {time.monotonic() - begin:.1f} s")
            until = time.monotonic() + ALONE
            told(report, "nothing", watch(storage, lambda: time.monotonic() < until), bar=None)
        for name, words in COMMANDS.items():
            command = Running(place, words)
            seen = watch(storage, command.goes_on)
            peaks[name] = command.peak
            if report:
                told(report, name, seen, bar=50)
                report.add(f"{name}: takes", seen.seconds, "s")
        storage.close()
    return peaks


def told(report: Report, name: str, seen: Watched, bar: float | None) -> None:
    report.add(f"{name}: longest pause of claims", seen.longest, "ms", at_most=bar)
    report.add(f"{name}: p99 of {len(seen.pauses)} turns", seen.p99, "ms")


def main() -> int:
    """Exit with 1 if a bar was missed."""
    options = parser(__doc__ or "", rounds=1)
    options.add_argument("--jobs", type=int, default=1_000_000, help="how many have ended")
    asked = options.parse_args()
    jobs = 20_000 if asked.quick else asked.jobs
    report = Report("upkeep", f"prune, export and backup of {jobs:,} jobs while a pool claims", asked)
    few, many = measure(min(FEW, jobs), None), measure(jobs, report)
    for name in COMMANDS:
        report.add(f"{name}: memory, {jobs:,} jobs", many[name], "MiB peak")
        report.add(f"{name}: more than with {FEW:,}", many[name] - few[name], "MiB", at_most=16)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
