"""What a pool costs that has nothing to do, and whether work makes it grow: all its processes, as the kernel counts."""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.harness import Report, Scratch, must, parser
from benchmarks.pools import await_job, cpu_seconds, pss_mib, running, tree

SETTLE = 2.0  # the start and the first job are not idling
MORE = 8
FIRST = 10_000  # jobs after which every cache is as full as it gets
REST = 4.0  # seconds after the last short job in which further lanes go


def idle(report: Report, seconds: float) -> float:
    """CPU share and PSS of an idle pool with two workers; the PSS."""
    with running(workers=2) as (_, pool):
        time.sleep(SETTLE)
        pids = tree(pool.pid)
        before, begin = cpu_seconds(pids), time.monotonic()
        time.sleep(seconds)
        used, passed = cpu_seconds(pids) - before, time.monotonic() - begin
        memory = pss_mib(pids)
        report.add("processes", len(pids))
        report.add("CPU, 2 workers", 100 * used / passed, "% of a core", at_most=0.3)
        report.add("memory of pool, keeper and 2 workers", memory, "MiB PSS", at_most=30)
        return memory


def further(report: Report, two: float) -> None:
    """What each further worker adds."""
    with running(workers=2 + MORE) as (_, pool):
        time.sleep(SETTLE)
        report.add("each further worker", (pss_mib(tree(pool.pid)) - two) / MORE, "MiB PSS", at_most=2)


def work(place: Scratch, jobs: int) -> None:
    """Have so many jobs run."""
    lines = place.path / "lines"
    lines.write_text("/bin/true\n" * jobs)
    must(place.queuectl("enqueue", "--file", str(lines), "--priority", "1"), env=place.env)
    last = subprocess.run(
        place.queuectl("enqueue", "--", "/bin/true"), env=place.env, capture_output=True, text=True, check=True
    ).stdout.strip()
    await_job(place, last, 60 + jobs // 50)


def flat(report: Report, jobs: int) -> None:
    """Memory after some jobs, and after many more; each time of the pool, its keeper and two workers alone."""
    first = min(FIRST, jobs)
    with running(workers=2) as (place, pool):
        looks = []
        for number in (first, jobs):
            work(place, number)
            time.sleep(REST)
            pids = tree(pool.pid)
            if len(pids) != 4:
                raise SystemExit(f"idle: {len(pids)} processes rest, not a pool, its keeper and two workers")
            looks.append(pss_mib(pids))
        report.add(f"memory after the first {first:,} jobs", looks[0], "MiB PSS")
        report.add(f"growth over the next {jobs:,}", looks[1] - looks[0], "MiB PSS", at_most=2)


def main() -> int:
    """Exit with 1 if a bar was missed."""
    options = parser(__doc__ or "", rounds=1)
    options.add_argument("--seconds", type=float, default=20.0, help="how long to watch")
    options.add_argument("--jobs", type=int, default=100_000, help="how many to run between two looks at the memory")
    asked = options.parse_args()
    report = Report("idle", "a pool and its workers: CPU and memory", asked)
    further(report, idle(report, 2.0 if asked.quick else asked.seconds))
    flat(report, 50 if asked.quick else asked.jobs)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
