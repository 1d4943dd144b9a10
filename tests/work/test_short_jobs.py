"""While jobs are short a pool claims ahead and its workers have more lanes than one; nobody but a clock may notice."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
from driver import Driver, until

from queuectl.core.rundir import list_lanes


def overlap(lines: list[str]) -> int:
    """The most jobs that ran at once, from a journal of ``+`` and ``-`` lines, each written in one step."""
    running = most = 0
    for line in lines:
        running += 1 if line == "+" else -1
        most = max(most, running)
    return most


def enqueue_lines(driver: Driver, lines: list[str]) -> None:
    driver.run("enqueue", "-", input="\n".join(lines) + "\n")


def test_no_more_jobs_run_at_once_than_were_asked_for(driver: Driver) -> None:
    journal = driver.folder / "journal"
    enqueue_lines(driver, [f"echo + >> {journal}; sleep 0.003; echo - >> {journal}"] * 300)
    assert driver.start("--count", "2", "--until-empty").end() == 0
    lines = journal.read_text().split()
    assert len(lines) == 600
    assert overlap(lines) == 2


def test_lanes_come_with_short_jobs_and_go_after_them(driver: Driver) -> None:
    """They are no workers: nobody is shown one that was not asked for."""
    pool = driver.start("--count", "2")
    enqueue_lines(driver, ["/bin/true"] * 2000)
    until(lambda: len(list_lanes(str(driver.run_dir))) > 2, "further lanes")
    assert len(driver.workers()) == 2
    until(lambda: driver.json("status", "--json")["counts"]["completed"] == 2000, "all jobs")
    until(lambda: len(list_lanes(str(driver.run_dir))) == 2, "one lane for each worker again")
    assert len(list(driver.run_dir.glob("*.sock"))) == len(list(driver.run_dir.glob("*.out"))) == 2
    pool.signal(15)
    assert pool.end() == 0


def test_after_a_burst_no_worker_holds_what_is_stored(driver: Driver) -> None:
    """While jobs are short a worker learns from its next job what is stored; the last ones have no next job."""
    pool = driver.start("--count", "2")
    enqueue_lines(driver, ["echo hello"] * 100)
    until(lambda: driver.json("status", "--json")["counts"]["completed"] == 100, "all jobs")
    until(lambda: all(lane.job is None for lane in list_lanes(str(driver.run_dir))), "lanes that hold nothing")
    outputs = [path for suffix in ("out", "err") for path in driver.run_dir.glob(f"*.{suffix}")]
    until(lambda: not any(path.exists() and path.stat().st_size for path in outputs), "output files emptied")
    pool.signal(15)
    assert pool.end() == 0


def test_what_was_claimed_ahead_of_long_jobs_is_given_back_untouched(driver: Driver) -> None:
    """The short jobs make a pace; then the only place is taken for long, and others may have what waits."""
    gate, journal = driver.folder / "gate", driver.folder / "journal"
    long = f"until [ -e {gate} ]; do sleep 0.02; done; echo $QUEUECTL_JOB_ID >> {journal}"
    enqueue_lines(driver, ["/bin/true"] * 200 + [long] * 5)
    pool = driver.start("--count", "1", "--until-empty")
    until(lambda: driver.json("status", "--json")["counts"]["completed"] == 200, "the short jobs")
    until(lambda: driver.json("status", "--json")["counts"]["pending"] == 4, "four of the long ones given back")
    waiting = driver.json("list", "--state", "pending", "--json")
    assert [(job["attempts"], job["state"]) for job in waiting] == [(0, "pending")] * 4
    assert sorted(int(job["id"]) for job in waiting) == [202, 203, 204, 205]
    gate.touch()
    assert pool.end() == 0
    assert driver.json("status", "--json")["counts"]["completed"] == 205
    assert driver.job("203")["attempts"] == 1
    assert journal.read_text().split() == ["201", "202", "203", "204", "205"], "their place in line was kept"


class Behind:
    """Short jobs that make a pace, then a long one that waits for *gate*, and jobs that lie ready behind it."""

    def __init__(self, driver: Driver, ready: int = 3) -> None:
        self.driver = driver
        self.gate, self.journal = driver.folder / "gate", driver.folder / "journal"
        note = f"echo $QUEUECTL_JOB_ID $QUEUECTL_ATTEMPT >> {self.journal}"
        long = f"{note}; until [ -e {self.gate} ]; do sleep 0.02; done"
        enqueue_lines(driver, ["/bin/true"] * 100 + [long] + [note] * ready)

    def runs(self) -> list[str]:
        return self.journal.read_text().splitlines() if self.journal.exists() else []


def test_what_lies_ready_is_cancelled_without_ever_having_run(driver: Driver) -> None:
    behind = Behind(driver)
    pool = driver.start("--count", "1", "--until-empty")
    until(behind.runs, "the long job runs")
    driver.run("cancel", "102")
    until(lambda: driver.job("102")["state"] == "cancelled", "it is cancelled")
    assert driver.job("102")["attempts"] == 0
    behind.gate.touch()
    assert pool.end() == 0
    assert behind.runs() == ["101 1", "103 1", "104 1"]


def test_a_pool_that_is_told_to_stop_begins_nothing_that_lies_ready(driver: Driver) -> None:
    behind = Behind(driver)
    pool = driver.start("--count", "1")
    until(behind.runs, "the long job runs")
    pool.signal(15)
    until(lambda: driver.json("status", "--json")["counts"]["pending"] == 3, "what lay ready is given back")
    behind.gate.touch()
    assert pool.end() == 0
    assert behind.runs() == ["101 1"]


@pytest.mark.parametrize("who", ["worker", "pool"])
def test_what_lies_ready_runs_once_and_no_result_is_lost_when_somebody_is_killed(driver: Driver, who: str) -> None:
    """Killed as soon as the long job runs: results before it may not be stored yet, jobs behind it have not begun."""
    behind = Behind(driver)
    pool = driver.start("--count", "1")
    until(behind.runs, "the long job runs")
    victim = driver.worker_of("101")["pid"] if who == "worker" else pool.pid
    os.kill(victim, signal.SIGKILL)
    if who == "pool":
        pool.end()
        pool = driver.start("--count", "1")
    behind.gate.touch()
    until(lambda: driver.json("status", "--json")["counts"]["completed"] == 104, "all jobs")
    attempts = {id: driver.job(id)["attempts"] for id in ("50", "100", "101", "102", "103", "104")}
    assert attempts == {"50": 1, "100": 1, "101": 2 if who == "worker" else 1, "102": 1, "103": 1, "104": 1}
    again = ["101 2"] if who == "worker" else []
    assert sorted(behind.runs()) == sorted(["101 1", *again, "102 1", "103 1", "104 1"])
    pool.signal(15)
    assert pool.end() == 0


def test_a_stopped_worker_is_not_ended_for_what_lies_ready_behind_its_job(driver: Driver) -> None:
    """What lies ready has a limit, what runs has none: it may take its time, even while its worker is stopped."""
    gate, journal = driver.folder / "gate", driver.folder / "journal"
    long = f"echo $QUEUECTL_JOB_ID >> {journal}; kill -STOP $PPID; until [ -e {gate} ]; do sleep 0.02; done"
    limited = json.dumps({"command": "true", "timeout": 0.1, "grace": 0})
    enqueue_lines(driver, [json.dumps({"command": line}) for line in ["/bin/true"] * 100 + [long]] + [limited] * 3)
    driver.env["QUEUECTL_BACKSTOP_SECONDS"] = "0.2"
    pool = driver.start("--count", "1", "--until-empty")
    until(journal.exists, "the long job runs")
    begun, worker = time.monotonic(), driver.worker_of("101")["pid"]
    until(lambda: time.monotonic() > begun + 1.0, "whoever lies ready should have been done long ago")
    os.kill(worker, signal.SIGCONT)
    gate.touch()
    assert pool.end() == 0
    assert [driver.job(id)["attempts"] for id in ("101", "102", "103", "104")] == [1, 1, 1, 1]
    assert journal.read_text().split() == ["101"]
