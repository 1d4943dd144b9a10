"""What an operator should know of the file; what can be put right is put right."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import apsw

from queuectl.api.errors import StorageInvalid
from queuectl.api.model import Finding

from . import statements
from .database import complaint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .database import Database

_SQL = statements.load("checking")


def check(db: Database) -> list[Finding]:
    """What is damaged is not put right: nobody knows what the right would be."""
    found: list[Finding] = []
    for look in (_integrity, _counts, _texts, _settings, _modes, _files):
        try:
            found += look(db)
        except StorageInvalid as error:
            found.append(Finding("error", str(error), "restore a backup"))
        if found and found[-1].level == "error":
            break
    return found


def _integrity(db: Database) -> Iterator[Finding]:
    with db.reading:
        complaints = [complaint(text) for (text,) in db.execute(_SQL["integrity"])]
        ((lost,),) = db.execute(_SQL["lost_attempts"]).fetchall()
    if lost:
        complaints.append(f"{lost} attempts belong to no job")
    if complaints == ["ok"]:
        yield Finding("ok", f"the database {db.path} is intact (SQLite {apsw.sqlite_lib_version()})")
    else:
        yield Finding("error", f"the database {db.path} is damaged: {'; '.join(complaints)}", "restore a backup")


def _counts(db: Database) -> Iterator[Finding]:
    """Counts are kept by our statements; another program that edits the file leaves them wrong."""
    wrong = []
    with db.writing:
        counted = {queue: tuple(counts) for queue, *counts in db.execute(_SQL["counted"])}
        for queue, name, *kept in db.execute(_SQL["kept"]).fetchall():
            right = counted.get(queue, (0,) * len(kept))
            if right != tuple(kept):
                db.execute(_SQL["repair"], (*right, queue))
                wrong.append(name)
    if wrong:
        names = ", ".join(wrong)
        yield Finding(
            "warning", f"the counts of {names} were wrong and have been put right", "did something edit the file?"
        )
    else:
        yield Finding("ok", "the counts of all queues are right")


def _texts(db: Database) -> Iterator[Finding]:
    with db.writing:
        db.execute(_SQL["drop_texts"])
        dropped = db.conn.changes()
        if dropped:
            db.execute(_SQL["age_texts"])
            db.texts.clear()
    if dropped:
        yield Finding("ok", f"{dropped} texts that no job uses any more were removed")


def _settings(db: Database) -> Iterator[Finding]:
    if db.durability != "full":
        yield Finding(
            "warning",
            'with durability = "normal" a power cut loses the jobs of the last moments',
            'set durability = "full" in [storage.sqlite]',
        )


def _modes(db: Database) -> Iterator[Finding]:
    open_to_others = [
        path
        for path in (db.path, f"{db.path}-wal", f"{db.path}-shm", f"{db.path}.lock", db.home)
        if os.path.exists(path) and os.stat(path).st_mode & 0o077
    ]
    for path in open_to_others:
        yield Finding("warning", f"others on this machine can get at {path}", f"chmod go= {path}")


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
        yield Finding("ok", f"{len(left)} output files of deleted jobs were removed")
