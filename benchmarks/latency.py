"""How soon a job starts on an idle pool: from the return of ``enqueue`` to the job's first act.

The job is a shell line that writes to a named pipe; the benchmark, asleep in a read on it, takes the time on one
monotonic clock. So the start of the shell is part of the figure, and a job that starts before ``enqueue`` has returned
counts as zero, never as less.
"""

from __future__ import annotations

import os
import statistics
import sys
import time

from benchmarks.harness import Report, Spread, parser
from benchmarks.pools import running
from queuectl import Queue

JOBS = 100


def main() -> int:
    """Print median, 99th percentile and range of a hundred starts, each on a pool that was idle."""
    options = parser("Start of a job on an idle pool.", rounds=1).parse_args()
    report = Report("latency", "from enqueue's return to the job's first act, an idle pool with 2 workers", options)
    jobs = 5 if options.quick else JOBS
    with running(workers=2) as (place, _):
        os.environ["HOME"] = str(place.path)
        pipe = place.path / "started"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDWR)  # both ends, so that neither side waits for the other to open
        queue = Queue.open(db=str(place.db))
        waits = []
        for _round in range(jobs):
            queue.enqueue(f"echo . > {pipe}")
            returned = time.perf_counter()
            os.read(reader, 16)
            waits.append(1000 * (time.perf_counter() - returned))
            time.sleep(0.05)  # idle again
        queue.close()
        os.close(reader)
    report.add("start of a job", Spread.of(waits), "ms, median", at_most=10)
    report.add("start of a job", statistics.quantiles(waits, n=100)[98], "ms, p99")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
