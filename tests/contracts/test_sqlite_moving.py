"""How the file is copied and told, beyond what every storage promises."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from queuectl.api.model import Action, Where
from queuectl.builtin.sqlite.backup import backup
from queuectl.builtin.sqlite.storage import SQLiteStorage
from queuectl.testing.subjects.subject import NOW, completed, counts_of, hand_in, job, put, put_one, take, take_one


@pytest.fixture
def storage(tmp_path: Path) -> SQLiteStorage:
    return SQLiteStorage(str(tmp_path / "queue.db"))


def test_no_claim_waits_for_a_backup(storage: SQLiteStorage, tmp_path: Path) -> None:
    """Whoever would have to wait for a lock, at whatever step of the copy, is refused here."""
    put(storage, *[job("ballast " * 50) for _ in range(5000)])
    other = SQLiteStorage(storage.path, busy_seconds=0)
    steps = 0

    def work() -> None:
        nonlocal steps
        steps += 1
        hand_in(other, completed(take_one(other)))
        put_one(other)

    copy = str(tmp_path / "copy.db")
    backup(storage._db, copy, between=work)
    assert steps > 5
    assert counts_of(SQLiteStorage(copy)) == {"pending": 5000}, "the moment is that of the call, not of the end"
    assert counts_of(storage) == {"pending": 5000, "completed": steps}


def test_a_backup_that_is_broken_off_leaves_nothing(storage: SQLiteStorage, tmp_path: Path) -> None:
    put(storage, *[job("ballast " * 50) for _ in range(1000)])
    folder = tmp_path / "copies"
    folder.mkdir()

    def stop() -> None:
        assert len(os.listdir(folder)) == 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backup(storage._db, str(folder / "copy.db"), between=stop)
    assert os.listdir(folder) == []
    put_one(storage)  # its connection is free for other things


def test_a_backup_is_for_its_owner_alone(storage: SQLiteStorage, tmp_path: Path) -> None:
    put_one(storage)
    claim = take_one(storage)
    storage.put_output(claim.job, 1, "stdout", 0, b"x" * 100_000)
    Path(storage.home, "out", "999.1.out").write_bytes(b"of no job")
    hand_in(storage, completed(claim))
    storage.backup(str(tmp_path / "copy.db"))
    out = tmp_path / "copy.db.d" / "out"
    assert os.listdir(out) == ["1.1.out"]
    modes = {
        path: oct(path.stat().st_mode & 0o777) for path in (tmp_path / "copy.db", out.parent, out, out / "1.1.out")
    }
    assert list(modes.values()) == ["0o600", "0o700", "0o700", "0o600"]


def test_an_export_holds_nothing_between_its_batches(storage: SQLiteStorage) -> None:
    """Nobody waits, the log does not grow, and what comes later does not keep it from ending."""
    put(storage, *[job() for _ in range(10)])
    other = SQLiteStorage(storage.path, busy_seconds=0)
    seen = []
    for batch in storage.export(batch=3):
        seen += [each.id for each, _ in batch]
        put(other, *[job() for _ in range(5)])
        busy, _, _ = other._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert not busy
    assert seen == [str(n) for n in range(1, 11)]


def test_what_was_deleted_comes_back_with_its_own_history_alone(storage: SQLiteStorage) -> None:
    put(storage, job(), job())
    take(storage, 1)
    hand_in(storage, completed(take_one(storage)))
    pairs = [pair for batch in storage.export() for pair in batch]
    storage.apply(Action.DELETE, Where(), actor="ann", note="tidy", now=NOW)
    storage.load(pairs)
    assert storage.history("2") == pairs[1][1]
