"""Two hundred workers that have long jobs: how soon a job still starts, and what they cost while nothing changes."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

from benchmarks.harness import Report, Spread, must, parser
from benchmarks.pools import cpu_seconds, pss_mib, running, tree
from queuectl import Queue

WORKERS, JOBS, SECONDS = 200, 200, 20.0
FREE = 2  # workers that are left for the jobs that are timed


def busy(place_argv: list[str], env: dict[str, str], wanted: int) -> None:
    """Until so many jobs run."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        shown = subprocess.run(place_argv, env=env, capture_output=True, text=True, check=True)
        if len(shown.stdout.split()) >= wanted:
            return
        time.sleep(0.2)
    raise SystemExit(f"benchmark: {wanted} long jobs did not start within a minute")


def main() -> int:
    """Exit with 1 if a bar was missed."""
    options = parser(__doc__ or "", rounds=1)
    options.add_argument("--workers", type=int, default=WORKERS)
    options.add_argument("--jobs", type=int, default=JOBS, help="starts to time")
    asked = options.parse_args()
    workers, jobs, seconds = (20, 5, 2.0) if asked.quick else (asked.workers, asked.jobs, SECONDS)
    report = Report("crowd", f"{workers} workers, all but {FREE} with long jobs", asked)
    with running(workers) as (place, pool):
        lines = place.path / "lines"
        lines.write_text("sleep 1000\n" * (workers - FREE))
        must(place.queuectl("enqueue", "--file", str(lines)), env=place.env)
        busy(place.queuectl("list", "--state", "processing", "--all", "--ids"), place.env, workers - FREE)
        pipe = place.path / "started"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDWR)
        os.environ["HOME"] = str(place.path)
        waits = []
        with Queue.open(db=str(place.db)) as queue:
            for _ in range(jobs):
                queued = time.perf_counter()
                queue.enqueue(f"echo . > {pipe}")
                os.read(reader, 16)
                waits.append(1000 * (time.perf_counter() - queued))
                time.sleep(0.05)
        os.close(reader)
        report.add("enqueue to start, median", Spread.of(waits), "ms")
        report.add("enqueue to start, p99", statistics.quantiles(waits, n=100)[98], "ms", at_most=50)
        time.sleep(2)
        pids = [pid for pid in tree(pool.pid) if b"sleep" not in _name(pid)]
        before, begin = cpu_seconds(pids, waited=False), time.monotonic()
        time.sleep(seconds)
        used, passed = cpu_seconds(pids, waited=False) - before, time.monotonic() - begin
        report.add("CPU while nothing changes", 100 * used / passed, "% of a core", at_most=0.5)
        report.add("memory", pss_mib(pids), "MiB PSS")
    return report.finish()


def _name(pid: int) -> bytes:
    with open(f"/proc/{pid}/comm", "rb") as file:
        return file.read()


if __name__ == "__main__":
    sys.exit(main())
