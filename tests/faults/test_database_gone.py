"""The database is deleted, moved or replaced while it is in use: who uses it says so and ends, and nothing spins."""

from __future__ import annotations

import os
import resource
import shutil
from pathlib import Path

import apsw
import pytest
from driver import Driver, until

from queuectl.api.errors import StorageInvalid
from queuectl.builtin.sqlite.storage import SQLiteStorage
from queuectl.testing.subjects.subject import job, put, take

FILES = ("", "-wal", "-shm")


def delete(db: Path, aside: Path) -> None:
    for suffix in FILES:
        Path(f"{db}{suffix}").unlink()


def move_away(db: Path, aside: Path) -> None:
    for suffix in FILES:
        os.rename(f"{db}{suffix}", f"{aside}{suffix}")


def replace_by_an_older_copy(db: Path, aside: Path) -> None:
    for suffix in FILES[1:]:
        Path(f"{db}{suffix}").unlink()
    os.rename(aside, db)


def replace_by_another_programs(db: Path, aside: Path) -> None:
    connection = apsw.Connection(str(aside) + ".other")
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    replace_by_an_older_copy(db, Path(f"{aside}.other"))


WAYS = {
    delete: "deleted",
    move_away: "deleted",
    replace_by_an_older_copy: "replaced",
    replace_by_another_programs: "replaced",
}


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__.replace("_", " "))
def way(request: pytest.FixtureRequest) -> object:
    return request.param


def test_nothing_is_stored_in_a_file_that_nobody_sees(tmp_path: Path, way: object) -> None:
    path, aside = tmp_path / "queue.db", tmp_path / "aside"
    storage = SQLiteStorage(str(path))
    put(storage, job())
    shutil.copy(path, aside)
    way(path, aside)  # type: ignore[operator]
    for call in (lambda: put(storage, job()), lambda: take(storage), storage.stat, storage.changed):
        with pytest.raises(StorageInvalid, match=f"queue.db was {WAYS[way]}.* while it was in use"):  # type: ignore[index]
            call()
    storage.close()


def test_a_file_that_is_put_back_is_used_on(tmp_path: Path) -> None:
    path, aside = tmp_path / "queue.db", tmp_path / "aside"
    storage = SQLiteStorage(str(path))
    put(storage, job())
    move_away(path, aside)
    with pytest.raises(StorageInvalid):
        storage.stat()
    move_away(aside, path)
    assert len(take(storage)) == 1
    storage.close()


def test_a_pool_ends_with_a_sentence_and_its_job_goes_on(driver: Driver, way: object, tmp_path: Path) -> None:
    gate, done = tmp_path / "gate", tmp_path / "done"
    os.mkfifo(gate)
    aside = tmp_path / "aside"
    driver.enqueue("true")
    shutil.copy(driver.db, aside)
    pool = driver.start("--count", "1")
    driver.enqueue(f"read line < {gate}; echo $line > {done}")
    until(lambda: any(worker["job"] == "2" for worker in driver.workers()), "the job runs")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    way(driver.db, aside)  # type: ignore[operator]
    assert pool.end() == 78
    line = pool.lines()[-1]
    assert f"queue.db was {WAYS[way]}" in line  # type: ignore[index]
    assert not any("Traceback" in line for line in pool.lines())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3, "it span"
    with gate.open("w") as line_to:
        line_to.write("went on\n")
    until(lambda: done.exists() and done.read_text() == "went on\n", "the job was not ended with its pool")


def test_a_pool_takes_up_where_it_was_when_the_database_is_back(driver: Driver, tmp_path: Path) -> None:
    """The result was kept by the worker."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    pool = driver.start("--count", "1")
    id = driver.enqueue(f"read line < {gate}; exit 3", max_retries=0)
    until(lambda: any(worker["job"] == id for worker in driver.workers()), "the job runs")
    move_away(driver.db, tmp_path / "aside")
    assert pool.end() == 78
    with gate.open("w") as line_to:
        line_to.write("\n")
    move_away(tmp_path / "aside", driver.db)
    driver.start("--count", "1")
    job = driver.await_state(id, "dead", "completed")
    assert (job["state"], job["attempts"], job["reason"]) == ("dead", 1, "exit 3")
