"""What every benchmark shares: interleaved rounds, ratios within a round, and a report that says what it ran on.

A figure from a shared machine means little; a *ratio* of two things measured one after the other in the same round
means a good deal, and the median of many such ratios more. So a benchmark names its cases, :func:`interleave` runs
each of them once a round in turning order, and :func:`ratio` gives the median of the per-round ratios.

    def main() -> int:
        report = Report("drain", "2,000 × /bin/true against xargs", options)
        times = interleave({"ours": ours, "xargs": xargs}, rounds=options.rounds, report=report)
        report.add("2 workers", ratio(times, "xargs", "ours"), "× xargs", at_least=0.85)
        return report.finish()

``--json`` prints one document and nothing else on stdout, ``--quick`` is for trying out the benchmark itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent


class Spread(NamedTuple):
    """A median and the range it was taken from."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        return Spread(statistics.median(values), min(values), max(values))


def interleave(
    cases: Mapping[str, Callable[[], float]], *, rounds: int, report: Report, warmup: int = 1
) -> dict[str, list[float]]:
    """Run every case once a round, starting with another one each time; what each returned, round by round.

    A case returns its own measure (seconds, usually), so that its preparation is not counted. The *warmup* rounds are
    run and forgotten.
    """
    names = list(cases)
    measured: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-warmup, rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            value = cases[name]()
            if number >= 0:
                measured[name].append(value)
        label = f"round {number + 1}/{rounds}" if number >= 0 else "warm-up"
        shown = "  ".join(f"{name} {measured[name][-1]:.4g}" for name in names) if number >= 0 else ""
        report.say(f"{label}  {shown}")
    return measured


def ratio(measured: Mapping[str, Sequence[float]], above: str, below: str) -> Spread:
    """The median, least and greatest of *above* / *below*, taken round by round."""
    return Spread.of([a / b for a, b in zip(measured[above], measured[below], strict=True)])


# --- Running things -------------------------------------------------------------------------


class Usage(NamedTuple):
    """What one finished process cost, with all the children it waited for."""

    wall: float
    cpu: float
    code: int


def run(argv: Sequence[str], *, env: Mapping[str, str], stdin: str = os.devnull, stdout: str = os.devnull) -> Usage:
    """Run a program to its end, with wall and CPU seconds as the kernel counted them. stderr is ours."""
    opened = [
        (os.POSIX_SPAWN_OPEN, 0, stdin, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, stdout, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
    ]
    begin = time.perf_counter()
    pid = os.posix_spawnp(argv[0], list(argv), env, file_actions=opened)
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - begin
    return Usage(wall, usage.ru_utime + usage.ru_stime, os.waitstatus_to_exitcode(status))


def must(argv: Sequence[str], *, env: Mapping[str, str], stdin: str = os.devnull, stdout: str = os.devnull) -> Usage:
    """Like :func:`run`; a benchmark of something that failed is worth nothing, so failure ends it."""
    usage = run(argv, env=env, stdin=stdin, stdout=stdout)
    if usage.code != 0:
        raise SystemExit(f"benchmark: {' '.join(argv)} exited with {usage.code}")
    return usage


def queuectl() -> list[str]:
    """The words that start queuectl: the installed command beside this Python, else the module."""
    script = Path(sys.executable).with_name("queuectl")
    return [str(script)] if script.exists() else [sys.executable, "-m", "queuectl"]


class Scratch(NamedTuple):
    """A place of its own: an empty home, nothing configured, and a database that is made on first use."""

    path: Path
    env: dict[str, str]

    @property
    def db(self) -> Path:
        return self.path / "bench.db"

    def queuectl(self, *words: str) -> list[str]:
        """The argv of a queuectl command on this scratch database."""
        return [*queuectl(), "--db", str(self.db), *words]


@contextlib.contextmanager
def scratch() -> Iterator[Scratch]:
    """A fresh :class:`Scratch`, removed afterwards. ``TMPDIR`` chooses the file system.

    The current directory is there too, meanwhile: no project's ``queuectl.toml`` is found from it.
    """
    path = Path(tempfile.mkdtemp(prefix="queuectl-bench-"))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("QUEUECTL_", "XDG_"))}
    env = {**kept, "HOME": str(path), "PYTHONPATH": os.environ.get("PYTHONPATH", str(ROOT))}
    here = os.getcwd()
    os.chdir(path)
    try:
        yield Scratch(path, env)
    finally:
        os.chdir(here)
        shutil.rmtree(path, ignore_errors=True)


# --- Saying what came out ---------------------------------------------------------------------


class Row(NamedTuple):
    """One measured thing, the bar it has to reach, and whether it did."""

    what: str
    value: float | None  # None: it could not be measured
    unit: str
    low: float | None = None
    high: float | None = None
    bar: str = ""
    ok: bool | None = None
    goal: bool = False

    @property
    def missed(self) -> bool:
        """Whether it is below a bar that has to be held."""
        return self.ok is False and not self.goal

    @property
    def verdict(self) -> str:
        """A word for the table."""
        if self.ok is None:
            return ""
        if self.goal:
            return "reached" if self.ok else "not reached"
        return "held" if self.ok else "MISSED"


class Report:
    """Collects rows, prints them with what they were measured on; ``finish`` gives the exit code."""

    def __init__(self, name: str, about: str, options: argparse.Namespace) -> None:
        self.name, self.about = name, about
        self.json = bool(options.json)
        self.quick = bool(options.quick)
        self.rows: list[Row] = []
        self.load_before = _load()
        self.say(f"{name}: {about}")
        self.say("  ".join(f"{key} {value}" for key, value in versions().items()))

    def say(self, line: str) -> None:
        """Progress, on stderr: stdout is for the result."""
        print(line, file=sys.stderr, flush=True)

    def missing(self, what: str, why: str) -> None:
        """Something that should have been measured beside us and could not be: it stands in the table, with the why."""
        self.rows.append(Row(f"{what}: missing ({why})", None, ""))

    def add(
        self,
        what: str,
        value: float | Spread,
        unit: str = "",
        *,
        at_least: float | None = None,
        at_most: float | None = None,
        goal: float | None = None,
    ) -> None:
        """One result. With ``--quick`` bars are shown and not judged: the run is too short to say.

        A *goal* (to be reached from below) is where we want to be: missing it is said, and is no failure.
        """
        spread = value if isinstance(value, Spread) else None
        number = spread.median if spread else float(value)  # type: ignore[arg-type]
        bar, ok = "", None
        if at_least is not None:
            bar, ok = f">= {at_least:g}", number >= at_least
        if at_most is not None:
            bar, ok = f"<= {at_most:g}", number <= at_most
        if goal is not None:
            bar, ok = f"goal >= {goal:g}", number >= goal
        ok = None if self.quick else ok
        low, high = (spread.low, spread.high) if spread else (None, None)
        self.rows.append(Row(what, number, unit, low, high, bar, ok, goal is not None))

    def document(self) -> dict[str, Any]:
        """The result as ``--json`` prints it."""
        return {
            "benchmark": self.name,
            "about": self.about,
            "quick": self.quick,
            "versions": versions(),
            "load": {"before": self.load_before, "after": _load()},
            "rows": [row._asdict() for row in self.rows],
        }

    def finish(self) -> int:
        """Print the result; 1 if a bar was missed."""
        if self.json:
            print(json.dumps(self.document(), ensure_ascii=False))
        else:
            print(table([(self.name, row) for row in self.rows]))
            self.say(f"load before {self.load_before:.2f}, after {_load():.2f}")
        return int(any(row.missed for row in self.rows))


def table(rows: Sequence[tuple[str, Row]]) -> str:
    """Rows of any number of benchmarks as plain text."""
    head = ("benchmark", "what", "value", "range", "bar", "")
    cells = [head]
    for name, row in rows:
        between = "" if row.low is None else f"{row.low:.3g} … {row.high:.3g}"
        value = "-" if row.value is None else f"{row.value:.4g} {row.unit}".strip()
        cells.append((name, row.what, value, between, row.bar, row.verdict))
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    lines.insert(1, "  ".join("-" * width for width in widths[:-1]))
    return "\n".join(lines)


def versions() -> dict[str, str]:
    """What the figures were measured with."""
    import apsw

    def version(distribution: str) -> str:
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            return "source"

    return {
        "queuectl": version("queuectl-core"),
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "click": version("click"),
        "kernel": platform.release(),
        "cpus": str(os.cpu_count()),
        "filesystem": _filesystem(tempfile.gettempdir()),
    }


def parser(description: str, *, rounds: int) -> argparse.ArgumentParser:
    """The options every benchmark takes; add your own to it."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    made.add_argument("--rounds", type=int, default=rounds, help="rounds that count")
    made.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    made.add_argument("--quick", action="store_true", help="a tiny run that judges nothing: tries out the benchmark")
    made.add_argument("--full", action="store_true", help="with what takes long, where there is such a thing")
    return made


def _load() -> float:
    return round(os.getloadavg()[0], 2)


def _filesystem(path: str) -> str:
    """The type of the file system that *path* is on: tmpfs has no fsync to wait for, so it has to be said."""
    path = os.path.realpath(path)
    best, kind = "", "?"
    try:
        with open("/proc/mounts", encoding="utf-8") as mounts:
            for line in mounts:
                _, where, what, *_ = line.split()
                if (path == where or path.startswith(where.rstrip("/") + "/")) and len(where) > len(best):
                    best, kind = where, what
    except OSError:
        pass
    return kind
