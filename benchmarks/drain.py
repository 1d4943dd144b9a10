"""How fast a backlog of very short jobs is worked off, beside the other ways to do it.

``/bin/true`` needs no shell with us; ``echo hello | cat`` does, and its output is kept. Everything is on: timeout
clock, record, lease, attempt row, output files, full durability.

Two clocks. *Wall*: the whole of ``worker start --until-empty``, start and end of the pool included, against the whole
of ``xargs -P2 -n1 sh -c``, which starts as many processes and remembers nothing. *Span*: from a first to a last job
that note when they ran, against the queues, whose workers may have started by then.

With the *floor*: what is left when Python processes do nothing but the steps that every job of ours needs.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import floor
from benchmarks.harness import Report, Scratch, Spread, interleave, must, parser, ratio, scratch
from benchmarks.peers.peer import Broken, Peer, Stage, span
from benchmarks.peers.programs import LineReader, xargs
from benchmarks.peers.troupe import Troupe, call

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

WORKS = {"true": "/bin/true", "echo": "echo hello | cat"}
PEER_SECONDS = 3.0  # a peer is given as many jobs as it can do in this time, for slow ones would take minutes


class Ours:
    """A case: a drain with so many workers; each call gives wall seconds a job, and keeps the span."""

    def __init__(self, workers: int, line: str, jobs: int) -> None:
        self.workers = workers
        self.line = line
        self.jobs = jobs
        self.spans: list[float] = []

    def __call__(self) -> float:
        with scratch() as place:
            lines, marks = place.path / "jobs", place.path / "marks"
            mark = f"date +%s.%N >> {marks}"
            lines.write_text("\n".join([mark, *[self.line] * self.jobs, mark, ""]), encoding="utf-8")
            must(place.queuectl("enqueue", "--file", str(lines)), env=place.env)
            wall = drained(place, self.workers)
            self._verify(place)
            first, last = sorted(float(text) for text in marks.read_text().split())
            self.spans.append((last - first) / self.jobs)
            return wall / self.jobs

    def _verify(self, place: Scratch) -> None:
        """A figure for work that was not done would be worth nothing."""
        shown = subprocess.run(place.queuectl("status", "--json"), env=place.env, capture_output=True, check=True)
        completed = json.loads(shown.stdout)["counts"]["completed"]
        if completed != self.jobs + 2:
            raise SystemExit(f"drain: {completed} of {self.jobs + 2} jobs completed; the time means nothing")
        if "echo" in self.line:
            said = subprocess.run(place.queuectl("logs", "2"), env=place.env, capture_output=True, check=True)
            if said.stdout != b"hello\n":
                raise SystemExit(f"drain: a job's output is {said.stdout!r}; the time means nothing")


def drained(place: Scratch, workers: int) -> float:
    """Seconds of ``worker start --until-empty``, from its start to its end."""
    argv = place.queuectl("worker", "start", "--count", str(workers), "--until-empty")
    begin = time.perf_counter()
    with (place.path / "worker.log").open("wb") as log:
        done = subprocess.run(argv, env=place.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)
    wall = time.perf_counter() - begin
    if done.returncode != 0:
        raise SystemExit((place.path / "worker.log").read_text(errors="replace"))
    return wall


def empty() -> float:
    """Seconds of a pool that starts, finds nothing and ends: they are part of every wall."""
    with scratch() as place:
        must(place.queuectl("status"), env=place.env)
        return drained(place, 2)


def reader_case(peer: LineReader, line: str, jobs: int) -> float:
    """Wall seconds a job of xargs, which reads its jobs from a file and ends with the last."""
    with scratch() as place:
        return peer.wall(place.path, [line] * jobs) / jobs


def peer_case(peer: Peer, stage: Stage, line: str, jobs: int) -> float:
    """Seconds a job between a peer's first and last one; endless if it breaks twice."""
    for _ in range(2):
        try:
            seconds, done = span(peer, stage, line, jobs)
            return seconds / done
        except Broken as broken:
            print(f"{peer.name} broke: {broken}", file=sys.stderr)
    return math.inf


def sized(peer: Peer, stage: Stage, line: str, jobs: int) -> int:
    """How many jobs a peer does in its time, by a first go at a few."""
    few = min(100, jobs, peer.most)
    return max(few, min(jobs, peer.most, round(PEER_SECONDS * span(peer, stage, line, few).rate)))


def work(report: Report, stage: Stage, troupe: Troupe, name: str, jobs: int, rounds: int) -> None:
    """One kind of job, everybody in turn."""
    line = WORKS[name]
    ours = {workers: Ours(workers, line, jobs) for workers in (2, 4)}
    cases: dict[str, Callable[[], float]] = {f"{workers} workers": case for workers, case in ours.items()}
    cases |= {f"xargs -P{n}": partial(reader_case, xargs(n), line, jobs) for n in (2, 4)}
    cases |= {rung: partial(floor.backlog, rung, line, jobs) for rung in floor.BACKLOG}
    for peer in troupe.ready.values():
        if peer.name not in cases:
            count = sized(peer, stage, line, jobs)
            report.say(f"{peer.name}: {count} × {line}")
            cases[peer.name] = partial(peer_case, peer, stage, line, count)
    times = interleave(cases, rounds=rounds, report=report, warmup=0 if rounds == 1 else 1)
    for broken in [case for case, seconds in times.items() if math.inf in seconds]:
        report.missing(f"{name}: {broken}", "it passed the check and broke later")
        del times[broken]
    for workers, case in ours.items():
        times[f"{workers} workers, span"] = case.spans[-rounds:]
    judge(report, troupe, name, times)


def judge(report: Report, troupe: Troupe, name: str, times: dict[str, list[float]]) -> None:
    """The bars, each with what it is taken from."""
    durable = [peer.name for peer in troupe.ready.values() if peer.durable and peer.name in times]
    fastest = min(durable, key=lambda peer: Spread.of(times[peer]).median, default=None)
    if fastest is not None:
        bar = 1.4 if name == "true" else 1.15
        best = ratio(times, fastest, "2 workers, span")
        report.add(f"{name}: 2 workers / {fastest}, the fastest durable queue", best, "×", at_least=bar)
    if name == "true":
        report.add("true: 2 workers / xargs -P2", ratio(times, "xargs -P2", "2 workers"), "×", goal=1.05)
        report.add("true: 4 workers / xargs -P2", ratio(times, "xargs -P2", "4 workers"), "×", at_least=1.4)
        report.add("true: 4 workers / xargs -P4", ratio(times, "xargs -P4", "4 workers"), "×", goal=1.25)
    else:
        report.add("echo: 2 workers / xargs -P2", ratio(times, "xargs -P2", "2 workers"), "×", at_least=0.85)
        report.add("echo: 4 workers / xargs -P2", ratio(times, "xargs -P2", "4 workers"), "×")
    for rung in floor.BACKLOG:
        report.add(f"{name}: {rung} / xargs -P2", ratio(times, "xargs -P2", rung), "×")
        report.add(f"{name}: 2 workers / {rung}", ratio(times, rung, "2 workers"), "×")
    for case, seconds in sorted(times.items(), key=lambda item: Spread.of(item[1]).median):
        report.add(f"{name}: {case}", Spread.of([1 / each for each in seconds]), "jobs/s")


def options() -> argparse.Namespace:
    made = parser(__doc__ or "", rounds=5)
    made.add_argument("--jobs", type=int, default=5_000, help="how many a drain has")
    made.add_argument("--work", choices=WORKS, help="only this kind of job (default: both)")
    made.add_argument("--peers", nargs="*", metavar="NAME", help="only these peers (default: all; none: only xargs)")
    return made.parse_args()


def main() -> int:
    """Exit with 1 if a bar was missed."""
    asked = options()
    report = Report("drain", f"{asked.jobs:,} short jobs, full durability, beside the other ways", asked)
    jobs, rounds = (50, 1) if asked.quick else (asked.jobs, asked.rounds)
    with Stage() as stage:
        troupe = Troupe({}, {}) if asked.peers == [] else call(stage, report, *(asked.peers or ()))
        for name in [asked.work] if asked.work else list(WORKS):
            work(report, stage, troupe, name, jobs, rounds if name == "true" else min(rounds, 3))
        report.add("start and end of a pool of 2", Spread.of([empty() for _ in range(min(rounds, 5))]), "s")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
