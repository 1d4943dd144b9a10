"""The file: opening and refusing it, its one write lock, its transactions, its migrations.

Nobody here opens and closes the database file while a connection has it open: closing any descriptor of a file drops
all the locks that the process holds on it, SQLite's among them.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import apsw

from queuectl.api.errors import StorageBusy, StorageError, StorageFull, StorageInvalid

from . import BUSY_SECONDS, statements
from .files import open_private
from .lock import WriteLock

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

APPLICATION_ID = 0x51435431  # "QCT1", in the header of the file
SCHEMA = os.path.join(statements.FOLDER, "schema")
#: Where a lock on one machine is not seen by another, and shared memory is not shared.
NETWORK = frozenset(
    "nfs nfs4 cifs smb smb2 smb3 smbfs ncpfs afs 9p ceph lustre gpfs beegfs glusterfs davfs "
    "fuse.sshfs fuse.glusterfs fuse.ceph fuse.rclone fuse.s3fs fuse.gcsfuse fuse.davfs2 afpfs webdav".split()
)
_SYNCHRONOUS = {"full": "FULL", "normal": "NORMAL"}
_PRAGMAS = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = {synchronous};
PRAGMA cache_size = -16000;
PRAGMA journal_size_limit = 67108864;
PRAGMA temp_store = MEMORY;
"""


#: How code fails at a row that is not what it wrote.
FAULTS = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError)


class Nonsense(ValueError):
    """A row is not what was written: the file is damaged."""


#: What no caller can be to blame for.
DAMAGE = (Nonsense, UnicodeDecodeError, json.JSONDecodeError)


class Database:
    """One connection to the file, and what a process remembers of it. Belongs to one thread."""

    def __init__(
        self, path: str, durability: str = "full", *, busy_seconds: float = BUSY_SECONDS, vfs: str | None = None
    ) -> None:
        self.path = os.path.realpath(path)
        self.home = self.path + ".d"
        self.vfs = vfs  # None: the system's own files; tests put one before it that fails
        self.busy_seconds = busy_seconds
        self.durability = durability
        self.texts: dict[int, str] = {}  # id -> text, for reading; ids are never given twice
        self.text_ids: dict[str, int] = {}  # text -> id, for writing; void when ``text_age`` changes
        self.text_age = -1
        self.queue_ids: dict[str, int] = {}
        self.queue_names: dict[int, str] = {}
        self.seen_version = 0
        self._refuse_place()
        try:
            self.lock = WriteLock(self.path + ".lock")
        except OSError as error:
            raise StorageError(f"cannot open the database {self.path}: {_why(error)}") from error
        try:
            self._open()
        except BaseException as error:
            failure = error
            if isinstance(error, apsw.Error):
                failure = self.translate(error)
            elif isinstance(error, FAULTS):
                failure = self.nonsense(error)
            self.close()
            raise failure from None
        self.writing = Writing(self)
        self.reading = Reading(self)
        self.execute: Callable[..., Any] = self.conn.execute

    # -- opening ----------------------------------------------------------------------------------

    def _refuse_place(self) -> None:
        """Say in one sentence what is wrong with the place, before SQLite says it in three words."""
        folder = os.path.dirname(self.path)
        if not os.path.isdir(folder):
            raise StorageError(f"cannot open the database {self.path}: its folder {folder} does not exist")
        if os.path.isdir(self.path):
            raise StorageInvalid(f"{self.path} is a folder, not a database; name a file in it")
        if (kind := filesystem_of(folder)) in NETWORK:
            raise StorageInvalid(
                f"{self.path} is on a network file system ({kind}), where SQLite loses data; "
                "put it on a local disk, or use a storage with a server"
            )

    def _open(self) -> None:
        self._create_file()
        self.conn = apsw.Connection(self.path, flags=apsw.SQLITE_OPEN_READWRITE, vfs=self.vfs, statementcachesize=256)
        self._file = self._which_file()
        self.conn.set_busy_timeout(round(1000 * self.busy_seconds))
        # Plans do not depend on the values: else statements beside partial indexes are parsed anew for each.
        self.conn.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        # An empty file is somebody's about to be filled: looking into it could get in the way of that.
        if os.stat(self.path).st_size == 0 or self._version() < newest_version():
            self._lock()
            try:
                self._migrate(self._version())
            finally:
                self.lock.release()
        self.conn.execute(_PRAGMAS.format(synchronous=_SYNCHRONOUS[self.durability]))
        ((identity,),) = self.conn.execute("SELECT identity FROM meta")
        self.identity = str(identity)

    def _create_file(self) -> None:
        """Make the file with its mode; SQLite gives the same to the files it puts beside it."""
        try:
            os.close(open_private(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        except OSError as error:
            raise StorageError(f"cannot make the database {self.path}: {_why(error)}") from error

    def _version(self) -> int:
        """The version of what is there; 0 for nothing. Raises StorageInvalid for what is not ours."""
        try:
            self.conn.execute("BEGIN")  # one moment: another process may be making it
            ((application,),) = self.conn.execute("PRAGMA application_id")
            ((version,),) = self.conn.execute("PRAGMA user_version")
            ((tables,),) = self.conn.execute("SELECT count(*) FROM sqlite_schema")
            self.conn.execute("COMMIT")
        except apsw.NotADBError as error:
            raise StorageInvalid(f"{self.path} is not a database; choose another file") from error
        if application != APPLICATION_ID:
            if application or tables:
                raise StorageInvalid(f"{self.path} is a database of another program; choose another file")
            return 0
        if version > newest_version():
            raise StorageInvalid(
                f"{self.path} was made by a newer QueueCTL (format {version}, this one knows up to "
                f"{newest_version()}); upgrade QueueCTL"
            )
        return int(version)

    def _migrate(self, version: int) -> None:
        """Bring the file to this version, after a copy of it was put beside it. Under the lock."""
        if version == newest_version():
            return  # another process was quicker
        if version:
            self._copy_before(version)
        else:
            self.conn.execute("PRAGMA journal_mode = WAL")
        self.conn.execute("PRAGMA synchronous = FULL")
        self.conn.create_scalar_function("queuectl_fault", _fault, 2, deterministic=True)
        self.conn.execute("BEGIN IMMEDIATE")
        try:
            for number, name in enumerate(_migrations()[version:], version + 1):
                self.conn.execute(statements.read(SCHEMA, name))
                self.conn.execute(f"PRAGMA user_version = {number}")
            if not version:
                self.conn.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                self.conn.execute(
                    "INSERT INTO meta (identity, next_seq, created_at) VALUES (?, 1, ?)",
                    (os.urandom(8).hex(), time.time_ns() // 1_000_000),
                )
            self.conn.execute("COMMIT")
        except BaseException:
            if self.conn.in_transaction:
                self.conn.execute("ROLLBACK")
            raise

    def _copy_before(self, version: int) -> None:
        copy = f"{self.path}.v{version}"
        if os.path.exists(copy):
            return  # of an attempt that failed: the file has not changed since
        part = f"{copy}.part"
        if os.path.exists(part):
            os.unlink(part)
        os.close(open_private(part, os.O_RDWR | os.O_CREAT | os.O_EXCL))
        self.conn.execute("VACUUM INTO ?", (part,))
        os.rename(part, copy)

    def close(self) -> None:
        if hasattr(self, "conn"):
            try:
                self.conn.close()
            except apsw.Error:
                pass  # what could not be moved out of the log stays in it
        self.lock.close()

    # -- transactions -----------------------------------------------------------------------------

    def _lock(self) -> None:
        if not self.lock.acquire(self.busy_seconds):
            raise StorageBusy(f"the database {self.path} has been busy for {self.busy_seconds:g} s; try again")

    def _which_file(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def watch(self) -> None:
        """Raise if the file is not the one that was opened: what is stored in that one nobody would ever see."""
        file = self._which_file()
        if file != self._file:
            what = "deleted" if file is None else "replaced by another file"
            raise StorageInvalid(
                f"the database {self.path} was {what} while it was in use; put it back, or end what uses it"
            )

    def begin(self) -> None:
        self._lock()
        try:
            self.watch()
            self.execute("BEGIN IMMEDIATE")
        except BaseException:
            self.lock.release()
            raise

    def rollback(self) -> None:
        """Undo, also what this process remembers of what it was about to store."""
        self.text_ids.clear()
        self.texts.clear()
        self.queue_ids.clear()
        self.queue_names.clear()
        if self.conn.in_transaction:  # a full disk has rolled back already
            try:
                self.execute("ROLLBACK")
            except apsw.Error:
                pass  # what went wrong before is what is told

    def translate(self, error: apsw.Error) -> StorageError:
        """What SQLite said, as one sentence of ours."""
        name = self.path
        if isinstance(error, apsw.BusyError | apsw.LockedError):
            return StorageBusy(f"the database {name} is in use by another program; try again")
        if isinstance(error, apsw.FullError) or (isinstance(error, apsw.IOError) and self._no_space()):
            return StorageFull(f"no space left for the database {name}; nothing was stored")
        if isinstance(error, apsw.NotADBError | apsw.CorruptError):
            return StorageInvalid(f"the database {name} is damaged ({complaint(error)}); restore a backup")
        if isinstance(error, apsw.SQLError | apsw.ConstraintError | apsw.MismatchError):
            return StorageInvalid(
                f"the database {name} is not what it should be ({complaint(error)}); restore a backup"
            )
        if isinstance(error, apsw.ReadOnlyError | apsw.PermissionsError):
            return StorageError(f"the database {name} cannot be written: the file or its folder is read-only")
        if isinstance(error, apsw.CantOpenError):
            return StorageError(f"the database {name} cannot be opened: may its folder be read and written?")
        return StorageError(f"the database {name} failed: {complaint(error)}")

    def nonsense(self, error: BaseException) -> StorageInvalid:
        """What is said of a row that cannot be what it was when it was written."""
        return StorageInvalid(
            f"the database {self.path} is damaged (a row makes no sense: {type(error).__name__}); restore a backup"
        )

    def is_whole(self) -> bool:
        """Whether tables and indexes are what they should be. Looks at all of them."""
        try:
            return self.conn.execute("PRAGMA integrity_check(1)").fetchall() == [("ok",)]
        except apsw.Error:
            return False

    def _no_space(self) -> bool:
        import errno

        return hasattr(self, "conn") and self.conn.system_errno in (errno.ENOSPC, errno.EDQUOT)

    # -- what is remembered -----------------------------------------------------------------------

    def queue_id(self, name: str) -> int:
        """The number of a queue, which is made known if need be. Only while writing."""
        number = self.queue_ids.get(name)
        if number is None:
            row = self.execute("SELECT id FROM queue WHERE name = ?", (name,)).fetchone()
            if row is None:
                row = self.execute("INSERT INTO queue (name) VALUES (?) RETURNING id", (name,)).fetchone()
            number = self.queue_ids[name] = int(row[0])
        return number

    def known_queues(self, names: Any) -> list[int]:
        """The numbers of those of the named queues that exist."""
        found = []
        for name in dict.fromkeys(names):
            row = self.execute("SELECT id FROM queue WHERE name = ?", (name,)).fetchone()
            if row is not None:
                found.append(int(row[0]))
        return found

    def queue_name(self, number: int) -> str:
        name = self.queue_names.get(number)
        if name is None:
            row = self.execute("SELECT name FROM queue WHERE id = ?", (number,)).fetchone()
            name = self.queue_names[number] = str(row[0])
        return name

    def text_id(self, body: str) -> int:
        """The number of a text, which is stored if it is new. Only while writing, after ``begin_texts``."""
        number = self.text_ids.get(body)
        if number is None:
            packed = pack(body)
            row = self.execute("SELECT id FROM text WHERE body = ?", (packed,)).fetchone()
            if row is None:
                row = self.execute("INSERT INTO text (body) VALUES (?) RETURNING id", (packed,)).fetchone()
            if len(self.text_ids) > 10_000:
                self.text_ids.clear()
            number = self.text_ids[body] = int(row[0])
        return number

    def begin_texts(self, age: int) -> None:
        """Forget remembered numbers if texts were removed since."""
        if age != self.text_age:
            self.text_ids.clear()
            self.text_age = age

    def text(self, number: int) -> str:
        body = self.texts.get(number)
        if body is None:
            row = self.execute("SELECT body FROM text WHERE id = ?", (number,)).fetchone()
            if len(self.texts) > 10_000:
                self.texts.clear()
            body = self.texts[number] = unpack(row[0])
        return body


class Writing:
    """``with db.writing:`` one transaction under the write lock; errors come out as ours."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def __enter__(self) -> None:
        try:
            self._db.begin()
        except apsw.Error as error:
            raise self._db.translate(error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        db = self._db
        try:
            if error is None:
                db.execute("COMMIT")
                return
            db.rollback()
        except apsw.Error as failed:
            db.rollback()
            raise db.translate(failed) from failed
        finally:
            db.lock.release()
        if isinstance(error, apsw.Error):
            raise db.translate(error) from error
        if isinstance(error, DAMAGE) or (isinstance(error, FAULTS) and not db.is_whole()):
            raise db.nonsense(error) from error


class Reading:
    """``with db.reading:`` several reads of one moment; errors come out as ours."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.watch()
        try:
            self._db.execute("BEGIN")
        except apsw.Error as error:
            raise self._db.translate(error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._db.conn.in_transaction:
                self._db.execute("COMMIT")
        except apsw.Error as failed:
            if error is None:
                raise self._db.translate(failed) from failed
        if isinstance(error, apsw.Error):
            raise self._db.translate(error) from error
        if isinstance(error, FAULTS):
            raise self._db.nonsense(error) from error


def _fault(*columns: Any) -> str:
    """For a migration: the fingerprint of a dead job, of its columns."""
    from queuectl.api.model import fault_of

    command, reason = columns
    return fault_of(unpack(command), reason)


def newest_version() -> int:
    """The format that this program writes."""
    return len(_migrations())


def _migrations() -> list[str]:
    """The names of the files that change the format, in order: the n-th makes format n."""
    return sorted(name for name in os.listdir(SCHEMA) if name.endswith(".sql"))


def pack(text: str) -> str | bytes:
    """A text as SQLite can keep it: what came from a file name that is not UTF-8 becomes bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
    return text


def unpack(value: Any) -> str:
    return value.decode("utf-8", "surrogatepass") if isinstance(value, bytes) else value


def complaint(text: object) -> str:
    """What SQLite found wrong with a file, in one line."""
    return " ".join(str(text).replace("*** in database main ***", "").split())


def filesystem_of(folder: str) -> str | None:
    """The type of the file system that *folder* is on, or None where the system does not say."""
    if sys.platform != "linux":
        return None
    try:
        device = os.stat(folder).st_dev
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
            mounts = file.read()
    except OSError:
        return None
    wanted, best, kind = f" {os.major(device)}:{os.minor(device)} ", -1, None
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        if wanted in left:
            return right.split(" ", 1)[0]
        point = left.split(" ")[4]
        # Some file systems show another device number in stat: the longest mount point decides there.
        if len(point) > best and (folder == point or folder.startswith(point.rstrip("/") + "/")):
            best, kind = len(point), right.split(" ", 1)[0]
    return kind


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
