"""The floor: what no program can go below that is written as ours is, by the steps that every job needs.

As ours: workers are Python processes, a job has a session of its own and its output is kept in files, a claim is
committed before the job begins. Each step is done here by hand, in programs of a page (``floors/``), with no queue, no
attempt and no hook around it. Between a *rung* and the next lies what the added steps cost; between the last rung and
ours what could be gained at most.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import apsw

from benchmarks.harness import scratch
from queuectl.api.commandlines import plain_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.harness import Scratch

PROGRAMS = Path(__file__).parent / "floors"
IDLE = 0.05  # seconds between two jobs

#: Rungs of a backlog, as the worker's program knows them.
BACKLOG = {"floor: only started": "only-started", "floor: with session and output": "kept"}


def backlog(rung: str, line: str, jobs: int) -> float:
    """Wall seconds a job of two processes that know what to do, from their start to their end."""
    argv = plain_words(line) or ("/bin/sh", "-c", line)
    with scratch() as place:
        command = [sys.executable, str(PROGRAMS / "worker.py"), "backlog", str(place.path)]
        begin = time.perf_counter()
        workers = [
            subprocess.Popen([*command, str(share), BACKLOG[rung], *argv], env=place.env, stdout=subprocess.PIPE)
            for share in (jobs // 2, jobs - jobs // 2)
        ]
        said = [worker.communicate()[0] for worker in workers]
        wall = time.perf_counter() - begin
    if any(worker.returncode for worker in workers):
        raise SystemExit("floor: a worker failed; the time means nothing")
    printed = sum(map(int, said))
    if BACKLOG[rung] == "kept" and "echo" in line and printed != jobs * len("hello\n"):
        raise SystemExit(f"floor: {printed} bytes came back of {jobs} jobs; the time means nothing")
    return wall / jobs


# --- How soon a job starts --------------------------------------------------------------------


class Rung(NamedTuple):
    """What happens between a put and its job."""

    told: bool  # by a worker, whom a pool tells; else the process that waits starts the shell itself
    stored: bool = False  # the put and the claim are commits, and the worker writes down what it has in hand


#: Rungs of a start.
START = {
    "floor: the shell alone": Rung(told=False),
    "floor: through a pool and its worker": Rung(told=True),
    "floor: through them, with commits and record": Rung(told=True, stored=True),
}


#: Takes a line in; the moment from which on its job is waited for.
Put = Callable[[str], float]


def starts(rung: str, jobs: int) -> list[float]:
    """Milliseconds from a put's return to its job's first act, idle before each."""
    with scratch() as place, contextlib.ExitStack() as stack:
        pipe = place.path / "started"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDWR)
        stack.callback(os.close, reader)
        put = stack.enter_context(_told(place, START[rung]) if START[rung].told else _alone())
        line = f"echo . > {pipe}"
        put(line)
        if not select.select([reader], [], [], 10)[0]:
            raise SystemExit("floor: no job was started")
        os.read(reader, 16)
        waits = []
        for _ in range(jobs):
            time.sleep(IDLE)
            counted_from = put(line)
            os.read(reader, 16)
            waits.append(1000 * (time.perf_counter() - counted_from))
        return waits


@contextlib.contextmanager
def _alone() -> Iterator[Put]:
    """This process starts the shell. Nothing is put that could return: its start is counted from the call on."""
    started: list[int] = []

    def put(line: str) -> float:
        reap()
        begin = time.perf_counter()
        started.append(os.posix_spawn("/bin/sh", ("/bin/sh", "-c", line), os.environ))
        return begin

    def reap() -> None:
        while started:
            os.waitpid(started.pop(), 0)

    yield put
    reap()


@contextlib.contextmanager
def _told(place: Scratch, rung: Rung) -> Iterator[Put]:
    """A pool and its worker, both asleep."""
    told, datagrams = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    to_worker, from_pool = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    database, record = place.path / "floor.db", place.path / "record"
    connection = _database(database) if rung.stored else None

    def put(line: str) -> float:
        if connection is not None:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO job (state, command) VALUES (0, ?)", (line,))
            connection.execute("COMMIT")
        told.send(f"{line}\n".encode())
        return time.perf_counter()

    pool = [str(PROGRAMS / "pool.py"), str(datagrams.fileno()), str(to_worker.fileno())]
    worker = [str(PROGRAMS / "worker.py"), "told", str(place.path), str(from_pool.fileno())]
    if rung.stored:
        pool.append(str(database))
        worker.append(str(record))
    handed = [datagrams, to_worker], [from_pool]
    processes = [
        subprocess.Popen([sys.executable, *words], env=place.env, pass_fds=[each.fileno() for each in ends])
        for words, ends in zip((pool, worker), handed, strict=True)
    ]
    for end in (datagrams, to_worker, from_pool):
        end.close()
    try:
        yield put
        told.send(b"")
        if any(process.wait(10) for process in processes):
            raise SystemExit("floor: a process failed; the times mean nothing")
    finally:
        told.close()
        for process in processes:
            process.kill()
            process.wait()
        if connection is not None:
            connection.close()


def _database(path: Path) -> apsw.Connection:
    """A database with a table of jobs, as durable as QueueCTL's."""
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE job (seq INTEGER PRIMARY KEY, state INTEGER NOT NULL, command TEXT NOT NULL)")
    return connection
