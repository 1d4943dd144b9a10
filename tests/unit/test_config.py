"""Which files are read, what goes before what, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_type_hints

import pytest

from queuectl.api.errors import BadInput, ConfigError
from queuectl.core import trust
from queuectl.core.app import App
from queuectl.core.config import Config
from queuectl.core.schema import (
    QUEUE_OPTIONS,
    SECTIONS,
    Jobs,
    Main,
    Output,
    PluginsConfig,
    QueueConfig,
    RouteConfig,
    Worker,
)


def user_file(home: Path) -> Path:
    path = home / ".config" / "queuectl" / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def complaint(text: str, path: Path) -> str:
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        Config.load()
    return str(caught.value)


# --- Layers --------------------------------------------------------------------------------------------


def test_with_nothing_configured_everything_is_at_its_default(home: Path) -> None:
    config = Config.load()
    assert (config.main, config.jobs, config.worker) == (Main(), Jobs(), Worker())
    assert (config.output, config.plugins, dict(config.queues)) == (Output(), PluginsConfig(), {})


@pytest.mark.parametrize(
    ("record", "options"),
    [
        (Main, SECTIONS["queuectl"]),
        (Jobs, SECTIONS["jobs"]),
        (Worker, SECTIONS["worker"]),
        (Output, SECTIONS["output"]),
        (PluginsConfig, SECTIONS["plugins"]),
        (QueueConfig, QUEUE_OPTIONS),
    ],
)
def test_the_records_and_the_options_say_the_same(record: type, options: tuple) -> None:
    assert {o.name: o.default for o in options} == record._field_defaults  # type: ignore[attr-defined]
    assert list(get_type_hints(record)) == [o.name for o in options]


def test_each_layer_goes_before_the_ones_below_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    db = home / "jobs.db"
    monkeypatch.setenv("QUEUECTL_JOBS__MAX_RETRIES", "1")
    (home / "jobs.db.toml").write_text("[jobs]\nmax_retries = 2\npriority = 2")
    (home / "queuectl.toml").write_text("[jobs]\nmax_retries = 3\npriority = 3\ngrace = 3")
    user_file(home).write_text('[jobs]\nmax_retries = 4\npriority = 4\ngrace = 4\nqueue = "q4"')
    config = Config.load(db=str(db))
    jobs = config.jobs
    assert (jobs.max_retries, jobs.priority, jobs.grace, jobs.queue, jobs.timeout) == (1, 2, 3.0, "q4", None)
    origins = [config.origin(("jobs", key)).layer for key in ("max_retries", "priority", "grace", "queue", "timeout")]
    assert origins == ["env", "store", "project", "user", "default"]
    assert config.origin(("storage", "sqlite", "path")).where == "--db"


def test_db_is_sqlite_there_whatever_is_configured_and_keeps_the_instances_options(home: Path) -> None:
    (home / "queuectl.toml").write_text('[queuectl]\nstorage = "redis"')
    assert Config.load(db="x.db").main.storage == "sqlite"
    (home / "queuectl.toml").write_text('[queuectl]\nstorage = "main"\n[storage.main]\nuse = "sqlite"')
    config = Config.load(db="x.db")
    assert config.main.storage == "main"
    assert config.table("storage", "main")["path"].value == str(home / "x.db")


def test_db_and_config_may_be_variables(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "other.toml").write_text("[worker]\ncount = 7")
    monkeypatch.setenv("QUEUECTL_CONFIG", "other.toml")
    monkeypatch.setenv("QUEUECTL_DB", "y.db")
    config = Config.load()
    assert config.worker.count == 7
    assert config.origin(("storage", "sqlite", "path")) == ("env", "QUEUECTL_DB")
    assert Config.load(db="x.db").origin(("storage", "sqlite", "path")) == ("flag", "--db")


def test_the_project_file_is_the_nearest_upward_but_not_above_the_repository(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "queuectl.toml").write_text("[worker]\ncount = 3")
    deep = home / "repo" / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert Config.load().worker.count == 3
    (home / "repo" / "queuectl.toml").write_text("[worker]\ncount = 4")
    assert Config.load().worker.count == 4
    (home / "repo" / "a" / ".git").mkdir()
    assert Config.load().worker.count == 2


def test_nothing_above_the_home_directory_is_obeyed(home: Path) -> None:
    (home.parent / "queuectl.toml").write_text("[worker]\ncount = 3")
    assert Config.load().worker.count == 2


@pytest.mark.skipif(os.getuid() != 0, reason="needs to give a file away")
def test_a_file_above_that_belongs_to_somebody_else_is_not_obeyed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = home / "inner"
    inner.mkdir()
    (home / "queuectl.toml").write_text("[worker]\ncount = 3")
    os.chown(home / "queuectl.toml", 4242, 4242)
    monkeypatch.chdir(inner)
    assert Config.load().worker.count == 2


def test_another_process_opens_the_same_app_from_anywhere(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "queuectl.toml").write_text("[worker]\ncount = 3")
    found, named = App.open(db="x.db"), App.open("queuectl.toml")
    (home / "other").mkdir()
    monkeypatch.chdir(home / "other")
    (home / "other" / "queuectl.toml").write_text("[worker]\ncount = 4")
    again = App.reopen(found.arguments).config
    assert (again.worker.count, again.found, again.db) == (3, True, str(home / "x.db"))
    assert (App.reopen(named.arguments).config.found, App.open().config.worker.count) == (False, 4)


def test_that_there_was_no_project_file_is_remembered_too(home: Path) -> None:
    words = App.open().arguments
    (home / "queuectl.toml").write_text("[worker]\ncount = 3")
    assert App.reopen(words).config.worker.count == 2


# --- Complaints ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[jobs]\nmax_retires = 5", '[jobs] max_retires: unknown key; did you mean "max_retries"? ([jobs] takes '),
        ("[job]\nmax_retries = 5", '[job]: unknown table; did you mean "jobs"?'),
        ("max_retries = 5", "max_retries: unknown key; it belongs under [jobs]"),
        ("nonsense = 5", "nonsense: unknown key (every key is in a table)"),
        ("jobs = 5", "jobs = 5: expected a table"),
        ("[storage]\npath = 'x'", '[storage] path = "x": expected tables, [storage.NAME]'),
        ("[jobs]\nmax_retries = -1", "[jobs] max_retries = -1: expected an integer from 0 to 1000"),
        ("[queues.a]\nconcurrency = 0", "[queues.a] concurrency = 0: expected an integer from 1 to 1000000"),
        ("[queues.'a b']", "[queues.a b]: expected a name of letters, digits and . _ : -"),
        ("[worker]\nlease = 5", "[worker] lease = 5.0: expected at least twice the heartbeat (5.0)"),
        ("[output]\nlimit = '1 MiB'", "[output] limit = 1048576: expected at least head and tail together (2097152)"),
        ("[backoff.x]\nuse = 3", "[backoff.x] use = 3: expected a name"),
        ("[jobs", "Expected ']' at the end of a table declaration (at end of document)"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_one_line(home: Path, text: str, expected: str) -> None:
    if "use" in text:
        (home / "queuectl.toml").write_text(text)
        with pytest.raises(ConfigError) as caught:
            Config.load().provider_of("backoff", "x")
        said = str(caught.value)
    else:
        said = complaint(text, home / "queuectl.toml")
    assert said.startswith(f"queuectl.toml: {expected}") and "\n" not in said


@pytest.mark.parametrize(
    "data", [b"\xff\xfe", b"a = " + b"[" * 5000, b"#" * (1 << 20) + b"\n", b"[jobs]\nqueue = 'a\x01'"]
)
def test_a_hostile_file_is_one_sentence(home: Path, data: bytes) -> None:
    (home / "queuectl.toml").write_bytes(data)
    with pytest.raises(ConfigError, match=r"^queuectl.toml: .+$"):
        Config.load()


def test_a_file_that_is_named_must_be_there_and_be_a_file(home: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--config nowhere.toml: there is no such file$"):
        Config.load("nowhere.toml")
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory"):
        Config.load(str(home))


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("QUEUECTL_JOBS__MAX_RETRIES", "x", 'QUEUECTL_JOBS__MAX_RETRIES = "x": expected an integer from 0 to 1000'),
        (
            "QUEUECTL_JOB__MAX_RETRIES",
            "1",
            'QUEUECTL_JOB__MAX_RETRIES: there is no table [job]; did you mean "JOBS"?',
        ),
        ("QUEUECTL_STORAGE__PATH", "x", "QUEUECTL_STORAGE__PATH: expected QUEUECTL_STORAGE__NAME__KEY"),
        ("QUEUECTL_JOBS__A__B", "x", "QUEUECTL_JOBS__A__B: expected QUEUECTL_JOBS__KEY"),
        (
            "QUEUECTL_WORKER__CUONT",
            "1",
            """QUEUECTL_WORKER__CUONT: unknown key; did you mean "count"? \
([worker] takes count, drain, lease, heartbeat, queues, log_limit, log_keep)""",
        ),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as caught:
        Config.load()
    assert str(caught.value) == expected


def test_what_core_sets_for_jobs_is_never_configuration(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JOB_ID", "ATTEMPT", "TRY", "MAX_TRIES", "QUEUE"):
        monkeypatch.setenv(f"QUEUECTL_{name}", "7")
    assert Config.load().jobs == Jobs()


def test_routes_say_what_is_kept_for_whom(home: Path) -> None:
    (home / "queuectl.toml").write_text(
        "[routes.bad]\nto = ['mail', 'hook']\nevents = ['dead', 'lost']\nqueues = ['a']\n"
        "[routes.All-of-it]\nto = ['hook']"
    )
    config = Config.load()
    assert config.routes["bad"] == RouteConfig(("mail", "hook"), ("dead", "lost"), ("a",))
    assert config.routes["All-of-it"] == RouteConfig(("hook",))
    assert config.targets == ("mail", "hook")
    assert [name for kind, name, _ in config.named_components() if kind == "notifier"] == ["mail", "hook", "hook"]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("to = []", "[routes.r] to = []: expected the name of at least one notifier"),
        ("events = ['dead']", "[routes.r]: to (the notifiers that are told) is missing"),
        ("to = ['x']\nevents = ['deaf']", 'does not know "deaf"; did you mean "dead"?'),
        ("to = ['x']\nevents = ['started']", '"started" is told live only'),
        ("to = ['x']\nqueues = ['a b']", "expected a name of letters"),
        ("to = ['x']\nevent = ['dead']", 'unknown key; did you mean "events"?'),
    ],
)
def test_a_wrong_route_is_said_in_a_sentence(home: Path, table: str, said: str) -> None:
    (home / "queuectl.toml").write_text(f"[routes.r]\n{table}\n")
    with pytest.raises(ConfigError) as caught:
        Config.load()
    assert said in str(caught.value)


def test_a_name_in_a_variable_is_recognised_by_what_it_looks_like(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "queuectl.toml").write_text("[queues.Big-Video]\npriority = 1\n[backoff.slow-one]\nuse = 'fixed'")
    monkeypatch.setenv("QUEUECTL_QUEUES__BIG_VIDEO__PRIORITY", "5")
    monkeypatch.setenv("QUEUECTL_BACKOFF__SLOW_ONE__DELAY", "9")
    monkeypatch.setenv("QUEUECTL_NOTIFIERS", "log,log2")
    config = Config.load()
    assert config.queues["Big-Video"].priority == 5
    assert config.table("backoff", "slow-one")["delay"].value == "9"
    assert config.main.notifiers == ("log", "log2")


def test_a_user_without_a_home_has_no_files_and_no_fault(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert Config.load().user == "/nonexistent/.config/queuectl/config.toml"


# --- Trust -----------------------------------------------------------------------------------------------


UNTRUSTED = (
    "queuectl.toml: its plugin files and command notifiers are not loaded, because the file was found and not "
    "named: look at it, then run 'queuectl config trust' or name it with --config"
)
CHANGED = UNTRUSTED.replace("the file was found and not named", "{} changed since it was trusted")


def test_a_found_file_brings_in_no_code_until_it_is_trusted_or_named(home: Path) -> None:
    path = home / "queuectl.toml"
    path.write_text(
        "[queuectl]\nnotifiers = ['log', 'mine']\n[plugins]\nfiles = ['x.py']\n"
        "[notifier.mine]\nuse = 'command'\ncommand = 'rm'"
    )
    (home / "x.py").write_text("")
    config = Config.load()
    assert (config.plugins.files, config.main.notifiers, config.notes) == ((), ("log",), [UNTRUSTED])
    named = Config.load("queuectl.toml")
    assert (named.plugins.files, named.main.notifiers, named.notes) == ((str(home / "x.py"),), ("log", "mine"), [])
    trust.trust(str(path))
    assert Config.load().plugins.files == (str(home / "x.py"),)
    (home / "x.py").write_text("import evil")
    assert Config.load().notes == [CHANGED.format("x.py")] and Config.load().plugins.files == ()
    (home / "x.py").unlink()
    path.write_text(path.read_text() + "\n")
    assert Config.load().notes == [CHANGED.format("queuectl.toml, x.py")]
    trust.trust(str(path))
    assert trust.revoke(str(path)) and not trust.revoke(str(path))
    assert Config.load().notes == [UNTRUSTED]


def test_a_found_file_routes_nothing_to_a_command_until_it_is_trusted_or_named(home: Path) -> None:
    path = home / "queuectl.toml"
    path.write_text("[routes.r]\nto = ['log', 'mine']\n[notifier.mine]\nuse = 'command'\nargv = ['rm']")
    config = Config.load()
    assert (config.targets, config.notes) == (("log",), [UNTRUSTED])
    assert Config.load("queuectl.toml").targets == ("log", "mine")
    trust.trust(str(path))
    assert Config.load().targets == ("log", "mine")
    path.write_text("[notifier.mine]\nuse = 'command'\nargv = ['rm']")
    assert Config.load().notes == []  # nothing names it


def test_a_user_may_name_a_command_notifier_and_a_found_file_may_not_change_it(home: Path) -> None:
    user_file(home).write_text("[queuectl]\nnotifiers = ['mine']\n[notifier.mine]\nuse = 'command'\ncommand = 'a'")
    assert Config.load().main.notifiers == ("mine",)
    (home / "queuectl.toml").write_text("[notifier.mine]\ncommand = 'evil'")
    config = Config.load()
    assert (config.main.notifiers, config.notes) == ((), [UNTRUSTED])


def test_a_store_file_brings_in_no_code_until_it_is_trusted(home: Path) -> None:
    """A database may have come from anywhere, and its file with it."""
    (home / "x.db.toml").write_text("[plugins]\nfiles = ['p.py']\n[worker]\ncount = 3\n")
    user_file(home).write_text("[plugins]\nfiles = ['mine.py']\n")
    config = Config.load(db="x.db")
    assert (config.worker.count, config.plugins.files) == (3, (str(user_file(home).parent / "mine.py"),))
    assert config.notes == [UNTRUSTED.replace("queuectl.toml", "x.db.toml")]
    trust.trust(str(home / "x.db.toml"))
    assert Config.load(db="x.db").plugins.files == (str(home / "p.py"),)


# --- What a job gets -------------------------------------------------------------------------------------


def test_settings_are_the_jobs_then_the_queues_then_everybodys(home: Path) -> None:
    (home / "queuectl.toml").write_text(
        "[jobs]\nmax_retries = 5\ntimeout = '1m'\ngrace = 1\n[queues.q]\nmax_retries = 6\ntimeout = 'none'\n"
        "backoff = 'slow'\n[backoff.slow]\nuse = 'fixed'\ndelay = 7"
    )
    app = App.open()
    plain, queue = app.settings("other"), app.settings("q")
    given = app.settings("q", max_retries=0, backoff_options={"delay": 8})
    assert (plain.max_retries, plain.timeout, plain.grace, plain.backoff) == (5, 60.0, 1.0, "exponential")
    assert (queue.max_retries, queue.timeout, queue.grace, queue.backoff) == (6, None, 1.0, "slow")
    assert (given.max_retries, given.timeout, given.backoff) == (0, None, "slow")
    assert (plain.backoff_options, queue.backoff_options, given.backoff_options) == ({}, {"delay": 7}, {"delay": 8})


def test_what_a_job_asks_for_wrongly_is_the_jobs_fault(home: Path) -> None:
    app = App.open()
    for given, expected in (
        ({"max_retries": -1}, r"^job: max_retries = -1: expected an integer from 0 to 1000$"),
        ({"executor": "dokcer"}, r'^executor "dokcer": there is no such executor.* \(known: .*subprocess\)$'),
        ({"backoff": "linaer"}, r'did you mean "linear"\? \(known: exponential, fixed, linear\)$'),
        ({"backoff_options": {"bass": 3}}, r'^backoff exponential: there is no option "bass"; did you mean "base"\?'),
        (
            {"executor_options": {"shell": "/bin/evil"}},
            r'^executor subprocess: a job cannot set "shell", only \[executor\.subprocess\] can$',
        ),
    ):
        with pytest.raises(BadInput, match=expected):
            app.settings("default", **given)  # type: ignore[arg-type]


def test_secrets_in_the_environment_are_named_so_that_no_job_inherits_them(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "queuectl.toml").write_text('[storage.redis]\nurl = { env = "REDIS_URL" }')
    monkeypatch.setenv("QUEUECTL_STORAGE__REDIS__PASSWORD", "hush")
    monkeypatch.setenv("QUEUECTL_STORAGE__REDIS__USER", '{ env = "REDIS_USER" }')
    assert App.open().hidden_environment == [
        "QUEUECTL_STORAGE__REDIS__PASSWORD",
        "QUEUECTL_STORAGE__REDIS__USER",
        "REDIS_URL",
        "REDIS_USER",
    ]
