"""A job is ended with everything it started, however it hides: by timeout, by cancel and by a stop."""

from __future__ import annotations

import json
import os
import secrets
import signal
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from driver import Driver, PoolProcess, processes_with, until, whose
from targets import report, target

from queuectl.api import trees

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
    "pipe bomb": "(f() { : MARK; f | f & }; f) & echo up >> UP; exec sleep 1000.MARK",
    "daemon bomb": (
        "(setsid sh -c 'g() { (setsid sleep 5.MARK &); g & g & wait; }; g' &); echo up >> UP; exec sleep 1000.MARK"
    ),
    "sleeper bomb": (
        "(for i in 1 2 3; do (while :; do (sleep 5.MARK &); done) & done) & echo up >> UP; exec sleep 1000.MARK"
    ),
}


def script(kind: str, mark: str, folder: Path) -> str:
    return kind.replace("MARK", mark).replace("UP", str(folder / "up"))


def lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


def put(driver: Driver, mark: str, kinds: dict[str, str], **more: object) -> list[str]:
    jobs = [
        json.dumps({"command": script(kind, mark, driver.folder), "grace": GRACE, "max_retries": 0, **more})
        for kind in kinds.values()
    ]
    return driver.run("enqueue", "-", input="\n".join(jobs) + "\n").stdout.split()


@pytest.fixture
def mark() -> str:
    return str(secrets.randbelow(10**12)).rjust(12, "7")


GRACE, SLACK = 0.3, 1.0  # seconds
TIMEOUT = 3.0


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def slots_are_free(driver: Driver) -> bool:
    """Whether no worker has a child, dead or alive."""
    return all(trees.children(worker["pid"]) == [] for worker in driver.workers())


class Felling:
    """Every kind of tree at once, ended in one way."""

    def __init__(self, driver: Driver, mark: str) -> None:
        self.driver = driver
        self.mark = mark
        self.ups = 0
        self.slowest = 0.0  # from the moment an end was asked for until the worker was free

    def plant(self, pool: PoolProcess | None, **more: object) -> tuple[list[str], PoolProcess]:
        ids = put(self.driver, self.mark, KINDS, **more)
        self.ups += len(ids)
        if pool is None:
            pool = self.driver.start("--count", str(len(ids)))
        until(lambda: lines(self.driver.folder / "up") == self.ups, "every tree is up")
        assert len(processes_with(self.mark)) >= 2 * len(ids)
        return ids, pool

    def took(self, seconds: float) -> None:
        self.slowest = max(self.slowest, seconds)
        assert seconds < GRACE + SLACK, f"a worker was free only {seconds:.2f} s after the end was asked for"

    def by_timeout(self, pool: PoolProcess | None) -> PoolProcess:
        ids, pool = self.plant(pool, timeout=TIMEOUT)
        self.driver.run("wait", *ids, code=1)
        for id in ids:
            job = self.driver.job(id)
            assert job["reason"] == f"timeout: after {TIMEOUT:g} s"
            self.took(job["attempt_history"][0]["duration_sec"] - TIMEOUT)
        return pool

    def by_cancel(self, pool: PoolProcess | None) -> PoolProcess:
        ids, pool = self.plant(pool)
        self.driver.run("cancel", *ids)
        for id in ids:
            job = self.driver.job(id)
            assert job["state"] == "cancelled"
            asked = next(event["at"] for event in job["events"] if event["action"] == "cancel")
            self.took(moment(job["attempt_history"][0]["ended_at"]) - moment(asked))
        return pool

    def by_stop(self, pool: PoolProcess | None) -> None:
        ids, pool = self.plant(pool)
        began = time.monotonic()
        pool.signal(signal.SIGUSR1)
        assert pool.end() == 0
        self.took(time.monotonic() - began)
        assert {self.driver.job(id)["state"] for id in ids} == {"pending"}
        self.driver.run("cancel", *ids)


@pytest.mark.timeout(60 + 12 * target(1, 100))
@pytest.mark.parametrize("way", ["timeout", "cancel", "stop"])
def test_no_process_of_a_job_outlives_its_end(anybody: Driver, mark: str, way: str) -> None:
    rounds = target(1, 100)
    with report(f"trees, ended by {way}, as {whose(anybody)}", rounds * len(KINDS)) as figure:
        felling, pool = Felling(anybody, mark), None
        for number in range(1, rounds + 1):
            figure.ran = number * len(KINDS)
            pool = getattr(felling, f"by_{way}")(pool)
            assert processes_with(mark) == []
            assert pool is None or slots_are_free(anybody)
            figure.held = figure.ran
            figure.more["slowest_s"] = round(felling.slowest, 3)


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


@pytest.mark.timeout(60 + 10 * target(1, 100))
@pytest.mark.parametrize("kind", BOMBS)
def test_a_fork_bomb_is_ended(anybody: Driver, mark: str, confined: list[str], kind: str) -> None:
    rounds = target(1, 100)
    with report(f"trees, a {kind}, as {whose(anybody)}", rounds) as figure:
        anybody.start("--count", "1", prefix=confined)
        for number in range(1, rounds + 1):
            figure.ran = number
            (id,) = put(anybody, mark, {kind: BOMBS[kind]}, timeout=1)
            anybody.run("wait", id, "--timeout", "30", code=1)
            assert anybody.job(id)["reason"] == "timeout: after 1 s"
            assert processes_with(mark) == []
            figure.held = number
        anybody.run("worker", "stop")
