"""What putting work in costs: one job at a time, and a hundred thousand at once.

``enqueue -- true`` is typed in loops, so its CPU time is held against the least that a command line of this kind can
take: importing click. Beside it stands the floor: the same imports by hand and one durable commit, nothing else.

``enqueue -`` is held against litequeue's bulk put: one transaction, in a script that reads the same lines and prints
the same number of ids. The whole process counts in both cases.
"""

from __future__ import annotations

import compileall
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.harness import ROOT, Report, Scratch, Spread, interleave, must, parser, ratio, scratch
from benchmarks.peers.home import TASKS, VENV
from benchmarks.peers.peer import Stage
from benchmarks.peers.troupe import call

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

JOBS = 100_000

FLOOR = """
import gc; gc.disable()
import os, sys, click, json, apsw
db = apsw.Connection(sys.argv[1])
db.execute("PRAGMA journal_mode = WAL").fetchall()
db.execute("PRAGMA synchronous = FULL; CREATE TABLE IF NOT EXISTS job (id INTEGER PRIMARY KEY, command)")
db.execute("BEGIN IMMEDIATE; INSERT INTO job (command) VALUES ('true'); COMMIT")
print(db.last_insert_rowid())
db.close()
sys.stdout.flush()
os._exit(0)
"""


def one_at_a_time(report: Report, place: Scratch, rounds: int) -> None:
    """CPU of one ``enqueue -- true`` against ``import click``, interleaved."""
    env = {name: value for name, value in place.env.items() if name != "PYTHONDONTWRITEBYTECODE"}
    compileall.compile_dir(str(ROOT / "queuectl"), quiet=2)  # as an installer does

    def cpu(argv: list[str]) -> float:
        return must(argv, env=env).cpu

    cases = {
        "import click": lambda: cpu([sys.executable, "-c", "import click"]),
        "floor": lambda: cpu([sys.executable, "-c", FLOOR, str(place.path / "floor.db")]),
        "enqueue": lambda: cpu(place.queuectl("enqueue", "--", "true")),
    }
    times = interleave(cases, rounds=rounds, report=report, warmup=2)
    for name in cases:
        report.add(f"CPU of {name}", Spread.of([1000 * value for value in times[name]]), "ms")
    report.add("floor / import click", ratio(times, "floor", "import click"), "×")
    report.add("enqueue -- true / import click", ratio(times, "enqueue", "import click"), "×", at_most=1.35)


FORMS = {
    "shell lines": "echo {0}\n",
    "JSON lines": '{{"command": "echo {0}", "priority": 3, "timeout": 5, "tags": ["a"]}}\n',
}


def many_at_once(report: Report, place: Scratch, rounds: int, jobs: int) -> None:
    """Jobs a second of ``enqueue -``, the whole process, into a new storage each time; litequeue in between."""
    cases: dict[str, Callable[[], float]] = {}
    for form, line in FORMS.items():
        lines = place.path / f"lines of {form}"
        lines.write_text("".join(line.format(n) for n in range(jobs)))
        cases[form] = partial(stored, lines, jobs)
    with Stage() as stage:
        if "litequeue" in call(stage, report, "litequeue").ready:
            cases["litequeue"] = partial(put_by_litequeue, place.path / "lines of shell lines", jobs)
    times = interleave(cases, rounds=rounds, report=report, warmup=0)
    for name, seconds in times.items():
        report.add(f"{jobs:,} at once: {name}", Spread.of([jobs / each for each in seconds]), "jobs/s")
    if "litequeue" in times:
        report.add("enqueue - / litequeue's bulk put", ratio(times, "litequeue", "shell lines"), "×", at_least=1.5)


def stored(lines: Path, jobs: int) -> float:
    """Seconds of ``enqueue -`` on a new storage; the output has an id for each line."""
    with scratch() as fresh:
        ids = fresh.path / "ids"
        taken = must(fresh.queuectl("enqueue", "-"), env=fresh.env, stdin=str(lines), stdout=str(ids)).wall
        printed(ids, jobs)
        return taken


def put_by_litequeue(lines: Path, jobs: int) -> float:
    with scratch() as fresh:
        ids = fresh.path / "ids"
        argv = [str(VENV / "bin" / "python"), str(TASKS / "litequeue_task.py"), "put", str(lines)]
        taken = must(argv, env={**fresh.env, "BENCH_FOLDER": str(fresh.path)}, stdout=str(ids)).wall
        printed(ids, jobs)
        return taken


def printed(ids: Path, jobs: int) -> None:
    if len(ids.read_bytes().split()) != jobs:
        raise SystemExit("benchmark: not every line was answered by an id")


def main() -> int:
    """Exit with 1 if a bar was missed."""
    options = parser(__doc__ or "", rounds=25)
    options.add_argument("--jobs", type=int, default=JOBS, help="how many at once")
    asked = options.parse_args()
    report = Report("enqueue", "one job at a time against import click, and 100,000 at once", asked)
    os.environ.pop("QUEUECTL_DEBUG", None)
    with scratch() as place:
        one_at_a_time(report, place, 3 if asked.quick else asked.rounds)
        many_at_once(report, place, 1 if asked.quick else 3, 2_000 if asked.quick else asked.jobs)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
