"""Several hosts on one Redis server: real pools, the installed command line, each host with its own state."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis_hosts import Host
from redis_servers import Server, free_port, until

MakeHost = Callable[..., Host]


@pytest.fixture
def make_host(server: Server, tmp_path: Path) -> Iterator[MakeHost]:
    made: list[Host] = []
    prefix = f"hosts-{uuid.uuid4().hex[:8]}"

    def make(name: str, **given: object) -> Host:
        made.append(Host(tmp_path / name, server.url, more=f'prefix = "{prefix}"\n', **given))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for host in made:
        host.close()


def test_one_host_enqueues_and_another_works(make_host: MakeHost) -> None:
    """Whatever one of them does the other sees: jobs, their output, workers, queues, and a cancellation."""
    here, there = make_host("here"), make_host("there")
    there.start("--count", "2")
    id = here.enqueue("echo out; echo err >&2; exit 0")
    assert there.await_state(id, "completed")["exit_code"] == 0
    assert here.run("logs", id).stdout == "out\nerr\n"
    assert here.json("status")["counts"]["completed"] == 1
    running = here.enqueue("sleep 600")
    here.await_state(running, "processing")
    began = time.monotonic()
    here.run("cancel", running)
    here.await_state(running, "cancelled")
    assert time.monotonic() - began < 5
    argv = here.run("enqueue", "--", "printf", "%s", "a b").stdout.strip()
    here.await_state(argv, "completed")
    assert here.run("logs", argv).stdout == "a b"
    assert "error" not in here.run("doctor", code=None).stdout


def test_what_a_job_writes_elsewhere_is_seen_as_it_comes(make_host: MakeHost) -> None:
    """``logs -f`` on another host than the worker's: a line is there within a second or so, and all at the end."""
    here, there = make_host("here"), make_host("there")
    there.start()
    gate = there.folder / "gate"
    id = here.enqueue(f"echo first; while [ ! -e {gate} ]; do sleep 0.05; done; echo last")
    there.await_state(id, "processing")
    follow = subprocess.Popen(here.words("logs", "-f", id), env=here.env, cwd=here.folder, stdout=subprocess.PIPE)
    assert follow.stdout is not None
    assert follow.stdout.readline() == b"first\n", "while the job still runs"
    assert here.state(id) == "processing"
    assert here.run("logs", id).stdout == "first\n"
    gate.touch()
    assert follow.stdout.read() == b"last\n" and follow.wait(10) == 0
    follow.stdout.close()


def test_the_dashboard_of_another_host_shows_everything(make_host: MakeHost) -> None:
    """It needs the storage and nothing else of where the workers are."""
    here, there = make_host("here"), make_host("there")
    there.start()
    id = here.enqueue("echo seen; exit 3", max_retries=0)
    here.await_state(id, "dead")
    port = free_port()
    dashboard = subprocess.Popen(
        here.words("dashboard", "--port", str(port)),
        env=here.env,
        cwd=here.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:

        def page(path: str) -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                return str(answer.read().decode())

        def up() -> bool:
            assert dashboard.poll() is None, dashboard.stdout and dashboard.stdout.read()
            try:
                return bool(page("/"))
            except OSError:
                return False

        until(up, "the dashboard answers")
        assert "seen" in page(f"/jobs/{id}")
        for path in ("/jobs", "/queues", "/workers", "/dlq", "/metrics", "/stats", "/system"):
            try:
                assert page(path)
            except urllib.error.HTTPError as error:
                assert error.code == 404, (path, error)
    finally:
        dashboard.terminate()
        dashboard.wait(10)
        assert dashboard.stdout is not None
        dashboard.stdout.close()


def test_a_pool_that_is_killed_with_its_workers_is_inherited_by_another_host(
    make_host: MakeHost, tmp_path: Path
) -> None:
    """When its lease has run out, and not before: what it had in hand is lost there and run again here."""
    here, there = make_host("here"), make_host("there")
    for host in (here, there):
        host.config.write_text(host.config.read_text() + '\n[worker]\nlease = "3s"\nheartbeat = "0.5s"\n')
    victim = there.start()
    id = here.enqueue(f"echo $$ >> {tmp_path}/runs; [ $(wc -l < {tmp_path}/runs) = 1 ] && exec sleep 600; true")
    until(lambda: any(_name(pid) == "sleep" for pid in _family(victim.pid)), "it runs, and its shell is done")
    doomed = [victim.pid, *_family(victim.pid)]
    here.start()
    for pid in doomed:
        os.kill(pid, signal.SIGKILL)
    job = here.await_state(id, "completed")
    assert job["attempts"] == 2
    assert len((tmp_path / "runs").read_text().split()) == 2
    assert "lost" in here.run("show", id).stdout


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _family(pid: int) -> list[int]:
    """The descendants of a process."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            parents[int(entry)] = int(stat.rsplit(")", 1)[1].split()[1])
    found, new = [], {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new}
        found += sorted(new)
    return found


def test_the_password_is_never_shown_nor_inherited(tmp_path: Path) -> None:
    """Neither by a command, nor in an error, nor in a job's environment."""
    server = Server("redis", "--requirepass", "s3cret-pass", port=free_port()).start()
    host = Host(tmp_path / "host", f"redis://127.0.0.1:{server.port}/0", more='password = { env = "REDIS_SECRET" }\n')
    try:
        host.env["REDIS_SECRET"] = "s3cret-pass"
        host.start()
        id = host.enqueue("env; true")
        host.await_state(id, "completed")
        said = [
            host.run(*words, code=None)
            for words in (("logs", id), ("config", "list"), ("doctor",), ("plugins", "list"))
        ]
        for done in said:
            assert not re.search("s3cret", done.stdout + done.stderr), done.args
        host.env["REDIS_SECRET"] = "wrong-pass"
        wrong = host.run("status", code=78)
        assert "wrong-pass" not in wrong.stderr and "refuses us" in wrong.stderr
    finally:
        host.close()
        server.close()
