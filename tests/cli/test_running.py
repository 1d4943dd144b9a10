"""Commands about jobs that run: what they wrote, how they ended, and how they are ended."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from commandline import Cli

pytestmark = pytest.mark.usefixtures("pool")


def until(cli: Cli, path: Path) -> None:
    """Wait for a file that a job makes."""
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} was not made: {cli('list', '--json')}"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether a process lives; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_wait_returns_how_jobs_ended(cli: Cli) -> None:
    good, bad = cli.ok("enqueue", "-c", "exit 0"), cli.ok("enqueue", "--max-retries", "0", "-c", "exit 3")
    assert cli("wait", good, "--timeout", "30").code == 0
    done = cli("wait", good, bad, "--timeout", "30", "--json")
    assert done.code == 1
    assert [(job["state"], job["exit_code"]) for job in done.json] == [("completed", 0), ("dead", 3)]


def test_logs_are_the_bytes_that_were_written(cli: Cli) -> None:
    cli.ok("enqueue", "--id", "j", "-c", r"printf 'a\033[31m\377\000b\n'; printf 'bad\n' >&2")
    cli.ok("wait", "j", "--timeout", "30")
    raw = subprocess.run([*cli.argv, "logs", "j"], env=cli.env, capture_output=True, check=True).stdout
    assert raw == b"a\x1b[31m\xff\x00b\nbad\n"
    assert cli.ok("logs", "j", "--stderr") == "bad"
    assert cli("logs", "j", "--json").json == {
        "id": "j",
        "attempt": 1,
        "stdout": "a\x1b[31m\ufffd\0b\n",
        "stderr": "bad\n",
    }


@pytest.mark.parametrize("n", [0, 1, 3, 1000])
def test_the_last_lines_are_the_last_lines(cli: Cli, n: int) -> None:
    cli.ok("enqueue", "--id", "j", "--", "seq", "1", "30000")  # more than rides on a settlement
    cli.ok("wait", "j", "--timeout", "30")
    assert cli.ok("logs", "j", "-n", str(n)).split() == [str(i) for i in range(30000 - n + 1, 30001)]


def test_each_attempt_keeps_its_output(cli: Cli) -> None:
    asked = {"id": "j", "command": "echo try $QUEUECTL_ATTEMPT; exit 1", "max_retries": 1}
    cli.ok("enqueue", json.dumps(asked | {"backoff": "fixed", "backoff_options": {"delay": 0.05}}))
    assert cli("wait", "j", "--timeout", "30").code == 1
    assert [cli.ok("logs", "j", "--attempt", n) for n in ("1", "2")] == ["try 1", "try 2"]
    assert cli.ok("logs", "j") == "try 2"
    assert "2 attempts" in cli.refused("logs", "j", "--attempt", "3", code=3)


def test_a_running_job_is_followed_to_its_end_and_not_beyond(cli: Cli, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    cli.ok("enqueue", "--id", "j", "-c", f"echo first; echo oops >&2; read line <{gate}; echo $line; seq 1 20000")
    follower = cli.popen("logs", "-f", "j", "--stdout", stdout=subprocess.PIPE)
    assert follower.stdout is not None
    assert follower.stdout.readline() == b"first\n"
    gate.write_text("second\n")
    cli.ok("enqueue", "-", stdin="echo of another job\n" * 4)
    rest = follower.stdout.read().decode().split()
    assert rest == ["second", *(str(n) for n in range(1, 20001))]
    follower.stdout.close()
    assert follower.wait(30) == 0


def test_following_begins_before_the_job_does(cli: Cli) -> None:
    cli.ok("queue", "pause", "default")
    cli.ok("enqueue", "--id", "j", "--", "echo", "hello")
    follower = cli.popen("logs", "-f", "j", stdout=subprocess.PIPE)
    cli.ok("queue", "resume", "default")
    assert follower.communicate(timeout=30)[0] == b"hello\n"
    assert follower.returncode == 0


def test_what_a_running_job_has_written_so_far(cli: Cli, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    cli.ok("enqueue", "--id", "j", "-c", f"seq 1 5; touch {flag}; sleep 60")
    until(cli, flag)
    assert cli.ok("logs", "j", "-n", "2").split() == ["4", "5"]
    assert cli("show", "j", "--json").json["state"] == "processing"
    (worker,) = [worker for worker in cli("status", "--json").json["workers"] if worker["job"] == "j"]
    assert alive(worker["pid"])
    cli.ok("cancel", "j")


def test_cancel_returns_when_the_whole_tree_is_gone(cli: Cli, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    tree = f"""
        setsid sleep 300 & echo $! >{pids}.new
        sleep 300 & echo $! >>{pids}.new
        echo $$ >>{pids}.new; mv {pids}.new {pids}; wait
    """
    cli.ok("enqueue", "--id", "j", "-c", tree)
    until(cli, pids)
    started = [int(pid) for pid in pids.read_text().split()]
    assert all(map(alive, started))
    assert cli("cancel", "j", "--json").json[0]["state"] == "cancelled"
    assert not any(map(alive, started))
    assert cli("wait", "j", "--timeout", "5").code == 1
    assert cli("show", "j", "--json").json["state"] == "cancelled"


def test_dead_jobs_are_listed_shown_and_retried(cli: Cli) -> None:
    for id in ("a", "b"):
        cli.ok("enqueue", "--id", id, "--max-retries", "0", "-c", "exit 7")
    assert cli("wait", "a", "b", "--timeout", "30").code == 1
    assert {job["id"] for job in cli("dlq", "list", "--json").json} == {"a", "b"}
    assert "exit 7" in cli.ok("dlq", "show", "a")
    cli.ok("dlq", "retry", "a")
    assert cli("wait", "a", "--timeout", "30").code == 1
    job = cli("show", "a", "--json").json
    assert (job["attempts"], job["tries"], len(job["attempt_history"])) == (2, 1, 2)
    assert {job["id"] for job in cli("dlq", "retry", "--all", "--json").json} == {"a", "b"}


def test_metrics_count_what_ran(cli: Cli) -> None:
    cli.ok("enqueue", "-", stdin="true\ntrue\ntrue\n")
    cli.ok("enqueue", "--max-retries", "0", "-c", "exit 1")
    cli("wait", "1", "2", "3", "4", "--timeout", "30")
    metrics = cli("metrics", "--json").json
    assert metrics["success_rate"] == 0.75
    assert metrics["attempts"]["completed"] == 3
    assert metrics["attempts"]["dead"] == 1
    assert metrics["run"]["count"] == 4
    assert 0 <= metrics["wait"]["p50"] <= metrics["wait"]["p99"] < 30
