"""What goes is announced to whom it concerns, and works until then."""

from __future__ import annotations

from pathlib import Path

import pytest
from place import Place

from queuectl.core import deprecated
from queuectl.core.deprecated import Deprecation
from queuectl.core.plugins import Plugin, hook_arguments

CODE = "from queuectl.api import hookimpl\n@hookimpl\ndef queuectl_verdict({arguments}): pass\n"


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    file = tmp_path / "judge.py"
    file.write_text(CODE.format(arguments="outcome"))
    return Plugin("judge", str(file), "file")


@pytest.mark.parametrize(("argument", "what"), [("", "queuectl_verdict"), ("outcome", "the argument 'outcome' of")])
def test_who_implements_what_goes_is_told_since_when_until_when_and_what_instead(
    plugin: Plugin, monkeypatch: pytest.MonkeyPatch, argument: str, what: str
) -> None:
    entry = Deprecation("queuectl_verdict", "0.3", "0.5", "offer a backoff", argument)
    monkeypatch.setattr(deprecated, "DEPRECATIONS", (entry,))
    assert plugin.load() and plugin.hooks == ["queuectl_verdict"]
    (notice,) = plugin.notices
    assert notice.startswith(what) and notice.endswith("is deprecated since 0.3 and gone in 0.5: offer a backoff")


def test_who_does_not_use_it_is_not_told(plugin: Plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = (
        Deprecation("queuectl_verdict", "0.3", "0.5", "x", "job"),
        Deprecation("queuectl_events", "0.3", "0.5", "x"),
    )
    monkeypatch.setattr(deprecated, "DEPRECATIONS", entries)
    assert plugin.load() and plugin.notices == []


TOLD = "queuectl_verdict is deprecated since 0.3 and gone in 0.5: offer a backoff"
PROGRAM = """
from queuectl.core import deprecated
deprecated.DEPRECATIONS = (deprecated.Deprecation("queuectl_verdict", "0.3", "0.5", "offer a backoff"),)
from queuectl.cli import entry
entry()
"""


def test_it_is_told_where_plugins_are_looked_at(place: Place) -> None:
    place.install("judge", CODE.format(arguments="outcome"))
    place.configure('[plugins]\nenable = ["judge"]\n')
    assert TOLD not in place.run("plugins", "info", "judge").out
    place.program = ["-c", PROGRAM]
    assert f"\n  {TOLD}\n" in place.run("plugins", "info", "judge").out
    assert place.run("plugins", "info", "judge", "--json").json["deprecated"] == [TOLD]
    (listed,) = (each for each in place.run("plugins", "list", "--json").json if each["name"] == "judge")
    assert listed["deprecated"] == [TOLD]
    checked = place.run("plugins", "check", "judge", "--json")
    assert checked.code == 0  # it works until then
    (warning,) = (each for each in checked.json["findings"] if each["id"] == "deprecated")
    assert (warning["level"], warning["text"]) == ("warning", TOLD)


def test_the_doctor_tells_of_what_is_active_and_of_nothing_else(place: Place) -> None:
    place.install("judge", CODE.format(arguments="outcome"))
    place.program = ["-c", PROGRAM]

    def told() -> list[str]:
        done = place.run("doctor", "--json")
        assert done.code == 0
        return [each["text"] for each in done.json["checks"] if each["id"] == "plugins" and each["level"] == "warning"]

    assert told() == []
    place.configure('[plugins]\nenable = ["judge"]\n')
    assert told() == [f"plugin judge (queuectl-judge 1.0): {TOLD}"]


def test_what_is_deprecated_is_still_there_and_goes_after_a_minor_series_at_least() -> None:
    for entry in deprecated.DEPRECATIONS:
        assert entry.hook in hook_arguments() and (not entry.argument or entry.argument in hook_arguments()[entry.hook])
        since, gone = (tuple(map(int, text.split("."))) for text in (entry.since, entry.gone))
        assert gone >= (since[0], since[1] + 1)
