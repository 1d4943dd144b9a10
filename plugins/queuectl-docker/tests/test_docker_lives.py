"""Runs in containers through thick and thin: workers, pools and the engine are killed, and the engine comes back.

A run is judged by its journal (how often it ran), its result and its output. "Kept" means: one attempt, its own exit
code, every word that it said.
"""

from __future__ import annotations

import signal
from functools import partial

import pytest
from docker_user import User
from dockerd import Engine
from driver import until
from queuectl_docker.forgotten import end_forgotten, processes_of
from targets import report, target

from queuectl.core.rundir import list_workers

# --- Deaths of ours --------------------------------------------------------------------------------


def test_a_container_whose_worker_was_killed_is_taken_up(docker: User) -> None:
    docker.start("--count", "1")
    id = docker.gated()
    docker.kill_workers()
    until(lambda: any(r.job and r.job.outlives for r in list_workers(str(docker.run_dir)) if r.alive), "taken up")
    docker.open_gate()
    docker.ended_once(id)


def test_a_container_whose_pool_was_killed_is_followed_by_its_worker_until_the_next_pool_comes(docker: User) -> None:
    pool = docker.start("--count", "1")
    id = docker.gated()
    pool.signal(signal.SIGKILL)
    pool.end()
    docker.open_gate()
    until(docker.has_passed, "it ended")
    docker.start("--count", "1")
    docker.ended_once(id)


def test_a_container_that_ends_while_nobody_lives_keeps_its_result(docker: User) -> None:
    pool = docker.start("--count", "1")
    id = docker.gated()
    docker.kill_all(pool)
    docker.open_gate()
    until(lambda: not docker.is_running(), "it ended")
    docker.start("--count", "1")
    docker.ended_once(id)


def test_a_run_that_is_taken_up_can_be_cancelled(docker: User) -> None:
    docker.start("--count", "1")
    id = docker.gated(grace=0)
    docker.kill_workers()
    docker.run("cancel", id)
    assert docker.await_state(id, "cancelled")["attempts"] == 1
    until(lambda: not docker.is_running(), "its container is ended")


def test_a_timeout_counts_from_the_beginning_of_the_run_and_not_from_when_it_was_taken_up(docker: User) -> None:
    docker.start("--count", "1")
    id = docker.gated(timeout=3, grace=1)
    docker.kill_workers()
    job = docker.await_state(id, "dead")
    assert job["reason"].startswith("timeout") and job["attempts"] == 1
    (attempt,) = job["attempt_history"]
    assert 3 <= attempt["duration_sec"] < 6


def test_a_container_that_is_gone_when_its_run_is_taken_up_is_lost_and_its_job_runs_again(
    docker: User, engine: Engine
) -> None:
    pool = docker.start("--count", "1")
    id = docker.gated()
    docker.kill_all(pool)
    (one,) = docker.containers()
    with engine.client() as client:
        client.remove_container(one["Id"], force=True)
    docker.start("--count", "1")
    until(lambda: len(docker.journal()) == 2, "the second attempt")
    docker.open_gate()
    job = docker.await_state(id, "dead")
    assert (job["reason"], job["attempts"], job["losses"]) == ("exit 3", 2, 0)


# --- Deaths of the engine --------------------------------------------------------------------------

#: dockerd alone, as when its package is renewed; or all of the engine, as when the host is short of memory.
deaths = pytest.mark.parametrize("with_containerd", [False, True], ids=["dockerd", "dockerd-and-containerd"])


@deaths
def test_a_run_that_ends_while_the_engine_is_away_keeps_its_result(
    docker: User, killable: Engine, with_containerd: bool
) -> None:
    docker.start("--count", "1")
    id = docker.gated()
    killable.kill(with_containerd=with_containerd)
    docker.open_gate()
    until(docker.has_passed, "it ended")
    assert docker.job(id)["state"] == "processing"
    killable.start()
    logs = docker.ended_once(id, said="began\n")  # an engine that is away hears nothing, and what it missed is gone
    assert "ended while its engine was away" in logs["stderr"]


@deaths
def test_a_run_that_outlives_its_engine_is_followed_further(
    docker: User, killable: Engine, with_containerd: bool
) -> None:
    docker.start("--count", "1")
    id = docker.gated()
    killable.kill(with_containerd=with_containerd)
    killable.start("--live-restore")
    docker.open_gate()
    docker.ended_once(id)


@pytest.mark.parametrize("death", ["killed", "stopped"])
def test_a_run_that_its_engine_ended_is_interrupted_and_runs_again_at_no_cost(
    docker: User, killable: Engine, death: str
) -> None:
    docker.start("--count", "1")
    id = docker.gated()
    if death == "killed":
        killable.kill()  # it ends what it finds when it starts again
    else:
        killable.stop()
    killable.start()
    until(lambda: len(docker.journal()) == 2, "the second attempt")
    docker.open_gate()
    job = docker.await_state(id, "dead")
    assert (job["reason"], job["attempts"], job["tries"], job["losses"]) == ("exit 3", 2, 1, 0)
    first = job["attempt_history"][0]
    assert (first["ended"], first["detail"]) == ("interrupted", "ended with its engine")


@pytest.mark.parametrize("ends", ["meanwhile", "afterwards"])
def test_when_all_die_at_once_the_run_is_kept(docker: User, killable: Engine, ends: str) -> None:
    pool = docker.start("--count", "1")
    id = docker.gated()
    docker.kill_all(pool)
    killable.kill()
    if ends == "meanwhile":
        docker.open_gate()
        until(docker.has_passed, "it ended")
    docker.start("--count", "1")
    killable.start("--live-restore")
    if ends == "afterwards":
        docker.open_gate()
    docker.ended_once(id, said="began\n" if ends == "meanwhile" else "began\nended\n")


def test_a_run_that_ended_with_worker_and_engine_is_interrupted(docker: User, killable: Engine) -> None:
    pool = docker.start("--count", "1")
    id = docker.gated()
    docker.kill_all(pool)
    killable.stop()  # as when the host goes down
    killable.start()
    docker.start("--count", "1")
    until(lambda: len(docker.journal()) == 2, "the second attempt")
    docker.open_gate()
    job = docker.await_state(id, "dead")
    assert (job["reason"], job["tries"], job["losses"]) == ("exit 3", 1, 0)


def test_a_job_that_finds_no_engine_waits_for_it(docker: User, killable: Engine) -> None:
    pool = docker.start("--count", "1")
    killable.kill()
    id = docker.enqueue("exit 0")
    pool.await_line("waiting for it")
    assert docker.job(id)["state"] == "processing"
    killable.start()
    assert docker.await_state(id, "completed")["attempts"] == 1


def test_what_has_not_begun_can_be_cancelled_while_the_engine_is_away(docker: User, killable: Engine) -> None:
    pool = docker.start("--count", "1")
    killable.kill()
    id = docker.enqueue("exit 0")
    pool.await_line("waiting for it")
    docker.run("cancel", id)
    docker.await_state(id, "cancelled")
    killable.start()


def test_a_run_that_is_cancelled_while_the_engine_is_away_is_ended_when_it_is_back(
    docker: User, killable: Engine
) -> None:
    docker.start("--count", "1")
    id = docker.gated(grace=0)
    killable.kill()
    docker.run("cancel", "--no-wait", id)
    assert docker.job(id)["state"] == "processing", "nobody knows whether it runs"
    killable.start("--live-restore")
    assert docker.await_state(id, "cancelled")["attempts"] == 1
    until(lambda: not docker.containers(), "its container is gone")


def test_a_job_waits_as_long_as_patience_and_the_next_attempt_clears_up_after_the_first(
    docker: User, killable: Engine
) -> None:
    docker.configure(patience=0.5)
    docker.start("--count", "1")
    id = docker.gated()
    killable.kill()
    lost = docker.await_state(id, "dead")
    assert lost["reason"].startswith("start failed: the engine at ") and "(waited 0.5 s)" in lost["reason"]
    assert (lost["attempts"], lost["tries"], docker.journal()) == (2, 1, [f"{id} 1"])
    assert lost["attempt_history"][0]["ended"] == "lost"
    killable.start("--live-restore")
    assert docker.is_running()
    docker.run("dlq", "retry", id)
    until(lambda: docker.journal() == [f"{id} 1", f"{id} 3"], "the third attempt")
    assert len(docker.containers()) == 1, "the first attempt's was ended before the third began"
    docker.open_gate()
    assert docker.await_state(id, "dead")["reason"] == "exit 3"


def test_an_engine_that_is_killed_again_and_again_costs_no_job_and_no_attempt_runs_twice_or_beside_another(
    docker: User, killable: Engine
) -> None:
    deaths = target(2, 50)
    docker.start("--count", "2")
    line = (
        f"cd {docker.folder}; exec 9> lock-$QUEUECTL_JOB_ID; flock -n 9 || echo $QUEUECTL_JOB_ID >> overlaps; "
        "echo $QUEUECTL_JOB_ID $QUEUECTL_ATTEMPT >> journal; sleep 0.$(($QUEUECTL_JOB_ID % 5))"
    )
    ids: list[str] = []
    with report("deaths of a container engine among jobs", deaths) as figure:
        for number in range(deaths):
            begun = len(docker.journal())
            ids += [docker.enqueue(line) for _ in range(3)]
            until(partial(has_grown, docker, begun), "one of them began")
            killable.kill(with_containerd=number % 2 == 0)  # the next one is just being started
            killable.start("--live-restore")
            for id in ids[-3:]:
                docker.await_state(id, "completed", deadline=60)
            figure.held += 1
        journal = docker.journal()
        figure.more |= {"jobs": len(ids), "further_attempts": len(journal) - len(ids)}
    assert len(set(journal)) == len(journal), "an attempt ran twice"
    assert {entry.split()[0] for entry in journal} == set(ids)
    assert not (docker.folder / "overlaps").exists()
    until(lambda: not docker.is_running(), "nothing runs")
    docker.remove_containers()  # what could not be removed, for the engine was away, goes with its worker's next job


def has_grown(docker: User, size: int) -> bool:
    return len(docker.journal()) > size


def test_what_an_engine_has_forgotten_is_ended_by_its_control_group(docker: User) -> None:
    docker.start("--count", "1")
    id = docker.gated()
    (one,) = docker.containers()
    assert processes_of(one["Id"])
    assert end_forgotten(one["Id"]) >= 2  # the job and its init
    assert not processes_of(one["Id"])
    assert docker.await_state(id, "dead")["reason"] == "exit 137"
