"""Writes the lock files of ``run/``: a pool's, and a worker's with the record of what it has in hand.

``core.rundir`` has the layout and reads them.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import zlib
from typing import TypedDict

from queuectl.api import trees
from queuectl.core.rundir import (
    DRAFT,
    IDENTITY_SIZE,
    JOB_AT,
    JOB_HEAD,
    KEEPER_SUFFIX,
    LANE_MARK,
    POOL_SUFFIX,
    SWEPT_AT,
    WORKER_SUFFIX,
    JobRecord,
    PoolRecord,
    WorkerRecord,
    lanes_of,
)

from .points import reached

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")


_encode = json.JSONEncoder(check_circular=False).encode


def quiet_pipe() -> tuple[int, int]:
    """A pipe for signals to wake a poll with: neither end blocks or is inherited."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    return read, write


def new_id() -> str:
    """A fresh name for a pool or a worker. Never reused: a name that comes back strands or steals jobs."""
    return os.urandom(8).hex()


def worker_id(pool: str) -> str:
    """A fresh name for a worker of a pool, whose first half is the pool's: what one leaves that dies before it has a
    record is known by that.
    """
    return pool[:8] + new_id()[:8]


def lane_id(worker: str, number: int) -> str:
    """The name of a worker's further lane: begins with that of its worker, which is the name of its first one."""
    return f"{worker}{LANE_MARK}{number}"


class Identity(TypedDict):
    """What tells a process from every other; the fields that pool and worker records share."""

    pid: int
    inode: int
    boot: str
    namespace: int


def own_identity() -> Identity:
    """What tells this process from every other: pid and pidfd, in this boot and pid namespace."""
    pid = os.getpid()
    pidfd = trees.open_pidfd(pid)
    inode = 0
    if pidfd is not None:
        inode = trees.pidfd_inode(pidfd)
        os.close(pidfd)
    return {"pid": pid, "inode": inode, "boot": trees.boot_id(), "namespace": trees.pid_namespace()}


def _create_locked(path: str, content: bytes, *, point: str) -> int:
    """A file that appears at *path* complete and locked; its descriptor, which holds the lock.

    A draft that is not locked is removed by whoever sees it: then another is made.
    """
    draft = path + DRAFT
    while True:
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # who looks whether it is locked is in the way for a moment
        reached(point)
        os.pwrite(descriptor, content, 0)
        try:
            os.rename(draft, path)
        except FileNotFoundError:
            os.close(descriptor)
            continue
        return descriptor


def create_pool_file(run_dir: str, record: PoolRecord) -> int:
    """Make ``<pool>.pool`` and hold its lock; the descriptor."""
    data = {key: value for key, value in record._asdict().items() if key not in ("path", "alive")}
    path = os.path.join(run_dir, record.id + POOL_SUFFIX)
    return _create_locked(path, json.dumps(data).encode(), point="pool.drafted")


def create_keeper_file(run_dir: str, name: str) -> tuple[str, int]:
    """Make ``<name>.keeper`` and hold its lock: a keeper is no stranger to whoever ends what dead workers left."""
    path = os.path.join(run_dir, name + KEEPER_SUFFIX)
    return path, _create_locked(path, json.dumps(own_identity()).encode(), point="keeper.drafted")


class Record:
    """A worker's own lock file: held for life, rewritten at each step of a job."""

    def __init__(self, run_dir: str, identity: WorkerRecord) -> None:
        self.path = os.path.join(run_dir, identity.id + WORKER_SUFFIX)
        data = {key: value for key, value in identity._asdict().items() if key not in ("path", "alive", "swept", "job")}
        content = json.dumps(data).encode()
        if len(content) > IDENTITY_SIZE:
            raise ValueError("the identity of a worker does not fit its record")
        content = content.ljust(JOB_AT + JOB_HEAD.size, b"\0")
        self._descriptor = _create_locked(self.path, content, point="worker.drafted")

    def write(self, job: JobRecord) -> None:
        """Replace the job in hand, in one write."""
        body = _encode(job).encode()
        os.pwrite(self._descriptor, JOB_HEAD.pack(len(body), zlib.crc32(body)) + body, JOB_AT)

    def clear(self) -> None:
        """Nothing is in hand any more."""
        os.pwrite(self._descriptor, JOB_HEAD.pack(0, 0), JOB_AT)

    def sync(self) -> None:
        """Make it survive a power cut, for a worker that ends without a pool."""
        os.fsync(self._descriptor)

    def remove(self) -> None:
        """Delete the file and let go of its lock; only when nothing is in hand."""
        os.unlink(self.path)
        os.close(self._descriptor)


def mark_swept(run_dir: str, worker: str) -> None:
    """Write into the records of a dead worker's lanes that nothing of its job lives."""
    for path in lanes_of(run_dir, worker):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            os.pwrite(descriptor, b"S", SWEPT_AT)
        finally:
            os.close(descriptor)
