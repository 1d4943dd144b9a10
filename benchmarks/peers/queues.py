"""Peers that are Python queues, each in its fastest durable form; ``tasks/`` has their set-up."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.peers.home import MODULES, TASKS, VENV, has_module, program
from benchmarks.peers.peer import Broken, Peer, Stage, await_done, started
from benchmarks.peers.programs import write_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

SERVERS = {"redis": "redis-server", "postgres": "postgres"}


class Kind(NamedTuple):
    """How one of them is started; the commands are looked up in the peers' environment."""

    name: str
    module: str
    server: str  # "" where a file is enough
    workers: tuple[str, ...]
    before: str = ""  # makes its tables


KINDS = (
    Kind("huey", "huey", "", ("huey_consumer huey_task.huey -q -w 2 -k process",)),
    Kind("litequeue", "litequeue", "", (f"python {TASKS}/litequeue_task.py work",) * 2),
    Kind("RQ", "rq", "redis", ("rq worker -q -w rq.SimpleWorker --url {redis}",) * 2),
    Kind(
        "Celery",
        "celery",
        "redis",
        ("celery -A celery_task worker -c 2 -l ERROR --without-gossip --without-mingle --without-heartbeat",),
    ),
    Kind("saq", "saq", "redis", ("saq saq_task.settings",)),
    Kind("Dramatiq", "dramatiq", "redis", ("dramatiq -p 2 -t 1 dramatiq_task",)),
    Kind(
        "procrastinate",
        "procrastinate",
        "postgres",
        ("procrastinate -a procrastinate_task.app worker -c 1",) * 2,
        "procrastinate -a procrastinate_task.app schema --apply",
    ),
)


class PythonQueue(Peer):
    """One of them."""

    durable = True

    def __init__(self, kind: Kind) -> None:
        self.name = kind.name
        self.kind = kind

    def missing(self) -> str | None:
        if not has_module(self.kind.module):
            return f"pip could not install {MODULES[self.kind.module]}"
        server = SERVERS.get(self.kind.server)
        return None if server is None or program(server) else f"{server} is not installed"

    def drain(self, stage: Stage, folder: Path, lines: Sequence[str], done: Callable[[], bool]) -> None:
        env = self._fresh(stage, folder)
        self.script(env, folder, "put", str(write_lines(folder, lines)))
        with started(self._workers(env), folder, env):
            try:
                await_done(done)
            except Broken as broken:
                log = (folder / "workers.log").read_text(errors="replace").strip()
                raise Broken(f"{broken}; its workers said: {log[-300:]}") from None

    def latencies(self, stage: Stage, folder: Path, count: int) -> list[float]:
        env = self._fresh(stage, folder)
        pipe = folder / "started"
        os.mkfifo(pipe)
        with started(self._workers(env), folder, env):
            self.script(env, folder, "latency", "3", str(pipe))  # they are up
            return [float(word) for word in self.script(env, folder, "latency", str(count), str(pipe)).split()]

    def script(self, env: dict[str, str], folder: Path, *words: str) -> str:
        """Run its task file; what it printed."""
        argv = [str(VENV / "bin" / "python"), str(TASKS / f"{self.kind.module}_task.py"), *words]
        try:
            done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=120)
        except subprocess.TimeoutExpired:
            raise Broken(f"{words[0]} took longer than two minutes") from None
        if done.returncode:
            raise Broken(done.stderr.strip().rpartition("\n")[2])
        return done.stdout

    def _fresh(self, stage: Stage, folder: Path) -> dict[str, str]:
        """An empty queue; the environment that tells where it is."""
        kind = self.kind
        path = os.pathsep.join([str(VENV / "bin"), os.environ.get("PATH", "")])
        env = {**os.environ, "PATH": path, "PYTHONPATH": str(TASKS), "BENCH_FOLDER": str(folder)}
        env["C_FORCE_ROOT"] = "1"  # Celery warns root of pickle, which is not used
        if kind.server == "redis":
            env["BENCH_REDIS"] = stage.address("redis")
            port = env["BENCH_REDIS"].rpartition(":")[2].partition("/")[0]
            subprocess.run([program("redis-cli") or "", "-p", port, "flushall"], capture_output=True, check=True)
        elif kind.server == "postgres":
            env["BENCH_POSTGRES"] = stage.address("postgres")
            wipe = "DROP SCHEMA public CASCADE; CREATE SCHEMA public"
            subprocess.run([program("psql") or "", "-qc", wipe, env["BENCH_POSTGRES"]], capture_output=True, check=True)
        if kind.before:
            subprocess.run(self._command(kind.before, env), cwd=folder, env=env, capture_output=True, check=True)
        return env

    def _workers(self, env: dict[str, str]) -> list[list[str]]:
        return [self._command(words, env) for words in self.kind.workers]

    @staticmethod
    def _command(words: str, env: dict[str, str]) -> list[str]:
        first, *rest = words.format(redis=env.get("BENCH_REDIS", "")).split()
        return [str(VENV / "bin" / first), *rest]
