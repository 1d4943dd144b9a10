"""The log of pools in the background: one file of bounded size, and a few older ones beside it."""

from __future__ import annotations

import fcntl
import os
import sys
from typing import NamedTuple

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")

NAME = "worker.log"
_PIECE = 1 << 20


class LogFile(NamedTuple):
    """Where it is, how long it may become (bytes), and how many older ones are kept: ``PATH.1`` is the latest."""

    path: str
    limit: int
    keep: int

    def open(self) -> int:
        """A descriptor to append with."""
        self.turn()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self.path, flags, 0o600)
        os.fchmod(descriptor, 0o600)
        return descriptor

    def turn(self) -> bool:
        """Empty the file if it is too long, after a copy of it was put beside it. Whether that was so.

        Copied and cut, not renamed: pools, keepers and workers have it open for as long as they live, and append.
        """
        try:
            if os.stat(self.path).st_size <= self.limit:
                return False
            descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_size <= self.limit:
                return False  # another pool was quicker
            if self.keep:
                self._copy(descriptor)
            os.ftruncate(descriptor, 0)
        except OSError:  # another pool is at it, or there is no space: it goes on in the same file
            return False
        finally:
            os.close(descriptor)
        return True

    def _copy(self, descriptor: int) -> None:
        part = f"{self.path}.new"
        try:
            os.unlink(part)
        except FileNotFoundError:
            pass
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        with open(os.open(part, flags, 0o600), "wb", buffering=0) as copy:
            at = 0
            while data := os.pread(descriptor, _PIECE, at):
                copy.write(data)
                at += len(data)
        for number in range(self.keep, 1, -1):
            try:
                os.replace(f"{self.path}.{number - 1}", f"{self.path}.{number}")
            except FileNotFoundError:
                pass
        os.replace(part, f"{self.path}.1")
