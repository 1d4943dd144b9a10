"""Peers that are programs: xargs and GNU parallel keep nothing, task-spooler and nq keep a process for each job."""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING

from benchmarks.harness import must
from benchmarks.peers.home import PROGRAMS, program
from benchmarks.peers.peer import Peer, Stage, await_done

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


class Program(Peer):
    """Found on the PATH or not at all."""

    def __init__(self, name: str, argv: Sequence[str]) -> None:
        self.name = name
        self.argv = list(argv)

    def missing(self) -> str | None:
        if program(self.argv[0]) is not None:
            return None
        return f"{self.argv[0]} is not installed (Debian: {PROGRAMS.get(self.argv[0], self.argv[0])})"


class LineReader(Program):
    """Reads shell lines and runs them; what it was to do is gone when it ends."""

    def drain(self, stage: Stage, folder: Path, lines: Sequence[str], done: Callable[[], bool]) -> None:
        must(self.argv, env=dict(os.environ), stdin=str(write_lines(folder, lines)))

    def wall(self, folder: Path, lines: Sequence[str]) -> float:
        """Seconds of the whole program."""
        return must(self.argv, env=dict(os.environ), stdin=str(write_lines(folder, lines))).wall


class Spooler(Program):
    """A spooler that is told of one job by one command, and holds a process for each: filled behind a gate."""

    most = 400

    def env(self, folder: Path, lane: int) -> dict[str, str]:
        raise NotImplementedError

    def gates(self) -> Sequence[int]:
        """The lane of each of the jobs that keep all others waiting."""
        raise NotImplementedError

    def lane(self, number: int) -> int:
        return 0

    def lanes_of_last(self) -> Sequence[int]:
        return (0,)

    def finish(self, folder: Path) -> None:
        pass

    def put(self, folder: Path, line: str, lane: int = 0) -> None:
        subprocess.run(
            [*self.argv, "sh", "-c", line],
            cwd=folder,
            env=self.env(folder, lane),
            stdout=subprocess.DEVNULL,
            check=True,
        )

    def drain(self, stage: Stage, folder: Path, lines: Sequence[str], done: Callable[[], bool]) -> None:
        gate = folder / "gate"
        os.mkfifo(gate)
        try:
            for lane in self.gates():
                self.put(folder, f"read word < {gate}", lane)
            for number, line in enumerate(lines[:-1]):
                self.put(folder, line, self.lane(number))
            for lane in self.lanes_of_last():
                self.put(folder, lines[-1], lane)
            descriptor = os.open(gate, os.O_RDWR)
            os.write(descriptor, b"go\n" * len(self.gates()))
            await_done(done)
            os.close(descriptor)
        finally:
            self.finish(folder)

    def latencies(self, stage: Stage, folder: Path, count: int) -> list[float]:
        pipe = folder / "started"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDWR)
        waits = []
        try:
            self.put(folder, "true")  # a server is started by the first
            for number in range(count):
                self.put(folder, f"echo . > {pipe}", self.lane(number))
                returned = time.perf_counter()
                os.read(reader, 16)
                waits.append(1000 * (time.perf_counter() - returned))
                time.sleep(0.05)
        finally:
            os.close(reader)
            self.finish(folder)
        return waits


class TaskSpooler(Spooler):
    """``tsp -S 2``: a server of its own, found by its socket; the queue is in its memory."""

    def __init__(self) -> None:
        super().__init__("task-spooler", ["tsp"])

    def env(self, folder: Path, lane: int) -> dict[str, str]:
        return {**os.environ, "TS_SOCKET": str(folder / "tsp"), "TMPDIR": str(folder), "TS_SLOTS": "2"}

    def gates(self) -> Sequence[int]:
        return (0, 0)

    def finish(self, folder: Path) -> None:
        subprocess.run(["tsp", "-K"], env=self.env(folder, 0), stdout=subprocess.DEVNULL, check=False)


class Nq(Spooler):
    """nq runs one job after the other in a folder: two folders are two workers."""

    lasts = 2

    def __init__(self) -> None:
        super().__init__("nq", ["nq", "-q"])

    def env(self, folder: Path, lane: int) -> dict[str, str]:
        where = folder / f"lane{lane}"
        where.mkdir(exist_ok=True)
        return {**os.environ, "NQDIR": str(where)}

    def gates(self) -> Sequence[int]:
        return (0, 1)

    def lane(self, number: int) -> int:
        return number % 2

    def lanes_of_last(self) -> Sequence[int]:
        return (0, 1)


def write_lines(folder: Path, lines: Sequence[str]) -> Path:
    path = folder / "lines"
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return path


def xargs(workers: int) -> LineReader:
    return LineReader(f"xargs -P{workers}", ["xargs", "-d", "\\n", f"-P{workers}", "-n1", "sh", "-c"])


def parallel(workers: int) -> LineReader:
    return LineReader(f"parallel -j{workers}", ["parallel", "--will-cite", f"-j{workers}"])
