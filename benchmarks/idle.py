"""What a pool costs that has nothing to do: CPU and memory of all its processes, as the kernel counts them."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from benchmarks.harness import Report, parser
from benchmarks.pools import running

TICKS = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """A process and everything below it."""
    found = [pid]
    for each in found:
        try:
            text = Path(f"/proc/{each}/task/{each}/children").read_text()
        except OSError:
            continue
        found += [int(word) for word in text.split()]
    return found


def cpu_seconds(pids: list[int]) -> float:
    """User and system time so far of these processes and of those they have waited for."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(int(field) for field in fields[11:15])
    return total / TICKS


def pss_mib(pids: list[int]) -> float:
    """Memory with shared pages split among those who share them."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def main() -> int:
    """Print CPU share and PSS of an idle pool with two workers."""
    options = parser("An idle pool with two workers.", rounds=1)
    options.add_argument("--seconds", type=float, default=20.0, help="how long to watch")
    asked = options.parse_args()
    report = Report("idle", "a pool with 2 workers and nothing to do: all its processes", asked)
    seconds = 2.0 if asked.quick else asked.seconds
    with running(workers=2) as (_, pool):
        time.sleep(2)  # the start and the first job are not idling
        pids = tree(pool.pid)
        before, begin = cpu_seconds(pids), time.monotonic()
        time.sleep(seconds)
        used, passed = cpu_seconds(pids) - before, time.monotonic() - begin
        report.add("processes", len(pids))
        report.add("CPU", 100 * used / passed, "% of a core", at_most=0.3)
        report.add("memory", pss_mib(pids), "MiB PSS", at_most=40)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
