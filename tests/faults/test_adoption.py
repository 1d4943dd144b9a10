"""A worker outlives its pool: the next one adopts it, and a restart in place is the same path."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from driver import Driver, processes_with, until
from test_deaths import journal, noted

from queuectl.api.model import Outcome, OutcomeKind, Turn
from queuectl.builtin.sqlite.storage import SQLiteStorage
from queuectl.core import transitions
from queuectl.core.rundir import list_pools, list_workers


def held_open(driver: Driver, name: str = "gate") -> str:
    """A shell line that waits until the test opens a gate; ``open_gate`` does."""
    gate = driver.folder / name
    os.mkfifo(gate)
    return f"echo before; read word < {gate}; echo after"


def open_gate(driver: Driver, name: str = "gate") -> None:
    (driver.folder / name).write_text("go\n")


def adopted(driver: Driver, pool: int) -> None:
    """Wait until the pool with this process id has looked at what the dead left."""
    until(
        lambda: [record.pid for record in list_pools(str(driver.run_dir))] == [pool],
        "the dead pool's record is gone",
    )


def test_a_running_job_goes_on_under_the_next_pool(driver: Driver) -> None:
    id = driver.enqueue(noted(driver, held_open(driver)))
    first = driver.start("--count", "1")
    worker = driver.worker_of(id)
    until(lambda: journal(driver), "it runs")
    first.signal(signal.SIGKILL)
    first.end()
    second = driver.start("--count", "1", "--until-empty")
    adopted(driver, second.pid)
    driver.await_state(driver.enqueue("true"), "completed")  # others run beside it
    assert driver.worker_of(id)["pid"] == worker["pid"]
    open_gate(driver)
    assert second.end() == 0
    job = driver.job(id)
    assert (job["state"], job["attempts"], journal(driver)) == ("completed", 1, ["1"])
    assert driver.run("logs", id).stdout == "before\nafter\n"


def test_an_adopted_job_can_be_cancelled(driver: Driver) -> None:
    id = driver.enqueue("sleep 1000.8881; true")
    first = driver.start("--count", "1")
    driver.worker_of(id)
    first.signal(signal.SIGKILL)
    first.end()
    second = driver.start("--count", "1")
    adopted(driver, second.pid)
    driver.run("cancel", id)
    assert driver.job(id)["state"] == "cancelled"
    assert processes_with("1000.8881") == []


def test_a_job_survives_one_pool_after_the_other(driver: Driver) -> None:
    id = driver.enqueue(noted(driver, held_open(driver)))
    for _ in range(3):
        pool = driver.start("--count", "1")
        until(lambda: journal(driver), "it runs")
        adopted(driver, pool.pid)
        pool.signal(signal.SIGKILL)
        pool.end()
    last = driver.start("--count", "1", "--until-empty")
    adopted(driver, last.pid)
    open_gate(driver)
    assert last.end() == 0
    assert (driver.job(id)["attempts"], journal(driver)) == (1, ["1"])


def test_restart_keeps_the_process_and_its_running_job(driver: Driver) -> None:
    id = driver.enqueue(noted(driver, held_open(driver)))
    pool = driver.start("--count", "2")
    worker = driver.worker_of(id)
    until(lambda: journal(driver), "it runs")
    for _ in range(3):
        before = {record.id for record in list_pools(str(driver.run_dir))}
        assert driver.run("worker", "restart").stderr == "restarted 1 pool\n"
        assert pool.popen.poll() is None
        adopted(driver, pool.pid)
        assert not before & {record.id for record in list_pools(str(driver.run_dir))}
        driver.await_state(driver.enqueue("true"), "completed")
    assert driver.worker_of(id)["pid"] == worker["pid"]
    open_gate(driver)
    driver.await_state(id, "completed")
    assert (driver.job(id)["attempts"], journal(driver)) == (1, ["1"])
    driver.run("worker", "stop")
    assert pool.end() == 0


def test_a_restart_brings_the_new_configuration(driver: Driver) -> None:
    config = driver.folder / "queuectl.toml"
    config.write_text("[output]\nlimit = 4096\nhead = 1024\ntail = 1024\n")
    driver.env["QUEUECTL_CONFIG"] = str(config)
    driver.start("--count", "1")
    small = driver.enqueue("head -c 9000 /dev/zero | tr '\\0' x")
    driver.await_state(small, "completed")
    config.write_text("")
    driver.run("worker", "restart")
    large = driver.enqueue("head -c 9000 /dev/zero | tr '\\0' x")
    driver.await_state(large, "completed")
    assert "bytes are not kept here" in driver.run("logs", small).stdout
    assert driver.run("logs", large).stdout == "x" * 9000


def test_a_broken_configuration_is_refused_and_the_pool_goes_on(driver: Driver) -> None:
    config = driver.folder / "queuectl.toml"
    config.write_text("")
    driver.env["QUEUECTL_CONFIG"] = str(config)
    pool = driver.start("--count", "1")
    (record,) = list_pools(str(driver.run_dir))
    config.write_text('[queuectl]\nexecutor = "nonsense"\n')
    pool.signal(signal.SIGUSR2)
    assert "nonsense" in pool.await_line("not restarted")
    config.write_text("")
    driver.await_state(driver.enqueue("true"), "completed")
    assert [other.id for other in list_pools(str(driver.run_dir))] == [record.id]


def test_a_program_that_is_gone_is_no_restart_and_the_pool_goes_on(driver: Driver) -> None:
    """Its notifiers are told what happened meanwhile when the program is there again: a courier is one, too."""
    config, events = driver.folder / "queuectl.toml", driver.folder / "events"
    events.touch()
    config.write_text(f'[queuectl]\nnotifiers = ["log"]\n[notifier.log]\npath = "{events}"\n')
    driver.env["QUEUECTL_CONFIG"] = str(config)
    python = driver.folder / "python"
    python.symlink_to(sys.executable)
    pool = driver.start("--count", "1", prefix=("sh", "-c", 'shift; exec "$0" "$@"', str(python)))
    python.unlink()
    pool.signal(signal.SIGUSR2)
    assert str(python) in pool.await_line("not restarted")
    id = driver.enqueue("true")
    driver.await_state(id, "completed")
    python.symlink_to(sys.executable)
    until(lambda: f'"job":"{id}"' in events.read_text(), "its end is told")


def test_a_stopped_pool_keeps_its_jobs(driver: Driver) -> None:
    id = driver.enqueue(noted(driver, held_open(driver)))
    first = driver.start("--count", "1")
    until(lambda: journal(driver), "it runs")
    first.signal(signal.SIGSTOP)
    second = driver.start("--count", "1")
    other = driver.enqueue("true")
    driver.await_state(other, "completed")
    open_gate(driver)
    time.sleep(1.5)  # longer than a pool takes to look for dead ones
    assert driver.job(id)["state"] == "processing"
    first.signal(signal.SIGCONT)
    driver.await_state(id, "completed")
    assert (driver.job(id)["attempts"], journal(driver)) == (1, ["1"])
    for pool in (first, second):
        pool.signal(signal.SIGTERM)
        assert pool.end() == 0


def test_a_pool_and_a_worker_that_were_stopped_go_on_where_they_were(driver: Driver) -> None:
    id = driver.enqueue(noted(driver, held_open(driver)))
    first = driver.start("--count", "1")
    worker = driver.worker_of(id)
    until(lambda: journal(driver), "it runs")
    first.signal(signal.SIGSTOP)
    os.kill(worker["pid"], signal.SIGSTOP)
    second = driver.start("--count", "1")
    driver.await_state(driver.enqueue("true"), "completed")
    open_gate(driver)
    time.sleep(1.5)  # longer than a pool takes to look for dead ones
    for pid in (first.pid, worker["pid"]):
        os.kill(pid, signal.SIGCONT)
    driver.await_state(id, "completed")
    assert (driver.job(id)["attempts"], journal(driver)) == (1, ["1"])
    for pool in (first, second):
        pool.signal(signal.SIGTERM)
        assert pool.end() == 0


def test_a_result_that_comes_too_late_is_refused_and_said(driver: Driver) -> None:
    """A pool sleeps while its job ends; meanwhile another host takes it for lost, and it is run again."""
    id = driver.enqueue(noted(driver, f'[ "$QUEUECTL_ATTEMPT" = 2 ] || {{ {held_open(driver)}; exit 3; }}'))
    first = driver.start("--count", "1")
    until(lambda: journal(driver), "it runs")
    (record,) = list_pools(str(driver.run_dir))
    first.signal(signal.SIGSTOP)
    open_gate(driver)
    until(lambda: any(w.job and w.job.phase == "decided" for w in list_workers(str(driver.run_dir))), "it has ended")
    storage = SQLiteStorage(str(driver.db))
    (claim,) = storage.reap("elsewhere", dead=[record.id])
    storage.exchange(Turn("elsewhere", (transitions.settle(claim, Outcome(OutcomeKind.LOST), swept=False),)))
    storage.close()
    second = driver.start("--count", "1")
    driver.await_state(id, "completed")
    first.signal(signal.SIGCONT)
    first.await_line(f"job {id}: its result came too late and was refused")
    job = driver.job(id)
    assert (job["state"], job["attempts"]) == ("completed", 2)
    assert [attempt["ended"] for attempt in job["attempt_history"]] == ["lost", "exited"]
    for pool in (first, second):
        pool.signal(signal.SIGTERM)
        assert pool.end() == 0


def test_a_worker_that_does_not_answer_its_pool_is_ended(driver: Driver) -> None:
    """It should have ended its job at the timeout; the pool waits a while longer for it, and others work on."""
    driver.env["QUEUECTL_BACKSTOP_SECONDS"] = "1"
    id = driver.enqueue(noted(driver, '[ "$QUEUECTL_ATTEMPT" = 2 ] || sleep 1000.8883'), timeout=1, grace=0)
    pool = driver.start("--count", "2", "--until-empty")
    worker = driver.worker_of(id)
    until(lambda: journal(driver), "it runs")
    os.kill(worker["pid"], signal.SIGSTOP)
    driver.await_state(driver.enqueue("true"), "completed")
    pool.await_line("does not answer")
    assert pool.end() == 0
    job = driver.job(id)
    assert [attempt["ended"] for attempt in job["attempt_history"]] == ["lost", "exited"]
    assert journal(driver) == ["1", "2"]
    assert processes_with("1000.8883") == []


def test_a_worker_that_stays_silent_at_a_takeover_is_ended_and_others_work_on(driver: Driver) -> None:
    driver.env["QUEUECTL_WORKER__LEASE"] = "2"
    driver.env["QUEUECTL_WORKER__HEARTBEAT"] = "0.3"
    id = driver.enqueue(noted(driver, '[ "$QUEUECTL_ATTEMPT" = 2 ] || sleep 1000.8882'))
    first = driver.start("--count", "1")
    worker = driver.worker_of(id)
    until(lambda: journal(driver), "it runs")
    os.kill(worker["pid"], signal.SIGSTOP)
    first.signal(signal.SIGKILL)
    first.end()
    second = driver.start("--count", "1", "--until-empty")
    driver.await_state(driver.enqueue("true"), "completed")
    assert driver.job(id)["state"] == "processing"
    second.await_line("does not answer")
    assert second.end() == 0
    assert (driver.job(id)["attempts"], journal(driver)) == (2, ["1", "2"])
    assert processes_with("1000.8882") == []
    assert not Path(f"/proc/{worker['pid']}").exists()


@pytest.mark.parametrize("env", [{}, {"QUEUECTL_NO_PIDFD": "1"}, {"QUEUECTL_NO_SUBREAPER": "1"}], ids=str)
def test_adoption_needs_none_of_the_aids(driver: Driver, env: dict[str, str]) -> None:
    driver.env.update(env)
    id = driver.enqueue(noted(driver, held_open(driver)))
    first = driver.start("--count", "1")
    until(lambda: journal(driver), "it runs")
    first.signal(signal.SIGKILL)
    first.end()
    second = driver.start("--count", "1", "--until-empty")
    adopted(driver, second.pid)
    open_gate(driver)
    assert second.end() == 0
    assert (driver.job(id)["attempts"], journal(driver)) == (1, ["1"])
