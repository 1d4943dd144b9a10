"""The floor: what no program can go below that is written as ours is, by the steps that every job needs.

As ours: workers are Python processes, a job has a session of its own and its output is kept in files, a claim is
committed before the job begins. Each step is done here by hand, in programs of a page (``floors/``), with no limits,
hooks, leases, retries, or anybody to tell. Between a *rung* and the next lies what the added steps cost; between the
last rung and ours what could be gained at most.
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
    from collections.abc import Iterator, Sequence

    from benchmarks.harness import Scratch

POOL, WORKER = (Path(__file__).parent / "floors" / name for name in ("pool.py", "worker.py"))
IDLE = 0.05  # seconds between two jobs

COMMITTED = "floor: with a pool that commits"
#: Rungs of a backlog, as the worker's program knows them.
BACKLOG = {"floor: only started": "only-started", "floor: with session and output": "kept", COMMITTED: ""}


def backlog(rung: str, line: str, jobs: int) -> float:
    """Wall seconds a job of two workers, from the start of their processes to the end."""
    argv = plain_words(line) or ("/bin/sh", "-c", line)
    with scratch() as place:
        if rung == COMMITTED:
            wall, printed = _committed(place, argv, jobs)
        else:
            wall, printed = _known(place, BACKLOG[rung], argv, jobs)
    if BACKLOG[rung] != "only-started" and "echo" in line and printed != jobs * len("hello\n"):
        raise SystemExit(f"floor: {printed} bytes came back of {jobs} jobs; the time means nothing")
    return wall / jobs


def _known(place: Scratch, kind: str, argv: Sequence[str], jobs: int) -> tuple[float, int]:
    """Workers that know what to do: seconds, and how many bytes their jobs printed."""
    command = [sys.executable, str(WORKER), "backlog", str(place.path)]
    begin = time.perf_counter()
    workers = [
        subprocess.Popen([*command, str(share), kind, *argv], env=place.env, stdout=subprocess.PIPE)
        for share in (jobs // 2, jobs - jobs // 2)
    ]
    said = [worker.communicate()[0] for worker in workers]
    wall = time.perf_counter() - begin
    if any(worker.returncode for worker in workers):
        raise SystemExit("floor: a worker failed; the time means nothing")
    return wall, sum(map(int, said))


def _committed(place: Scratch, argv: Sequence[str], jobs: int) -> tuple[float, int]:
    """A pool claims from a database, tells two workers, and stores what they answer."""
    path = place.path / "floor.db"
    with contextlib.closing(_database(path)) as connection:
        with connection:
            connection.executemany("INSERT INTO job (state, command) VALUES (0, ?)", [("\t".join(argv),)] * jobs)
        pairs = [socket.socketpair(), socket.socketpair()]
        begin = time.perf_counter()
        processes = [_worker(place, theirs, place.path / f"record{theirs.fileno()}") for _, theirs in pairs]
        processes.append(_pool(place, ["backlog", str(path)], [ours for ours, _ in pairs]))
        for end in (end for pair in pairs for end in pair):
            end.close()
        codes = [process.wait() for process in processes]
        wall = time.perf_counter() - begin
        ((ended, printed),) = connection.execute("SELECT count(*), total(length(output)) FROM attempt")
    if any(codes) or ended != jobs:
        raise SystemExit(f"floor: {ended} of {jobs} jobs ended; the time means nothing")
    return wall, int(printed)


def _worker(place: Scratch, channel: socket.socket, record: Path | None) -> subprocess.Popen[bytes]:
    """A worker that is told its jobs."""
    words = ["told", str(place.path), str(channel.fileno()), *([str(record)] if record else [])]
    return subprocess.Popen([sys.executable, str(WORKER), *words], env=place.env, pass_fds=[channel.fileno()])


def _pool(
    place: Scratch, words: Sequence[str], ends: Sequence[socket.socket], database: Path | None = None
) -> subprocess.Popen[bytes]:
    """A pool that has these ends of its workers and of whoever puts."""
    fds = [end.fileno() for end in ends]
    argv = [sys.executable, str(POOL), *words, *map(str, fds), *([str(database)] if database else [])]
    return subprocess.Popen(argv, env=place.env, pass_fds=fds)


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
    to_worker, from_pool = socket.socketpair()
    database, record = (place.path / "floor.db", place.path / "record") if rung.stored else (None, None)
    connection = _database(database) if database else None

    def put(line: str) -> float:
        command = f"/bin/sh\t-c\t{line}"
        if connection is not None:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO job (state, command) VALUES (0, ?)", (command,))
            connection.execute("COMMIT")
        told.send(f"{command}\n".encode())
        return time.perf_counter()

    processes = [
        _pool(place, ["starts"], [to_worker, datagrams], database),
        _worker(place, from_pool, record),
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
    """An empty database of jobs, as durable as QueueCTL's."""
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE job (seq INTEGER PRIMARY KEY, state INTEGER NOT NULL, command TEXT NOT NULL)")
    connection.execute("CREATE TABLE attempt (job INTEGER NOT NULL, output BLOB NOT NULL)")
    return connection
