"""The wall clock is set while pools work: nothing runs early, nothing is lost, nobody spins.

A module that every process imports adds to the wall clock what a file says, and leaves the other clocks alone.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from driver import Driver, until
from targets import report

HOUR, YEARS = 3600, 10 * 365 * 24 * 3600
CLOCK = """
import os, time

real = time.time_ns

def time_ns():
    try:
        with open(os.environ["CLOCK_OFFSET"]) as file:
            return real() + int(file.read()) * 10**9
    except (OSError, KeyError, ValueError):
        return real()

time.time_ns = time_ns
time.time = lambda: time_ns() / 1e9
"""
#: Workers look at no site: a plugin brings the clock to them.
PLUGIN = """
import sitecustomize
from queuectl.api import hookimpl

@hookimpl
def queuectl_verdict(job, outcome):
    return None
"""


class Clock:
    """The wall clock of everything that the driver starts."""

    def __init__(self, driver: Driver) -> None:
        self.path = driver.folder / "offset"
        (driver.folder / "sitecustomize.py").write_text(CLOCK)
        (driver.folder / "local.py").write_text(PLUGIN)
        (driver.folder / "queuectl.toml").write_text('[plugins]\nfiles = ["./local.py"]\n')
        driver.env["QUEUECTL_CONFIG"] = str(driver.folder / "queuectl.toml")
        driver.env["PYTHONPATH"] = f"{driver.folder}{os.pathsep}{driver.env['PYTHONPATH']}"
        driver.env["CLOCK_OFFSET"] = str(self.path)

    def set(self, offset: int) -> None:
        part = self.path.with_suffix(".new")
        part.write_text(str(offset))
        part.rename(self.path)


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("jump", [HOUR, -HOUR, YEARS, -YEARS], ids=lambda jump: f"{jump:+} s")
def test_the_clock_may_be_set_while_a_pool_works(driver: Driver, jump: int) -> None:
    with report("wall clock set while running", 1) as figure:
        clock = Clock(driver)
        gate = driver.folder / "gate"
        os.mkfifo(gate)
        pool = driver.start("--count", "2")
        driver.await_state(driver.enqueue("true"), "completed")
        later = driver.enqueue("true", delay="30m")
        running = driver.enqueue(f"read word < {gate}")
        driver.worker_of(running)

        clock.set(jump)
        pool.await_line("the clock has jumped")
        second = driver.start("--count", "1")  # its leases look old, or are not to begin for years
        driver.await_state(driver.enqueue("true"), "completed", deadline=5)
        retried = driver.enqueue('[ "$QUEUECTL_TRY" = 2 ]', backoff="fixed", backoff_options={"delay": 0.3})
        driver.await_state(retried, "completed", deadline=5)
        if jump > 0:
            driver.await_state(later, "completed", deadline=5)

        before, began = cpu_of(pool.pid), time.monotonic()
        driver.await_state(driver.enqueue("true", delay=2), "completed", deadline=8)
        waited = time.monotonic() - began
        assert waited >= 2
        assert cpu_of(pool.pid) - before < 0.1 * waited, "it waits and does not spin"
        if jump < 0:
            assert driver.job(later)["state"] == "pending", "nothing runs early"

        clock.set(0)
        until(lambda: sum("the clock has jumped" in line for line in pool.lines()) == 2, "it is noticed again")
        driver.await_state(driver.enqueue("true"), "completed", deadline=5)
        gate.write_text("go\n")
        job = driver.await_state(running, "completed", deadline=5)
        assert job["attempts"] == 1
        assert 0 <= job["duration_sec"] < 60
        assert not any("no longer ours" in line for line in pool.lines() + second.lines())
        driver.run("worker", "stop", "--timeout", "10")
        assert driver.job(later)["state"] == ("completed" if jump > 0 else "pending")
        figure.held = 1
