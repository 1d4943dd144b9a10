"""The disk is full while a pool works on it: refused in a sentence, nothing lost, and it recovers by itself."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from driver import Driver, until
from targets import report

DEADLINE = 60.0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes, with nothing on it."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.call(command, stderr=subprocess.DEVNULL):
        pytest.skip("may not mount a small file system here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def driver(small_disk: Path, tmp_path: Path) -> Iterator[Driver]:
    made = Driver(tmp_path)
    made.db = small_disk / "queue.db"  # with run and output beside it; the log of the pool is elsewhere
    yield made
    made.close()


def fill(folder: Path) -> Path:
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(1024))
    return filler


def test_a_full_disk_is_lived_through(driver: Driver, small_disk: Path, tmp_path: Path) -> None:
    with report("disk full while jobs run", 1) as figure:
        gate, journal = tmp_path / "gate", tmp_path / "journal"
        os.mkfifo(gate)
        pool = driver.start("--count", "2")
        running = [driver.enqueue(f"read line < {gate}; echo $QUEUECTL_JOB_ID >> {journal}") for _ in range(2)]
        until(lambda: sum(worker["job"] in running for worker in driver.workers()) == 2, "both run")
        waiting = [driver.enqueue(f"echo $QUEUECTL_JOB_ID >> {journal}") for _ in range(5)]
        filler = fill(small_disk)

        accepted = []
        for size in (3000, 1):  # what is left inside the files is used up first
            done = driver.run("enqueue", "--", "true", "x" * size, code=None)
            while done.returncode == 0:
                accepted.append(done.stdout.strip())
                done = driver.run("enqueue", "--", "true", "x" * size, code=None)
            assert done.returncode == 75 and "no space left" in done.stderr, done

        with gate.open("w") as lines:  # the running jobs end while there is no room for their results
            lines.write("go\ngo\n")
        until(lambda: journal.exists() and len(journal.read_text().split()) >= 2, "the jobs ended", DEADLINE)
        pool.await_line("no space left")
        assert {driver.job(id)["state"] for id in running} == {"processing"}, "it can still be looked at"

        filler.unlink()
        start = time.monotonic()
        for id in [*running, *waiting, *accepted]:
            assert driver.await_state(id, "completed", "dead", deadline=DEADLINE)["state"] == "completed"
        figure.more = {"recovered_s": round(time.monotonic() - start, 2)}
        assert sorted(journal.read_text().split()) == sorted([*running, *waiting]), "each ran once"
        assert {driver.job(id)["attempts"] for id in [*running, *waiting]} == {1}
        assert driver.enqueue("true")
        assert sum("cannot be used" in line for line in pool.lines()) <= 2, pool.lines()
        assert not any("Traceback" in line for line in pool.lines())
        figure.held = 1
