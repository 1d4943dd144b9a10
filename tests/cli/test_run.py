"""``run`` and ``enqueue --wait``: a job that somebody waits for, with real workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commandline import Cli

SERVED = pytest.mark.usefixtures("served")


@pytest.fixture
def served(cli: Cli, pool: None) -> None:
    """Two workers that are up."""
    deadline = time.monotonic() + 30
    while len(cli("worker", "list", "--json").json) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def until(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} was not made"
        time.sleep(0.01)


def said(stream: object, text: bytes) -> bytes:
    """What comes on a stream up to the line that has *text* in it."""
    got = b""
    for line in stream:  # type: ignore[attr-defined]
        got += line
        if text in line:
            return got
    raise AssertionError(f"it ended without {text!r}: {got!r}")


@SERVED
def test_output_goes_where_the_job_sent_it(cli: Cli) -> None:
    done = cli("run", "-c", "echo out; echo err >&2; printf 'no end'")
    assert (done.code, done.out, done.err) == (0, "out\nno end", "err\n")


@SERVED
@pytest.mark.parametrize(
    ("line", "code"),
    [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137), ("kill -TERM $$", 143), ("nosuchthing", 127)],
)
def test_the_exit_code_is_the_jobs(cli: Cli, line: str, code: int) -> None:
    assert cli("run", "-c", line).code == code


@SERVED
def test_a_timeout_is_124(cli: Cli) -> None:
    assert cli("run", "--timeout", "0.2", "--", "sleep", "60").code == 124


@SERVED
def test_attempts_that_ended_before_anybody_looked_are_shown_too(cli: Cli) -> None:
    """A job of a millisecond may have been tried before its follower's first look at it."""
    line = "echo try $QUEUECTL_ATTEMPT; test $QUEUECTL_ATTEMPT = 2"
    slow = {"QUEUECTL_BACKOFF__FIXED__DELAY": "0.01"}
    cli.ok("enqueue", "--id", "twice", "--max-retries", "3", "--backoff", "fixed", "-c", line, env=slow)
    cli.ok("wait", "twice")
    code = "from queuectl.cli import Program; from queuectl.cli.run import Follower; "
    follow = [sys.executable, "-c", code + "Follower(Program(), 'twice', ours=True).follow(quiet=False)"]
    done = subprocess.run(follow, env=cli.env, cwd=cli.home, capture_output=True, text=True, check=True)
    assert done.stdout == "try 1\ntry 2\n"


@SERVED
def test_words_never_meet_a_shell(cli: Cli) -> None:
    assert cli.ok("run", "--", "printf", "%s|", "$HOME", "a b", "--", ";") == "$HOME|a b|--|;|"


@SERVED
def test_it_is_tried_once_unless_more_is_asked_for(cli: Cli) -> None:
    assert cli("run", "--id", "once", "-c", "exit 3").code == 3
    assert cli("show", "once", "--json").json["attempts"] == 1
    line = "echo try $QUEUECTL_ATTEMPT; test $QUEUECTL_ATTEMPT = 2"
    done = cli(
        "run", "--max-retries", "3", "--backoff", "fixed", "-c", line, env={"QUEUECTL_BACKOFF__FIXED__DELAY": "0.1"}
    )
    assert (done.code, done.out) == (0, "try 1\ntry 2\n")
    assert "exit 1; next attempt at" in done.err


@SERVED
def test_output_comes_as_it_is_written(cli: Cli, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    process = cli.popen("run", "-c", f"echo first; read line <{gate}; echo $line; seq 1 20000", stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"first\n"
    gate.write_text("second\n")
    assert process.stdout.read().decode().split() == ["second", *[str(n) for n in range(1, 20001)]]
    process.stdout.close()
    assert process.wait(30) == 0


@SERVED
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_cancels_the_job_and_waits_for_its_end(cli: Cli, tmp_path: Path, number: int, code: int) -> None:
    flag, last = tmp_path / "flag", tmp_path / "last"
    line = f"trap 'echo dying; touch {last}; exit 0' TERM; touch {flag}; while :; do sleep 0.05; done"
    process = cli.popen("run", "--id", "j", "-c", line, stdout=subprocess.PIPE)
    until(flag)
    process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == code
    assert out == b"dying\n"
    assert last.exists()
    assert cli("show", "j", "--json").json["state"] == "cancelled"


@SERVED
def test_a_reader_that_leaves_cancels_the_job(cli: Cli) -> None:
    process = cli.popen("run", "--id", "j", "--", "yes", stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.read(2) == b"y\n"
    process.stdout.close()
    assert process.wait(30) == 141
    assert cli("wait", "j", "--timeout", "30").code == 1
    assert cli("show", "j", "--json").json["state"] == "cancelled"


@SERVED
def test_the_job_as_json(cli: Cli) -> None:
    done = cli("run", "--json", "-c", "echo out; echo err >&2; exit 5")
    assert (done.code, done.err) == (5, "")
    assert {key: done.json[key] for key in ("state", "exit_code", "stdout", "stderr")} == {
        "state": "dead",
        "exit_code": 5,
        "stdout": "out\n",
        "stderr": "err\n",
    }


@SERVED
def test_who_waits_hears_that_somebody_cancelled_the_job(cli: Cli, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    process = cli.popen("run", "--id", "j", "-c", f"touch {flag}; sleep 60", stderr=subprocess.PIPE)
    until(flag)
    cli.ok("cancel", "j")
    process.communicate(timeout=30)
    assert process.returncode == 1


def test_it_says_that_nobody_is_there_to_run_it_and_waits(cli: Cli) -> None:
    process = cli.popen("run", "--id", "j", "--", "echo", "hello", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    said(process.stderr, b"no pool is alive to run job j: it waits")
    cli("worker", "start", "--until-empty")
    assert process.communicate(timeout=30)[0] == b"hello\n"
    assert process.returncode == 0


def test_an_interrupt_cancels_a_job_that_waits_for_a_pool(cli: Cli) -> None:
    process = cli.popen("run", "--id", "j", "--", "echo", "hello", stderr=subprocess.PIPE)
    said(process.stderr, b"no pool is alive")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert cli("show", "j", "--json").json["state"] == "cancelled"


def test_a_pool_that_serves_other_queues_does_not_count(cli: Cli) -> None:
    other = cli.popen("worker", "start", "--queues", "other", stderr=subprocess.PIPE)
    said(other.stderr, b"serves")
    process = cli.popen("run", "--id", "j", "--", "true", stderr=subprocess.PIPE)
    said(process.stderr, b"no pool is alive to run job j")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    other.send_signal(signal.SIGTERM)
    for each in (process, other):
        each.communicate(timeout=30)


@pytest.mark.parametrize(
    "words",
    [["run"], ["run", "true"], ["run", "-c", "x", "--", "y"], ["run", "--"], ["run", "--unique", "k", "--", "x"]],
)
def test_run_wants_one_command(cli: Cli, words: list[str]) -> None:
    cli.refused(*words, code=2)


@SERVED
def test_enqueue_waits_for_the_end(cli: Cli) -> None:
    assert cli("enqueue", "--wait", "--", "true")[:2] == (0, "1\n")
    assert cli("enqueue", "--wait", "--max-retries", "0", "-c", "exit 4")[:2] == (1, "2\n")
    done = cli("enqueue", "--wait", "--json", "-", stdin="true\ntrue\n")
    assert done.code == 0
    assert [(job["id"], job["state"]) for job in done.json] == [("3", "completed"), ("4", "completed")]
    assert cli("enqueue", "--wait", "--json", "-", stdin="").json == []


WAITS = {
    "enqueue": (["enqueue", "--wait", "--", "true"], b"1\n"),
    "enqueue as JSON": (["enqueue", "--wait", "--json", "--", "true"], b""),
    "run": (["run", "--", "echo", "1"], b"1\n"),
    "wait": (["wait", "@last"], b""),
    "wait as JSON": (["wait", "--json", "@last"], b""),
}


@pytest.mark.parametrize("words", WAITS)
def test_who_waits_hears_once_that_nobody_is_there_to_run_it(cli: Cli, words: str) -> None:
    line, prints = WAITS[words]
    if line[0] == "wait":
        cli.ok("enqueue", "--", "true")
    process = cli.popen(*line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    heard = said(process.stderr, b"queuectl worker start runs")
    cli("worker", "start", "--until-empty")
    out, more = process.communicate(timeout=30)
    assert (heard + more).count(b"no pool is alive") == 1
    assert process.returncode == 0
    if "--json" in line:
        (job,) = json.loads(out)
        assert job["state"] == "completed"
    else:
        assert out == prints


@SERVED
def test_who_waits_for_a_worker_that_is_there_hears_nothing_of_that(cli: Cli) -> None:
    done = cli("enqueue", "--wait", "--", "sleep", "1.2")
    assert (done.code, "no pool" in done.err) == (0, False)
