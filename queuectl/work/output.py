"""A worker's two output files, kept from job to job and never mixed between two.

A new file for each job halves the rate on ext4, so each worker keeps a pair. A job gets a description of its own
(opened afresh, closed here right after the spawn). Afterwards a write lease on ours *means* that nobody else has the
file open, neither a daemon that a job left nor somebody who follows it: only then is it truncated for the next job.
Otherwise, and where leases do not exist, the next job gets a new file and the old one lives on for who has it.
"""

from __future__ import annotations

import fcntl
import os
import sys

from queuectl.api.model import INLINE_OUTPUT

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_F_SETLEASE = getattr(fcntl, "F_SETLEASE", 1024)
_PUNCH = 0x02 | 0x01  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
_BLOCK = 4096


class Limits:
    """How much of a stream is kept: all up to ``limit``, else its ``head`` and its ``tail`` (bytes)."""

    def __init__(self, limit: int = 10 << 20, head: int = 1 << 20, tail: int = 1 << 20) -> None:
        self.limit = limit
        self.head = min(head, limit)
        self.tail = min(tail, limit)


class Stream:
    """One of the two files."""

    def __init__(self, path: str, limits: Limits) -> None:
        self.path = path
        self.limits = limits
        self._descriptor = -1
        self._punched = 0  # the hole reaches up to here
        self._touched = True  # by the job that ended last, as far as is known
        self._renew()

    def _renew(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass
        self._descriptor = os.open(self.path, _FLAGS, 0o600)
        ours = os.fstat(self._descriptor)
        self._identity = ours.st_ino, ours.st_dev
        self._emptied_at = ours.st_ctime_ns

    def open_for_job(self) -> int:
        """A descriptor with a description of its own, to hand to the job and then close."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        try:
            return os.open(self.path, flags)
        except FileNotFoundError:  # somebody has taken it away since we looked
            self._renew()
            return os.open(self.path, flags)

    def size(self) -> int:
        """Bytes written so far, kept or not."""
        return os.fstat(self._descriptor).st_size

    def trim(self) -> int:
        """While the job runs: give back the middle of a stream that grows too long. The size written so far."""
        size = self.size()
        if size > self.limits.limit:
            start = -(-self.limits.head // _BLOCK) * _BLOCK
            end = (size - self.limits.tail) // _BLOCK * _BLOCK
            if end > max(start, self._punched):
                _punch(self._descriptor, start, end - start)
                self._punched = end
        return size

    def finish(self) -> tuple[int, bytes | None]:
        """When nothing can write any more: the size written, and the kept bytes if they fit a settlement.

        A stream over the limit is cut to head, a line that says how much is missing, and tail.
        """
        ended = os.fstat(self._descriptor)
        self._touched = ended.st_size > 0 or ended.st_ctime_ns != self._emptied_at
        return finish(self._descriptor, ended.st_size, self.limits)

    def reset(self) -> None:
        """Make ready for the next job: the same file if nobody else has it, else a new one."""
        self._punched = 0
        if not self._is_alone():
            self._renew()
        elif self._touched:
            self._empty()

    def _empty(self) -> None:
        """Make it an empty file again, if it is where it was; else a new one."""
        try:
            named = os.lstat(self.path)
        except OSError:
            self._renew()
            return
        if named.st_nlink != 1 or (named.st_ino, named.st_dev) != self._identity:
            self._renew()  # given away, or moved by the job: it has another name now, or none
            return
        self._emptied_at = named.st_ctime_ns
        if named.st_size:
            self._emptied_at = -1  # not known: looked at after the next job
            os.ftruncate(self._descriptor, 0)
            # ext4 sends a file that was truncated to nothing to the disk when it is next closed, and truncating it
            # again then waits for that. Any close does: this one, with nothing in the file.
            os.close(os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW))

    def _is_alone(self) -> bool:
        """Whether nobody else has the file open."""
        try:
            fcntl.fcntl(self._descriptor, _F_SETLEASE, fcntl.F_WRLCK)
            fcntl.fcntl(self._descriptor, _F_SETLEASE, fcntl.F_UNLCK)
        except OSError:
            return False
        return True

    def given_away(self) -> None:
        """The pool has taken the file over: the next job gets a new one."""
        self._punched = 0
        self._renew()

    def sync(self) -> None:
        os.fsync(self._descriptor)

    def remove(self) -> None:
        os.close(self._descriptor)
        self._descriptor = -1
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass


def finish(descriptor: int, size: int, limits: Limits | None) -> tuple[int, bytes | None]:
    """See ``Stream.finish``: the same for the file of a worker that is dead. Without *limits* it was cut already."""
    kept = size
    if limits is not None and size > limits.limit:
        kept = _cut(descriptor, size, limits)
    return size, (os.pread(descriptor, kept, 0) if kept else b"") if kept <= INLINE_OUTPUT else None


def _cut(descriptor: int, size: int, limits: Limits) -> int:
    last = os.pread(descriptor, limits.tail, size - limits.tail)
    note = f"\n[queuectl: {size - limits.head - limits.tail} bytes are not kept here]\n".encode()
    os.ftruncate(descriptor, limits.head)
    return limits.head + os.pwrite(descriptor, note + last, limits.head)


def _punch(descriptor: int, start: int, length: int) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate(descriptor, _PUNCH, ctypes.c_int64(start), ctypes.c_int64(length))
