"""Runs that outlive their workers: whoever dies, they are taken up, and nothing runs twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from driver import Driver, until
from far import Site
from gates import Gate

from queuectl.core.rundir import list_workers

GATED = "echo began; echo $QUEUECTL_ATTEMPT >> {f}/journal; read w < {f}/gate; echo ended; echo e >&2; exit 3"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path / "site")
    yield made
    made.close()


@pytest.fixture
def far(driver: Driver, site: Site) -> Driver:
    """A user whose jobs run at the site."""
    (driver.folder / "local.py").write_text(site.plugin())
    config = '[queuectl]\nexecutor = "far"\n[plugins]\nfiles = ["./local.py"]\n[worker]\nheartbeat = 0.2\n'
    (driver.folder / "queuectl.toml").write_text(config)
    driver.env["QUEUECTL_CONFIG"] = str(driver.folder / "queuectl.toml")
    os.mkfifo(driver.folder / "gate")
    return driver


def gated(far: Driver, **more: object) -> str:
    id = far.enqueue(GATED.format(f=far.folder), max_retries=0, **more)
    until((far.folder / "journal").exists, "it has begun")
    return id


def open_gate(far: Driver) -> None:
    with open(far.folder / "gate", "w") as gate:
        gate.write("go\n")


def kill_worker(far: Driver) -> None:
    """The worker that has the job in hand, whichever that is by now."""
    for record in list_workers(str(far.run_dir)):
        if record.alive and record.job is not None:
            os.kill(record.pid, signal.SIGKILL)


def holder(far: Driver) -> str:
    return next((r.id for r in list_workers(str(far.run_dir)) if r.alive and r.job and r.job.phase == "running"), "")


def orphaned_run(far: Driver) -> str:
    """A run that goes on, its worker and its pool killed so that neither could tell of it; the id of its job."""
    pool = far.start("--count", "1")
    id = gated(far)
    until(lambda: holder(far), "a worker follows it")
    pool.signal(signal.SIGSTOP)
    kill_worker(far)
    pool.signal(signal.SIGKILL)
    pool.end()
    return id


def followed_by_another(far: Driver) -> None:
    """Kill the worker that has it in hand, and wait for the next one."""
    before = until(lambda: holder(far), "a worker follows it")
    kill_worker(far)
    until(lambda: holder(far) not in ("", before), "another worker follows it")


def ended_once(far: Driver, site: Site, id: str) -> None:
    job = far.await_state(id, "dead")
    assert (job["reason"], job["attempts"], job["losses"]) == ("exit 3", 1, 0)
    assert (far.folder / "journal").read_text() == "1\n"
    assert site.started == 1
    assert far.run("logs", id, "--stdout").stdout == "began\nended\n"
    until(lambda: not list(site.folder.iterdir()), "the executor may forget it")


def test_the_run_of_a_killed_worker_is_taken_up(far: Driver, site: Site) -> None:
    far.start("--count", "1")
    id = gated(far)
    until(lambda: holder(far), "a worker follows it")
    for _ in range(2):
        followed_by_another(far)
    open_gate(far)
    ended_once(far, site, id)


def test_a_run_that_ended_without_a_worker_is_settled_as_it_ended(far: Driver, site: Site) -> None:
    pool = far.start("--count", "1")
    id = gated(far)
    pool.signal(signal.SIGSTOP)
    kill_worker(far)
    open_gate(far)
    until(lambda: list(site.folder.glob("*.code")), "it has ended")
    pool.signal(signal.SIGCONT)
    ended_once(far, site, id)


@pytest.mark.parametrize(
    "point", ["worker.started", "worker.named", "worker.spawned", "worker.running", "worker.collected"]
)
def test_whenever_the_worker_dies_the_job_runs_once_or_is_certain_not_to_have_run(
    far: Driver, site: Site, point: str
) -> None:
    far.env |= {"QUEUECTL_POINT": point, "QUEUECTL_POINT_MARK": str(far.folder / "struck")}
    id = far.enqueue("exit 3", max_retries=0)
    far.start("--count", "1", "--until-empty").end()
    job = far.job(id)
    assert (far.folder / f"struck.{point}").exists()
    assert (job["state"], job["reason"]) == ("dead", "exit 3")
    assert site.started == 1
    assert job["attempts"] == (2 if point in ("worker.started", "worker.named") else 1)


def test_the_next_pool_takes_up_what_a_dead_pool_and_its_worker_left(far: Driver, site: Site) -> None:
    id = orphaned_run(far)
    far.start("--count", "1")
    until(lambda: holder(far), "another worker follows it")
    open_gate(far)
    ended_once(far, site, id)


def test_a_pool_that_dies_while_a_run_waits_for_a_worker_loses_nothing(far: Driver, site: Site) -> None:
    """The only worker is busy with another job: the dead one's record must stay until somebody has taken it up."""
    id = orphaned_run(far)
    far.env |= {"QUEUECTL_POINT": "takeover.sorted", "QUEUECTL_POINT_MARK": str(far.folder / "struck")}
    far.launch("--count", "1").end()
    assert (far.folder / "struck.takeover.sorted").exists()
    far.start("--count", "1")
    until(lambda: holder(far), "another worker follows it")
    open_gate(far)
    ended_once(far, site, id)


def test_a_pool_that_restarts_in_place_takes_up_what_waits(far: Driver, site: Site) -> None:
    pool = far.start("--count", "1")
    id = gated(far)
    until(lambda: holder(far), "a worker follows it")
    kill_worker(far)
    pool.signal(signal.SIGUSR2)
    until(lambda: holder(far), "another worker follows it")
    open_gate(far)
    ended_once(far, site, id)


def test_a_run_that_was_taken_up_is_cancelled_and_stopped_like_any_other(far: Driver, site: Site) -> None:
    pool = far.start("--count", "1")
    id = gated(far)
    followed_by_another(far)
    far.run("cancel", id)
    assert far.await_state(id, "cancelled")["attempts"] == 1
    pool.signal(signal.SIGTERM)
    assert pool.end() == 0


def test_a_stop_waits_for_a_run_whose_worker_has_died(far: Driver, site: Site) -> None:
    pool = far.start("--count", "1")
    id = gated(far)
    until(lambda: holder(far), "a worker follows it")
    pool.signal(signal.SIGTERM)
    pool.await_line("stopping")
    kill_worker(far)
    open_gate(far)
    assert pool.end() == 0
    ended_once(far, site, id)


def test_a_run_that_nobody_knows_any_more_is_lost_and_comes_again(far: Driver, site: Site) -> None:
    pool = far.start("--count", "1")
    id = gated(far)
    until(lambda: holder(far), "a worker follows it")
    pool.signal(signal.SIGSTOP)
    kill_worker(far)
    for path in site.folder.glob("*.request"):
        path.unlink()
    pool.signal(signal.SIGCONT)
    until(lambda: site.started == 2, "the second attempt")
    with Gate(far.folder / "gate") as open_both:  # the first attempt may wait there too
        open_both()
        assert far.await_state(id, "dead")["attempts"] == 2


def test_a_worker_that_dies_with_each_run_it_takes_up_is_not_followed_for_ever(far: Driver, site: Site) -> None:
    text = (
        (far.folder / "local.py")
        .read_text()
        .replace("    def attach", "    def attach(self, i, r): os._exit(9)\n    def x")
    )
    (far.folder / "local.py").write_text(text)
    pool = far.start("--count", "1")
    id = gated(far)
    until(lambda: holder(far), "a worker follows it")
    kill_worker(far)
    pool.await_line("died with job", 30)
    until(lambda: site.started == 2, "the second attempt", 60)
    assert far.job(id)["losses"] == 1
    with Gate(far.folder / "gate") as open_both:
        open_both()
        assert far.await_state(id, "dead")["reason"] == "exit 3"
