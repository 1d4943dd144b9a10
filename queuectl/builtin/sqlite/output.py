"""What attempts printed: short streams in the attempt's row, long ones as files beside the database.

A file is named by numbers only, ``out/<seq>.<attempt>.out``, never by what a user called the job.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from queuectl.api.errors import BadInput, StorageError, StorageFull

from . import statements
from .files import open_private, private_folders
from .rows import attempt_id, seq_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .database import Database

_SQL = statements.load("output")
#: The files of so many attempts are looked for; of a job with more, ``check`` finds the rest.
MOST = 1000
_SUFFIX = {"stdout": "out", "stderr": "err"}


def path_of(db: Database, seq: int, attempt: int, stream: str) -> str:
    if stream not in _SUFFIX:
        raise BadInput(f"{stream!r} is no stream: stdout or stderr")
    return os.path.join(db.home, "out", f"{seq}.{attempt}.{_SUFFIX[stream]}")


def put(db: Database, seq: int, attempt: int, stream: str, offset: int, data: bytes) -> None:
    path = path_of(db, seq, attempt, stream)
    try:
        private_folders(db.home, "out")
        with open(open_private(path, os.O_RDWR | os.O_CREAT), "r+b") as file:
            file.seek(offset)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _failed(path, error) from error


def keep(db: Database, seq: int, attempt: int, stream: str, path: str) -> bool:
    """Move a file here; False if it is on another file system, and has to be copied."""
    import errno

    target = path_of(db, seq, attempt, stream)
    try:
        private_folders(db.home, "out")
        fd = open_private(path, os.O_RDWR)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(path, target)
    except OSError as error:
        if error.errno == errno.EXDEV:
            return False
        raise _failed(target, error) from error
    return True


def read(db: Database, id: str, attempt: int, stream: str, offset: int, size: int) -> bytes:
    with db.reading:
        seq = seq_of(db, id)
        if seq is None or offset < 0 or size <= 0:
            return b""
        path = path_of(db, seq, attempt, stream)
        row = db.execute(_SQL[stream], (offset + 1, size, attempt_id(seq, attempt))).fetchone()
        if row is None:
            return b""  # not an attempt that ended
        if row[0] is not None:
            return bytes(row[0])
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(size)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise StorageError(f"cannot read the output {path}: {error.strerror}") from error


def size(db: Database, id: str, attempt: int, stream: str) -> int:
    with db.reading:
        seq = seq_of(db, id)
        if seq is None:
            return 0
        path = path_of(db, seq, attempt, stream)
        row = db.execute(_SQL[f"{stream}_size"], (attempt_id(seq, attempt),)).fetchone()
        if row is None:
            return 0
        if row[0] is not None:
            return int(row[0])
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def remove(db: Database, gone: Iterable[tuple[int, int]]) -> None:
    """Remove the files of deleted jobs, given as (seq, attempts). What cannot be removed ``check`` finds."""
    folder = os.path.join(db.home, "out")
    if not os.path.isdir(folder):
        return
    for seq, attempts in gone:
        for attempt in range(1, min(attempts, MOST) + 1):
            for stream in _SUFFIX:
                try:
                    os.unlink(path_of(db, seq, attempt, stream))
                except OSError:
                    pass


def _failed(path: str, error: OSError) -> StorageError:
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(f"no space left for the output {path}")
    return StorageError(f"cannot keep the output {path}: {error.strerror}")
