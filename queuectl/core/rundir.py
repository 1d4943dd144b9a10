"""The folder of live pools and workers (``run/``): who is there, and what each worker has in hand.

Flat, mode 0700, one storage each. ``<pool>.pool`` and ``<worker>.lock`` are locked by the process they name for as long
as it lives, so *a free lock means dead*; what can be seen under its final name is locked already. A worker's lock file
is also its record: what it holds and how far that got. The pool that is alive settles from it what a worker could not
report, and commands and the dashboard read it to show workers. Written with plain ``pwrite``: a record survives its
process, not a power cut, after which nobody is alive and the boot id says so.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

POOL_SUFFIX, WORKER_SUFFIX, SOCKET_SUFFIX, KEEPER_SUFFIX = ".pool", ".lock", ".sock", ".keeper"
LANE_MARK = "-"  # behind a worker's name, before the number of a further lane
DRAFT = ".new"  # behind the name of a file that is being made

# Layout of a worker's record.
IDENTITY_SIZE = 1024  # JSON of who it is, padded with NUL
SWEPT_AT = 1024  # one byte: the keeper has ended what the dead worker left
JOB_AT = 2048  # length and CRC, then JSON of the job in hand; length 0: none
JOB_HEAD = struct.Struct("<II")

STARTED, RUNNING, ENDED, DECIDED = "started", "running", "ended", "decided"


class JobRecord(NamedTuple):
    """What a worker has in hand."""

    id: str
    seq: int
    attempt: int
    phase: (
        str  # STARTED before the spawn, RUNNING once it has a leader, ENDED with the outcome, DECIDED with the verdict
    )
    started_at: int = 0
    ident: str = ""  # of the executor's handle
    outcome: list[Any] | None = None  # packed, from ENDED on
    verdict: str | None = None
    delay: float | None = None
    outlives: bool = False  # the run goes on without its worker: another takes it up by its ident


class WorkerRecord(NamedTuple):
    """A worker, as its lock file tells."""

    id: str
    pool: str
    pid: int
    inode: int  # of its pidfd: with the pid, its identity in this boot; 0: unknown
    boot: str
    namespace: int  # that its pid is counted in
    started_at: int
    path: str  # of the lock file
    cgroup: str | None = None
    alive: bool = False
    swept: bool = False
    job: JobRecord | None = None

    def output_path(self, stream: str) -> str:
        """The kept file of ``stdout`` or ``stderr``: the running job's output."""
        return output_path(self.path, stream)

    @property
    def worker(self) -> str:
        """The worker whose lane this is; its first lane has its name."""
        return self.id.partition(LANE_MARK)[0]

    @property
    def socket_path(self) -> str:
        """Where the worker takes a new pool."""
        return self.path.removesuffix(WORKER_SUFFIX) + SOCKET_SUFFIX

    @property
    def mark(self) -> str:
        """What every process of the job in hand has in its environment, unless it cleared it."""
        return run_mark(self.id, self.job.id, self.job.attempt) if self.job else f"QUEUECTL_RUN={self.id}."


class PoolRecord(NamedTuple):
    """A pool, as its lock file tells."""

    id: str
    pid: int
    inode: int
    boot: str
    namespace: int
    started_at: int
    path: str
    host: str = ""
    queues: tuple[str, ...] = ()
    workers: int = 0
    version: str = ""
    alive: bool = False


def run_mark(worker: str, job: str, attempt: int) -> str:
    return f"QUEUECTL_RUN={worker}.{job}.{attempt}"


def output_path(lock_path: str, stream: str) -> str:
    return f"{lock_path.removesuffix(WORKER_SUFFIX)}.{'err' if stream == 'stderr' else 'out'}"


def is_locked(path: str) -> bool:
    """Whether somebody holds the lock of a file; a file that is not there is not locked."""
    if sys.platform == "win32":  # no pool runs there
        return False
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def list_pools(run_dir: str) -> list[PoolRecord]:
    """The pools that have a record here, dead ones included until somebody has taken over from them."""
    return [record for path in _paths(run_dir, POOL_SUFFIX) if (record := read_pool(path)) is not None]


def list_lanes(run_dir: str) -> list[WorkerRecord]:
    """The lanes that have a record here, those of dead workers included until what they held is settled."""
    return [record for path in _paths(run_dir, WORKER_SUFFIX) if (record := read_worker(path)) is not None]


def list_workers(run_dir: str) -> list[WorkerRecord]:
    """The workers that have a record here, each by the lane whose job runs, or else by its first one."""
    workers: dict[str, WorkerRecord] = {}
    for record in list_lanes(run_dir):
        runs = record.job is not None and record.job.phase in (STARTED, RUNNING)
        if runs or record.worker not in workers:
            workers[record.worker] = record
    return list(workers.values())


def lanes_of(run_dir: str, worker: str) -> list[str]:
    """The paths of the records of a worker's lanes."""
    return [path for path in _paths(run_dir, WORKER_SUFFIX) if os.path.basename(path).startswith(worker)]


def live_keepers(run_dir: str) -> list[int]:
    """The pids of the keepers that live, as their lock files tell."""
    pids = []
    for path in _paths(run_dir, KEEPER_SUFFIX):
        if is_locked(path):
            try:
                with open(path, "rb") as file:
                    pids.append(int(json.loads(file.read())["pid"]))
            except OSError:
                continue  # it has just ended
    return pids


def dead_keepers(run_dir: str) -> list[str]:
    """The files of keepers that were killed: nothing depends on them."""
    return [path for path in _paths(run_dir, KEEPER_SUFFIX) if not is_locked(path)]


def dead_drafts(run_dir: str) -> list[str]:
    """What processes left that were killed while they made the file that is to make them known.

    It may also be the draft of one that lives and has not locked it yet: if that is removed, it makes another.
    """
    suffixes = (POOL_SUFFIX + DRAFT, WORKER_SUFFIX + DRAFT, KEEPER_SUFFIX + DRAFT)
    return [path for path in _paths(run_dir, suffixes) if not is_locked(path)]


def find_run(run_dir: str, job: str, attempt: int) -> WorkerRecord | None:
    """The lane that has this attempt in hand."""
    for record in list_lanes(run_dir):
        if record.job is not None and (record.job.id, record.job.attempt) == (job, attempt):
            return record
    return None


def read_pool(path: str) -> PoolRecord | None:
    try:
        with open(path, "rb") as file:
            data = json.loads(file.read())
    except (OSError, ValueError):
        return None
    known = {key: value for key, value in data.items() if key in PoolRecord._fields}
    known.update(path=path, alive=is_locked(path), queues=tuple(known.get("queues", ())))
    return PoolRecord(**known)


def read_worker(path: str) -> WorkerRecord | None:
    """A worker's record; None if it is gone. The lock is looked at first: a free one makes the rest final."""
    alive = is_locked(path)
    try:
        with open(path, "rb") as file:
            content = file.read()
        data = json.loads(content[:IDENTITY_SIZE].rstrip(b"\0"))
    except (OSError, ValueError):
        return None
    known = {key: value for key, value in data.items() if key in WorkerRecord._fields}
    known.update(path=path, alive=alive, swept=content[SWEPT_AT : SWEPT_AT + 1] == b"S", job=_job(content[JOB_AT:]))
    return WorkerRecord(**known)


def _job(content: bytes) -> JobRecord | None:
    if len(content) < JOB_HEAD.size:
        return None
    length, crc = JOB_HEAD.unpack_from(content)
    body = content[JOB_HEAD.size : JOB_HEAD.size + length]
    if not length or len(body) < length or zlib.crc32(body) != crc:
        return None
    return JobRecord(*json.loads(body)[: len(JobRecord._fields)])


def _paths(run_dir: str, suffix: str | tuple[str, ...]) -> Iterator[str]:
    try:
        names = os.listdir(run_dir)
    except OSError:
        return
    for name in sorted(names):
        if name.endswith(suffix):
            yield os.path.join(run_dir, name)
