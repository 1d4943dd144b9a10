"""Runs in containers through thick and thin: workers, pools and the engine are killed, and the engine comes back."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dockerd import IMAGE, PYTHON, Engine, opened
from driver import Driver, until
from targets import report, target

from queuectl.api.executor import Handle
from queuectl.api.model import Outcome, OutcomeKind
from queuectl.core.rundir import list_workers
from queuectl.testing.fakes import make_run

#: Says where it is, runs until the gate is opened, and says again. The journal tells how often it ran.
GATED = "echo began; echo $QUEUECTL_JOB_ID $QUEUECTL_ATTEMPT >> {f}/journal; read w < {f}/gate; echo ended; exit 3"


@pytest.fixture
def docker(engine: Engine, tmp_path: Path) -> Iterator[Driver]:
    """A user with a queue whose jobs run in containers, which see its folder."""
    driver = Driver(tmp_path)
    options = engine.options(user="0:0", mounts=[f"{tmp_path}:{tmp_path}"], patience=60)
    lines = [f"{name} = {json.dumps(value)}" for name, value in options.items()]
    text = '[queuectl]\nexecutor = "docker"\n[executor.docker]\n' + "\n".join(lines) + "\n[worker]\nheartbeat = 0.5\n"
    (tmp_path / "queuectl.toml").write_text(text)
    driver.env["QUEUECTL_CONFIG"] = str(tmp_path / "queuectl.toml")
    os.mkfifo(tmp_path / "gate")
    yield driver
    driver.close()
    assert engine.answers()
    until(lambda: not ours(engine, driver), "no container is left", 60)


def ours(engine: Engine, driver: Driver) -> list[dict[str, Any]]:
    with engine.client() as client:
        everyone = [client.inspect_container(found["Id"]) for found in engine.containers()]
    return [one for one in everyone if any(str(driver.folder) in str(mount) for mount in one["HostConfig"]["Mounts"])]


def journal(driver: Driver) -> list[str]:
    path = driver.folder / "journal"
    return path.read_text().splitlines() if path.exists() else []


def gated(driver: Driver, **more: Any) -> str:
    """A job that has begun and waits at the gate."""
    before = len(journal(driver))
    id = driver.enqueue(GATED.format(f=driver.folder), max_retries=0, **more)
    until(lambda: len(journal(driver)) > before, "the job has begun")
    return id


def open_gate(driver: Driver) -> None:
    with open(driver.folder / "gate", "w") as gate:
        gate.write("go\n")


def kill_workers(driver: Driver) -> None:
    for record in list_workers(str(driver.run_dir)):
        if record.alive and record.job is not None:
            os.kill(record.pid, signal.SIGKILL)


def ended_once(driver: Driver, id: str) -> None:
    """It ran once, and its result and whole output are there."""
    job = driver.await_state(id, "dead", deadline=60)
    assert (job["reason"], job["attempts"], job["losses"]) == ("exit 3", 1, 0)
    assert journal(driver) == [f"{id} 1"]
    assert driver.run("logs", id).stdout == "began\nended\n"


# --- Deaths of ours --------------------------------------------------------------------------------


def test_a_container_whose_worker_was_killed_is_taken_up(docker: Driver) -> None:
    docker.start("--count", "1")
    id = gated(docker)
    kill_workers(docker)
    until(lambda: any(r.job and r.job.outlives for r in list_workers(str(docker.run_dir)) if r.alive), "taken up")
    open_gate(docker)
    ended_once(docker, id)


def test_a_container_whose_pool_and_worker_were_killed_is_taken_up_by_the_next_pool(
    docker: Driver, engine: Engine
) -> None:
    pool = docker.start("--count", "1")
    id = gated(docker)
    pool.signal(signal.SIGSTOP)
    kill_workers(docker)
    pool.signal(signal.SIGKILL)
    pool.end()
    open_gate(docker)  # it ends while nobody of ours lives
    until(lambda: not any(one["State"]["Running"] for one in ours(engine, docker)), "it ended")
    docker.start("--count", "1")
    ended_once(docker, id)


def test_a_run_that_is_taken_up_can_be_cancelled(docker: Driver, engine: Engine) -> None:
    docker.start("--count", "1")
    id = gated(docker, grace=0)
    kill_workers(docker)
    docker.run("cancel", id)
    assert docker.await_state(id, "cancelled")["attempts"] == 1
    until(lambda: not any(one["State"]["Running"] for one in ours(engine, docker)), "its container is ended")


def test_a_timeout_counts_from_the_beginning_of_the_run_and_ends_the_container(docker: Driver) -> None:
    docker.start("--count", "1")
    id = gated(docker, timeout=1, grace=1)
    job = docker.await_state(id, "dead")
    assert job["reason"].startswith("timeout")
    assert (job["outcome"]["ended_at"] > job["outcome"]["started_at"]) if "outcome" in job else True


def test_a_container_that_is_gone_when_its_run_is_taken_up_is_lost_and_its_job_runs_again(
    docker: Driver, engine: Engine
) -> None:
    pool = docker.start("--count", "1")
    id = gated(docker)
    pool.signal(signal.SIGSTOP)
    kill_workers(docker)
    pool.signal(signal.SIGKILL)
    pool.end()
    (one,) = ours(engine, docker)
    with engine.client() as client:
        client.remove_container(one["Id"], force=True)
    docker.start("--count", "1")
    until(lambda: len(journal(docker)) == 2, "the second attempt")
    open_gate(docker)
    job = docker.await_state(id, "dead")
    assert (job["reason"], job["attempts"], job["losses"]) == ("exit 3", 2, 0)


# --- Deaths of the engine --------------------------------------------------------------------------


@pytest.mark.parametrize("ends", ["afterwards", "meanwhile"])
def test_an_engine_that_was_killed_is_waited_for(docker: Driver, engine: Engine, ends: str) -> None:
    docker.start("--count", "1")
    id = gated(docker)
    engine.kill()
    if ends == "meanwhile":
        open_gate(docker)
    assert docker.job(id)["state"] == "processing"
    engine.start()
    if ends == "afterwards" and any(one["State"]["Running"] for one in ours(engine, docker)):
        open_gate(docker)
    job = docker.await_state(id, "dead", deadline=60)
    if ends == "meanwhile" or job["attempts"] == 1:
        assert (job["reason"], job["attempts"]) == ("exit 3", 1)
        assert journal(docker) == [f"{id} 1"]


# --- Many ------------------------------------------------------------------------------------------


def test_eight_at_once(docker: Driver) -> None:
    docker.start("--count", "8")
    ids = [docker.enqueue(f"echo x >> {docker.folder}/here; read w < {docker.folder}/gate; exit 0") for _ in range(8)]
    until(lambda: (docker.folder / "here").exists() and len((docker.folder / "here").read_text()) == 16, "all run")
    for _ in ids:
        open_gate(docker)
    for id in ids:
        docker.await_state(id, "completed")


def memory_of(pid: int) -> int:
    """Pages that are a process's own, in KiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def test_many_in_a_row_leave_nothing_behind(engine: Engine, tmp_path: Path) -> None:
    many = target(40, 500)
    executor = opened(engine.options(), tmp_path)
    files = [os.open(tmp_path / name, os.O_RDWR | os.O_CREAT | os.O_APPEND) for name in ("out", "err")]

    def one(number: int) -> Outcome:
        mark = {"QUEUECTL_RUN": f"many.1.{number}"}
        handle = executor.start(make_run(f"echo {number}; exit {number % 3}", *files, own_env=mark))
        outcome = follow(handle)
        handle.forget()
        return outcome

    with report("containers in a row", many) as figure:
        before = (0, 0)
        for number in range(many):
            outcome = one(number)
            assert (outcome.kind, outcome.code) == (OutcomeKind.EXITED, number % 3)
            figure.held += 1
            if number == 19:
                executor.close()
                before = (len(os.listdir("/dev/fd")), memory_of(os.getpid()))
        executor.close()
        descriptors, memory = len(os.listdir("/dev/fd")), memory_of(os.getpid())
        figure.more |= {"memory_growth_kib": memory - before[1]}
        assert descriptors <= before[0]
        assert memory - before[1] < 4096
    assert (tmp_path / "out").read_text() == "".join(f"{number}\n" for number in range(many))
    assert not [one for one in engine.containers() if "queuectl-1-1" in one["Names"][0] and "many" in str(one)]
    for file in files:
        os.close(file)


def follow(handle: Handle, seconds: float = 30) -> Outcome:
    until_ = time.monotonic() + seconds
    while time.monotonic() < until_:
        select.select([handle.fileno()], [], [], seconds)
        if (outcome := handle.collect()) is not None:
            return outcome
    raise AssertionError("it did not end")


# --- What it is told ---------------------------------------------------------------------------------


def test_out_of_memory_is_told_from_a_failure(docker: Driver) -> None:
    docker.start("--count", "1")
    eater = f"exec {PYTHON} -I -S -c 'x = bytearray(300 << 20)'"
    id = docker.run("enqueue", "--max-retries", "0", "--set", "memory=33554432", "--shell", eater).stdout.strip()
    assert docker.await_state(id, "dead")["reason"] == "signal 9: out of memory, the limit is 32 MiB"


def test_an_image_that_is_not_there_fails_to_start_with_the_engines_words(docker: Driver) -> None:
    docker.start("--count", "1")
    id = docker.run("enqueue", "--max-retries", "0", "--set", "image=no-such-image:1", "--", "true").stdout.strip()
    reason = docker.await_state(id, "dead")["reason"]
    assert reason.startswith("start failed") and "no-such-image" in reason


def test_executor_and_options_are_chosen_by_flags_json_and_python(docker: Driver, engine: Engine) -> None:
    docker.start("--count", "1")
    ids = [
        docker.run(
            "enqueue", "--executor", "docker", "--set", f"image={IMAGE}", "--", "sh", "-c", "echo in $0"
        ).stdout.strip(),
        docker.enqueue("echo in sh", executor="docker", executor_options={"image": IMAGE, "network": "none"}),
    ]
    for id in ids:
        docker.await_state(id, "completed")
        assert docker.run("logs", id).stdout == "in sh\n"
    said = docker.run("enqueue", json.dumps({"command": "true", "set": {"privileged": True}}), code=None)
    assert said.returncode == 65 and "gives the whole host away" in said.stderr, said


def test_output_is_seen_while_it_comes_and_is_capped(docker: Driver) -> None:
    docker.env["QUEUECTL_OUTPUT__LIMIT"] = "65536"
    docker.start("--count", "1")
    id = gated(docker)
    until(lambda: docker.run("logs", id).stdout == "began\n", "its first line")
    open_gate(docker)
    docker.await_state(id, "dead")
    flood = docker.enqueue(f"{PYTHON} -I -S -c 'import os; [os.write(1, b\"x\" * 65536) for _ in range(320)]'")
    job = docker.await_state(flood, "completed", deadline=60)
    assert "bytes are not kept here" in docker.run("logs", flood).stdout, job


def test_a_container_is_named_and_labelled_by_job_and_attempt(docker: Driver, engine: Engine) -> None:
    docker.start("--count", "1")
    id = gated(docker, id="my:job")
    (one,) = ours(engine, docker)
    assert one["Name"].startswith("/queuectl-my_job-1-")
    labels = one["Config"]["Labels"]
    assert (labels["queuectl.job"], labels["queuectl.attempt"], labels["queuectl.queue"]) == ("my:job", "1", "default")
    host = one["HostConfig"]
    assert host["CapDrop"] == ["ALL"] and host["SecurityOpt"] == ["no-new-privileges"] and host["Init"]
    assert host["Memory"] == host["MemorySwap"] == 512 << 20 and host["PidsLimit"] == 256 and host["ReadonlyRootfs"]
    open_gate(docker)
    docker.await_state(id, "dead")
