"""Whoever dies, a job is neither lost nor run twice: its worker, the keeper, the pool, or all of them."""

from __future__ import annotations

import fcntl
import os
import secrets
import signal
from pathlib import Path

import pytest
from driver import Driver, processes_with, until

from queuectl.api.model import Outcome, OutcomeKind, Turn
from queuectl.builtin.sqlite.storage import SQLiteStorage
from queuectl.core import transitions
from queuectl.core.rundir import list_pools, list_workers


def journal(driver: Driver) -> list[str]:
    path = driver.folder / "journal"
    return path.read_text().split() if path.exists() else []


def noted(driver: Driver, rest: str) -> str:
    """A shell line that notes its attempt in the journal, then does *rest*."""
    return f'echo "$QUEUECTL_ATTEMPT" >> {driver.folder / "journal"}; {rest}'


def sleepers(mark: str) -> list[int]:
    """The processes that are ``sleep MARK`` itself, not the shells whose script says so."""
    return [pid for pid in processes_with(mark) if Path(f"/proc/{pid}/comm").read_text() == "sleep\n"]


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_job_whose_worker_dies_is_run_again_and_its_tree_is_ended_first(anybody: Driver) -> None:
    id = anybody.enqueue(
        noted(anybody, '[ "$QUEUECTL_ATTEMPT" = 2 ] || { (setsid sleep 1000.4711 &); sleep 1000.4711; }')
    )
    pool = anybody.start("--count", "1", "--until-empty")
    worker = anybody.worker_of(id)
    until(lambda: len(sleepers("1000.4711")) == 2, "both processes are up")
    os.kill(worker["pid"], signal.SIGKILL)
    assert pool.end() == 0
    assert processes_with("1000.4711") == []
    job = anybody.job(id)
    assert (job["state"], job["attempts"], job["tries"]) == ("completed", 2, 1)
    assert [attempt["ended"] for attempt in job["attempt_history"]] == ["lost", "exited"]
    assert journal(anybody) == ["1", "2"]


def test_the_third_loss_in_a_row_makes_a_job_dead(driver: Driver) -> None:
    id = driver.enqueue(noted(driver, "kill -9 $PPID; sleep 100"), max_retries=10)
    pool = driver.start("--count", "1", "--until-empty")
    assert pool.end() == 1
    job = driver.job(id)
    assert (job["state"], job["reason"], job["attempts"], job["tries"]) == ("dead", "poison", 3, 0)
    assert journal(driver) == ["1", "2", "3"]


def test_a_result_in_the_record_of_a_dead_worker_is_settled_not_lost(driver: Driver) -> None:
    """The pool is stopped while the job ends, so that nobody has heard of the result when its worker is killed."""
    id = driver.enqueue(noted(driver, "sleep 0.5; echo out; echo err >&2; exit 3"), max_retries=0)
    pool = driver.start("--count", "1", "--until-empty")
    worker = driver.worker_of(id)
    pool.signal(signal.SIGSTOP)
    until(lambda: any(r.job and r.job.phase == "decided" for r in list_workers(str(driver.run_dir))), "it is decided")
    os.kill(worker["pid"], signal.SIGKILL)
    pool.signal(signal.SIGCONT)
    assert pool.end() == 1
    job = driver.job(id)
    assert (job["state"], job["attempts"], job["exit_code"]) == ("dead", 1, 3)
    assert driver.run("logs", id, "--stdout").stdout == "out\n"
    assert driver.run("logs", id, "--stderr").stdout == "err\n"


def test_the_keeper_may_die(driver: Driver) -> None:
    running = driver.enqueue(noted(driver, "sleep 1"))
    pool = driver.start("--count", "1", "--until-empty")
    worker = driver.worker_of(running)
    os.kill(parent_of(worker["pid"]), signal.SIGKILL)
    pool.await_line("keeper has died")
    later = driver.enqueue("true")
    assert pool.end() == 0
    assert [driver.job(id)["attempts"] for id in (running, later)] == [1, 1]
    assert journal(driver) == ["1"]


def test_a_worker_that_dies_after_its_keeper_leaves_no_tree(anybody: Driver) -> None:
    id = anybody.enqueue(
        noted(anybody, '[ "$QUEUECTL_ATTEMPT" = 2 ] || { (setsid sleep 1000.4712 &); sleep 1000.4712; }')
    )
    pool = anybody.start("--count", "1", "--until-empty")
    worker = anybody.worker_of(id)
    until(lambda: len(sleepers("1000.4712")) == 2, "both processes are up")
    os.kill(parent_of(worker["pid"]), signal.SIGKILL)
    pool.await_line("keeper has died")
    os.kill(worker["pid"], signal.SIGKILL)
    assert pool.end() == 0
    assert processes_with("1000.4712") == []
    assert anybody.job(id)["attempts"] == 2


def test_a_job_outlives_its_pool_and_is_settled_by_the_next(driver: Driver) -> None:
    id = driver.enqueue(noted(driver, "sleep 1; echo whole"))
    first = driver.start("--count", "1")
    driver.worker_of(id)
    first.signal(signal.SIGKILL)
    first.end()
    second = driver.start("--count", "1", "--until-empty")
    assert second.end() == 0
    job = driver.job(id)
    assert (job["state"], job["attempts"]) == ("completed", 1)
    assert journal(driver) == ["1"]
    assert driver.run("logs", id).stdout == "whole\n"
    assert list_workers(str(driver.run_dir)) == []


def test_a_result_that_nobody_took_waits_for_the_next_pool(driver: Driver) -> None:
    id = driver.enqueue(noted(driver, "sleep 0.3; echo kept"))
    first = driver.start("--count", "1")
    worker = driver.worker_of(id)
    first.signal(signal.SIGKILL)
    first.end()
    until(lambda: not Path(f"/proc/{worker['pid']}").exists(), "the worker has ended by itself")
    assert driver.job(id)["state"] == "processing"
    assert driver.start("--count", "1", "--until-empty").end() == 0
    assert driver.job(id)["attempts"] == 1
    assert driver.run("logs", id).stdout == "kept\n"


@pytest.mark.parametrize("env", [{}, {"QUEUECTL_NO_CGROUP": "1"}], ids=["with control groups", "without"])
def test_everything_dies_at_once(driver: Driver, env: dict[str, str]) -> None:
    driver.env.update(env)
    command = noted(driver, '[ "$QUEUECTL_ATTEMPT" = 2 ] || { (setsid sleep 1000.4713 &); sleep 1000.4713; }')
    ids = [driver.enqueue(command) for _ in range(3)]
    first = driver.start("--count", "3")
    workers = [driver.worker_of(id) for id in ids]
    until(lambda: len(sleepers("1000.4713")) == 6, "all processes are up")
    for pid in [parent_of(workers[0]["pid"]), first.pid, *(worker["pid"] for worker in workers)]:
        os.kill(pid, signal.SIGKILL)
    first.end()
    second = driver.start("--count", "3", "--until-empty")
    assert second.end() == 0
    assert processes_with("1000.4713") == []
    assert [driver.job(id)["attempts"] for id in ids] == [2, 2, 2]
    assert sorted(journal(driver)) == ["1", "1", "1", "2", "2", "2"]


@pytest.mark.parametrize("pool", ["dead", "stopped"])
def test_what_the_dead_left_is_ended_before_a_later_attempt_begins(driver: Driver, pool: str) -> None:
    """Another host has made the job due again; and here nobody takes over."""
    driver.env["QUEUECTL_NO_CGROUP"] = "1"
    folder, mark = driver.folder, f"1000.{secrets.randbelow(10**12)}"
    left = f"setsid sh -c 'echo $$ > {folder}/left; exec sleep {mark}'"
    is_there = f"grep -q sleep /proc/$(cat {folder}/left)/cmdline"
    id = driver.enqueue(
        noted(
            driver,
            f'if [ "$QUEUECTL_ATTEMPT" = 1 ]; then ({left} &); sleep {mark}; '
            f"elif {is_there}; then echo overlap >> {folder}/journal; fi",
        )
    )
    first = driver.start("--count", "1")
    worker = driver.worker_of(id)
    until(lambda: len(sleepers(mark)) == 2, "both processes are up")
    first.signal(signal.SIGSTOP if pool == "stopped" else signal.SIGKILL)
    for pid in (parent_of(worker["pid"]), worker["pid"]):
        os.kill(pid, signal.SIGKILL)
    storage = SQLiteStorage(str(driver.db))
    (claim,) = storage.reap("elsewhere", dead=[record.id for record in list_pools(str(driver.run_dir))])
    storage.exchange(Turn("elsewhere", (transitions.settle(claim, Outcome(OutcomeKind.LOST), swept=False),)))
    storage.close()
    try:
        with (driver.run_dir / "takeover.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            driver.start("--count", "1")
            driver.await_state(id, "completed")
        assert journal(driver) == ["1", "2"]
        assert processes_with(mark) == []
    finally:
        for pid in processes_with(mark):
            os.kill(pid, signal.SIGKILL)


def test_what_a_pool_claimed_and_never_handed_over_is_no_attempt(driver: Driver) -> None:
    """Its workers are stopped, so a claim stays unread; the pool is killed, and the next one gives the job back."""
    first = driver.start("--count", "1")
    (worker,) = until(driver.workers, "a worker is up")
    os.kill(worker["pid"], signal.SIGSTOP)
    id = driver.enqueue(noted(driver, "true"))
    until(lambda: driver.job(id)["state"] == "processing", "it is claimed")
    first.signal(signal.SIGKILL)
    first.end()
    second = driver.start("--count", "1", "--until-empty")
    driver.await_state(id, "completed")
    os.kill(worker["pid"], signal.SIGCONT)
    assert second.end() == 0
    job = driver.job(id)
    assert (job["attempts"], journal(driver)) == (1, ["1"])


def test_pools_work_side_by_side(driver: Driver) -> None:
    ids = driver.run("enqueue", "-", input=f"echo $QUEUECTL_JOB_ID >> {driver.folder}/journal\n" * 200).stdout.split()
    pools = [driver.start("--count", "2", "--until-empty") for _ in range(3)]
    assert [pool.end() for pool in pools] == [0, 0, 0]
    assert sorted(journal(driver), key=int) == ids
