"""The built-in notifier ``command``: its contract, and that no event can become a command."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from driver import processes_with

from queuectl.api.errors import NotDelivered
from queuectl.api.notifier import Notifier
from queuectl.api.providers import REQUIRED, Context, Provider
from queuectl.builtin import command
from queuectl.testing.fakes import make_event
from queuectl.testing.notifier import HOSTILE, NotifierSuite, hostile_event


def opened(*argv: str, **options: Any) -> Notifier:
    provider: Provider[Notifier] = next(iter(command.queuectl_notifiers()))
    defaults = {option.name: option.default for option in provider.options if option.default is not REQUIRED}
    return provider.open({**defaults, "argv": list(argv), **options}, Context("program", None, "/", print))


def shell(line: str, **options: Any) -> Notifier:
    return opened("/bin/sh", "-c", line, **options)


class TestCommand(NotifierSuite):
    test_a_big_batch_is_quick_enough = None  # type: ignore[assignment]  # a process for each; a call has one event

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "events"

    @pytest.fixture
    def notifier(self, path: Path) -> Notifier:
        return shell(f"cat >> {path}", command=True)

    @pytest.fixture
    def delivered(self, path: Path) -> Callable[[], Sequence[str]]:
        return lambda: path.read_text("ascii").splitlines()


def test_the_event_is_json_on_standard_input(tmp_path: Path) -> None:
    shell(f"cat > {tmp_path}/event").notify([make_event("dead", id="7", queue="mail")._replace(delivery="store-9")])
    said = json.loads((tmp_path / "event").read_text())
    assert (said["type"], said["delivery"], said["job"]["id"], said["job"]["queue"]) == (
        "job.dead", "store-9", "7", "mail",
    )  # fmt: skip
    assert "command" not in said["job"]


@pytest.mark.parametrize("text", [text for text in HOSTILE if "touch" in text], ids=["shell"])
def test_nothing_of_an_event_is_ever_run(tmp_path: Path, text: str) -> None:
    opened("/bin/cat", cwd=str(tmp_path), command=True).notify([hostile_event(text)])
    assert os.listdir(tmp_path) == []


def test_words_are_words_and_no_shell_reads_them(tmp_path: Path) -> None:
    opened("/usr/bin/touch", "a b", "$(echo c)", "d;e", cwd=str(tmp_path)).notify([make_event()])
    assert sorted(os.listdir(tmp_path)) == ["$(echo c)", "a b", "d;e"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("exit 3", "/bin/sh ended with exit 3"),
        ("echo first >&2; echo no such user >&2; exit 1", "/bin/sh ended with exit 1: no such user"),
        ("kill -9 $$", "/bin/sh ended with signal 9"),
        ("exec yes >&2", "/bin/sh took longer than 0.5 s"),
        ("sleep 60", "/bin/sh took longer than 0.5 s"),
    ],
)
def test_a_program_that_does_not_take_it_is_a_sentence_in_time(line: str, said: str) -> None:
    begin = time.monotonic()
    with pytest.raises(NotDelivered) as caught:
        shell(line, timeout=0.5).notify([make_event()])
    assert str(caught.value) == said
    assert time.monotonic() - begin < 3


def test_a_program_that_is_not_there_is_a_sentence() -> None:
    with pytest.raises(NotDelivered, match="/no/such/program cannot be run: no such file"):
        opened("/no/such/program").notify([make_event()])


def test_one_that_takes_too_long_is_ended_with_what_it_started() -> None:
    mark = f"notified-{os.getpid()}"
    with pytest.raises(NotDelivered):
        shell(f"sh -c 'sleep 60; : {mark}' & sleep 60; : {mark}", timeout=0.3).notify([make_event()])
    end = time.monotonic() + 5
    while processes_with(mark):
        assert time.monotonic() < end, "what it started lives on"


def test_one_that_does_not_read_is_not_waited_for() -> None:
    opened("/bin/true", command=True).notify([make_event(command="x" * 1_000_000)])


def test_what_it_leaves_behind_is_not_waited_for() -> None:
    begin = time.monotonic()
    shell("sleep 30 & exit 0").notify([make_event()])
    assert time.monotonic() - begin < 5


def test_argv_that_is_none_is_a_complaint() -> None:
    (provider,) = command.queuectl_notifiers()
    check = next(option.check for option in provider.options if option.name == "argv")
    assert check is not None and check(["/bin/true"]) is None
    assert all(check(words) for words in ([], [""], [7], ["a\0b"], ["/bin/true", 7]))
