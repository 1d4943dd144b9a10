"""A job is ended with everything it started, however it hides: by timeout, by cancel and by a stop."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from driver import Driver, processes_with, until

# Each says that it is up by a line in the file "up", and has MARK in the command line of all its processes.
KINDS = {
    "one process": "echo up >> UP; exec sleep 1000.MARK",
    "three times three": (
        "for i in 1 2 3; do (for j in 1 2 3; do sleep 1000.MARK & done; wait) & done; echo up >> UP; wait"
    ),
    "daemon": "(setsid sh -c 'sleep 1000.MARK & wait' &); sleep 0.1; echo up >> UP; sleep 1000.MARK",
    "daemon without environment": "(env -i setsid sleep 1000.MARK &); sleep 0.1; echo up >> UP; sleep 1000.MARK",
    "deaf": "trap '' TERM INT HUP; sleep 1000.MARK & echo up >> UP; while :; do sleep 1000.MARK; done",
    "deaf daemon": (
        "(setsid sh -c 'trap \"\" TERM INT HUP; sleep 1000.MARK; : ; sleep 1000.MARK' &); sleep 0.1; echo up >> UP; "
        "trap '' TERM; sleep 1000.MARK; sleep 1000.MARK"
    ),
    "respawner": (
        "for i in 1 2 3; do (setsid sh -c 'while :; do sleep 1000.MARK; done' &); done; sleep 0.1; echo up >> UP; "
        "while :; do sleep 1000.MARK; done"
    ),
    "stopped": (
        "(setsid sh -c 'sleep 1000.MARK & kill -STOP $$' &); sleep 1000.MARK & sleep 0.1; echo up >> UP; "
        "kill -STOP $$; sleep 1000.MARK"
    ),
    "pipeline": "sleep 1000.MARK | sleep 1000.MARK | (echo up >> UP; sleep 1000.MARK)",
    "orphans of orphans": (
        "(sh -c '(sh -c \"(setsid sleep 1000.MARK &)\" &)' &); sleep 0.2; echo up >> UP; sleep 1000.MARK"
    ),
}
# The leader itself forks no more once the bomb goes off: a shell that cannot fork gives up.
BOMBS = {
    "pipe bomb": "f() { : MARK; f | f & }; f; echo up >> UP; exec sleep 1000.MARK",
    "daemon bomb": (
        "(setsid sh -c 'g() { (setsid sleep 5.MARK &); g & g & wait; }; g' &); echo up >> UP; exec sleep 1000.MARK"
    ),
    "sleeper bomb": (
        "for i in 1 2 3; do (while :; do (sleep 5.MARK &); done) & done; echo up >> UP; exec sleep 1000.MARK"
    ),
}


def script(kind: str, mark: str, folder: Path) -> str:
    return kind.replace("MARK", mark).replace("UP", str(folder / "up"))


def lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


def put(driver: Driver, mark: str, kinds: dict[str, str], **more: object) -> list[str]:
    jobs = [
        json.dumps({"command": script(kind, mark, driver.folder), "grace": 0.3, "max_retries": 0, **more})
        for kind in kinds.values()
    ]
    return driver.run("enqueue", "-", input="\n".join(jobs) + "\n").stdout.split()


@pytest.fixture
def mark() -> str:
    return str(secrets.randbelow(10**12)).rjust(12, "7")


@pytest.mark.parametrize("way", ["timeout", "cancel", "stop"])
def test_no_process_of_a_job_outlives_its_end(anybody: Driver, mark: str, way: str) -> None:
    ids = put(anybody, mark, KINDS, **({"timeout": 4} if way == "timeout" else {}))
    pool = anybody.start("--count", str(len(ids)))
    until(lambda: lines(anybody.folder / "up") == len(ids), "every tree is up")
    assert len(processes_with(mark)) >= 2 * len(ids)
    if way == "timeout":
        anybody.run("wait", *ids, code=1)
        assert {anybody.job(id)["reason"] for id in ids} == {"timeout: after 4 s"}
    elif way == "cancel":
        anybody.run("cancel", *ids)
        assert {anybody.job(id)["state"] for id in ids} == {"cancelled"}
    else:
        anybody.run("worker", "stop", "--now")
        assert pool.end() == 0
        assert {anybody.job(id)["state"] for id in ids} == {"pending"}
    assert processes_with(mark) == []


def test_what_a_finished_job_leaves_is_ended_at_once(anybody: Driver, mark: str) -> None:
    left = "sleep 1000.MARK & (setsid sleep 1000.MARK &) ; (env -i setsid sleep 1000.MARK &) ; sleep 0.1; exit 0"
    id = anybody.enqueue(script(left, mark, anybody.folder))
    pool = anybody.start("--until-empty", "--count", "1")
    assert pool.end() == 0
    assert anybody.job(id)["state"] == "completed"
    assert processes_with(mark) == []


@pytest.fixture
def confined(anybody: Driver) -> Iterator[list[str]]:
    """Words before a command that keep it and its children below 400 tasks."""
    group = Path(f"/sys/fs/cgroup/pids/queuectl-test-{secrets.token_hex(4)}")
    if os.getuid() != 0 or not group.parent.is_dir():
        yield ["sh", "-c", 'ulimit -u $(($(ps -L -u $(id -u) | wc -l) + 400)); exec "$@"', "sh"]
        return
    group.mkdir()
    (group / "pids.max").write_text("400")
    yield ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
    anybody.close()
    until(lambda: not (group / "cgroup.procs").read_text().split(), "the group is empty")
    group.rmdir()


@pytest.mark.parametrize("kind", BOMBS)
def test_a_fork_bomb_is_ended(anybody: Driver, mark: str, confined: list[str], kind: str) -> None:
    (id,) = put(anybody, mark, {kind: BOMBS[kind]}, timeout=1)
    anybody.start("--count", "1", prefix=confined)
    anybody.run("wait", id, "--timeout", "30", code=1)
    assert anybody.job(id)["reason"] == "timeout: after 1 s"
    assert processes_with(mark) == []
    anybody.run("worker", "stop")
