"""The disk turns read-only while a pool works on it, as with one that has failed; then it is mounted anew."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from driver import Driver, until
from targets import report
from test_power_cut import Disk, run


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root may let a disk fail")
    made = Disk(tmp_path)
    yield made
    made.unmount()


@pytest.fixture
def driver(disk: Disk, tmp_path: Path) -> Iterator[Driver]:
    made = Driver(tmp_path)
    made.db = disk.point / "queue.db"
    yield made
    made.close()


def turn_read_only(disk: Disk) -> None:
    """Its journal gives up, and from then on nothing can be written, also by who has files open."""
    os.sync()
    assert run("mount", "-o", "remount,abort", str(disk.point))
    with pytest.raises(OSError, match="Read-only"):
        (disk.point / "word").write_text("said")


#: Reads of a pool that is at it, again and again: a look at the other pools is few, a try of the storage some more.
TRIES = 50


def reads(pid: int) -> int:
    """How often a process has read anything; fails when it is gone."""
    return int(dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())["syscr"])


def test_a_disk_that_turns_read_only_is_lived_through(driver: Driver, disk: Disk, tmp_path: Path) -> None:
    with report("disk read-only while jobs run", 1) as figure:
        gate, journal = tmp_path / "gate", tmp_path / "journal"
        os.mkfifo(gate)
        note = f"echo $QUEUECTL_JOB_ID >> {journal}"
        pool = driver.start("--count", "1")
        running = driver.enqueue(f"[ $QUEUECTL_ATTEMPT != 1 ] || read line < {gate}; {note}")
        driver.worker_of(running)
        waiting = [driver.enqueue(note) for _ in range(3)]

        turn_read_only(disk)
        for words in (["enqueue", "--", "true"], ["status"]):
            assert "read-only" in driver.run(*words, code=75).stderr
        assert "read-only" in driver.run("doctor", code=1).stdout
        with gate.open("w") as lines:
            lines.write("go\n")
        until(journal.exists, "the running job ended")
        pool.await_line("cannot be used")
        before = reads(pool.pid)
        until(lambda: reads(pool.pid) > before + TRIES, "it goes on trying")
        assert not any("died with job" in line for line in pool.lines()), "its worker holds the result"

        # It would wait for the disk; what is never to come back is left. Three of a kind might arrive as one.
        for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGTERM):
            pool.signal(number)
        pool.end()
        disk.mend()
        assert driver.start("--count", "1", "--until-empty").end() == 0
        for id in [running, *waiting]:
            job = driver.job(id)
            assert job["state"] == "completed"
            assert [attempt["ended"] for attempt in job["attempt_history"]][:-1] == ["lost"] * (job["attempts"] - 1)
        runs = journal.read_text().split()
        assert sorted(set(runs)) == sorted([running, *waiting])
        assert len(runs) == sum(driver.job(id)["attempts"] for id in [running, *waiting])
        assert not any("Traceback" in line for line in pool.lines())
        figure.held = 1
