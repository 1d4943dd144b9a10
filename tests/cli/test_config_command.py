"""`queuectl config` and `init`: what is written where, what is shown, and what is refused."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from queuectl.cli import main


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.out, self.err
        return json.loads(self.out)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith(("QUEUECTL_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(home: Path, capfd: pytest.CaptureFixture[str]) -> Any:
    def run(*args: str) -> Done:
        code = main(args)
        out, err = capfd.readouterr()
        return Done(code, out, err)

    return run


def user_file(home: Path) -> Path:
    return home / ".config" / "queuectl" / "config.toml"


# --- set -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "key", "written"),
    [
        ("max_retries", "5", "jobs.max_retries", "[jobs]\nmax_retries = 5\n"),
        ("max-retries", "5", "jobs.max_retries", "[jobs]\nmax_retries = 5\n"),
        ("default_max_retries", "5", "jobs.max_retries", "[jobs]\nmax_retries = 5\n"),
        ("backoff_base", "3", "backoff.exponential.base", "[backoff.exponential]\nbase = 3\n"),
        ("base_backoff", "1.5", "backoff.exponential.base", "[backoff.exponential]\nbase = 1.5\n"),
        ("job_timeout_sec", "30", "jobs.timeout", "[jobs]\ntimeout = 30\n"),
        ("timeout", "1h30m", "jobs.timeout", '[jobs]\ntimeout = "1h30m"\n'),
        ("timeout", "none", "jobs.timeout", '[jobs]\ntimeout = "none"\n'),
        ("count", "4", "worker.count", "[worker]\ncount = 4\n"),
        ("worker.queues", "a,b", "worker.queues", '[worker]\nqueues = ["a", "b"]\n'),
        ("output.limit", "20 MiB", "output.limit", '[output]\nlimit = "20 MiB"\n'),
        ("queues.big.video.priority", "3", "queues.big.video.priority", '[queues."big.video"]\npriority = 3\n'),
        ("executor.subprocess.nice", "5", "executor.subprocess.nice", "[executor.subprocess]\nnice = 5\n"),
        ("backoff.slow.use", "fixed", "backoff.slow.use", '[backoff.slow]\nuse = "fixed"\n'),
    ],
)
def test_a_value_is_set_by_any_of_its_names(
    home: Path, run: Any, name: str, value: str, key: str, written: str
) -> None:
    done = run("config", "set", name, value, "--json")
    assert (done.code, done.json["key"], done.json["file"]) == (0, key, str(user_file(home)))
    assert user_file(home).read_text() == written
    assert stat.S_IMODE(user_file(home).stat().st_mode) == 0o600


def test_the_file_is_named_and_what_was_in_it_stays(home: Path, run: Any) -> None:
    path = user_file(home)
    path.parent.mkdir(parents=True)
    path.write_text("# mine\n[jobs] # these\nmax_retries = 1 # few\n\n[worker]\ncount = 2\n")
    path.chmod(0o640)
    done = run("config", "set", "max_retries", "5")
    assert (done.out, done.err) == ("", "jobs.max_retries = 5 in .config/queuectl/config.toml\n")
    assert path.read_text() == "# mine\n[jobs] # these\nmax_retries = 5 # few\n\n[worker]\ncount = 2\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert run("config", "set", "grace", "3").code == 0
    assert "max_retries = 5 # few\ngrace = 3\n" in path.read_text()


def test_a_link_to_the_file_stays_a_link(home: Path, run: Any) -> None:
    real = home / "dotfiles.toml"
    real.write_text("")
    user_file(home).parent.mkdir(parents=True)
    user_file(home).symlink_to(real)
    assert run("config", "set", "count", "3").code == 0
    assert user_file(home).is_symlink() and real.read_text() == "[worker]\ncount = 3\n"


def test_set_writes_the_store_file_else_the_project_file_else_the_users(home: Path, run: Any) -> None:
    (home / "queuectl.toml").write_text("")
    run("--db", "x.db", "config", "set", "count", "3")
    assert (home / "x.db.toml").read_text() == "[worker]\ncount = 3\n"
    run("config", "set", "count", "4")
    assert (home / "queuectl.toml").read_text() == "[worker]\ncount = 4\n"
    (home / "other.toml").write_text("")
    run("config", "set", "count", "5", "--config", "other.toml")
    assert (home / "other.toml").read_text() == "[worker]\ncount = 5\n"
    assert not user_file(home).exists()


def test_a_value_that_a_higher_layer_hides_is_said_to_be_so(
    home: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUEUECTL_JOBS__MAX_RETRIES", "9")
    done = run("config", "set", "max_retries", "5")
    assert done.err.splitlines()[1] == (
        'queuectl: warning: QUEUECTL_JOBS__MAX_RETRIES says "9", which goes before that'
    )
    assert run("config", "set", "max_retries", "5", "--json").json["hidden_by"] == {
        "layer": "env",
        "where": "QUEUECTL_JOBS__MAX_RETRIES",
    }
    assert run("config", "get", "max_retries").out == "9\n"


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("max_retries", "-1"), 2, 'config set: [jobs] max_retries = "-1": expected an integer from 0 to 1000'),
        (("max_retires", "1"), 2, 'max_retires: there is no such key; did you mean "max_retries"?'),
        (("jobs.max_retires", "1"), 2, 'jobs.max_retires: there is no such key; did you mean "max_retries"?'),
        (("job.max_retries", "1"), 2, 'job.max_retries: there is no table [job]; did you mean "jobs"?'),
        (("storage.path", "x"), 2, "storage.path: expected storage.NAME.KEY"),
        (("queues.a b.priority", "1"), 2, "queues.a b: expected a name of letters"),
        (("backoff.exponential.bass", "1"), 2, 'backoff.exponential.bass: there is no such key; did you mean "base"?'),
        (
            ("backoff.slow.delay", "1"),
            2,
            'backoff "slow": there is no such backoff (known: exponential, fixed, linear)',
        ),
        (("storage", "sqlit"), 78, '.config/queuectl/config.toml: [queuectl] storage = "sqlit": there is no such'),
        (("worker.lease", "3"), 78, ".config/queuectl/config.toml: [worker] lease = 3.0: expected at least twice"),
        (("plugins.enable", "x"), 78, '.config/queuectl/config.toml: [plugins] enable: there is no plugin "x"'),
    ],
)
def test_what_cannot_be_used_is_not_written(home: Path, run: Any, args: tuple[str, ...], code: int, said: str) -> None:
    done = run("config", "set", "--", *args)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith(f"queuectl: {said}") and done.err.count("\n") == 1
    assert not user_file(home).exists()


def test_unset_takes_the_value_and_the_empty_table_out_and_says_where_else_it_is(home: Path, run: Any) -> None:
    (home / "queuectl.toml").write_text("# top\n[jobs]\nmax_retries = 1\n\n[worker]\ncount = 1\nheartbeat = 2\n")
    assert run("config", "unset", "max_retries").err == "jobs.max_retries is no longer set in queuectl.toml\n"
    run("config", "unset", "worker.count")
    assert (home / "queuectl.toml").read_text().split() == "# top [worker] heartbeat = 2".split()
    done = run("config", "unset", "max_retries")
    assert (done.code, done.err) == (2, "queuectl: jobs.max_retries is not set in queuectl.toml\n")


def test_a_trusted_file_that_config_set_changes_stays_trusted(home: Path, run: Any) -> None:
    (home / "queuectl.toml").write_text("[plugins]\nfiles = ['p.py']\n")
    (home / "p.py").write_text("")
    assert "not loaded" in run("config", "get", "count").err
    assert run("config", "trust").err == "queuectl.toml is trusted as it is now\n"
    run("config", "set", "count", "7")
    assert run("config", "get", "count") == (0, "7\n", "")
    assert run("config", "trust", "--revoke", "--json").json == {
        "file": str(home / "queuectl.toml"),
        "trusted": False,
    }
    assert "not loaded" in run("config", "get", "count").err


def test_a_store_file_that_config_set_makes_is_trusted_and_one_that_was_there_is_not(home: Path, run: Any) -> None:
    (home / "p.py").write_text("")
    assert run("--db", "x.db", "config", "set", "plugins.files", "p.py").code == 0
    assert run("--db", "x.db", "config", "get", "count") == (0, "2\n", "")
    (home / "y.db.toml").write_text("[plugins]\nfiles = ['p.py']\n")
    assert "not loaded" in run("--db", "y.db", "config", "get", "count").err
    assert run("--db", "y.db", "config", "trust").err == "y.db.toml is trusted as it is now\n"
    assert run("--db", "y.db", "config", "get", "count").err == ""


def test_a_read_only_folder_is_one_sentence(home: Path, run: Any) -> None:
    (home / ".config").write_text("in the way")
    done = run("config", "set", "count", "7")
    assert (done.code, done.err) == (
        78,
        "queuectl: .config/queuectl/config.toml: cannot be read: Not a directory\n",
    )


# --- get, list, path, validate -----------------------------------------------------------------------------


def test_get_prints_what_is_in_effect_so_that_set_takes_it_again(home: Path, run: Any) -> None:
    for name, value in (("timeout", "none"), ("capture_env", "A,B_*"), ("grace", "10"), ("jitter", "full")):
        assert run("config", "set", name, value).code == 0
        assert run("config", "get", name).out == f"{value}\n"
    done = run("config", "get", "jitter", "--show-origin")
    assert done.err == "from user: .config/queuectl/config.toml\n"
    assert run("config", "get", "worker.count", "--json").json == {
        "key": "worker.count",
        "value": 2,
        "origin": "default",
        "where": None,
        "secret": False,
    }


def test_list_shows_every_value_with_its_origin(home: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "queuectl.toml").write_text(
        "[jobs]\nmax_retries = 4\n[queues.q]\nbackoff = 'slow'\n[backoff.slow]\nuse = 'fixed'\ndelay = '1m'\n"
    )
    monkeypatch.setenv("QUEUECTL_WORKER__COUNT", "6")
    rows = {row["key"]: row for row in run("config", "show", "--json").json}
    assert (rows["jobs.max_retries"]["value"], rows["jobs.max_retries"]["where"]) == (4, str(home / "queuectl.toml"))
    assert (rows["worker.count"]["value"], rows["worker.count"]["where"]) == (6, "QUEUECTL_WORKER__COUNT")
    assert (rows["backoff.slow.use"]["value"], rows["queues.q.backoff"]["value"]) == ("fixed", "slow")
    assert rows["executor.subprocess.shell"]["value"] == "/bin/sh"
    assert "QUEUECTL_WORKER__COUNT" in run("config", "list", "--show-origin").out


def test_secrets_are_dots_also_where_nothing_is_known_of_them(home: Path, run: Any) -> None:
    (home / "queuectl.toml").write_text(
        "[storage.shelf]\nurl = 'redis://:hush@host'\npassword = 'hush'\nhost = 'me:hush@x'\ndb = 3\n"
        "[storage.sqlite]\npath = 'x://me:hush@host'\n"
        "[executor.subprocess]\nshell = { env = 'THE_SHELL' }\n"
    )
    done = run("config", "list", "--json")
    assert "hush" not in done.out and "THE_SHELL" not in done.out
    rows = {row["key"]: row["value"] for row in done.json}
    assert (rows["storage.shelf.url"], rows["storage.shelf.db"]) == ("••••••", 3)
    assert run("config", "get", "executor.subprocess.shell").out == "••••••\n"


def test_path_lists_the_files_and_which_is_written(home: Path, run: Any) -> None:
    (home / "queuectl.toml").write_text("")
    assert run("--db", "x.db", "config", "path", "--json").json == [
        {"layer": "store", "path": str(home / "x.db.toml"), "exists": False, "writes": True},
        {"layer": "project", "path": str(home / "queuectl.toml"), "exists": True, "writes": False},
        {"layer": "user", "path": str(user_file(home)), "exists": False, "writes": False},
    ]


def test_validate_checks_also_what_is_not_chosen(home: Path, run: Any) -> None:
    assert run("config", "validate").err == "there is no configuration file: all is at its default\n"
    (home / "queuectl.toml").write_text("[backoff.fixed]\ndelay = 3\n[storage.redis]\nurl = 'x'\n")
    assert run("config", "validate").err == "queuectl.toml: ok\n"
    (home / "queuectl.toml").write_text("[backoff.fixed]\ndelay = -3\n")
    done = run("config", "validate")
    assert done.code == 78 and "[backoff.fixed] delay = -3: expected a number from 0" in done.err
    done = run("config", "validate", "--json")
    assert (done.code, done.json["ok"]) == (78, False)


# --- init ----------------------------------------------------------------------------------------------


def test_init_writes_a_file_that_says_all_and_changes_nothing_and_makes_the_storage(home: Path, run: Any) -> None:
    done = run("init", "--json")
    assert (done.code, done.json["written"], done.json["file"]) == (0, True, str(home / "queuectl.toml"))
    assert (home / ".local" / "state" / "queuectl").is_dir()
    assert run("config", "validate").err == "queuectl.toml: ok\n"
    text = (home / "queuectl.toml").read_text()
    (home / "queuectl.toml").write_text("[worker]\ncount = 7\n")
    assert run("init").err.startswith("queuectl.toml: exists, and was left as it is\n")
    assert (home / "queuectl.toml").read_text() == "[worker]\ncount = 7\n"
    lines = [line.removeprefix("# ") for line in text.splitlines() if "…" not in line and "NAME]" not in line]
    at = next(i for i, line in enumerate(lines) if line.startswith("notifier webhook"))  # gaps to be filled
    (home / "queuectl.toml").write_text("\n".join(f"# {line}" if ":" in line else line for line in lines[2:at]))
    assert run("config", "validate").err == "queuectl.toml: ok\n"


def test_init_writes_the_file_that_was_named(home: Path, run: Any) -> None:
    assert run("init", "--config", "new.toml").err.startswith("new.toml: written\n")
    assert run("--db", "x.db", "init").err == "x.db.toml: written\nthe sqlite storage is ready: x.db\n"
    assert (home / "x.db").exists()
    assert stat.S_IMODE((home / "new.toml").stat().st_mode) == 0o600
