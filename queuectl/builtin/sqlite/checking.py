"""What an operator should know of the file; what can be put right is put right."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import apsw

from queuectl.api.errors import StorageInvalid
from queuectl.api.model import Finding

from . import statements
from .database import complaint, filesystem_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .database import Database

_SQL = statements.load("checking")


#: The first SQLite whose write-ahead log cannot lose a commit when two processes reset it at once.
SAFE = (3, 51, 3)
MEMORY = ("tmpfs", "ramfs")
LOG_LARGE = 1 << 30
LOCK_SECONDS = 2.0


def check(db: Database) -> list[Finding]:
    """Reads all of the file; what is put right is looked for first, so that nobody waits where nothing is wrong.

    What is damaged is not put right: nobody knows what the right would be.
    """
    found: list[Finding] = []
    for look in (_version, _place, _lock, _integrity, _counts, _outbox, _texts, _log, _settings, _modes, _files):
        try:
            found += look(db)
        except StorageInvalid as error:
            found.append(Finding("error", str(error), "restore a backup", "integrity"))
        if found[-1].level == "error":
            break
    return found


def _version(db: Database) -> Iterator[Finding]:
    version = apsw.sqlite_lib_version()
    if tuple(int(part) for part in version.split(".")[:3]) >= SAFE:
        yield Finding("ok", f"SQLite {version}", id="sqlite-version")
    else:
        yield Finding(
            "error",
            f"SQLite {version} can lose what several processes write at once",
            "install apsw with its own SQLite: pip install --upgrade --force-reinstall apsw",
            "sqlite-version",
        )


def _place(db: Database) -> Iterator[Finding]:
    """A network is refused when the file is opened; what forgets is only told."""
    kind = filesystem_of(os.path.dirname(db.path))
    if kind in MEMORY:
        yield Finding(
            "warning",
            f"{db.path} is kept in memory ({kind}): its jobs are gone when the machine restarts",
            "put it on a disk: [storage.sqlite] path, or --db",
            "file-system",
        )
    else:
        yield Finding("ok", f"{db.path} is on a local file system ({kind or 'of unknown kind'})", id="file-system")


def _lock(db: Database) -> Iterator[Finding]:
    """Both locks of a writer: ours, where writers stand in line, and SQLite's own, that another program may hold."""
    if not db.lock.acquire(LOCK_SECONDS):
        who = _holder(f"{db.path}.lock")
        yield Finding(
            "error",
            f"the write lock of {db.path} is held for more than {LOCK_SECONDS:g} s"
            + (f" by process {who}" if who else ""),
            f"look at that process: ps -fp {who}"
            if who
            else "look for a process that is stopped: ps -e -o pid,stat,args",
            "locks",
        )
        return
    try:
        db.conn.set_busy_timeout(round(1000 * LOCK_SECONDS))
        db.execute("BEGIN IMMEDIATE")
        db.execute("ROLLBACK")
    except apsw.BusyError:
        yield Finding(
            "error",
            f"another program has {db.path} open and writes for more than {LOCK_SECONDS:g} s",
            f"find it and end it: fuser -v {db.path}",
            "locks",
        )
    except apsw.Error as error:
        yield Finding("error", str(db.translate(error)), "", "locks")
    else:
        yield Finding("ok", "the locks can be had", id="locks")
    finally:
        db.conn.set_busy_timeout(round(1000 * db.busy_seconds))
        db.lock.release()


def _holder(path: str) -> int | None:
    """The process that holds the flock of a file, where the system tells."""
    if sys.platform == "win32":
        return None
    try:
        found = os.stat(path)
        with open("/proc/locks", encoding="ascii") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in lines:
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5] == place and int(fields[4]) > 0:
            return int(fields[4])
    return None


def _integrity(db: Database) -> Iterator[Finding]:
    with db.reading:
        complaints = [complaint(text) for (text,) in db.execute(_SQL["integrity"])]
        ((lost,),) = db.execute(_SQL["lost_attempts"]).fetchall()
    if lost:
        complaints.append(f"{lost} attempts belong to no job")
    if complaints == ["ok"]:
        yield Finding("ok", f"the database {db.path} is intact", id="integrity")
    else:
        said = "; ".join([" ".join(text.split()) for text in complaints])
        yield Finding(
            "error",
            f"the database {db.path} is damaged: {said}",
            "stop the workers and put a backup in its place; what can still be read of this one: queuectl export",
            "integrity",
        )


def _counts(db: Database) -> Iterator[Finding]:
    """Counts are kept by our statements; another program that edits the file leaves them wrong."""
    with db.reading:
        wrong = _wrong(db)
    if wrong:
        with db.writing:
            wrong = _wrong(db)
            for queue, (_, right) in wrong.items():
                db.execute(_SQL["repair"], (*right, queue))
    if wrong:
        names = ", ".join([name for name, _ in wrong.values()])
        yield Finding(
            "warning",
            f"the counts of {names} were wrong and have been put right",
            "did something edit the file?",
            "counts",
        )
    else:
        yield Finding("ok", "the counts of all queues are right", id="counts")


def _wrong(db: Database) -> dict[int, tuple[str, tuple[int, ...]]]:
    """The queues whose counts are wrong: their names and what is right."""
    counted = {queue: tuple(counts) for queue, *counts in db.execute(_SQL["counted"])}
    wrong = {}
    for queue, name, *kept in db.execute(_SQL["kept"]).fetchall():
        right = counted.get(queue, (0,) * len(kept))
        if right != tuple(kept):
            wrong[queue] = (name, right)
    return wrong


def _outbox(db: Database) -> Iterator[Finding]:
    """The same for what waits to be told."""
    with db.reading:
        wrong = [name for (name,) in db.execute(_SQL["wrong_targets"])]
    if wrong:
        with db.writing:
            db.execute(_SQL["repair_targets"])
        yield Finding(
            "warning",
            f"how much waits for {', '.join(wrong)} was wrong and has been put right",
            "did something edit the file?",
            "outbox-counts",
        )


def _texts(db: Database) -> Iterator[Finding]:
    with db.reading:
        unused = db.execute(_SQL["unused_text"]).fetchone()
    dropped = 0
    if unused:
        with db.writing:
            db.execute(_SQL["drop_texts"])
            dropped = db.conn.changes()
            if dropped:
                db.execute(_SQL["age_texts"])
                db.texts.clear()
    if dropped:
        yield Finding("ok", f"{dropped} texts that no job uses any more were removed", id="texts")


def _log(db: Database) -> Iterator[Finding]:
    """The log is emptied when nobody reads an old moment of it any more."""
    path = f"{db.path}-wal"
    size = os.stat(path).st_size if os.path.exists(path) else 0
    if size > LOG_LARGE:
        yield Finding(
            "warning",
            f"the log {path} has grown to {size >> 20} MiB: something has been reading for a long time",
            f"find what has it open: fuser -v {db.path}",
            "log",
        )


def _settings(db: Database) -> Iterator[Finding]:
    if db.durability != "full":
        yield Finding(
            "warning",
            'with durability = "normal" a power cut loses the jobs of the last moments',
            'set durability = "full" in [storage.sqlite]',
            "durability",
        )


def _modes(db: Database) -> Iterator[Finding]:
    open_to_others = [
        path
        for path in (db.path, f"{db.path}-wal", f"{db.path}-shm", f"{db.path}.lock", db.home)
        if os.path.exists(path) and os.stat(path).st_mode & 0o077
    ]
    for path in open_to_others:
        yield Finding("warning", f"others on this machine can get at {path}", f"chmod go= {path}", "modes")


def _files(db: Database) -> Iterator[Finding]:
    """Output files of jobs that are gone: a process died between deleting the row and the file."""
    folder = os.path.join(db.home, "out")
    left = []
    if os.path.isdir(folder):
        with db.reading:
            for name in os.listdir(folder):
                seq = name.partition(".")[0]
                if seq.isdecimal() and not db.execute(_SQL["has_job"], (int(seq),)).fetchone():
                    left.append(name)
    for name in left:
        os.unlink(os.path.join(folder, name))
    if left:
        yield Finding("ok", f"{len(left)} output files of deleted jobs were removed", id="output")
