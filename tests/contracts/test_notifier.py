"""The built-in notifier ``log``, and the fake one, keep the contract."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from queuectl.api.notifier import Notifier
from queuectl.api.providers import Context, Provider
from queuectl.builtin import log
from queuectl.testing.fakes import EventRecorder, make_event
from queuectl.testing.notifier import HOSTILE, NotifierSuite, hostile_event


def opened(**options: Any) -> Notifier:
    provider: Provider[Notifier] = next(iter(log.queuectl_notifiers()))
    defaults = {option.name: option.default for option in provider.options}
    return provider.open({**defaults, **options}, Context("log", None, "/", print))


class TestLog(NotifierSuite):
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "events.log"

    @pytest.fixture
    def notifier(self, path: Path) -> Notifier:
        return opened(path=str(path), command=True)

    @pytest.fixture
    def delivered(self, path: Path) -> Callable[[], Sequence[str]]:
        return lambda: path.read_bytes().decode("ascii").split("\n")[:-1]


class TestEventRecorder(NotifierSuite):
    @pytest.fixture
    def notifier(self) -> EventRecorder:
        return EventRecorder()

    @pytest.fixture
    def delivered(self, notifier: EventRecorder) -> Callable[[], Sequence[str]]:
        return lambda: [event.job.id for event in notifier.events]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:12]))
def test_a_line_is_one_json_object_of_printable_ascii(tmp_path: Path, text: str) -> None:
    opened(path=str(tmp_path / "log"), command=True).notify([hostile_event(text)])
    data = (tmp_path / "log").read_bytes()
    assert data.endswith(b"\n") and all(32 <= byte < 127 for byte in data[:-1])
    fields = json.loads(data)
    assert fields["job"] == (text or "1") and fields["command"] == (text or "true")


def test_it_says_what_happened(tmp_path: Path) -> None:
    opened(path=str(tmp_path / "log")).notify([make_event("failed", id="7", queue="mail", attempts=2, reason="exit 1")])
    assert json.loads((tmp_path / "log").read_text()) == {
        "at": "2026-01-01T00:00:00.000Z",
        "action": "failed",
        "job": "7",
        "queue": "mail",
        "state": "failed",
        "attempt": 2,
        "exit_code": 0,
        "duration_sec": 0.0,
        "reason": "exit 1",
    }


def test_the_command_is_written_only_when_asked_for(tmp_path: Path) -> None:
    opened(path=str(tmp_path / "log")).notify([make_event(command="curl -u me:secret https://example.org")])
    assert "secret" not in (tmp_path / "log").read_text()


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        opened(path=str(tmp_path / "log")).notify([make_event()])
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o600


def test_a_file_that_was_moved_away_is_made_anew(tmp_path: Path) -> None:
    notifier = opened(path=str(tmp_path / "log"))
    notifier.notify([make_event(id="1")])
    os.rename(tmp_path / "log", tmp_path / "log.1")
    notifier.notify([make_event(id="2")])
    assert json.loads((tmp_path / "log").read_text())["job"] == "2"


def test_only_the_chosen_kinds_are_written(tmp_path: Path) -> None:
    notifier = opened(path=str(tmp_path / "log"), events=["dead"])
    notifier.notify([make_event("completed"), make_event("dead")])
    notifier.notify([make_event("completed")])
    assert [json.loads(line)["action"] for line in (tmp_path / "log").read_text().splitlines()] == ["dead"]


def test_an_unknown_kind_is_a_complaint_that_names_it() -> None:
    (provider,) = log.queuectl_notifiers()
    (events,) = (option for option in provider.options if option.name == "events")
    assert events.check is not None
    assert events.check(["dead"]) is None
    assert "'deaf'" in (events.check(["deaf"]) or "")
    assert "[]" in (events.check([[]]) or "")


def test_without_a_path_it_goes_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    opened().notify([make_event("dead", id="9")])
    out, err = capfd.readouterr()
    assert out == "" and json.loads(err)["job"] == "9"
