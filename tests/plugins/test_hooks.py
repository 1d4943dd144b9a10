"""Every hook, and every argument of it, is reached by the real program; and the examples of the reference run.

A hook or an argument that is added later is in these tests at once: what implements it is made from the
specifications. Where the program does not come to call it, or nobody said what the argument has to be, a test fails.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from queuectl import api
from queuectl.api import model
from queuectl.api.providers import Command, Option, Panel, Provider
from queuectl.core.app import App
from queuectl.core.plugins import OFFERS, Plugin, hook_arguments, hook_functions, implementations, open_provider
from queuectl.testing.fakes import FAILURE, make_claim, make_event, make_job
from queuectl.testing.memory import MemoryStorage
from queuectl.testing.plugin import Project

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import hooks  # noqa: E402  (tools/hooks.py)

HOOKS = hook_arguments()

#: What each argument is, in the words of ``type(…).__name__``, as the program gives it.
KINDS: Mapping[str, set[str]] = {
    "options": {"dict"},
    "jobs": {"list"},
    "claim": {"Claim"},
    "job": {"Job"},
    "outcome": {"Outcome"},
    "events": {"list", "tuple"},
    "storage": {"function", "method"},
}

#: A plugin with all hooks and all arguments, which says in a file what it was called with.
ALL = """\
import json, os
from queuectl.api import hookimpl

def note(hook, **arguments):
    kinds = {name: type(value).__name__ for name, value in arguments.items()}
    with open(os.path.join(os.path.dirname(__file__), "calls.jsonl"), "a") as file:
        file.write(json.dumps([hook, os.getpid(), kinds]) + "\\n")

""" + "\n".join(
    f"@hookimpl\ndef {name}({', '.join(arguments)}):\n"
    f"    note({name!r}{''.join(f', {argument}={argument}' for argument in arguments)})\n"
    for name, arguments in HOOKS.items()
)


def test_every_hook_is_called_with_every_argument(queuectl_project: Project) -> None:
    queuectl_project.write("everything.py", ALL)
    config = queuectl_project.config('[plugins]\nfiles = ["everything.py"]\n')
    queuectl_project.run("--help")
    queuectl_project.run("enqueue", "--max-retries", "0", "--", "false")
    queuectl_project.run("worker", "start", "--until-empty", code=1)
    app = App.open(str(config), str(queuectl_project.root / "pages.db"))
    app.plugins.blueprints(lambda: app.storage)
    app.plugins.panels(lambda: app.storage)
    app.close()
    calls: dict[str, dict[str, str]] = {}
    processes: dict[str, set[int]] = {}
    for line in (queuectl_project.root / "calls.jsonl").read_text().splitlines():
        hook, pid, kinds = json.loads(line)
        calls[hook] = kinds
        processes.setdefault(hook, set()).add(pid)
    assert set(HOOKS) == set(calls), "hooks that the program does not call, as far as this test goes"
    for hook, arguments in HOOKS.items():
        assert set(calls[hook]) == set(arguments), hook
        assert all(calls[hook][argument] in KINDS[argument] for argument in arguments), calls[hook]
    # Who runs whose code: the worker's hooks in one process, the observer in another, neither in that which enqueued.
    assert processes["queuectl_environment"] == processes["queuectl_verdict"]
    apart = ("queuectl_environment", "queuectl_events", "queuectl_prepare")
    assert not any(processes[a] & processes[b] for a in apart for b in apart if a < b)
    assert processes["queuectl_configure"] >= processes["queuectl_events"] | processes["queuectl_prepare"]


# --- The examples -------------------------------------------------------------------------------


def given(hook: str) -> dict[str, Any]:
    """Arguments to call an implementation of a hook with, as the program would."""
    every: dict[str, Any] = {
        "options": {"site": "main"},
        "jobs": [model.NewJob("ffmpeg -i a b"), model.NewJob("true")],
        "claim": make_claim(queue="render", seq=5),
        "job": make_job("false", tags=("strict",)),
        "outcome": FAILURE._replace(code=65),
        "events": [make_event("completed"), make_event("dead")],
        "storage": MemoryStorage,
    }
    return {name: every[name] for name in HOOKS[hook]}


def provider_opens(kind: str) -> Callable[[Any], object]:
    def opens(offers: Any) -> object:
        (offer,) = offers
        assert isinstance(offer, Provider)
        if kind == "storage":  # it names a package that nobody has
            return offer.summary
        options = {option.name: option.default for option in offer.options}
        component = open_provider(offer, options, offer.name, kind, None, print)
        if kind == "backoff":
            return component.delay(make_job(), FAILURE, __import__("random").Random(1)) >= 5
        if kind == "notifier":
            component.notify([make_event("dead")])
        return component

    return opens


def each_is(kind: type) -> Callable[[Any], object]:
    return lambda offers: list(offers) and all(isinstance(offer, kind) for offer in offers)


#: What the answer of each example has to satisfy.
ANSWERS: Mapping[str, Callable[[Any], object]] = {
    **{hook: provider_opens(kind) for kind, hook in OFFERS.items()},
    "queuectl_options": each_is(Option),
    "queuectl_configure": lambda answer: answer is None,
    "queuectl_commands": each_is(Command),
    "queuectl_prepare": lambda answer: answer is None,
    "queuectl_environment": lambda answer: answer == {"CUDA_VISIBLE_DEVICES": "1"},
    "queuectl_verdict": lambda answer: answer == "dead",
    "queuectl_events": lambda answer: answer is None,
    "queuectl_blueprints": lambda answer: [page.name for page in answer] == ["limits"],
    "queuectl_panels": lambda answer: [panel.render() for panel in answer] == ["<p>0 so far</p>"],
    "queuectl_shutdown": lambda answer: answer is None,
}


@pytest.mark.parametrize("hook", HOOKS)
def test_the_example_of_a_hook_runs(tmp_path: Path, hook: str) -> None:
    text = hooks.contract_of(hook_functions()[hook]).example
    file = tmp_path / f"{hook}_example.py"
    file.write_text(text)
    plugin = Plugin("example", str(file), "file")
    assert plugin.load(), plugin.error
    implementation = dict(implementations(plugin.object))[hook]
    arguments = given(hook)
    answer = implementation(**arguments)
    if hasattr(answer, "__next__"):
        answer = list(answer)
    assert ANSWERS[hook](answer)
    if hook == "queuectl_prepare":
        assert [job.queue for job in arguments["jobs"]] == ["video", "default"]


def test_a_command_of_an_example_runs_on_the_queue_that_was_chosen(queuectl_project: Project) -> None:
    text = hooks.contract_of(hook_functions()["queuectl_commands"]).example
    queuectl_project.install("queuectl-waiting", text)
    queuectl_project.run("enqueue", "--queue", "mail", "--", "true")
    assert queuectl_project.run("waiting").out == "mail 1\n"
    assert queuectl_project.run("waiting", "--db", "other.db").out == ""


def test_panels_and_offers_are_the_records_that_the_page_names() -> None:
    assert {Panel.__name__, Command.__name__, Option.__name__, Provider.__name__} <= set(api.__all__)
