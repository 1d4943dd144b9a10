"""A disk that fails: files of SQLite whose writes, syncs, openings and truncations go wrong when a test says so."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable
from typing import Any

import apsw

IOERR = {
    "open": apsw.SQLITE_CANTOPEN,
    "read": apsw.SQLITE_IOERR_READ,
    "write": apsw.SQLITE_IOERR_WRITE,
    "sync": apsw.SQLITE_IOERR_FSYNC,
    "truncate": apsw.SQLITE_IOERR_TRUNCATE,
    "delete": apsw.SQLITE_IOERR_DELETE,
}


def never(kind: str, n: int) -> bool:
    return False


class Disk(apsw.VFS):
    """The system's files, each call of which asks ``plan`` first: True means that it fails."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.full = False  # a full disk refuses to grow files: its own error, at writes only
        self.plan: Callable[[str, int], bool] = never
        super().__init__(name, "")

    def ask(self, kind: str) -> None:
        self.calls[kind] += 1
        if self.full and kind == "write":
            self.failed[kind] += 1
            raise _error(apsw.FullError, apsw.SQLITE_FULL)
        if self.plan(kind, self.calls[kind]):
            self.failed[kind] += 1
            raise _error(apsw.CantOpenError if kind == "open" else apsw.IOError, IOERR[kind])

    def heal(self) -> None:
        self.plan, self.full = never, False

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        self.ask("open")
        return File(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        self.ask("delete")
        super().xDelete(filename, syncdir)

    def xGetLastError(self) -> tuple[int, str]:
        return (errno.ENOSPC if self.full else errno.EIO), ""


class File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        super().__init__("", name, flags)

    def xRead(self, amount: int, offset: int) -> bytes:
        self._disk.ask("read")
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.ask("write")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        self._disk.ask("sync")
        super().xSync(flags)

    def xTruncate(self, size: int) -> None:
        self._disk.ask("truncate")
        super().xTruncate(size)


def _error(kind: type[apsw.Error], code: int) -> apsw.Error:
    error = kind("the disk fails")
    error.extendedresult = code
    return error
