"""What a benchmark may ask of another queue, and the stage on which it plays."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple, Self

from benchmarks.harness import scratch
from benchmarks.peers import servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

CHECK = 40
PATIENCE = 120.0


class Broken(Exception):
    """A peer did not do what was asked. The message says what."""


class Stage:
    """The servers that peers need, each started when first asked for, and ended at the end."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._addresses: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def address(self, server: str) -> str:
        if server not in self._addresses:
            made = servers.redis() if server == "redis" else servers.postgres()
            self._addresses[server] = self._stack.enter_context(made)
        return self._addresses[server]


class Span(NamedTuple):
    """When the first and the last job of a run ran, by their own clock."""

    seconds: float
    jobs: int

    @property
    def rate(self) -> float:
        return self.jobs / self.seconds


class Peer:
    """Another way to run a list of shell lines, two at a time."""

    name = ""
    #: Whether what it was given survives the death of all its processes.
    durable = False
    #: How many lines it can hold; some keep a process for each.
    most = 100_000
    #: How many of its lines are the last one.
    lasts = 1

    def missing(self) -> str | None:
        """Why it cannot take part, or None."""
        return None

    def drain(self, stage: Stage, folder: Path, lines: Sequence[str], done: Callable[[], bool]) -> None:
        """Take all lines in, then work them off with two workers, until ``done()``."""
        raise NotImplementedError

    def latencies(self, stage: Stage, folder: Path, count: int) -> list[float] | None:
        """Milliseconds from a put's return to the first act of its job, idle; None where that means nothing."""
        return None


def span(peer: Peer, stage: Stage, line: str, jobs: int) -> Span:
    """Work off *jobs* times a line; the time between a first and a last job that note when they ran.

    So neither putting the work in nor starting and ending the workers counts, which is kind to all.
    """
    with scratch() as place:
        marks = place.path / "marks"
        mark = f"date +%s.%N >> {marks}"
        noted = 1 + peer.lasts
        peer.drain(stage, place.path, [mark, *[line] * jobs, mark], lambda: _lines(marks) >= noted)
        times = sorted(float(text) for text in marks.read_text().split())
        if len(times) != noted:
            raise Broken(f"the first and the last job ran {len(times)} times, not {noted}")
        return Span(times[-1] - times[0], jobs)


def check(peer: Peer, stage: Stage) -> None:
    """Forty jobs, each of which must run once. Raises Broken."""
    with scratch() as place:
        ran = place.path / "ran"
        lines = [f"echo {number} >> {ran}" for number in range(CHECK)]
        peer.drain(stage, place.path, lines, lambda: _lines(ran) >= CHECK + peer.lasts - 1)
        # Where the last line is given more than once, it runs more than once.
        seen = sorted(map(int, ran.read_text().split()))
        if seen != sorted([*range(CHECK), *[CHECK - 1] * (peer.lasts - 1)]):
            raise Broken(f"of {CHECK} jobs it ran {len(set(seen))}, {len(seen)} times in all")


def _lines(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def await_done(done: Callable[[], bool], workers: Sequence[subprocess.Popen[bytes]] = ()) -> None:
    """Until it is done; Broken if it takes too long or a worker ends."""
    deadline = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > deadline:
            raise Broken(f"not done after {PATIENCE:g} s")
        for worker in workers:
            if worker.poll() is not None:
                raise Broken(f"{worker.args!r} ended with {worker.returncode}")
        time.sleep(0.01)


@contextlib.contextmanager
def started(commands: Sequence[Sequence[str]], folder: Path, env: dict[str, str]) -> Iterator[None]:
    """Workers, each in a session of its own, ended politely and then for good."""
    with (folder / "workers.log").open("ab") as log:
        running = [
            subprocess.Popen(
                argv, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
            for argv in commands
        ]
        try:
            yield
        finally:
            for worker in running:
                if worker.poll() is None:
                    worker.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + 10
            for worker in running:
                try:
                    worker.wait(max(0.1, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    pass
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(worker.pid, signal.SIGKILL)  # its session is ours to end, with what it left
                worker.wait()
