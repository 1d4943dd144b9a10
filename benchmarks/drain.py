"""How fast a backlog of very short jobs is worked off, against xargs on the same machine in the same round.

2,000 × ``/bin/true`` with everything on: timeout clock, record, lease, attempt row, output files, full durability.
``xargs -P2 -n1 sh -c /bin/true`` starts as many processes and remembers nothing; so the ratio is the price of
durability. The jobs are enqueued before the clock starts; it stops when ``worker start --until-empty`` has ended. So
the start and the end of the pool are part of the figure; what they take by themselves is measured beside it, on a
store without jobs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from functools import partial

from benchmarks.harness import Report, Scratch, Spread, interleave, must, parser, ratio, scratch

JOBS = 2_000
BARS = {2: 0.85, 4: 1.2}


def ours(workers: int, jobs: int) -> float:
    """Seconds from ``worker start`` to its end, on a fresh database that holds *jobs* jobs."""
    with scratch() as place:
        lines = place.path / "jobs"
        lines.write_text("# none\n" + "/bin/true\n" * jobs, encoding="utf-8")
        must(place.queuectl("enqueue", "--file", str(lines)), env=place.env)
        argv = place.queuectl("worker", "start", "--count", str(workers), "--until-empty")
        begin = time.perf_counter()
        with (place.path / "worker.log").open("wb") as log:
            done = subprocess.run(argv, env=place.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)
        wall = time.perf_counter() - begin
        if done.returncode != 0:
            raise SystemExit((place.path / "worker.log").read_text(errors="replace"))
        if (completed := count_completed(place)) != jobs:
            raise SystemExit(f"drain: {completed} of {jobs} jobs completed; the time means nothing")
        return wall


def count_completed(place: Scratch) -> int:
    """What ``status --json`` says; a figure for work that was not done would be worth nothing."""
    shown = subprocess.run(place.queuectl("status", "--json"), env=place.env, capture_output=True, check=True)
    return int(json.loads(shown.stdout)["counts"]["completed"])


def xargs(jobs: int) -> float:
    """Seconds that xargs needs to start as many shells, two at a time."""
    with scratch() as place:
        words = place.path / "words"
        words.write_text("/bin/true\n" * jobs, encoding="utf-8")
        return must(["xargs", "-P2", "-n1", "sh", "-c"], env=place.env, stdin=str(words)).wall


def main() -> int:
    """Print the medians of the per-round ratios, xargs' time over ours."""
    options = parser("Drain 2,000 short jobs, against xargs.", rounds=7).parse_args()
    report = Report("drain", "2,000 × /bin/true, full durability, against xargs -P2 -n1 sh -c", options)
    jobs, rounds = (40, 1) if options.quick else (JOBS, options.rounds)
    cases = {f"{n} workers": partial(ours, n, jobs) for n in BARS}
    cases = {"xargs": partial(xargs, jobs), "no jobs": partial(ours, 2, 0), **cases}
    times = interleave(cases, rounds=rounds, report=report)
    for n, bar in BARS.items():
        name = f"{n} workers"
        report.add(f"{name} / xargs -P2", ratio(times, "xargs", name), "×", at_least=bar)
        report.add(f"{name}, jobs a second", Spread.of([jobs / seconds for seconds in times[name]]), "/s")
    report.add("start and end of a pool", Spread.of(times["no jobs"]), "s")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
