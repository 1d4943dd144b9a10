"""Where the output goes: pipes, terminals, readers that leave, disks that are full. Nothing a job says is obeyed."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest
from commandline import Cli

from queuectl.cli.logs import Screen
from queuectl.cli.render import _fit as fit
from queuectl.cli.render import safe_line, safe_text

HOSTILE = "a\x1b]52;c;aGk=\x07b\x9b31mc\u202ed\u2028e\x7ff\rg\ud800h"


def on_terminal(cli: Cli, *words: str, env: dict[str, str] | None = None) -> str:
    """What a command line shows on a terminal."""
    master, slave = pty.openpty()
    environment = {**cli.env, "TERM": "xterm-256color", "COLUMNS": "100", **(env or {})}
    process = subprocess.Popen(
        [*cli.argv, *words], stdin=slave, stdout=slave, stderr=slave, env=environment, cwd=cli.home
    )
    os.close(slave)
    shown = b""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and select.select([master], [], [], max(0.0, deadline - time.monotonic()))[0]:
        try:
            piece = os.read(master, 65536)
        except OSError:  # EIO: the last writer has closed it
            break
        if not piece:
            break
        shown += piece
    os.close(master)
    process.wait(10)
    return shown.decode(errors="surrogateescape").replace("\r\n", "\n")


def test_a_narrow_terminal_keeps_what_names_the_row() -> None:
    assert fit([4, 9, 19, 20], 30, wide=3)[0] == 4
    assert fit([40, 9, 19, 20], 30, wide=3)[0] == 15
    assert sum(fit([12, 9, 19, 20], 20, wide=3)) <= 20


def test_what_a_terminal_would_obey_is_made_visible() -> None:
    safe = safe_text(HOSTILE)
    assert safe == "a\\x1b]52;c;aGk=\\x07b\\x9b31mc\\u202ed\\u2028e\\x7ff\\x0dg\\ud800h"
    assert safe_text("ä\tb\nc") == "ä\tb\nc"
    assert safe_line("a\tb\nc") == "a\\tb\\nc"


def test_bytes_of_a_job_are_made_safe_however_they_are_cut() -> None:
    raw = "ä\x1b[1;31mred\x1b[0m\r\n\x1b[2J\x1b]0;t\x07".encode() + b"\xff\xc3"
    whole = "äred\n\\x1b[2J\\x1b]0;t\\x07\\xff\\xc3"
    for cut in range(len(raw)):
        screen = Screen()
        assert screen.feed(raw[:cut]) + screen.feed(raw[cut:]) + screen.feed(b"", last=True) == whole


def test_a_pipe_gets_columns_and_a_terminal_gets_a_table(cli: Cli) -> None:
    cli.ok("enqueue", "--", "true")
    assert "\x1b" not in cli.ok("list")
    assert "─" not in cli.ok("list")
    shown = on_terminal(cli, "list")
    assert "─" in shown
    assert "pending" in shown


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_no_color_and_dumb_terminals_get_plain_text(cli: Cli, env: dict[str, str]) -> None:
    cli.ok("enqueue", "--", "true")
    for command in ("list", "status", "queue list", "doctor"):
        assert "\x1b" not in on_terminal(cli, *command.split(), env=env)


def test_hostile_text_reaches_no_terminal(cli: Cli) -> None:
    line = "printf 'x' # \x1b]52;c;aGk=\x07 \x1b[2J \u202egnp.exe \x9b31m"
    cli.ok("enqueue", "--tag", "ok", "-c", line)
    cli.ok("queue", "pause", "default", "--reason", "\x1b[2J\x07")
    for command in ("list", "show 1", "status", "queue list", "list --json", "show 1 --json"):
        shown = on_terminal(cli, *command.split(), env={"NO_COLOR": "1"} if "--json" not in command else None)
        assert not any(bad in shown for bad in ("\x1b", "\x07", "\u202e", "\x9b")), command


def test_on_a_terminal_enqueue_says_why_nothing_will_run_soon(cli: Cli) -> None:
    shown = on_terminal(cli, "enqueue", "--", "true")
    assert shown.splitlines()[0] == "1"
    assert "no worker is running" in shown
    cli.ok("queue", "pause", "default")
    assert "queue default is paused" in on_terminal(cli, "enqueue", "--", "true")


def test_a_reader_that_leaves_ends_it_quietly(cli: Cli) -> None:
    cli.ok("enqueue", "-", stdin="x\n" * 5000)
    process = cli.popen("list", "--all", "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(30) == 128 + signal.SIGPIPE
    assert said == b""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_full_disk_behind_stdout_is_told(cli: Cli) -> None:
    cli.ok("enqueue", "--", "true")
    with open("/dev/full", "wb") as full:
        process = cli.popen("list", stdout=full, stderr=subprocess.PIPE)
        said = process.communicate(timeout=30)[1].decode()
    assert process.returncode == 74
    assert said.startswith("queuectl: ")
    assert "the output cannot be written: No space" in said
    assert "Traceback" not in said


def test_closed_streams_hurt_nobody(cli: Cli) -> None:
    for closed in (">&-", "2>&-", "<&-", ">&- 2>&- <&-"):
        shell = f'"$@" {closed}'
        done = subprocess.run(
            ["sh", "-c", shell, "sh", *cli.argv, "enqueue", "--", "true"],
            env=cli.env, cwd=cli.home, capture_output=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done
        assert b"Traceback" not in done.stderr
    assert cli("status", "--json").json["counts"]["pending"] == 4


def test_an_interrupt_is_130_and_says_nothing(cli: Cli) -> None:
    cli.ok("enqueue", "--", "true")
    process = cli.popen("status", "--watch", "60", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.read(1)  # so it is past its start
    process.send_signal(signal.SIGINT)
    said = process.stderr.read()
    process.stdout.close()
    process.stderr.close()
    assert process.wait(30) == 130
    assert said == b""


def test_a_locale_that_cannot_say_it_gets_escapes(cli: Cli) -> None:
    cli.ok("enqueue", "-c", "echo ä→b")
    done = cli("list", env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
    assert done.code == 0
    assert "echo \\xe4\\u2192b" in done.out


def test_watch_shows_it_again(cli: Cli) -> None:
    process = cli.popen("status", "--watch", "0.1", "--json", stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == process.stdout.readline() != b""
    process.terminate()
    process.stdout.close()
    process.wait(30)


def test_debug_shows_where_it_happened(cli: Cli) -> None:
    assert "Traceback" in cli("show", "77", env={"QUEUECTL_DEBUG": "1"}).err
    assert "Traceback" not in cli("show", "77").err


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "queuectl", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("queuectl ")
