"""Jobs in containers as their users see them: who chooses what, what is told, and that nothing stays behind."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
import queuectl_docker.executor as executor_of_docker
from docker_user import User
from dockerd import IMAGE, PYTHON, Engine, opened
from driver import until
from image_registry import Registry
from queuectl_docker.plan import store_of
from targets import report, target

from queuectl.api.executor import Executor, Handle
from queuectl.api.model import Outcome, OutcomeKind
from queuectl.api.providers import Context
from queuectl.testing.fakes import make_run

# --- Who chooses it ----------------------------------------------------------------------------------


def test_executor_and_options_are_chosen_by_deployment_queue_flags_json_and_python(docker: User) -> None:
    queues = '[queues.here]\nexecutor = "subprocess"\n[queues.small]\nexecutor = "small"\n'
    docker.configure(f'{queues}[executor.small]\nuse = "docker"\n{docker.options(memory=33554432)}')
    docker.start("--count", "2")
    show = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max; hostname; true"
    python = (
        "from queuectl import Queue\n"
        f"with Queue.open(db={str(docker.db)!r}) as queue:\n"
        "    asked = {'executor': 'docker', 'executor_options': {'memory': 67108864}}\n"
        f"    print(queue.enqueue({show!r}, queue='here', **asked).id)"
    )
    put = subprocess.run(
        [sys.executable, "-c", python], env=docker.env, cwd=docker.folder, capture_output=True, text=True, check=False
    )
    assert put.returncode == 0, put.stderr
    flags = ("--executor", "docker", "--set", f"image={IMAGE}", "--set", "memory=50331648", "--shell")
    asked = {
        docker.enqueue(show): "536870912",
        docker.enqueue(show, queue="small"): "33554432",
        docker.enqueue(show, queue="here", executor="docker", executor_options={"memory": "32 MiB"}): "33554432",
        docker.run("enqueue", "--queue", "here", *flags, show).stdout.strip(): "50331648",
        put.stdout.strip(): "67108864",
    }
    here = docker.enqueue(show, queue="here")
    for id, limit in asked.items():
        docker.await_state(id, "completed")
        said = docker.run("logs", "--stdout", id).stdout.splitlines()
        assert said[0] == limit and said[-1] != os.uname().nodename, (id, said)
    docker.await_state(here, "completed")
    assert docker.run("logs", "--stdout", here).stdout.splitlines()[-1] == os.uname().nodename


def test_what_gives_the_host_away_is_refused_at_enqueue_and_nothing_is_stored(docker: User) -> None:
    said = docker.run("enqueue", json.dumps({"command": "true", "set": {"privileged": True}}), code=2)
    assert "gives the whole host away" in said.stderr
    said = docker.run("enqueue", "--set", "network=host", "--", "true", code=2)
    assert "a job may only ask for none" in said.stderr
    assert docker.json("list") == []


# --- What it is given --------------------------------------------------------------------------------


def test_a_container_gets_the_jobs_environment_and_never_the_workers(docker: User) -> None:
    docker.env["WORKERS_SECRET"] = "hush"
    docker.configure('[executor.docker.env]\nOWNERS = "1"')
    docker.start("--count", "1")
    id = docker.enqueue("env", env={"JOBS": "2"})
    docker.await_state(id, "completed")
    seen = dict(line.partition("=")[::2] for line in docker.run("logs", id).stdout.splitlines())
    assert seen.keys() - {"PATH", "HOME", "HOSTNAME", "PWD", "SHLVL", "_"} == {
        "OWNERS",
        "JOBS",
        *(name for name in seen if name.startswith("QUEUECTL_")),
    }
    assert (seen["OWNERS"], seen["JOBS"], seen["QUEUECTL_JOB_ID"]) == ("1", "2", id)
    assert "hush" not in str(seen)


def test_a_container_is_named_and_labelled_by_job_and_attempt_and_has_few_rights(docker: User) -> None:
    docker.start("--count", "1")
    id = docker.gated(id="my:job")
    (one,) = docker.containers()
    assert one["Name"].startswith("/queuectl-my_job-1-")
    labels = one["Config"]["Labels"]
    assert (labels["queuectl.job"], labels["queuectl.attempt"], labels["queuectl.queue"]) == ("my:job", "1", "default")
    host = one["HostConfig"]
    assert host["CapDrop"] == ["ALL"] and host["SecurityOpt"] == ["no-new-privileges"] and host["Init"]
    assert host["Memory"] == host["MemorySwap"] == 512 << 20 and host["PidsLimit"] == 256 and host["ReadonlyRootfs"]
    docker.open_gate()
    docker.await_state(id, "dead")


# --- What it tells -----------------------------------------------------------------------------------


def test_out_of_memory_is_told_from_a_failure(docker: User) -> None:
    docker.start("--count", "1")
    eater = f"{PYTHON} -I -S -c 'x = bytearray(300 << 20)'"
    limited = {"max_retries": 0, "executor": "docker", "executor_options": {"memory": "32 MiB"}}
    itself = docker.enqueue(f"exec {eater}", **limited)
    assert docker.await_state(itself, "dead")["reason"] == "signal 9: out of memory, the limit is 32 MiB"
    # The engine hears of a child's death from others, and no more of it once the container has ended.
    child = docker.await_state(docker.enqueue(f"{eater} || {{ sleep 0.5; exit 5; }}", **limited), "dead")
    assert child["reason"] == "exit 5: something in it ran out of memory, the limit is 32 MiB"
    killed = docker.enqueue("kill -9 $$", max_retries=0)
    assert docker.await_state(killed, "dead")["reason"] == "exit 137"


def test_an_image_that_is_not_there_fails_to_start_with_the_engines_words(docker: User) -> None:
    docker.start("--count", "1")
    id = docker.run("enqueue", "--max-retries", "0", "--set", "image=no-such-image:1", "--", "true").stdout.strip()
    reason = docker.await_state(id, "dead")["reason"]
    assert reason.startswith("start failed") and "no-such-image" in reason


def test_an_image_is_fetched_when_it_is_missing_or_always(docker: User) -> None:
    registry = Registry(docker.engine.layer())
    pinned = f"{registry.name}@{registry.digest}"
    steps = [
        (registry.name, "never", ("dead", False)),
        (pinned, "missing", ("completed", True)),
        (registry.name, "missing", ("completed", True)),
        (registry.name, "missing", ("completed", False)),
        (registry.name, "always", ("completed", True)),
    ]
    try:
        docker.start("--count", "1")
        for image, pull, expected in steps:
            assert asked_for(docker, registry, image, pull) == expected, (image, pull)
    finally:
        registry.close()


def asked_for(docker: User, registry: Registry, image: str, pull: str) -> tuple[str, bool]:
    """What becomes of a job with that image, and whether the registry was asked for it."""
    before = registry.asked
    id = docker.enqueue("true", max_retries=0, executor="docker", executor_options={"image": image, "pull": pull})
    return docker.await_state(id, "completed", "dead")["state"], registry.asked > before


def test_output_is_seen_while_it_comes(docker: User) -> None:
    docker.start("--count", "1")
    id = docker.gated()
    until(lambda: docker.run("logs", "--stdout", id).stdout == "began\n", "its first line")
    docker.open_gate()
    docker.await_state(id, "dead")


def test_output_is_capped_and_never_gathers_in_the_worker(docker: User) -> None:
    docker.env |= {
        "QUEUECTL_OUTPUT__LIMIT": "65536",
        "QUEUECTL_OUTPUT__HEAD": "16384",
        "QUEUECTL_OUTPUT__TAIL": "16384",
    }
    docker.start("--count", "1")
    docker.await_state(docker.enqueue("echo warm"), "completed")
    (worker,) = (record["pid"] for record in docker.workers())
    before = peak_of(worker)
    flood = docker.enqueue(f"{PYTHON} -I -S -c 'import os; [os.write(1, bytes(65536)) for _ in range(1024)]'")
    docker.await_state(flood, "completed", deadline=60)
    kept = docker.run("logs", flood).stdout
    assert "bytes are not kept here" in kept and len(kept) < 70_000
    assert [record["pid"] for record in docker.workers()] == [worker]
    assert peak_of(worker) - before < 8192, "64 MiB went through it"


def peak_of(pid: int) -> int:
    """The most memory that a process ever had, in KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


# --- When it is to end, or was left ------------------------------------------------------------------


def test_a_deaf_container_ends_at_its_timeout_and_grace(docker: User) -> None:
    docker.start("--count", "1")
    id = docker.gated("trap '' TERM; echo >> {f}/journal; sleep 600", timeout=1, grace=1)
    job = docker.await_state(id, "dead")
    assert job["reason"].startswith("timeout") and 2 <= job["duration_sec"] < 10
    until(lambda: not docker.containers(), "its container is gone")


def test_what_nobody_takes_up_is_removed_and_nothing_else(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor_of_docker, "UNCLAIMED", 0.0)
    executor = opened(engine.options(), tmp_path)
    store = store_of(Context("docker", str(tmp_path), "/", print))
    with engine.client() as client:

        def made(store: str, *command: str, start: bool) -> str:
            host = client.create_host_config(binds=engine.options()["mounts"], network_mode="none")
            labels = {"queuectl.store": store}
            id = str(client.create_container(IMAGE, list(command), host_config=host, labels=labels)["Id"])
            if start:
                client.start(id)
            return id

        left, ended = made(store, "true", start=False), made(store, "true", start=True)
        client.wait(ended)
        others, running = made("another", "true", start=False), made(store, "sleep", "600", start=True)
        handle = started(executor, tmp_path, "true", "sweep.1.1")
        followed(handle)
        handle.forget()
        executor.close()
        there = {found["Id"] for found in engine.containers()}
        assert there.isdisjoint({left, ended}) and there >= {others, running}
        for id in (others, running):
            client.remove_container(id, force=True)


# --- Many --------------------------------------------------------------------------------------------


def test_eight_run_at_once(docker: User) -> None:
    docker.start("--count", "8")
    go, here = docker.folder / "go", docker.folder / "here"
    line = f"echo x >> {here}; until [ -e {go} ]; do sleep 0.05; done"
    ids = [docker.enqueue(line) for _ in range(8)]
    until(lambda: here.exists() and here.read_text() == "x\n" * 8, "all of them run", 60)
    assert len(docker.containers()) == 8
    go.touch()
    for id in ids:
        docker.await_state(id, "completed")


def test_many_in_a_row_leave_nothing_behind(engine: Engine, tmp_path: Path) -> None:
    many = target(30, 500)
    executor = opened(engine.options(), tmp_path)
    there = {found["Id"] for found in engine.containers()}

    def one(number: int) -> Outcome:
        handle = started(executor, tmp_path, f"echo {number}; exit {number % 3}", f"many.1.{number}")
        outcome = followed(handle)
        handle.forget()
        return outcome

    with report("containers in a row", many) as figure:
        descriptors = memory = 0
        for number in range(many):
            outcome = one(number)
            assert (outcome.kind, outcome.code) == (OutcomeKind.EXITED, number % 3)
            figure.held += 1
            if number == 19:
                executor.close()
                descriptors, memory = len(os.listdir("/dev/fd")), memory_of(os.getpid())
        executor.close()
        figure.more |= {"KiB_more_memory": memory_of(os.getpid()) - memory}
        assert len(os.listdir("/dev/fd")) <= descriptors
        assert memory_of(os.getpid()) - memory < 4096
    assert (tmp_path / "out").read_text() == "".join(f"{number}\n" for number in range(many))
    assert {found["Id"] for found in engine.containers()} <= there


def started(executor: Executor, folder: Path, line: str, mark: str) -> Handle:
    """A run whose output is added to a file there."""
    with open(folder / "out", "ab") as out:
        return executor.start(make_run(line, out.fileno(), own_env={"QUEUECTL_RUN": mark}))


def memory_of(pid: int) -> int:
    """Memory that is a process's own, in KiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def followed(handle: Handle, seconds: float = 60) -> Outcome:
    end = time.monotonic() + seconds
    while (outcome := handle.collect()) is None:
        assert time.monotonic() < end, "it did not end"
        select.select([handle.fileno()], [], [], 1)
    return outcome
