"""How soon a job starts on an idle pool: from the return of the put to the job's first act, beside the others.

The job is a shell line that writes to a named pipe; whoever put it, asleep in a read on it, takes the time on one
monotonic clock. So the start of the shell is part of the figure, and a job that starts before the put has returned
counts as zero, never as less. Ours, and the Python queues', put in the process that waits; task-spooler and nq are
told by a command of their own, as their users tell them.

With the *floor*: what is left when only the steps that every start of ours needs are done.
"""

from __future__ import annotations

import os
import statistics
import sys
import time

from benchmarks import floor
from benchmarks.harness import Report, Spread, parser, scratch
from benchmarks.peers.peer import Broken, Stage
from benchmarks.peers.troupe import call
from benchmarks.pools import running
from queuectl import Queue

JOBS = 100


def ours(jobs: int) -> list[float]:
    """Milliseconds of so many starts, each on a pool with two workers that was idle."""
    with running(workers=2) as (place, _):
        os.environ["HOME"] = str(place.path)
        pipe = place.path / "started"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDWR)  # both ends, so that neither side waits for the other to open
        waits = []
        with Queue.open(db=str(place.db)) as queue:
            for _round in range(jobs):
                queue.enqueue(f"echo . > {pipe}")
                returned = time.perf_counter()
                os.read(reader, 16)
                waits.append(1000 * (time.perf_counter() - returned))
                time.sleep(0.05)  # idle again
        os.close(reader)
    return waits


def over(above: list[float], below: list[float]) -> Spread:
    """The ratios of each round's medians."""
    return Spread.of([mine / other for mine, other in zip(above, below, strict=False)])


def main() -> int:
    """Exit with 1 if a bar was missed."""
    options = parser(__doc__ or "", rounds=2)
    options.add_argument("--peers", nargs="*", metavar="NAME", help="only these peers (default: all)")
    asked = options.parse_args()
    report = Report("latency", "from a put's return to the job's first act, idle, 2 workers", asked)
    jobs, rounds = (5, 1) if asked.quick else (JOBS, asked.rounds)
    with Stage() as stage:
        troupe = call(stage, report, *(asked.peers or ()))
        waits: dict[str, list[list[float]]] = {"ours": []}
        for number in range(rounds):
            waits["ours"].append(ours(jobs))
            for rung in floor.START:
                waits.setdefault(rung, []).append(floor.starts(rung, jobs))
            for peer in troupe.ready.values():
                try:
                    with scratch() as place:
                        measured = peer.latencies(stage, place.path, jobs)
                except Broken as broken:
                    report.missing(peer.name, str(broken))
                    continue
                if measured is not None:
                    waits.setdefault(peer.name, []).append(measured)
            report.say(f"round {number + 1}/{rounds}")
    medians = {name: [statistics.median(each) for each in runs] for name, runs in waits.items()}
    everything = sorted(wait for run in waits["ours"] for wait in run)
    report.add("start of a job, median", Spread.of(medians["ours"]), "ms", at_most=5)
    report.add("start of a job, p99", statistics.quantiles(everything, n=100)[98], "ms", at_most=20)
    if (spooler := medians.get("task-spooler")) is not None:
        report.add("median / task-spooler's", over(medians["ours"], spooler), "×", at_most=1.5)
        for rung in floor.START:
            report.add(f"{rung} / task-spooler's", over(medians[rung], spooler), "×")
    report.add(f"median / {rung}", over(medians["ours"], medians[rung]), "×")
    for name, each in medians.items():
        if name != "ours":
            report.add(f"{name}, median", Spread.of(each), "ms")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
