"""A pool as the first process of a container: its signals work, it reaps, and its end takes everybody with it."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from driver import Driver, PoolProcess, processes_with, until
from targets import report
from test_deaths import journal, noted

CONTAINER = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def can_unshare() -> bool:
    try:
        return subprocess.run([*CONTAINER, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


pytestmark = pytest.mark.skipif(not can_unshare(), reason="needs the right to make a pid namespace")


def first_of(pool: PoolProcess) -> int:
    """The pool itself, as seen from outside: the child of the unshare that was started."""
    (pid,) = map(int, Path(f"/proc/{pool.pid}/task/{pool.pid}/children").read_text().split())
    return pid


def inside(pid: int) -> dict[int, str]:
    """The processes of a container, by their pids outside, each with its state."""
    namespace = os.stat(f"/proc/{pid}/ns/pid").st_ino
    found = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{entry}/ns/pid").st_ino == namespace:
                found[int(entry)] = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
    return found


def test_orphans_are_ended_and_reaped_and_signals_are_obeyed(driver: Driver) -> None:
    jobs = 20
    with report("first process of a container", jobs) as figure:
        mark = f"1000.{os.getpid()}771"
        hidden = f"(env -i setsid sleep {mark} &); (sleep 0.01 &); sleep 0.02"
        ids = driver.run("enqueue", "-", input=f"{hidden}\n" * jobs).stdout.split()
        pool = driver.start("--count", "4", prefix=CONTAINER)
        driver.await_state(ids[-1], "completed")
        driver.run("wait", *ids)
        first = first_of(pool)
        assert processes_with(mark) == []
        until(lambda: "Z" not in inside(first).values(), "no zombie is left")
        assert len(inside(first)) == 6, "pool, keeper and four workers"
        # A keeper that dies leaves its workers to the pool, which reaps them when they end.
        running = driver.enqueue("sleep 0.3")
        driver.worker_of(running)
        (keeper,) = [pid for pid in inside(first) if b"keeper" in Path(f"/proc/{pid}/cmdline").read_bytes()][:1]
        os.kill(keeper, signal.SIGKILL)
        driver.await_state(running, "completed")
        until(lambda: "Z" not in inside(first).values(), "no zombie is left")
        os.kill(first, signal.SIGTERM)
        assert pool.end() == 0
        figure.held = jobs


def test_the_death_of_the_first_process_is_a_loss_that_the_next_container_settles(driver: Driver) -> None:
    id = driver.enqueue(noted(driver, '[ "$QUEUECTL_ATTEMPT" = 2 ] || sleep 1000'))
    pool = driver.start("--count", "1", prefix=CONTAINER)
    until(lambda: journal(driver), "it runs")
    os.kill(first_of(pool), signal.SIGKILL)
    pool.end()
    assert driver.start("--count", "1", "--until-empty", prefix=CONTAINER).end() == 0
    job = driver.job(id)
    assert (job["state"], job["attempts"], journal(driver)) == ("completed", 2, ["1", "2"])


def test_a_pool_in_a_container_and_one_beside_it_share_a_storage(driver: Driver) -> None:
    """Pids mean nothing across; a lock does."""
    gate = driver.folder / "gate"
    id = driver.enqueue(noted(driver, f"until [ -e {gate} ]; do sleep 0.05; done"))
    driver.start("--count", "1", prefix=CONTAINER)
    until(lambda: journal(driver), "it runs")
    beside = driver.start("--count", "1", "--max-jobs", "1")
    other = driver.enqueue("true")
    assert beside.end() == 0
    assert driver.job(other)["state"] == "completed"
    gate.touch()
    driver.await_state(id, "completed")
    assert (driver.job(id)["attempts"], journal(driver)) == (1, ["1"])
