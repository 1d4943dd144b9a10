"""What putting work in costs: one job at a time, and a hundred thousand at once.

``enqueue -- true`` is typed in loops, so its CPU time is held against the least that a command line of this kind can
take: importing click. Beside it stands the floor: the same imports by hand and one durable commit, nothing else.
"""

from __future__ import annotations

import compileall
import os
import sys
import time
from pathlib import Path

from benchmarks.harness import ROOT, Report, Scratch, Spread, interleave, must, parser, ratio, scratch

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
    report.add("enqueue -- true / import click", ratio(times, "enqueue", "import click"), "×", at_most=1.45)


def many_at_once(report: Report, place: Scratch, rounds: int, jobs: int) -> None:
    """Jobs a second of ``enqueue -``, the whole process, into a new storage each time."""
    forms = {
        "shell lines": "echo {0}\n",
        "JSON": '{{"command": "echo {0}", "priority": 3, "timeout": 5, "tags": ["a"]}}\n',
    }
    for form, line in forms.items():
        lines = place.path / "lines"
        lines.write_text("".join(line.format(n) for n in range(jobs)))
        rates = []
        for number in range(rounds):
            fresh = place._replace(path=place.path / f"{form[0]}{number}")
            fresh.path.mkdir()
            rates.append(jobs / _stored(fresh, lines))
            report.say(f"{form} {number + 1}/{rounds}  {rates[-1]:,.0f} jobs/s")
        report.add(f"enqueue - of {jobs:,} {form}", Spread.of(rates), "jobs/s", at_least=25_000)


def _stored(place: Scratch, lines: Path) -> float:
    """Seconds to store them all; the output has an id for each."""
    ids = place.path / "ids"
    begin = time.perf_counter()
    must(place.queuectl("enqueue", "-"), env=place.env, stdin=str(lines), stdout=str(ids))
    taken = time.perf_counter() - begin
    if len(ids.read_bytes().split()) != len(lines.read_bytes().splitlines()):
        raise SystemExit("benchmark: enqueue - did not print an id for each line")
    return taken


def main() -> int:
    """Exit with 1 if a bar was missed."""
    options = parser(__doc__ or "", rounds=25).parse_args()
    report = Report("enqueue", "one job at a time against import click, and 100,000 at once", options)
    os.environ.pop("QUEUECTL_DEBUG", None)
    with scratch() as place:
        one_at_a_time(report, place, 3 if options.quick else options.rounds)
        many_at_once(report, place, 1 if options.quick else 3, 2_000 if options.quick else JOBS)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
