"""What a broken plugin does to the program: one sentence and an exit code, or one warning; never a traceback.

Each plugin here is a distribution on disk that a child process finds as if it were installed.
"""

from __future__ import annotations

import pytest
from place import ROOT, Place

HEAD = "from queuectl.api import *\nfrom queuectl.api import hookimpl, Provider, Backoff\n"
STORAGE = "@hookimpl\ndef queuectl_storages():\n    yield Provider({name!r}, lambda options, context: None{rest})\n"


def storage(name: str = "shelf", rest: str = "") -> str:
    return HEAD + STORAGE.format(name=name, rest=rest)


# --- What the configuration needs is fatal --------------------------------------------------------------


def test_a_storage_that_there_is_not_is_named_with_the_nearest_and_all_known(place: Place) -> None:
    place.install("shelf", storage(), version="1.2")
    place.configure('[queuectl]\nstorage = "shelv"\n')
    said = place.refused(78, "status")
    start = 'queuectl.toml: [queuectl] storage = "shelv": there is no such storage; did you mean "shelf"? (known: '
    assert said.startswith(start)
    assert {"shelf", "sqlite"} <= set(said.removeprefix(start).rstrip(")").split(", "))  # and what else is installed


def test_a_well_known_storage_that_is_not_installed_is_said_to_be_elsewhere(place: Place) -> None:
    said = place.refused(78, "status", env={"QUEUECTL_STORAGE": "postgres"})
    assert said.startswith('QUEUECTL_STORAGE = "postgres": there is no such storage (known: ')
    assert said.endswith("; it comes with queuectl-postgres, which is not installed")


IMPORTS = {
    "import error": ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
    "syntax error": ("def f(:\n", "SyntaxError: invalid syntax (queuectl_shelf.py, line 1)"),
    "exits": ("raise SystemExit(3)\n", "it tried to exit (3)"),
    "needs a word that is not there": (
        "from queuectl.api import Future\n",
        """ImportError: cannot import name 'Future' from 'queuectl.api' ({root}/queuectl/api/__init__.py); \
it may need a newer core""",
    ),
    "misspelt hook": (
        storage() + "@hookimpl\ndef queuectl_event(events): pass\n",
        'there is no hook queuectl_event; did you mean "queuectl_events"?',
    ),
    "argument that the hook has not": (
        storage() + "@hookimpl\ndef queuectl_events(event): pass\n",
        "queuectl_events has no argument 'event' (it has events)",
    ),
    "forgotten mark": (
        storage() + "def queuectl_events(events): pass\n",
        "queuectl_events is not marked with @hookimpl",
    ),
    "returns a wrong thing": (
        HEAD + "@hookimpl\ndef queuectl_storages(): return {'shelf': 1}\n",
        "queuectl_storages returned a dict, not Provider records",
    ),
    "gives wrong records": (
        HEAD + "@hookimpl\ndef queuectl_storages(): return ['shelf']\n",
        "queuectl_storages gave a str, not a Provider record",
    ),
    "offers a bad name": (
        storage("The Shelf"),
        'queuectl_storages offers "The Shelf": a name has small letters, digits and dashes',
    ),
    "raises in an offer": (
        HEAD + "@hookimpl\ndef queuectl_storages(): raise OSError('no disk')\n",
        "OSError: no disk",
    ),
    "exits in an offer": (HEAD + "@hookimpl\ndef queuectl_storages(): exit()\n", "it tried to exit (None)"),
    "needs a newer core": (
        storage(rest=", api=99"),
        'queuectl_storages offers "shelf", which needs a newer core (version 99 of the contracts; this core has 1)',
    ),
}


@pytest.mark.parametrize("case", IMPORTS)
def test_a_needed_plugin_that_cannot_be_loaded_is_fatal_and_says_why(place: Place, case: str) -> None:
    code, cause = IMPORTS[case]
    place.install("shelf", code, version="1.2")
    place.configure('[queuectl]\nstorage = "shelf"\n')
    assert place.refused(78, "status") == (
        f'queuectl.toml: [queuectl] storage = "shelf": its plugin shelf (queuectl-shelf 1.2) was not loaded: '
        f"{cause.format(root=ROOT)} (see 'queuectl plugins info shelf')"
    )


def test_the_traceback_of_a_failed_plugin_is_there_for_who_asks(place: Place) -> None:
    place.install("shelf", "import no_such_module\n")
    done = place.run("plugins", "info", "shelf", "--json")
    assert done.code == 0
    assert done.json["state"] == "failed" and done.json["error"].startswith("ModuleNotFoundError")
    assert 'queuectl_shelf.py", line 1' in done.json["traceback"]


def test_two_plugins_of_one_name_are_refused_with_both_and_the_way_out(place: Place) -> None:
    place.install("shelf", storage(), version="1.2")
    place.install("shelf", storage(), version="2.0", distribution="other-shelf")
    place.configure('[queuectl]\nstorage = "shelf"\n')
    said = place.refused(78, "status")
    assert said == (
        'queuectl.toml: [queuectl] storage = "shelf": two plugins offer this storage: shelf (other-shelf 2.0) and '
        "shelf (queuectl-shelf 1.2); list one of them in [plugins] disable"
    )
    place.configure('[queuectl]\nstorage = "shelf"\n[plugins]\ndisable = ["other-shelf"]\n')
    assert "two plugins" not in place.run("status").err


def test_the_name_of_a_built_in_component_cannot_be_taken_unless_it_is_disabled(place: Place) -> None:
    place.install("mine", HEAD + "@hookimpl\ndef queuectl_backoffs(): yield Provider('fixed', lambda o, c: None)\n")
    place.configure('[queuectl]\nbackoff = "fixed"\n[plugins]\nenable = ["mine"]\n')
    said = place.refused(78, "enqueue", "--", "true")
    assert said == (
        'queuectl.toml: [queuectl] backoff = "fixed": two plugins offer this backoff: fixed (built in) and '
        "mine (queuectl-mine 1.0); list one of them in [plugins] disable"
    )
    place.configure('[queuectl]\nbackoff = "fixed"\n[plugins]\nenable = ["mine"]\ndisable = ["fixed"]\n')
    assert place.run("enqueue", "--", "true").code == 0


def test_a_disabled_plugin_that_is_needed_is_fatal(place: Place) -> None:
    place.install("shelf", storage())
    place.configure('[queuectl]\nstorage = "shelf"\n[plugins]\ndisable = ["shelf"]\n')
    assert place.refused(78, "status").endswith(
        "its plugin shelf (queuectl-shelf 1.0) is disabled by [plugins] disable"
    )


def test_all_that_is_required_and_missing_is_said_at_once(place: Place) -> None:
    place.install("bad", "1/0\n")
    place.install("off", storage("off"))
    place.configure('[plugins]\nrequire = ["bad", "none", "off"]\ndisable = ["off"]\n')
    assert place.refused(78, "status") == (
        'queuectl.toml: [plugins] require: "bad": bad (queuectl-bad 1.0) was not loaded: ZeroDivisionError: division '
        'by zero; "none": there is no such plugin; "off": off (queuectl-off 1.0) is disabled by [plugins] disable'
    )


def test_a_plugin_to_enable_that_there_is_not_is_fatal_and_so_is_a_missing_file(place: Place) -> None:
    place.install("audit", HEAD)
    place.configure('[plugins]\nenable = ["aduit"]\n')
    said = place.refused(78, "status")
    assert said.startswith('queuectl.toml: [plugins] enable: there is no plugin "aduit"; did you mean "audit"? ')
    assert "audit" in said.partition("(installed: ")[2]
    place.configure('[plugins]\nfiles = ["./gone.py"]\n')
    assert place.refused(78, "status") == "queuectl.toml: [plugins] files: gone.py: there is no such file"


# --- What it does not need is one warning -----------------------------------------------------------------


def test_an_observer_that_cannot_be_loaded_is_one_warning(place: Place) -> None:
    place.install("audit", "import x_y_z\n")
    place.configure('[plugins]\nenable = ["audit"]\n')
    done = place.run("enqueue", "--", "true")
    assert (done.code, done.out) == (0, "1\n")
    assert done.err == (
        "queuectl: warning: plugin audit (queuectl-audit 1.0) was not loaded: "
        "ModuleNotFoundError: No module named 'x_y_z'\n"
    )


def test_installed_is_not_active(place: Place) -> None:
    place.install("audit", "raise SystemExit('should not have been imported')\n")
    done = place.run("enqueue", "--", "true")
    assert (done.code, done.out, done.err) == (0, "1\n", "")


# --- Hooks that go wrong ------------------------------------------------------------------------------------


PREPARES = {
    "raise ValueError('no luck')": "queuectl_prepare failed, so nothing was stored: ValueError: no luck",
    "raise SystemExit(0)": "queuectl_prepare failed, so nothing was stored: it tried to exit (0)",
    "jobs.clear()": "queuectl_prepare left something else than 1 NewJob records, so nothing was stored",
    "jobs[0] = 'true'": "queuectl_prepare left something else than 1 NewJob records, so nothing was stored",
}


@pytest.mark.parametrize("body", PREPARES)
def test_a_prepare_that_fails_refuses_the_batch_and_is_named(place: Place, body: str) -> None:
    place.install("policy", f"{HEAD}@hookimpl\ndef queuectl_prepare(jobs):\n    {body}\n")
    place.configure('[plugins]\nenable = ["policy"]\n')
    assert place.refused(70, "enqueue", "--", "true") == f"plugin policy (queuectl-policy 1.0): {PREPARES[body]}"
    assert place.run("list", "--json").json == []


def test_a_prepare_may_refuse_a_job_with_its_own_words(place: Place) -> None:
    code = f"{HEAD}@hookimpl\ndef queuectl_prepare(jobs):\n    raise JobRejected('not on a Sunday')\n"
    place.install("policy", code)
    place.configure('[plugins]\nenable = ["policy"]\n')
    assert place.refused(65, "enqueue", "--", "true") == "not on a Sunday"
    assert place.run("list", "--json").json == []


def test_a_prepare_may_change_a_job(place: Place) -> None:
    code = f"{HEAD}@hookimpl\ndef queuectl_prepare(jobs):\n    jobs[0] = jobs[0]._replace(priority=7)\n"
    place.install("policy", code)
    place.configure('[plugins]\nenable = ["policy"]\n')
    assert place.run("enqueue", "--", "true").code == 0
    assert place.run("list", "--json").json[0]["priority"] == 7


CONFIGURES = {
    "raise PluginError('the audit log is full')": (70, "the audit log is full"),
    "raise KeyError('x')": (70, "plugin audit (queuectl-audit 1.0): queuectl_configure: KeyError: 'x'"),
    "exit('bye')": (70, "plugin audit (queuectl-audit 1.0): queuectl_configure: it tried to exit (bye)"),
}


@pytest.mark.parametrize("body", CONFIGURES)
def test_a_plugin_may_refuse_to_run(place: Place, body: str) -> None:
    code, said = CONFIGURES[body]
    place.install("audit", f"{HEAD}@hookimpl\ndef queuectl_configure(options):\n    {body}\n")
    place.configure('[plugins]\nenable = ["audit"]\n')
    assert place.refused(code, "status") == said


@pytest.mark.parametrize(
    ("body", "cause"), [("raise OSError('gone')", "OSError: gone"), ("exit(9)", "it tried to exit (9)")]
)
def test_a_shutdown_that_fails_is_one_warning(place: Place, body: str, cause: str) -> None:
    place.install("audit", f"{HEAD}@hookimpl\ndef queuectl_shutdown():\n    {body}\n")
    place.configure('[plugins]\nenable = ["audit"]\n')
    done = place.run("enqueue", "--", "true")
    assert (done.code, done.out) == (0, "1\n")
    assert done.err == f"queuectl: warning: plugin audit (queuectl-audit 1.0): queuectl_shutdown: {cause}\n"


@pytest.mark.parametrize(
    ("body", "cause"),
    [("raise OSError('no disk')", "OSError: no disk"), ("exit(1)", "it tried to exit (1)")],
)
def test_a_component_that_cannot_be_opened_is_named(place: Place, body: str, cause: str) -> None:
    code = HEAD + f"def make(options, context):\n    {body}\n" + STORAGE.format(name="shelf", rest="")
    place.install("shelf", code.replace("lambda options, context: None", "make"))
    place.configure('[queuectl]\nstorage = "shelf"\n')
    assert place.refused(70, "status") == f'storage "shelf": {cause}'


OPTIONS = (
    HEAD
    + "@hookimpl\ndef queuectl_options():\n    yield Option('path', str)\n"
    + "    yield Option('level', int, 1, minimum=0)\n"
    + "@hookimpl\ndef queuectl_configure(options):\n    print(options['path'], options['level'])\n"
)


def test_a_plugins_own_table_is_checked_and_given_to_it(place: Place) -> None:
    place.install("audit", OPTIONS)
    place.configure('[plugins]\nenable = ["audit"]\n[plugin.audit]\npath = "x"\n')
    assert place.run("status").out.startswith("x 1\n")
    place.configure('[plugins]\nenable = ["audit"]\n[plugin.audit]\npath = "x"\nlevle = 2\n')
    assert place.refused(78, "status") == (
        'queuectl.toml: [plugin.audit] levle: unknown key; did you mean "level"? ([plugin.audit] takes path, level)'
    )
    place.configure('[plugins]\nenable = ["audit"]\n')
    assert place.refused(78, "status") == "[plugin.audit]: path is missing"


def test_options_that_are_none_are_the_plugins_fault(place: Place) -> None:
    place.install("audit", HEAD + "@hookimpl\ndef queuectl_options(): return ['path']\n")
    place.configure('[plugins]\nenable = ["audit"]\n')
    assert place.refused(70, "status") == (
        "plugin audit (queuectl-audit 1.0): queuectl_options gave a str, not an Option record"
    )


# --- Commands -------------------------------------------------------------------------------------------------


COMMAND = (
    HEAD
    + "import click\n"
    + "@click.command()\ndef hello():\n    click.echo('hello')\n"
    + "@hookimpl\ndef queuectl_commands():\n    yield Command({name!r}, 'Say hello.', lambda: {load})\n"
)


def test_an_installed_plugins_command_is_there_without_being_enabled(place: Place) -> None:
    place.install("greeter", COMMAND.format(name="hello", load="hello"))
    assert place.run("hello").out == "hello\n"
    assert "Say hello." in place.run("--help").out


def test_the_name_of_a_built_in_command_cannot_be_taken(place: Place) -> None:
    place.install("greeter", COMMAND.format(name="status", load="hello"))
    done = place.run("status")
    assert "hello" not in done.out and done.err == ""
    helped = place.run("--help")
    assert "Say hello." not in helped.out
    assert helped.err == (
        "queuectl: warning: plugin greeter (queuectl-greeter 1.0): the command status is a built-in one, "
        "which cannot be taken\n"
    )


def test_a_command_that_raises_is_named(place: Place) -> None:
    place.install("greeter", COMMAND.format(name="hello", load="hello").replace("click.echo('hello')", "1 / 0"))
    assert place.refused(70, "hello") == (
        "plugin greeter (queuectl-greeter 1.0): command hello: ZeroDivisionError: division by zero "
        "(QUEUECTL_DEBUG=1 shows where)"
    )


def test_a_command_that_cannot_be_loaded_is_named(place: Place) -> None:
    place.install("greeter", COMMAND.format(name="hello", load="1 / 0"))
    assert place.refused(70, "hello") == (
        "plugin greeter (queuectl-greeter 1.0): command hello: ZeroDivisionError: division by zero"
    )


@pytest.mark.parametrize(
    ("code", "warning"),
    [
        ("1/0\n", "was not loaded: ZeroDivisionError: division by zero"),
        (
            HEAD + "@hookimpl\ndef queuectl_commands(): return [1]\n",
            "queuectl_commands: TypeError: it gave an int, not a Command record",
        ),
        (HEAD + "@hookimpl\ndef queuectl_commands(): exit(3)\n", "queuectl_commands: it tried to exit (3)"),
    ],
)
def test_help_works_whatever_a_plugin_does(place: Place, code: str, warning: str) -> None:
    place.install("greeter", code)
    done = place.run("--help")
    assert done.code == 0 and "enqueue" in done.out
    sep = " " if warning.startswith("was") else ": "
    assert done.err == f"queuectl: warning: plugin greeter (queuectl-greeter 1.0){sep}{warning}\n"


# --- Looking ----------------------------------------------------------------------------------------------------


def test_the_list_says_what_there_is_and_how_it_is(place: Place) -> None:
    place.install("good", storage("good"))
    place.install("bad", "1/0\n")
    place.install("off", storage("off"))
    place.configure('[plugins]\nenable = ["good"]\ndisable = ["off"]\nfiles = ["local.py"]\n')
    (place.project / "local.py").write_text(HEAD + "@hookimpl\ndef queuectl_events(events): pass\n")
    shapes = {shape["name"]: shape for shape in place.run("plugins", "list", "--json").json}
    states = {name: (shape["state"], shape["source"]) for name, shape in shapes.items()}
    assert states["sqlite"] == ("active", "built-in")
    assert states["good"] == ("active", "installed")
    assert states["bad"] == ("failed", "installed")
    assert states["off"] == ("disabled", "installed")
    assert states["local"] == ("active", "file")
    assert shapes["good"]["offers"] == [{"kind": "storage", "name": "good", "summary": "", "api": 1}]
    assert shapes["local"]["hooks"] == ["queuectl_events"]
    assert "ZeroDivisionError" in place.run("plugins", "list").out


def test_every_hook_is_listed_with_its_arguments_and_who_implements_it(place: Place) -> None:
    place.install("audit", HEAD + "@hookimpl\ndef queuectl_events(events): pass\n")
    hooks = {hook["name"]: hook["arguments"] for hook in place.run("plugins", "hooks", "--json").json}
    assert hooks["queuectl_verdict"] == ["job", "outcome"]
    one = place.run("plugins", "hooks", "events", "--json").json
    assert one["implemented_by"] == ["audit"] and "at most once" in one["contract"]
    assert place.refused(2, "plugins", "hooks", "queuectl_evnts").endswith('did you mean "queuectl_events"?')


def test_calls_can_be_traced(place: Place) -> None:
    place.install("policy", HEAD + "@hookimpl\ndef queuectl_prepare(jobs): pass\n")
    place.configure('[plugins]\nenable = ["policy"]\n')
    done = place.run("enqueue", "--", "true", env={"QUEUECTL_TRACE_PLUGINS": "1"})
    assert "queuectl_prepare in queuectl_policy" in done.err and "[hook]" in done.err


def test_a_plugin_file_that_was_merely_found_is_not_loaded(place: Place) -> None:
    place.configure('[plugins]\nfiles = ["local.py"]\n')
    (place.project / "local.py").write_text("raise SystemExit('should not have been imported')\n")
    done = place.run("enqueue", "--", "true", named=False)
    assert (done.code, done.out) == (0, "1\n")
    assert done.err.startswith(
        "queuectl: warning: queuectl.toml: its plugin files and command notifiers are not loaded"
    )
    assert place.run("config", "trust", named=False).code == 0
    assert "it tried to exit (should not have been imported)" in place.run("status", named=False).err
