"""SQLite keeps the storage contract, and what it promises beyond it."""

from __future__ import annotations

import itertools
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
from targets import FULL, report, target

from queuectl.api.model import Action, State, Turn, Where
from queuectl.builtin.sqlite import looking
from queuectl.builtin.sqlite.storage import SQLiteStorage
from queuectl.testing.storage import OpenStorage, StorageSuite
from queuectl.testing.subjects.subject import (
    MINUTE,
    NOW,
    completed,
    counts_of,
    failed,
    hand_in,
    job,
    lost,
    put,
    put_one,
    released,
    stat_of,
    take,
    take_one,
)


class TestSQLiteStorage(StorageSuite):
    @pytest.fixture
    def open_storage(self, tmp_path: Path) -> OpenStorage:
        return lambda: SQLiteStorage(str(tmp_path / "queue.db"))

    @pytest.fixture
    def open_copy(self) -> Callable[[str], SQLiteStorage]:
        return SQLiteStorage


class TestSQLiteStorageWithNormalDurability(StorageSuite):
    race_jobs = 1000

    @pytest.fixture
    def open_storage(self, tmp_path: Path) -> OpenStorage:
        return lambda: SQLiteStorage(str(tmp_path / "queue.db"), durability="normal")

    @pytest.fixture
    def open_copy(self) -> Callable[[str], SQLiteStorage]:
        return SQLiteStorage

    model_examples = target(200, 5000)
    model_seeded = not FULL

    @pytest.fixture
    def new_storage(self, tmp_path: Path) -> Callable[[], OpenStorage]:
        numbers = itertools.count()

        def new_storage() -> OpenStorage:
            path = tmp_path / f"{next(numbers)}.db"
            return lambda: SQLiteStorage(str(path), durability="normal")

        return new_storage

    @pytest.mark.timeout(7200)
    def test_random_calls_are_answered_as_by_the_reference(self, new_storage: Callable[[], OpenStorage]) -> None:
        with report("random calls, SQLite against the reference", self.model_examples) as ran:
            super().test_random_calls_are_answered_as_by_the_reference(new_storage)
            ran.held = self.model_examples


@pytest.fixture
def storage(tmp_path: Path) -> SQLiteStorage:
    return SQLiteStorage(str(tmp_path / "queue.db"))


def edit(storage: SQLiteStorage, sql: str) -> None:
    """What another program might do to the file."""
    connection = apsw.Connection(storage.path)
    connection.execute(sql)
    connection.close()


def levels(storage: SQLiteStorage) -> list[str]:
    return [finding.level for finding in storage.check()]


def test_check_puts_counts_right_that_somebody_edited(storage: SQLiteStorage) -> None:
    put(storage, job(), job(), job(queue="q"))
    assert set(levels(storage)) == {"ok"}
    edit(storage, "UPDATE queue SET pending = 77, ready = 0 WHERE name = 'default'; DELETE FROM job WHERE queue = 2")
    found = [finding for finding in storage.check() if finding.level != "ok"]
    assert [(finding.level, "default, q" in finding.text) for finding in found] == [("warning", True)]
    assert (counts_of(storage), stat_of(storage).ready, counts_of(storage, "q")) == ({"pending": 2}, 2, {})
    assert set(levels(storage)) == {"ok"}


def test_check_finds_a_broken_file(storage: SQLiteStorage) -> None:
    put(storage, job())
    edit(storage, "PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE name = 'lined'")
    storage.close()
    assert "error" in levels(SQLiteStorage(storage.path))


def test_check_names_who_holds_the_lock(storage: SQLiteStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queuectl.builtin.sqlite.checking.LOCK_SECONDS", 0.05)
    other = SQLiteStorage(storage.path)
    with other._db.writing:
        (found,) = [finding for finding in storage.check() if finding.level == "error"]
    assert found.id == "locks"
    assert f"process {os.getpid()}" in found.text
    assert set(levels(storage)) == {"ok"}
    stranger = apsw.Connection(storage.path)
    stranger.execute("BEGIN IMMEDIATE")
    (found,) = [finding for finding in storage.check() if finding.level == "error"]
    assert found.id == "locks"
    assert "another program" in found.text
    stranger.close()


def test_check_lets_nobody_wait_where_nothing_is_wrong(storage: SQLiteStorage) -> None:
    put(storage, job(), job())
    taken: list[str] = []

    def note(cursor: object, sql: str, bindings: object) -> bool:
        taken.append(sql)
        return True

    storage._db.conn.set_exec_trace(note)
    storage.check()
    storage._db.conn.set_exec_trace(None)
    assert not [sql for sql in taken if sql.startswith(("UPDATE", "DELETE"))]
    assert taken.count("BEGIN IMMEDIATE") == 1, "to see whether the lock can be had"


def test_check_warns_of_what_others_can_read_and_of_less_durability(tmp_path: Path) -> None:
    storage = SQLiteStorage(str(tmp_path / "queue.db"), durability="normal")
    os.chmod(storage.path, 0o644)
    warnings = [finding for finding in storage.check() if finding.level == "warning"]
    assert len(warnings) == 2 and all(finding.advice for finding in warnings)


def test_texts_are_kept_once_and_unused_ones_removed_under_everybodys_feet(storage: SQLiteStorage) -> None:
    """Another process remembers the number of a text that is gone: it must not use it."""
    other = SQLiteStorage(storage.path)
    fields = {"settings": '{"timeout":1}', "environment": '{"A":"1"}', "cwd": "/x"}
    first = put(storage, *[job(**fields) for _ in range(50)]) + put(other, job(**fields))
    db = storage._db
    assert db.execute("SELECT count(*) FROM text").fetchone() == (3,)
    storage.apply(Action.DELETE, Where(ids=tuple(first)), now=NOW)
    storage.check()
    assert db.execute("SELECT count(*) FROM text").fetchone() == (0,)
    put(storage, job(cwd="/another"))  # takes a number
    (again,) = other.get(put(other, job(**fields)))
    assert again is not None and again.spec == job(**fields)


def test_long_output_lies_beside_the_database_under_numbers(storage: SQLiteStorage) -> None:
    """Never under what a user called the job."""
    assert storage.home == storage.path + ".d"
    put(storage, job(id="../../etc/passwd"))
    claim = take_one(storage)
    storage.put_output(claim.job, 1, "stderr", 0, b"x" * 100_000)
    hand_in(storage, completed(claim))
    out = Path(storage.home, "out")
    assert [path.name for path in out.iterdir()] == [f"{claim.job.seq}.1.err"]
    assert {oct(path.stat().st_mode & 0o777) for path in (out, out.parent)} == {"0o700"}
    assert oct((out / f"{claim.job.seq}.1.err").stat().st_mode & 0o777) == "0o600"
    storage.apply(Action.DELETE, Where(), now=NOW)
    assert list(out.iterdir()) == []


def test_output_of_jobs_that_are_gone_is_removed_by_check(storage: SQLiteStorage) -> None:
    id = put_one(storage)
    claim = take_one(storage)
    storage.put_output(claim.job, 1, "stdout", 0, b"kept")
    hand_in(storage, completed(claim))
    Path(storage.home, "out", "999.1.out").write_bytes(b"left")
    storage.check()
    assert os.listdir(Path(storage.home, "out")) == [f"{id}.1.out"]


def test_a_search_for_text_looks_at_a_bounded_number_of_rows(
    storage: SQLiteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "LOOK", 100)
    put(storage, job("needle"), *[job("hay") for _ in range(250)])
    pages = [storage.find(Where(text="needle"))]
    while pages[-1].cursor:
        pages.append(storage.find(Where(text="needle"), cursor=pages[-1].cursor))
    assert [len(page.jobs) for page in pages] == [0, 0, 1]


@pytest.mark.parametrize("states", [(State.PENDING,), (State.COMPLETED,), None])
def test_pages_of_jobs_that_share_a_moment_cost_what_they_show(
    storage: SQLiteStorage, states: tuple[State, ...] | None
) -> None:
    """A batch has one time of creation, often thousands of times: a page must not walk all before it."""
    put(storage, *[job() for _ in range(6000)])
    if states == (State.COMPLETED,):
        hand_in(storage, *[completed(claim) for claim in take(storage, 6000)])
    where = Where(states=states, queues=("default",))
    page = storage.find(where, limit=3000)
    connection = storage._db.conn
    steps = 0

    def count() -> bool:
        nonlocal steps
        steps += 1
        return False

    connection.set_progress_handler(count, 100)
    assert len(storage.find(where, limit=10, cursor=page.cursor).jobs) == 10
    connection.set_progress_handler(None)
    assert steps < 60, "instructions of SQLite, in hundreds"


@pytest.mark.skipif(sys.platform != "linux", reason="names sockets through /proc")
def test_a_deep_folder_can_be_listened_in(tmp_path: Path) -> None:
    """A socket's path may have 107 bytes; a state folder's more."""
    deep = tmp_path / ("d" * 90) / ("e" * 90)
    deep.mkdir(parents=True)
    storage = SQLiteStorage(str(deep / "queue.db"))
    listener = storage.listen("0123456789abcdef")
    assert listener is not None
    path = Path(storage.home, "run", "0123456789abcdef.wake")
    assert oct(path.stat().st_mode & 0o777) == "0o600" and len(str(path)) > 107
    put(storage, job())
    os.set_blocking(listener.fileno(), False)
    assert os.read(listener.fileno(), 1) == b""
    listener.close()
    assert not path.exists()


def test_a_dead_socket_disturbs_nobody_and_is_taken_over(storage: SQLiteStorage) -> None:
    """Its pool was killed; who replaces it listens under the same name."""
    first = storage.listen("pool")
    assert first is not None
    Path(storage.home, "run", "other.wake").write_bytes(b"no socket at all")
    put(storage, job())
    second = storage.listen("pool")
    assert second is not None
    first.close()  # late: the name is the other's by now
    put(storage, job())
    with socket.socket(fileno=os.dup(second.fileno())) as line:
        assert line.recv(1, socket.MSG_DONTWAIT) == b""
    second.close()


def test_a_pool_does_not_wake_itself(storage: SQLiteStorage) -> None:
    """What its own turn made free it has seen."""
    listener = storage.listen("me")
    assert listener is not None
    put(storage, job(), job())
    listener.drain()
    for ending in (released, failed, lost, completed):
        hand_in(storage, ending(take_one(storage, pool="me", now=NOW + 9 * MINUTE)), pool="me")
    with socket.socket(fileno=os.dup(listener.fileno())) as line, pytest.raises(BlockingIOError):
        line.recv(1, socket.MSG_DONTWAIT)
    listener.close()


def test_seeding_a_known_queue_waits_for_nobody(storage: SQLiteStorage) -> None:
    """It is done with every enqueue, and changes nothing but the first time."""
    import fcntl

    storage.set_queue("q", limit=2, seed=True)
    with open(f"{storage.path}.lock") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        storage.set_queue("q", limit=2, seed=True)


def test_an_ordinary_turn_wakes_nobody(storage: SQLiteStorage) -> None:
    """What waits in a queue without a limit the others could have had already: pools at work do not wake each other."""
    listener = storage.listen("other")
    assert listener is not None
    put(storage, *[job() for _ in range(9)])
    listener.drain()
    for claim in take(storage, 3):
        hand_in(storage, completed(claim), want=1)
    with socket.socket(fileno=os.dup(listener.fileno())) as line, pytest.raises(BlockingIOError):
        line.recv(1, socket.MSG_DONTWAIT)
    listener.close()


def test_changed_tells_of_others_only(storage: SQLiteStorage) -> None:
    """What a pool did itself is no reason to look again; looking writes nothing."""
    other = SQLiteStorage(storage.path)
    storage.changed()
    put(storage, job())
    assert not storage.changed()
    put(other, job())
    assert storage.changed() and not storage.changed()


def test_one_turn_with_nothing_to_do_is_cheap_in_statements(storage: SQLiteStorage) -> None:
    """A claim over blocked queues does not look into them."""
    put(storage, *[job(queue=f"q{n}") for n in range(20) for _ in range(20)])
    for n in range(20):
        storage.set_queue(f"q{n}", paused=True, now=NOW)
    statements: list[str] = []

    def note(cursor: object, sql: str, bindings: object) -> bool:
        statements.append(sql)
        return True

    storage._db.conn.set_exec_trace(note)
    storage.exchange(Turn("pool", want=5, now=NOW))
    storage._db.conn.set_exec_trace(None)
    assert not [sql for sql in statements if "ready WHERE" in sql]
    assert len(statements) < 10
