"""Opening a SQLite storage: what is made, and what is refused in one sentence."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from queuectl.api.errors import StorageBusy, StorageError, StorageFull, StorageInvalid
from queuectl.api.model import NewJob, State
from queuectl.api.providers import Context
from queuectl.builtin.sqlite import PROVIDER, database
from queuectl.builtin.sqlite.lock import WriteLock
from queuectl.builtin.sqlite.storage import SQLiteStorage
from queuectl.testing.subjects.subject import NOW, completed, counts_of, hand_in, job, put, put_one, take, take_one


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "queue.db")


def refusal(path: str | Path, kind: type[StorageError] = StorageInvalid) -> str:
    """What is said of a place that cannot be used."""
    with pytest.raises(kind) as raised:
        SQLiteStorage(str(path))
    assert type(raised.value) is kind
    said = str(raised.value)
    assert "\n" not in said and str(path) in said
    return said


def as_nobody(work: Callable[[], object]) -> None:
    """Run *work* without the rights of root, for whom nothing is read-only."""
    if os.geteuid() != 0:
        work()
        return
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            work()
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def open_to_all(folder: Path) -> None:
    """Let nobody reach *folder*: pytest's own folders are private."""
    for parent in (folder, *folder.parents):
        if parent.owner() == folder.owner() and str(parent) != "/":
            parent.chmod(parent.stat().st_mode | 0o711)


# -- what is made ---------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_files_are_the_owners_alone_whatever_the_umask(path: str, umask: int) -> None:
    was = os.umask(umask)
    try:
        storage = SQLiteStorage(path)
        put(storage, job())
        listener = storage.listen("pool")
        claim = take_one(storage)
        storage.put_output(claim.job, 1, "stdout", 0, b"x")
    finally:
        os.umask(was)
    folder = Path(path).parent
    files = {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir() if file.is_file()}
    assert files == dict.fromkeys(["queue.db", "queue.db-shm", "queue.db-wal", "queue.db.lock"], 0o600)
    folders = [file for file in folder.rglob("*") if file.is_dir()]
    assert {file.name: file.stat().st_mode & 0o777 for file in folders} == dict.fromkeys(
        ["queue.db.d", "run", "out"], 0o700
    )
    assert listener is not None
    listener.close()


def test_an_empty_file_is_a_fresh_storage(path: str) -> None:
    """A process may have died between making the file and filling it."""
    Path(path).touch()
    assert SQLiteStorage(path).find().jobs == ()


def test_a_storage_keeps_its_identity(path: str, tmp_path: Path) -> None:
    first = SQLiteStorage(path)
    assert len(first.identity) == 16 and SQLiteStorage(path).identity == first.identity
    assert SQLiteStorage(str(tmp_path / "other.db")).identity != first.identity


def test_a_link_leads_to_the_same_storage(path: str, tmp_path: Path) -> None:
    """One file has one lock and one home, by whatever name it is opened."""
    storage = SQLiteStorage(path)
    link = tmp_path / "link.db"
    link.symlink_to(path)
    assert (SQLiteStorage(str(link)).home, sorted(tmp_path.glob("link*"))) == (storage.home, [link])


def test_many_processes_may_open_it_first(path: str) -> None:
    """Any command creates the storage on first use; two at once create one."""
    script = (
        "import sys; from queuectl.builtin.sqlite.storage import SQLiteStorage as S; print(S(sys.argv[1]).identity)"
    )
    racers = [subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE) for _ in range(4)]
    said = [racer.communicate()[0] for racer in racers]
    assert len(set(said)) == 1 and said[0]


def test_the_default_place_is_made_and_a_given_one_is_not(tmp_path: Path) -> None:
    """A mistyped path must not become a new, empty queue somewhere."""
    context = Context("sqlite", None, str(tmp_path / "state" / "queuectl"), print)
    storage = PROVIDER.open({"path": None, "durability": "full"}, context)
    assert storage.home == str(tmp_path / "state" / "queuectl" / "queue.db.d")
    assert (tmp_path / "state" / "queuectl").stat().st_mode & 0o777 == 0o700
    with pytest.raises(StorageError, match=r"folder .* does not exist"):
        PROVIDER.open({"path": str(tmp_path / "no" / "queue.db")}, context)


def test_opening_imports_little(path: str) -> None:
    """Enqueue is typed in loops."""
    script = (
        "import sys, apsw, json, typing, contextlib, __future__; before = set(sys.modules)\n"
        "from queuectl.builtin.sqlite.storage import SQLiteStorage; from queuectl.api.model import NewJob\n"
        "storage = SQLiteStorage(sys.argv[1]); (r,) = storage.enqueue([NewJob('true')]); storage.get([r.id])\n"
        "print(*[name for name in set(sys.modules) - before if not name.startswith('queuectl')])"
    )
    said = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True).stdout
    assert set(said.split()) <= {"_socket", "fcntl", "heapq", "_heapq"}, said


# -- what is refused ------------------------------------------------------------------------------


def test_a_missing_folder(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "no" / "queue.db", StorageError)
    assert list(tmp_path.iterdir()) == []


def test_a_folder(tmp_path: Path) -> None:
    assert "is a folder" in refusal(tmp_path)


def test_a_file_that_is_no_database(path: str) -> None:
    text = b"dear diary, " * 500
    Path(path).write_bytes(text)
    assert "is not a database" in refusal(path)
    assert Path(path).read_bytes() == text


@pytest.mark.parametrize("application_id", [0, 1234])
def test_a_database_of_another_program(path: str, application_id: int) -> None:
    other = apsw.Connection(path)
    other.execute(f"CREATE TABLE theirs (x); PRAGMA application_id = {application_id}")
    other.close()
    before = Path(path).read_bytes()
    assert "another program" in refusal(path)
    assert Path(path).read_bytes() == before


def test_a_newer_version(path: str) -> None:
    SQLiteStorage(path).close()
    newer = apsw.Connection(path)
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    said = refusal(path)
    assert "newer QueueCTL (format 99" in said and "upgrade" in said


def test_a_network_file_system(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    here = database.filesystem_of(os.path.dirname(path))
    monkeypatch.setattr(database, "NETWORK", frozenset({here}))
    assert f"network file system ({here})" in refusal(path)
    assert not os.path.exists(path)


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_the_file_system_of_a_folder_is_known() -> None:
    assert database.filesystem_of("/proc") == "proc"
    assert database.filesystem_of("/dev/shm") == "tmpfs"


def test_a_read_only_folder(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o755)
    folder.chmod(0o555)
    open_to_all(folder)
    as_nobody(lambda: refusal(folder / "queue.db", StorageError))
    assert list(folder.iterdir()) == []


def test_a_storage_of_somebody_else(tmp_path: Path) -> None:
    SQLiteStorage(str(tmp_path / "queue.db")).close()
    open_to_all(tmp_path)
    if os.geteuid() == 0:
        as_nobody(lambda: refusal(tmp_path / "queue.db", StorageError))


def test_a_damaged_file(path: str) -> None:
    """It is said to be so, whenever it is noticed; nothing is guessed."""
    storage = SQLiteStorage(path)
    put(storage, *[job("x" * 2000) for _ in range(200)])
    storage.close()
    with open(path, "r+b") as file:
        for page in range(30, 120):
            file.seek(page * 4096)
            file.write(b"\x5a" * 4096)
    with pytest.raises(StorageInvalid, match="damaged"):
        storage = SQLiteStorage(path)
        for number in range(1, 201):
            storage.get([str(number)])


# -- taking turns -----------------------------------------------------------------------------------


def test_who_waits_too_long_hears_that_it_is_busy(path: str) -> None:
    storage = SQLiteStorage(path, busy_seconds=0.05)
    id = put_one(storage)
    with open(f"{path}.lock") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(StorageBusy, match=r"busy for 0\.05 s"):
            storage.enqueue([NewJob("x")])
        assert storage.get([id])[0] is not None, "looking waits for nobody"
    assert put(storage, job()) and counts_of(storage) == {"pending": 2}


def test_a_writer_that_knows_nothing_of_the_lock_is_waited_for_too(path: str) -> None:
    storage = SQLiteStorage(path, busy_seconds=0.05)
    other = apsw.Connection(path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageBusy):
        storage.enqueue([NewJob("x")])
    other.execute("ROLLBACK")
    other.close()
    assert put(storage, job())


def test_a_lock_that_was_given_up_is_not_held_later(tmp_path: Path) -> None:
    """The wait goes on in the background for a moment; what it gets then it lets go."""
    path = str(tmp_path / "lock")
    holder, hasty, third = WriteLock(path), WriteLock(path), WriteLock(path)
    assert holder.acquire(0)
    assert not hasty.acquire(0.01) and not hasty.acquire(0.01)
    holder.release()
    assert third.acquire(10), "a lock that nobody wanted any more was kept"
    assert not hasty.acquire(0.01)
    third.release()
    assert hasty.acquire(10)
    for lock in (holder, hasty, third):
        lock.close()


def test_a_lock_is_handed_to_who_waits(tmp_path: Path) -> None:
    from threading import Timer

    path = str(tmp_path / "lock")
    holder, waiter = WriteLock(path), WriteLock(path)
    assert holder.acquire(0)
    timer = Timer(0.05, holder.release)
    timer.start()
    assert waiter.acquire(10)
    timer.join()
    assert not holder.acquire(0.01)
    holder.close()
    waiter.close()


# -- no space ---------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte and a half."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1536k", "tmpfs", str(folder)]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.call(command, stderr=subprocess.DEVNULL):
        pytest.skip("may not mount a small file system here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_refuses_and_loses_nothing(small_disk: Path) -> None:
    """What was accepted is there, what was refused is not, and with space it goes on."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(512 * 1024))
    storage = SQLiteStorage(str(small_disk / "queue.db"))
    accepted: list[str] = []
    with pytest.raises(StorageFull, match="no space left"):
        while True:
            accepted += put(storage, *[job("x" * 500) for _ in range(20)])
    assert accepted and counts_of(storage) == {"pending": len(accepted)}
    assert storage.find().jobs[0].id == accepted[-1]
    ballast.unlink()
    claims = take(storage, 3)
    hand_in(storage, *[completed(claim) for claim in claims])
    assert counts_of(storage) == {"completed": 3, "pending": len(accepted) - 3}
    assert put(storage, job())
    assert {finding.id for finding in storage.check() if finding.level != "ok"} == {"file-system"}, "a disk in memory"
    storage.close()


def test_a_full_disk_refuses_a_turn_as_a_whole(small_disk: Path) -> None:
    """A settlement that could not be stored is repeated later: nothing of it is half done."""
    storage = SQLiteStorage(str(small_disk / "queue.db"))
    put(storage, *[job() for _ in range(40)])
    claims = take(storage, 20)
    filler = small_disk / "filler"
    with open(filler, "wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(bytes(4096))
    done = [completed(claim, stdout=b"x" * 60_000) for claim in claims]
    with pytest.raises(StorageFull):
        hand_in(storage, *done)
    assert counts_of(storage) == {"pending": 20, "processing": 20}
    filler.unlink()
    assert hand_in(storage, *[completed(claim) for claim in claims]).refused == ()
    assert counts_of(storage) == {"pending": 20, "completed": 20}
    storage.close()


def test_a_storage_is_not_made_without_space(small_disk: Path) -> None:
    """And it is made by the next command that finds some."""
    path = small_disk / "queue.db"
    filler = small_disk / "filler"
    with open(filler, "wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(bytes(4096))
    refusal(path, StorageFull)
    filler.unlink()
    storage = SQLiteStorage(str(path))
    assert put(storage, job())
    storage.close()


# -- other versions -----------------------------------------------------------------------------------


@pytest.fixture
def next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that knows one more format; the file is its migration."""
    schema = tmp_path / "schema"
    schema.mkdir()
    for name in os.listdir(database.SCHEMA):
        (schema / name).write_text((Path(database.SCHEMA) / name).read_text())
    monkeypatch.setattr(database, "SCHEMA", str(schema))
    return schema / "9999.sql"


def version_of(path: str) -> int:
    connection = apsw.Connection(path)
    ((version,),) = connection.execute("PRAGMA user_version")
    connection.close()
    return int(version)


def test_an_older_file_is_migrated_after_a_copy_was_made(path: str, next_version: Path) -> None:
    old = SQLiteStorage(path)
    id = put_one(old, command="kept")
    old.close()
    was = version_of(path)
    next_version.write_text("CREATE TABLE new_thing (x INTEGER) STRICT;")
    storage = SQLiteStorage(path)
    (kept,) = storage.get([id])
    assert kept is not None and kept.spec.command == "kept" and storage.identity == old.identity
    storage.close()
    copy = f"{path}.v{was}"
    assert (version_of(path), version_of(copy)) == (was + 1, was)
    assert os.stat(copy).st_mode & 0o777 == 0o600
    connection = apsw.Connection(copy)
    assert connection.execute("SELECT command FROM job").fetchall() == [("kept",)]
    connection.close()


def test_a_migration_that_fails_changes_nothing(path: str, next_version: Path) -> None:
    old = SQLiteStorage(path)
    put(old, job())
    old.close()
    was = version_of(path)
    next_version.write_text("CREATE TABLE half (x INTEGER) STRICT; UPDATE no_such_table SET x = 1;")
    with pytest.raises(StorageError, match="no_such_table"):
        SQLiteStorage(path)
    assert version_of(path) == was
    next_version.unlink()
    assert counts_of(SQLiteStorage(path)) == {State.PENDING.value: 1}


def test_a_file_that_another_version_migrated_meanwhile_is_read_on(path: str, next_version: Path) -> None:
    """Additive within a major version: a program that runs goes on with a newer file."""
    running = SQLiteStorage(path)
    put(running, job(), now=NOW)
    next_version.write_text("CREATE TABLE new_thing (x INTEGER) STRICT;")
    SQLiteStorage(path).close()
    claim = take_one(running)
    assert hand_in(running, completed(claim)).refused == ()
