"""How hooks are called: in which order, one by one, and what becomes of answers."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from queuectl.api.errors import ConfigError, PluginError
from queuectl.api.model import Claim, Job, NewJob, Outcome, OutcomeKind, State
from queuectl.core.app import App
from queuectl.core.plugins import BUILTIN, OFFERS, Plugin, Recipe, load_object, offered, open_recipe

HEAD = "from queuectl.api import Backoff, Provider, Option, hookimpl\n"
JOB = Job("1", 1, NewJob("true"), State.PROCESSING, 0, 0, 0)
CLAIM = Claim(JOB, 1)
OUTCOME = Outcome(OutcomeKind.EXITED, 3)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith(("QUEUECTL_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def app_with(project: Path, *bodies: str, more: str = "") -> App:
    """An App with one plugin file for each of *bodies*, in order: a.py, b.py …"""
    names = [f"{project.name}_{'abcdef'[i]}.py" for i in range(len(bodies))]
    for name, body in zip(names, bodies, strict=True):
        (project / name).write_text(HEAD + body)
    (project / "queuectl.toml").write_text(f"[plugins]\nfiles = {names!r}\n{more}")
    app = App.open("queuectl.toml")
    app.lines = []  # type: ignore[attr-defined]
    app.plugins._log = app.lines.append  # type: ignore[attr-defined]
    return app


def hook(name: str, body: str, argument: str = "", marks: str = "") -> str:
    return f"@hookimpl({marks})\ndef queuectl_{name}({argument}):\n    {body}\n"


def test_environments_are_merged_and_the_later_plugin_wins_and_our_names_are_left_out(project: Path) -> None:
    app = app_with(
        project,
        hook("environment", "return {'A': '1', 'B': '1', 'QUEUECTL_JOB_ID': '9'}", "claim"),
        hook("environment", "return {'B': claim.job.id + '!'}", "claim"),
        hook("environment", "return None", "claim"),
    )
    assert app.plugins.environment(CLAIM) == {"A": "1", "B": "1!"}
    assert app.has_job_hooks and not app.has_events


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('x')", "ValueError: x"),
        ("exit(1)", "it tried to exit (1)"),
        ("return ['A']", "TypeError: it answered with a list, not a mapping"),
        ("return {'A': 1}", "TypeError: it answered with something else than texts"),
        ("return {'A=B': '1'}", 'TypeError: "A=B" cannot be the name of a variable with this value'),
    ],
)
def test_an_environment_that_fails_is_no_answer_and_the_others_count(project: Path, body: str, said: str) -> None:
    app = app_with(project, hook("environment", body, "claim"), hook("environment", "return {'B': '2'}", "claim"))
    assert app.plugins.environment(CLAIM) == {"B": "2"}
    (failure,) = app.plugins.failures
    assert (failure.hook, failure.error, failure.count) == ("queuectl_environment", said, 1)
    assert app.lines == [f"warning: plugin {failure.plugin}: queuectl_environment: {said}"]  # type: ignore[attr-defined]


def test_the_first_verdict_that_is_one_wins(project: Path) -> None:
    first = hook("verdict", "return None", "outcome")
    second = hook("verdict", "return 'maybe'", "outcome")
    third = hook("verdict", "return 'dead' if outcome.code == 3 else 'retry'", "outcome, job")
    fourth = hook("verdict", "raise AssertionError('is not asked')", "job")
    app = app_with(project, first, second, third, fourth)
    assert app.plugins.verdict(JOB, OUTCOME) == "dead"
    assert [f.error for f in app.plugins.failures] == [
        'TypeError: it answered "maybe", not one of success, retry, dead'
    ]


def test_a_plugin_that_tries_first_is_asked_first(project: Path) -> None:
    app = app_with(
        project,
        hook("verdict", "return 'dead'", "job", "trylast=True"),
        hook("verdict", "return 'retry'", "job"),
        hook("verdict", "return 'success'", "job", "tryfirst=True"),
    )
    assert app.plugins.verdict(JOB, OUTCOME) == "success"


@pytest.mark.parametrize("body", ["raise ValueError()", "exit()", "raise BaseException('odd')"])
def test_a_verdict_that_fails_leaves_it_to_core(project: Path, body: str) -> None:
    assert app_with(project, hook("verdict", body, "job")).plugins.verdict(JOB, OUTCOME) is None


def test_an_observer_that_fails_stops_nobody_else_and_is_counted(project: Path) -> None:
    seen = "import builtins\nbuiltins.seen_events = []\n"
    app = app_with(
        project,
        hook("events", "raise SystemExit(1)", "events"),
        seen + hook("events", "seen_events.append(len(events))", "events"),
    )
    for _ in range(5):
        app.plugins.events([])
    import builtins

    assert builtins.seen_events == [0] * 5  # type: ignore[attr-defined]
    assert app.plugins.failures[0].count == 5
    assert [line.rpartition(":")[2] for line in app.lines] == [  # type: ignore[attr-defined]
        " it tried to exit (1)",
        " it tried to exit (1) (2 times so far)",
        " it tried to exit (1) (4 times so far)",
    ]
    del builtins.seen_events  # type: ignore[attr-defined]


def test_configure_and_shutdown_are_called_once(project: Path) -> None:
    calls = "import builtins\nbuiltins.calls = []\n"
    app = app_with(
        project,
        calls + hook("configure", "calls.append('a+')") + hook("shutdown", "calls.append('a-')"),
        hook("configure", "calls.append('b+')") + hook("shutdown", "calls.append('b-')"),
    )
    app.plugins.events([])
    app.plugins.verdict(JOB, OUTCOME)
    app.close()
    app.close()
    import builtins

    assert builtins.calls == ["a+", "b+", "b-", "a-"]  # type: ignore[attr-defined]
    del builtins.calls  # type: ignore[attr-defined]


def test_interrupting_passes_through(project: Path) -> None:
    app = app_with(project, hook("events", "raise KeyboardInterrupt", "events"))
    with pytest.raises(KeyboardInterrupt):
        app.plugins.events([])


def test_without_a_plugin_no_hook_is_looked_for(project: Path) -> None:
    app = App.open()
    assert not app.plugins.takes_part_in_enqueue() and not app.has_job_hooks and not app.has_events
    assert app.plugins.environment(CLAIM) == {} and app.plugins.verdict(JOB, OUTCOME) is None
    assert app.plugins._manager is None


STEADY = (
    "class Steady(Backoff):\n    def __init__(self, seconds): self.seconds = seconds\n"
    "    def delay(self, job, outcome, rng): return self.seconds\n"
    "@hookimpl\ndef queuectl_backoffs():\n"
    "    yield Provider('steady', lambda o, c: Steady(o['seconds']), (Option('seconds', float, 5.0),))\n"
)


def test_a_recipe_opens_a_component_of_a_file_without_any_configuration(project: Path) -> None:
    app = app_with(project, STEADY, more="[backoff.slow]\nuse = 'steady'\nseconds = 9\n")
    recipe = app.backoff_recipe("slow")
    assert recipe == Recipe(str(project / f"{project.name}_a.py"), "steady", {"seconds": 9.0}, "slow")
    backoff = open_recipe(recipe, "backoff", None, print)
    assert backoff.delay(JOB, OUTCOME, None) == 9.0
    with pytest.raises(PluginError, match=r'^backoff "x": .*a.py does not offer "gone"$'):
        open_recipe(Recipe(recipe.module, "gone", {}, "x"), "backoff", None, print)
    with pytest.raises(PluginError, match=r"^backoff \"x\": ModuleNotFoundError: No module named 'no_such'$"):
        open_recipe(Recipe("no_such", "gone", {}, "x"), "backoff", None, print)


def test_a_component_is_active_when_it_is_named_and_its_plugin_with_it(project: Path) -> None:
    app = app_with(project, STEADY, more="[queues.q]\nbackoff = 'steady'\n")
    assert app.settings("q").backoff == "steady"
    with pytest.raises(ConfigError, match=r'\[queues.q\] executor = "podman": there is no such executor'):
        app_with(project, STEADY, more="[queues.q]\nexecutor = 'podman'\n").settings("q")


def test_the_table_of_built_in_components_equals_what_they_offer() -> None:
    for (kind, name), module in BUILTIN.items():
        plugin = Plugin(name, module, "installed")  # so that its hooks are checked like anybody's
        assert plugin.load(), plugin.error
        assert name in [provider.name for provider in offered(load_object(module), OFFERS[kind])]
    offers = {
        (kind, provider.name)
        for module in set(BUILTIN.values())
        for kind, hook_name in OFFERS.items()
        for provider in offered(load_object(module), hook_name)
    }
    assert offers == set(BUILTIN)


def test_both_marks_are_the_same() -> None:
    import pluggy

    from queuectl.api import hookimpl
    from queuectl.api.markers import MARK

    def ours() -> None: ...
    def theirs() -> None: ...

    hookimpl(ours)
    pluggy.HookimplMarker("queuectl")(theirs)
    assert getattr(ours, MARK) == getattr(theirs, MARK)


def test_threads_that_load_a_plugin_at_once_find_its_offers_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of a dashboard do at its first requests: each opens the storage, which is a built-in plugin's."""
    together = threading.Barrier(2)

    def load_together(value: str) -> object:
        loaded = load_object(value)
        together.wait(20)
        return loaded

    monkeypatch.setattr("queuectl.core.plugins.load_object", load_together)
    plugin = Plugin("exponential", "queuectl.builtin.exponential", "built-in")
    threads = [threading.Thread(target=plugin.load) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [offer.name for offer in plugin.offers["backoff"]] == ["exponential"]
