"""``queuectl plugins check`` tells a plugin that keeps its contracts from one that does not, and harms nobody."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest
from place import ROOT, Place

from queuectl.cli import plugin_kit
from queuectl.testing.kit import proving
from queuectl.testing.kit.prove import without_traceback

HEAD = """\
import os, time
from queuectl.api import Backoff, Command, Executor, Notifier, Option, Provider, Storage, hookimpl
"""
LADDER = (
    HEAD
    + """
class Ladder(Backoff):
    def __init__(self, step):
        self.step = step

    def delay(self, job, outcome, rng):
        return {answer}

@hookimpl
def queuectl_backoffs():
    yield Provider(
        "ladder", lambda options, context: Ladder(options["step"]), (Option("step", float, 5.0, "seconds"),), "steps"
    )
"""
)


def write(place: Place, code: str, name: str = "mine.py") -> str:
    (place.project / name).write_text(code)
    return f"./{name}"


def findings(report: Any, level: str) -> list[str]:
    return [finding["text"] for finding in report["findings"] if finding["level"] == level]


def test_a_good_plugin_keeps_its_contracts_and_it_is_said_what_it_can(place: Place) -> None:
    file = write(place, LADDER.format(answer="self.step * min(job.tries, 720)"))
    done = place.run("plugins", "check", file, "--json")
    assert done.code == 0 and done.json["ok"]
    (suite,) = done.json["suites"]
    assert (suite["kind"], suite["name"], suite["failed"], suite["fault"]) == ("backoff", "ladder", 0, None)
    assert suite["passed"] > 70 and suite["supports"] == ["monotone"] and suite["lacks"] == ["random"]
    assert all(test["demand"] for test in suite["tests"])
    assert findings(done.json, "error") == findings(done.json, "warning") == []
    page = (ROOT / "docs" / "reference" / "json.md").read_text(encoding="utf-8")
    said = page[page.index("`plugins check NAME`") :]
    shapes = (done.json, suite, suite["tests"][0], done.json["findings"][0])
    assert [key for shape in shapes for key in shape if f"`{key}`" not in said] == []
    (listed,) = (plugin for plugin in place.run("plugins", "list", "--json").json if plugin["name"] == "fixed")
    said = page[page.index("`plugins list`") :]
    assert [key for shape in (listed, listed["offers"][0]) for key in shape if f"`{key}`" not in said] == []


def test_what_it_claims_and_what_it_is_set_to_are_put_to_the_test(place: Place) -> None:
    file = write(place, LADDER.format(answer="self.step"))
    assert place.run("plugins", "check", file, "--claim", "longest=5").code == 0
    done = place.run("plugins", "check", file, "--claim", "longest=5", "--set", "step=6", "--json")
    assert done.code == 1 and not done.json["ok"]
    (suite,) = done.json["suites"]
    failed = [test for test in suite["tests"] if test["outcome"] == "failed"]
    assert failed and {test["message"] for test in failed} == {"AssertionError: 6.0 is more than 5"}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("-1.0", "-1.0 is less than 0"),
        ("1 / 0", "division by zero"),
        ("os._exit(3)", "its process ended with 3"),
        ("time.sleep(600)", "it did not end within 3 s"),
    ],
)
def test_a_component_that_fails_is_said_to_with_what_was_demanded(place: Place, answer: str, said: str) -> None:
    file = write(place, LADDER.format(answer=answer))
    done = place.run("plugins", "check", file, "--timeout", "3")
    assert done.code == 1
    assert said in done.out and done.out.endswith("It does not keep its contracts.\n")
    if "passed" in done.out or "failed" in done.out:
        assert "demands: After any number of tries" in done.out


def test_a_component_that_cannot_be_asked_what_it_claims_fails_with_the_cause(place: Place) -> None:
    file = write(place, LADDER.format(answer="self.step"))
    Path(place.project / file).write_text(Path(place.project / file).read_text().replace("self.step = step", "step[0]"))
    done = place.run("plugins", "check", file, "--json")
    (suite,) = done.json["suites"]
    said = {test["name"]: test["message"] for test in suite["tests"] if test["outcome"] == "failed"}
    assert done.code == 1 and suite["fault"] is None
    assert "'float' object is not subscriptable" in said["test_what_it_claims_can_be_seen"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("1/0\n", "it does not load: ZeroDivisionError"),
        (HEAD, "it implements no hook"),
        (HEAD + "@hookimpl\ndef queuectl_evnets(events): pass\n", "did you mean"),
        (HEAD + "@hookimpl\ndef queuectl_events(evnets): pass\n", "has no argument 'evnets'"),
        (HEAD + "@hookimpl\ndef queuectl_commands(): return [Command('status', 'x', None)]\n", "built-in command"),
        (
            HEAD + "@hookimpl\ndef queuectl_commands(): return [Command('mine', 'x', lambda: 1)]\n",
            "not a click command",
        ),
        (HEAD + "@hookimpl\ndef queuectl_commands(): return [Command('mine', 'x', lambda: 1/0)]\n", "does not load"),
        (HEAD + "@hookimpl\ndef queuectl_options(): return [Option('a', int, 'b', 'c')]\n", "own default"),
        (
            HEAD + "@hookimpl\ndef queuectl_notifiers(): return [Provider('a', print, (), 's', (Option('b', int),))]\n",
            "a job cannot ask anything of a notifier",
        ),
    ],
)
def test_what_can_be_seen_without_running_it_is_an_error(place: Place, code: str, said: str) -> None:
    done = place.run("plugins", "check", write(place, code), "--no-suite", "--json")
    assert done.code == 1
    assert any(said in text for text in findings(done.json, "error")), done.json


def raised() -> str:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        return traceback.format_exc()


def test_of_a_test_in_a_process_of_its_own_it_says_what_was_found_and_not_where() -> None:
    """The tests of executors are: what comes from there is a traceback."""
    for text in (raised(), f"Failed: {raised()}"):
        found = without_traceback(text.splitlines())
        assert found[:2] == ["ValueError: two", "lines"]
    assert without_traceback(["AssertionError: 6.0 is more than 5"]) == ["AssertionError: 6.0 is more than 5"]


def test_every_failed_test_is_named() -> None:
    """Those that failed alike are told once, but each has its name."""
    alike = [proving.Test(f"test_{name}", "failed", "order", "it was not kept") for name in "abc"]
    proof = proving.Proof("notifier", "mine", (*alike, proving.Test("test_d", "failed", "more", "nothing came")))
    said = "\n".join(plugin_kit._proof_lines(proof, verbose=False))
    assert said.count("it was not kept") == 1 and "the same in test_b, test_c" in said and "test_d" in said


def test_what_may_change_in_any_release_is_warned_of(place: Place) -> None:
    code = HEAD + "from queuectl.core.app import App\n@hookimpl\ndef queuectl_events(events): pass\n"
    done = place.run("plugins", "check", write(place, code), "--json")
    assert done.code == 0
    assert findings(done.json, "warning") == ["mine.py:3 imports queuectl.core.app, which may change in any release"]


FOLDER = (
    HEAD
    + """
from queuectl.api import Ability
from queuectl.testing.memory import MemoryStorage

shelves = {{}}

class Shelf(MemoryStorage):
    abilities = MemoryStorage.abilities

def open_shelf(options, context):
    first = shelves.setdefault(options["path"], Shelf())
    return Shelf(first)

@hookimpl
def queuectl_storages():
    path = Option("path", str, None, "where", path=True)
    yield Provider("shelf", open_shelf, (path,), "in this process", abilities={abilities})
"""
)


@pytest.mark.parametrize(
    ("abilities", "code", "failed"),
    [
        ("MemoryStorage.abilities", 0, set()),
        ("frozenset(Ability)", 1, {"test_the_offer_says_the_same_abilities_as_the_storage"}),
    ],
)
def test_a_storage_is_proved_in_places_of_its_own(place: Place, abilities: str, code: int, failed: set[str]) -> None:
    place.configure('[storage.shelf]\npath = "jobs"\n')
    file = write(place, FOLDER.format(abilities=abilities))
    claims = ("--claim", "processes=false", "--claim", "model_examples=2")
    done = place.run("plugins", "check", file, *claims, "--json")
    (suite,) = done.json["suites"]
    assert {test["name"] for test in suite["tests"] if test["outcome"] == "failed"} == failed
    assert done.code == code and suite["passed"] > 150 and "unique" in suite["supports"]


NET = (
    HEAD
    + """
@hookimpl
def queuectl_storages():
    yield Provider("net", lambda options, context: 1 / 0, (Option("url", str, "net://home", "where"),), "far away")

@hookimpl
def queuectl_notifiers():
    yield Provider("mail", lambda options, context: 1 / 0, (Option("to", str, "boss", "whom"),), "mail")
"""
)


def test_a_storage_in_use_is_never_tested(place: Place) -> None:
    said = place.refused(2, "plugins", "check", write(place, NET), "--only", "storage")
    assert "each of its tests needs an empty storage" in said and "(its options: url)" in said


def test_nobody_is_told_of_tests_unasked(place: Place) -> None:
    file = write(place, NET)
    assert "would deliver hundreds of events" in place.refused(2, "plugins", "check", file, "--only", "notifier")
    done = place.run("plugins", "check", file, "--only", "notifier", "--yes")
    assert done.code == 1 and "ZeroDivisionError" in done.out  # this one was tried


def test_the_configured_file_of_a_component_is_left_alone(place: Place) -> None:
    """The built-in notifier is configured with a file; its tests write to another."""
    place.configure('[queuectl]\nnotifiers = ["log"]\n[notifier.log]\npath = "events.log"\n')
    assert place.run("plugins", "check", "log").code == 0
    assert not Path(place.project / "events.log").exists()


def test_a_name_that_is_none_and_a_claim_that_is_none_are_refused(place: Place) -> None:
    assert 'did you mean "fixed"' in place.refused(2, "plugins", "check", "fixd")
    assert 'did you mean "monotone"' in place.refused(2, "plugins", "check", "fixed", "--claim", "monotonous=true")
    assert "unknown key" in place.refused(78, "plugins", "check", "fixed", "--set", "dealy=5")
    assert "expected KEY=VALUE" in place.refused(2, "plugins", "check", "fixed", "--set", "delay")
