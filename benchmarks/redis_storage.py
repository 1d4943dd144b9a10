"""The storage on Redis: a backlog beside other queues, one ``enqueue``, a claim among a million, many pools.

Everybody uses one server, whose append-only file is synced each second. Needs ``queuectl-redis`` beside the core:
``make dev``.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.drain import WORKS, peer_case, sized
from benchmarks.harness import Report, Scratch, Spread, interleave, must, parser, queuectl, ratio, scratch
from benchmarks.peers.peer import Stage
from benchmarks.peers.troupe import call
from queuectl.api.model import NewJob, Outcome, OutcomeKind, Turn
from queuectl.core.transitions import release, settle

if TYPE_CHECKING:
    from collections.abc import Callable

    from queuectl.api.storage import Storage

BARS = {"RQ": 2.0, "Celery": 2.0, "saq": 2.0, "Dramatiq": 1.7}
DONE = Outcome(OutcomeKind.EXITED, 0, 0, 12)
_prefixes = (f"bench{number}" for number in itertools.count())


class Remote:
    """queuectl on the server, with keys of its own."""

    def __init__(self, place: Scratch, url: str) -> None:
        self.path = place.path
        self.config = place.path / "queuectl.toml"
        table = f'[storage.redis]\nurl = "{url}"\nprefix = "{next(_prefixes)}"\n'
        self.config.write_text(f'[queuectl]\nstorage = "redis"\n{table}', encoding="utf-8")
        self.env = {name: value for name, value in place.env.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def words(self, *words: str) -> list[str]:
        return [*queuectl(), "--config", str(self.config), *words]


def opened(url: str, prefix: str) -> Storage:
    from queuectl_redis.storage import open_storage

    storage: Storage = open_storage({"url": url, "prefix": prefix})
    return storage


# -- a backlog ------------------------------------------------------------------------------------


def ours(url: str, line: str, jobs: int, workers: int) -> float:
    """Seconds a job from a first to a last job that note when they ran."""
    with scratch() as place:
        remote = Remote(place, url)
        lines, marks = place.path / "jobs", place.path / "marks"
        mark = f"date +%s.%N >> {marks}"
        lines.write_text("\n".join([mark, *[line] * jobs, mark, ""]), encoding="utf-8")
        must(remote.words("enqueue", "--file", str(lines)), env=remote.env)
        argv = remote.words("worker", "start", "--count", str(workers), "--until-empty")
        log = place.path / "worker.log"
        with log.open("wb") as said:
            done = subprocess.run(argv, env=remote.env, stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False)
        if done.returncode:
            raise SystemExit(log.read_text(errors="replace"))
        shown = subprocess.run(remote.words("status", "--json"), env=remote.env, capture_output=True, check=True)
        completed = json.loads(shown.stdout)["counts"]["completed"]
        if completed != jobs + 2:
            raise SystemExit(f"redis: {completed} of {jobs + 2} jobs completed; the time means nothing")
        first, last = sorted(float(text) for text in marks.read_text().split())
        return (last - first) / jobs


def backlog(report: Report, stage: Stage, jobs: int, rounds: int, names: list[str]) -> None:
    url, line = stage.address("redis"), WORKS["true"]
    cases: dict[str, Callable[[], float]] = {f"{n} workers": partial(ours, url, line, jobs, n) for n in (2, 4)}
    for peer in call(stage, report, *names).ready.values():
        cases[peer.name] = partial(peer_case, peer, stage, line, sized(peer, stage, line, jobs))
    times = interleave(cases, rounds=rounds, report=report, warmup=0 if rounds == 1 else 1)
    for name, measured in times.items():
        report.add(f"{name}: jobs a second", Spread.of([0 if math.isinf(t) else 1 / t for t in measured]))
    for name in names:
        if name in times:
            report.add(f"2 workers / {name}", ratio(times, name, "2 workers"), "×", at_least=BARS[name])


# -- one enqueue ----------------------------------------------------------------------------------


def one_enqueue(report: Report, stage: Stage, rounds: int) -> None:
    """CPU of one ``enqueue -- true`` against ``import click``, and against the same in a file of SQLite."""
    with scratch() as place:
        remote = Remote(place, stage.address("redis"))
        env = remote.env

        def cpu(argv: list[str]) -> float:
            return must(argv, env=env).cpu

        cases = {
            "import click": lambda: cpu([sys.executable, "-c", "import click"]),
            "enqueue over Redis": lambda: cpu(remote.words("enqueue", "--", "true")),
            "enqueue on SQLite": lambda: cpu(place.queuectl("enqueue", "--", "true")),
        }
        times = interleave(cases, rounds=rounds, report=report, warmup=2)
        for name, measured in times.items():
            report.add(f"CPU of {name}", Spread.of([1000 * value for value in measured]), "ms")
        report.add("enqueue -- true / import click", ratio(times, "enqueue over Redis", "import click"), "×")


# -- a claim --------------------------------------------------------------------------------------


def claims(report: Report, stage: Stage, large: int, rounds: int) -> None:
    """A turn that gives back what the one before claimed: nothing changes, however often."""
    url = stage.address("redis")
    stores = {f"{n:,} ready": opened(url, next(_prefixes)) for n in (1000, large)}
    for n, storage in zip((1000, large), stores.values(), strict=True):
        began = time.perf_counter()
        job = NewJob("/bin/true", cwd="/")
        for start in range(0, n, 10_000):
            storage.enqueue([job] * min(10_000, n - start))
        report.say(f"{n:,} enqueued in {time.perf_counter() - began:.1f} s")

    def turns(storage: Storage, want: int, count: int) -> Callable[[], float]:
        def measure() -> float:
            held = storage.exchange(Turn("pool", want=want)).claims
            begin = time.perf_counter()
            for _ in range(count):
                held = storage.exchange(Turn("pool", tuple([release(claim) for claim in held]), want=want)).claims
                assert len(held) == want
            spent = time.perf_counter() - begin
            storage.exchange(Turn("pool", tuple([release(claim) for claim in held])))
            return spent / count

        return measure

    small, big = stores
    for want, count in ((1, 400), (64, 20)):
        cases = {name: turns(storage, want, count) for name, storage in stores.items()}
        times = interleave(cases, rounds=rounds, report=report, warmup=2)
        for name in stores:
            report.add(f"turn of {want}, {name}", Spread.of([1000 * value for value in times[name]]), "ms")
        report.add(f"turn of {want}: a million / a thousand", ratio(times, big, small), "×", at_most=1.25)


# -- many pools -----------------------------------------------------------------------------------


def pools(report: Report, stage: Stage, jobs: int) -> None:
    """Pools that settle what they claim at once, eight jobs a turn: what the server and the protocol take."""
    url = stage.address("redis")
    for n in (1, 2, 4, 8):
        prefix = next(_prefixes)
        storage = opened(url, prefix)
        storage.enqueue([NewJob("/bin/true", cwd="/")] * jobs)
        storage.close()
        begin = time.perf_counter()
        children = [_pool(url, prefix, f"pool{number}") for number in range(n)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
        spent = time.perf_counter() - begin
        storage = opened(url, prefix)
        completed = sum(1 for stat in storage.stat() if stat.runs == jobs)
        assert codes == [0] * n and completed == 1, (codes, storage.stat())
        storage.close()
        report.add(f"{n} pool{'s' * (n > 1)} that run{'s' * (n == 1)} nothing", jobs / spent, "jobs a second")


def _pool(url: str, prefix: str, name: str) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            storage = opened(url, prefix)
            held = storage.exchange(Turn(name, want=8)).claims
            while held:
                held = storage.exchange(Turn(name, tuple([settle(claim, DONE) for claim in held]), want=8)).claims
            code = 0
        finally:
            os._exit(code)
    return pid


def main() -> int:
    """Exit with 1 if a bar was missed."""
    options = parser(__doc__ or "", rounds=5)
    options.add_argument("--jobs", type=int, default=5000, help="of the backlog")
    options.add_argument("--ready", type=int, default=1_000_000, help="jobs that are ready in the large storage")
    options.add_argument("--peers", default=",".join(BARS), help="who stands beside us")
    options.add_argument("--only", default="backlog,enqueue,claims,pools", help="which parts")
    asked = options.parse_args()
    report = Report("redis_storage", "the storage on Redis", asked)
    try:
        import queuectl_redis  # noqa: F401
    except ImportError:
        report.missing("queuectl-redis", "not installed: make dev")
        return report.finish()
    parts = asked.only.split(",")
    quick = asked.quick
    with Stage() as stage:
        if "enqueue" in parts:
            one_enqueue(report, stage, 3 if quick else 4 * asked.rounds)
        if "claims" in parts:
            claims(report, stage, 10_000 if quick else asked.ready, 3 if quick else asked.rounds)
        if "pools" in parts:
            pools(report, stage, 2000 if quick else 20_000)
        if "backlog" in parts:
            names = [name for name in asked.peers.split(",") if name]
            backlog(report, stage, 200 if quick else asked.jobs, 1 if quick else asked.rounds, names)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
