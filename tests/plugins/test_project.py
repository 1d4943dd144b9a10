"""The fixture that plugin authors drive the program with; and what it shows of our own promises to them."""

from __future__ import annotations

import json
import os
import time

import pytest

from queuectl.testing.plugin import Project

HANGS = """
import signal, time
from queuectl.api import Notifier, Provider, hookimpl

class Hangs(Notifier):
    def __init__(self, options, context):
        pass
    def notify(self, events):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        while True:
            time.sleep(60)

@hookimpl
def queuectl_notifiers():
    yield Provider("hangs", Hangs)
"""
EXITS = """
import os
from queuectl.api import hookimpl

@hookimpl
def queuectl_events(events):
    os._exit(4)
"""


def test_a_project_is_alone_in_the_world(queuectl_project: Project) -> None:
    assert queuectl_project.json("list") == []
    id = queuectl_project.run("enqueue", "--", "pwd").out.strip()
    assert queuectl_project.run("worker", "start", "--until-empty").code == 0
    assert queuectl_project.run("logs", id).out == f"{queuectl_project.root}\n"
    assert {entry.name for entry in queuectl_project.home.iterdir()} == {"state"}


def test_a_worker_in_the_background_takes_jobs_and_stops(queuectl_project: Project) -> None:
    worker = queuectl_project.start_worker("--count", "1")
    id = queuectl_project.run("enqueue", "--", "true").out.strip()
    queuectl_project.run("wait", id, "--timeout", "30s")
    assert queuectl_project.json("show", id)["state"] == "completed"
    assert worker.stop() == 0


def test_a_plugin_is_installed_by_an_entry_point(queuectl_project: Project) -> None:
    queuectl_project.install(
        "queuectl-steady",
        """
        from queuectl.api import Backoff, Provider, hookimpl

        class Steady(Backoff):
            def delay(self, job, outcome, rng):
                return 0.0

        @hookimpl
        def queuectl_backoffs():
            yield Provider("steady", lambda options, context: Steady())
        """,
    )
    enqueue = ["enqueue", "--backoff", "steady", "--max-retries", "2", "--", "false"]
    refused = queuectl_project.run(*enqueue, code=2)
    assert "is not active" in refused.err and "[backoff.steady]" in refused.err
    queuectl_project.config("[backoff.steady]")
    id = queuectl_project.run(*enqueue).out.strip()
    queuectl_project.run("worker", "start", "--until-empty", code=1)
    job = queuectl_project.json("show", id)
    assert (job["state"], job["attempts"]) == ("dead", 3)


def test_the_log_notifier_tells_the_story_of_a_job(queuectl_project: Project) -> None:
    queuectl_project.config("""
        [queuectl]
        notifiers = ["log"]
        [notifier.log]
        path = "events.log"
        [backoff.exponential]
        base = 1
        max_delay = 0
    """)
    id = queuectl_project.run("enqueue", "--max-retries", "1", "--", "false").out.strip()
    queuectl_project.run("worker", "start", "--until-empty", code=1)
    lines = [json.loads(line) for line in (queuectl_project.root / "events.log").read_text().splitlines()]
    assert [(line["action"], line["job"], line["attempt"]) for line in lines if line["action"] != "started"] == [
        ("failed", id, 1),
        ("dead", id, 2),
    ]


@pytest.mark.parametrize("bad", ["hangs", "exits"])
def test_a_notifier_that_hangs_or_exits_delays_no_job(queuectl_project: Project, bad: str) -> None:
    queuectl_project.write("bad.py", HANGS if bad == "hangs" else EXITS)
    queuectl_project.config(f"""
        [queuectl]
        notifiers = {'["hangs", "log"]' if bad == "hangs" else '["log"]'}
        [notifier.log]
        path = "events.log"
        [plugins]
        files = ["./bad.py"]
    """)
    jobs = "\n".join(f"echo {number}" for number in range(60))
    queuectl_project.run("enqueue", "-", input=jobs)
    worker = queuectl_project.start_worker("--count", "2")
    ids = [job["id"] for job in queuectl_project.json("list", "--limit", "100")]
    queuectl_project.run("wait", *ids, "--timeout", "30s")
    begin = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - begin < 15
    counts = queuectl_project.json("status")["counts"]
    assert counts["completed"] == 60
    if bad == "exits":  # the log is told before it, and each batch took the courier with it
        told = (queuectl_project.root / "events.log").read_text().count('"action":"completed"')
        assert 0 < told <= 60
        assert "plugin bad" in worker.err


def test_the_courier_ends_with_its_pool(queuectl_project: Project) -> None:
    queuectl_project.config('[queuectl]\nnotifiers = ["log"]\n[notifier.log]\npath = "events.log"\n')
    worker = queuectl_project.start_worker()
    queuectl_project.run("wait", queuectl_project.run("enqueue", "--", "true").out.strip())
    (courier,) = couriers_of(worker.process.pid)
    pidfd = os.pidfd_open(courier)
    try:
        os.kill(worker.process.pid, 9)
        import select

        assert select.select([pidfd], [], [], 20)[0], "the courier outlived its pool"
    finally:
        os.close(pidfd)


def test_without_anybody_to_tell_there_is_no_courier(queuectl_project: Project) -> None:
    worker = queuectl_project.start_worker()
    assert couriers_of(worker.process.pid) == []


def couriers_of(pool: int) -> list[int]:
    with open(f"/proc/{pool}/task/{pool}/children") as file:
        children = [int(pid) for pid in file.read().split()]
    found = []
    for pid in children:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            if b"queuectl.work.courier_process" in file.read().split(b"\0"):
                found.append(pid)
    return found
