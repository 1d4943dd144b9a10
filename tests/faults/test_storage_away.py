"""A result that cannot be stored is kept by its worker and tried again, until the storage is there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from driver import Driver, until
from targets import report
from test_deaths import journal, noted

from queuectl.core.rundir import list_workers

HOLDER = {
    "another process of ours": (
        "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1] + '.lock', os.O_RDWR), fcntl.LOCK_EX); "
        "print('held', flush=True); sys.stdin.read()"
    ),
    "another program": (
        "import apsw, sys; db = apsw.Connection(sys.argv[1]); db.execute('BEGIN IMMEDIATE'); "
        "print('held', flush=True); sys.stdin.read(); db.close()"
    ),
}


@contextmanager
def held(driver: Driver, how: str) -> Iterator[None]:
    """Somebody keeps the file for as long as this lasts."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER[how], str(driver.db)],
        env=driver.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield
    finally:
        holder.communicate(timeout=10)


@pytest.fixture
def impatient(driver: Driver) -> Driver:
    """A driver whose programs give the file up after a moment."""
    driver.env["QUEUECTL_STORAGE__SQLITE__BUSY_TIMEOUT"] = "0.2"
    return driver


def gated(driver: Driver) -> tuple[str, Callable[[], None]]:
    """A job that runs until the function is called, and then prints more than a settlement can carry."""
    gate = driver.folder / "gate"
    os.mkfifo(gate)
    id = driver.enqueue(noted(driver, f"read word < {gate}; head -c 100000 /dev/zero | tr '\\0' x"))
    return id, lambda: gate.write_text("go\n") and None


def decided(driver: Driver, id: str) -> bool:
    return any(r.job and (r.job.id, r.job.phase) == (id, "decided") for r in list_workers(str(driver.run_dir)))


@pytest.mark.parametrize("how", HOLDER)
def test_a_result_waits_for_a_storage_that_others_hold(impatient: Driver, how: str) -> None:
    with report("storage held by others for longer than a pool waits", 1) as figure:
        id, finish = gated(impatient)
        pool = impatient.start("--count", "1", "--until-empty")
        worker = impatient.worker_of(id)
        until(lambda: journal(impatient), "it runs")
        with held(impatient, how):
            finish()
            until(lambda: decided(impatient, id), "the worker has the result")
            pool.await_line("the storage cannot be used")
            refused = impatient.run("enqueue", "--", "true", code=75)
            assert refused.stderr.count("\n") == 1 and refused.stdout == ""
            assert [r.pid for r in list_workers(str(impatient.run_dir)) if r.alive] == [worker["pid"]]
        assert pool.end() == 0
        assert sum("the storage cannot be used" in line for line in pool.lines()) == 1
        pool.await_line("the storage answers again")
        assert (impatient.job(id)["attempts"], journal(impatient)) == (1, ["1"])
        assert impatient.run("logs", id).stdout == "x" * 100_000
        figure.held = 1


def test_a_pool_that_is_told_to_stop_stores_first(impatient: Driver) -> None:
    id, finish = gated(impatient)
    pool = impatient.start("--count", "1")
    until(lambda: journal(impatient), "it runs")
    with held(impatient, "another process of ours"):
        finish()
        pool.await_line("the storage cannot be used")
        pool.signal(signal.SIGTERM)
        until(lambda: decided(impatient, id), "the worker has the result")
        with pytest.raises(AssertionError):
            pool.end(deadline=0.5)
    assert pool.end() == 0
    assert (impatient.job(id)["state"], journal(impatient)) == ("completed", ["1"])


def test_a_result_survives_everybody_while_the_storage_is_held(impatient: Driver) -> None:
    id, finish = gated(impatient)
    pool = impatient.start("--count", "1")
    worker = impatient.worker_of(id)
    until(lambda: journal(impatient), "it runs")
    with held(impatient, "another process of ours"):
        finish()
        pool.await_line("the storage cannot be used")
        pool.signal(signal.SIGKILL)
        pool.end()
        until(lambda: not Path(f"/proc/{worker['pid']}").exists(), "the worker has ended by itself")
        late = impatient.launch("--count", "1")
        assert late.end() == 75
        assert len(late.lines()) == 1, late.lines()
    assert impatient.start("--count", "1", "--until-empty").end() == 0
    assert (impatient.job(id)["attempts"], journal(impatient)) == (1, ["1"])
    assert impatient.run("logs", id).stdout == "x" * 100_000
