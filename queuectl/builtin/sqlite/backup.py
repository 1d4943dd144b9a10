"""A copy of the file, and of the output beside it, while others go on writing.

The copy is made within one read transaction: in WAL mode a reader makes no writer wait, and a copy that is not held to
one moment would begin again whenever somebody commits. What it costs is a log that grows until it is done.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import apsw

from queuectl.api.errors import Conflict, StorageError, StorageFull, StorageInvalid

from . import statements
from .database import complaint
from .files import open_private, private_folders
from .rows import attempt_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .database import Database

_SQL = statements.load("moving")
STEP = 64  # pages: a quarter of a megabyte
#: Bytes after which what was copied is sent to the disk: all of it at the end would keep commits waiting.
FLUSH = 4 << 20


def backup(db: Database, path: str, between: Callable[[], None] | None = None) -> None:
    """Write the copy. *between* is called after each step, for tests."""
    path = os.path.abspath(path)
    for name in (path, f"{path}.d"):
        if os.path.lexists(name):
            raise Conflict(f"{name} exists already; a backup overwrites nothing")
    part = f"{path}.{os.getpid()}.part"
    try:
        with db.reading:
            db.execute("SELECT 1 FROM meta").fetchall()  # now is the moment
            try:
                _copy(db, part, between)
                _copy_output(db, path)
            except (OSError, apsw.Error) as error:
                raise _failed(db, path, error) from error
        os.rename(part, path)
        _flush_folder(os.path.dirname(path))
    except BaseException as error:
        _remove(path, part)
        if isinstance(error, OSError):
            raise _failed(db, path, error) from error
        raise


def _copy(db: Database, part: str, between: Callable[[], None] | None) -> None:
    file = open_private(part, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    target = None
    try:
        target = apsw.Connection(part, flags=apsw.SQLITE_OPEN_READWRITE)
        target.execute("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -2000")
        dirty = 0
        with target.backup("main", db.conn, "main") as copying:
            ((size,),) = db.execute("PRAGMA page_size").fetchall()
            while not copying.step(STEP):
                dirty += STEP * size
                if dirty >= FLUSH:
                    os.fsync(file)
                    dirty = 0
                if between is not None:
                    between()
        ((verdict,),) = target.execute("PRAGMA quick_check(1)").fetchall()
        if verdict != "ok":
            raise StorageInvalid(
                f"the copy of {db.path} is damaged ({complaint(verdict)}): is the database? queuectl doctor tells"
            )
        os.fsync(file)
    finally:
        if target is not None:
            target.close()
        os.close(file)


# -- output -----------------------------------------------------------------------------------------


def _copy_output(db: Database, path: str) -> None:
    source, home = os.path.join(db.home, "out"), f"{path}.d"
    if not os.path.isdir(source):
        return
    target = os.path.join(home, "out")
    for name in _kept(db, source):
        if not os.path.isdir(target):
            private_folders(home, "out")
        try:
            _copy_file(os.path.join(source, name), os.path.join(target, name))
        except FileNotFoundError:
            continue  # its job was deleted since
    for folder in (target, home):
        if os.path.isdir(folder):
            _flush_folder(folder)


def _kept(db: Database, folder: str) -> Iterator[str]:
    """The files of attempts that had ended at the moment of the copy."""
    with os.scandir(folder) as entries:
        for entry in entries:
            seq, _, rest = entry.name.partition(".")
            attempt = rest.partition(".")[0]
            if seq.isdecimal() and attempt.isdecimal():
                id = attempt_id(int(seq), int(attempt))
                if db.execute(_SQL["has_attempt"], (id,)).fetchone():
                    yield entry.name


def _copy_file(source: str, target: str) -> None:
    with open(source, "rb") as reader, open(open_private(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)
        writer.flush()
        os.fsync(writer.fileno())


def _flush_folder(path: str) -> None:
    """Make the names in a folder survive a power cut; where the system has no such thing, nothing."""
    try:
        folder = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(folder)
    except OSError:
        pass
    finally:
        os.close(folder)


def _remove(path: str, part: str) -> None:
    """What an unfinished copy has left."""
    shutil.rmtree(f"{path}.d", ignore_errors=True)
    try:
        os.unlink(part)
    except OSError:
        pass


def _failed(db: Database, path: str, error: OSError | apsw.Error) -> StorageError:
    import errno

    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return db.translate(error)
    full = isinstance(error, apsw.FullError) or (
        isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    )
    if full:
        return StorageFull(f"no space left for the backup {path}")
    why = (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)
    return StorageError(f"cannot write the backup {path}: {why}")
