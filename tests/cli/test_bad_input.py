"""Bad input: each gets one sentence and the right exit code, no traceback, and nothing that was stored is lost."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from commandline import Cli

from queuectl.cli import main

AS_ROOT = hasattr(os, "getuid") and os.getuid() == 0


@pytest.mark.parametrize(
    "text",
    [
        "{", '{"command": "x"', '{"command": "x",}', '{"command": "x"} trailing', "{'command': 'x'}", '{"command": x}',
        '{"command": "x", "priority": NaN}', '{"command": "x", "delay": Infinity}',
        '{"command": "x", "delay": -Infinity}',
        '{"command": "x", "command": "y"}', '{"command": "x", "env": {"A": "1", "A": "2"}}',
        '{"command": "x", "priority": ' + "9" * 5000 + "}", '{"command": "x", "priority": 1e400}',
        '{"command": "\\ud800"}', '{"command": "x\\u0000y"}', '{"\\ud800": 1}', '{"command": "x", "tags": ["\\udfff"]}',
        '{"command": "x", "run_at": "9999-12-31T23:59:59Z"}', '{"command": "x", "run_at": "0000-00-00"}',
        '{"command": "x", "run_at": -1}', '{"command": "x", "delay": -1}', '{"command": "x", "timeout": -5}',
        '{"command": "x", "timeout_sec": 0}', '{"command": "x", "max_retries": -1}',
        '{"command": "x", "max_retries": 1e9}',
        '{"command": "x", "priority": 2147483648}', '{"command": "x", "priority": "high"}', '{"command": ""}',
        '{"command": "   "}', '{"command": null}', '{"command": {}}', "{}", '{"command": "x", "id": "a/b"}',
        '{"command": "x", "id": "../../etc/passwd"}', '{"command": "x", "id": "-rf"}', '{"command": "x", "id": ".."}',
        '{"command": "x", "id": "12"}', '{"command": "x", "id": ""}', '{"command": "x", "id": 7}',
        '{"command": "x", "queue": "a b"}', '{"command": "x", "queue": "\\u001b[2J"}',
        '{"command": "x", "executor": "no"}',
        '{"command": "x", "backoff": "no"}', '{"command": "x", "backoff_options": {"base": "two"}}',
        '{"command": "x", "executor_options": {"privileged": true}}', '{"command": "x", "env": {"LD PRELOAD": "x"}}',
        '{"command": "x", "cwd": ""}', '{"argv": []}', '{"argv": ["x"], "command": "x"}', '{"comand": "x"}',
        '{"command": "x", "state": "completed"}',
    ],
)  # fmt: skip
def test_hostile_json_is_refused(cli: Cli, text: str) -> None:
    said = cli.refused("enqueue", text, code=2)
    assert len(said) < 400
    assert "\x1b" not in said


def test_json_that_is_too_deep_or_too_long_is_refused(cli: Cli) -> None:
    cli.ok("enqueue", "--id", "kept", "--", "true")
    hostile = (
        '{"command": ' + "[" * 200_000,
        '{"command": "x", "env": ' + '{"a":' * 5000 + "1" + "}" * 5001,
        '{"command": "' + "x" * 300_000 + '"}',
        '{"command": "' + "x" * 40_000 + '"}',
    )
    for line in hostile:
        said = cli.refused("enqueue", "-", stdin=line, code=2)
        assert "line 1" in said
        assert len(said) < 300
    assert [job["id"] for job in cli("list", "--json").json] == ["kept"]


@pytest.mark.parametrize(
    "words",
    [
        ["--id", "a/b"], ["--id", "-rf"], ["--id=--"], ["--id", ".."], ["--id", "5"], ["--id", ""],
        ["--priority", "1001"],
        ["--priority", "1.5"], ["--priority", "inf"], ["--timeout", "0"], ["--timeout", "-1"], ["--timeout", "inf"],
        ["--timeout", "nan"], ["--timeout", "1e9"], ["--max-retries", "-1"], ["--max-retries", "9" * 30],
        ["--in", "-5"],
        ["--in", "5 parsecs"], ["--in", "200000d"], ["--at", "9999-01-01"], ["--at", "yesterday"], ["--at", "24:00"],
        ["--at", "08:00", "--in", "5"], ["--queue", "a b"], ["--queue", ""], ["--queue", "../x"], ["--backoff", "nope"],
        ["--executor", "nope"], ["--set", "x"], ["--set", "x=1"], ["--env", "X"], ["--env", "=x"], ["--env", "1X=2"],
        ["--env", "QUEUECTL_JOB_ID=1"], ["--cwd", ""], ["--tag", ""], ["--tag", "\x1b[2J"], ["--unique", ""],
        ["--shell", "x"], ["--file", "x"], ["--shell", ""], ["--nope"], ["--queue"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_bad_options_are_refused(cli: Cli, words: list[str]) -> None:
    tail = [] if words == ["--shell", ""] or words == ["--queue"] else ["--", "true"]
    said = cli.refused("enqueue", *words, *tail, code=2)
    assert "\x1b" not in said


@pytest.mark.parametrize(
    "words",
    [
        ["list", "--state", "running?"], ["list", "--state", ""], ["list", "--limit", "0"], ["list", "--limit", "-1"],
        ["list", "--limit", "x"], ["list", "--since", "yesterday"], ["list", "--since", "-1h"],
        ["status", "--watch", "0"],
        ["status", "--watch", "nan"], ["metrics", "--since", "x"], ["wait"], ["cancel"], ["retry"], ["show"],
        ["logs", "1", "-n", "-1"], ["logs", "1", "--attempt", "0"], ["wait", "1", "--timeout", "x"],
        ["queue", "pause", "a b"], ["queue", "set", "x"], ["queue", "nope"], ["dlq", "nope"],
        ["worker", "start", "--count", "0"],
        ["worker", "start", "--count", "-1"], ["list", "--limit", "9" * 400 + "x"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_bad_words_to_other_commands_are_refused(cli: Cli, words: list[str]) -> None:
    if "1" in words:
        cli.ok("enqueue", "--", "true")
    cli.refused(*words, code=2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["list", "--ids", "--json"], "--ids and --json exclude each other"),
        (["list", "--all", "--limit", "5"], "--all and --limit exclude each other"),
        (["dlq", "list", "--all", "--limit", "5"], "--all and --limit exclude each other"),
        (["logs", "1", "--stdout", "--stderr"], "--stdout and --stderr exclude each other"),
        (["worker", "stop", "--now", "--kill"], "--now and --kill exclude each other"),
        (["worker", "stop", "--timeout", "x"], "--timeout 'x' is not a duration"),
        (["worker", "restart", "--timeout", "x"], "--timeout 'x' is not a duration"),
        (["worker", "start", "--drain", "x"], "--drain 'x' is not a duration"),
        (["worker", "start", "--queues", "a b"], "queue 'a b' must be a name"),
        (["worker", "start", "--detach", "--queues", "a b"], "queue 'a b' must be a name"),
        (["worker", "start", "--probe", "x"], "--probe takes HOST:PORT"),
        (["list", "--limit", "x"], "'x' is not a whole number (see 'queuectl list -h')"),
        (["enqueue", "--priority", "x", "--", "true"], "'x' is not a whole number"),
        (["completion"], "Missing argument 'SHELL'. Choose from: bash, zsh, fish (see 'queuectl completion -h')"),
        (["plugins", "new", "x"], "Missing option '--kind'. Choose from: storage, "),
        (["queue", "pause", "--reason"], "Option '--reason' requires an argument"),
        (["queue", "set", "x", "--concurrency", "9" * 12], "below a thousand million"),
        (["export", ""], "the name of the FILE is empty"),
        (["export", "no/such/x"], "no/such/x cannot be made: there is no folder "),
        (["backup", ""], "the name of the FILE is empty"),
        (["backup", "no/such/x"], "no/such/x cannot be made: there is no folder "),
        (["plugins", "new", "x", "--kind", "backoff", "--into", __file__], " is a file: name another folder"),
        (["plugins", "new", "x", "--kind", "backoff", "--into", f"{__file__}/x"], " cannot be made: not a directory"),
        (["import", ""], "the name of the FILE is empty"),
        (["import", os.devnull], "is empty: an export has a first and a last line"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_what_is_wrong_is_said_in_one_sentence(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code = main(["--db", str(tmp_path / "q.db"), *words])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.startswith("queuectl: ")
    assert err.count("\n") == 1
    assert said in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dear diary", "expecting value at column 1"),
        ("\xff", "this is not UTF-8"),
        ("{}", "is not a line of an export"),
    ],
    ids=["words", "bytes", "another object"],
)
def test_a_file_that_is_no_export_is_refused_whole(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x").write_bytes(text.encode("latin-1"))
    assert main(["--db", str(tmp_path / "q.db"), "import", str(tmp_path / "x")]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "line 1" in err
    assert err.endswith("; nothing was imported\n")


def test_an_init_that_is_refused_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here" / "folder").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    for db in ("", "folder"):
        assert main(["--db", db, "init"]) == 78
        assert os.listdir() == ["folder"]


def test_an_attempt_that_was_not_is_3(cli: Cli) -> None:
    cli.ok("enqueue", "--", "true")
    assert "0 attempts" in cli.refused("logs", "1", "--attempt", "3", code=3)


def test_arguments_that_are_not_utf8_are_refused(cli: Cli) -> None:
    assert "not valid Unicode" in cli.refused("enqueue", "--", b"echo", b"\xff\xfe", code=2)
    cli.refused("show", b"\xff", code=3)
    cli.refused("enqueue", "--queue", b"\xff", "--", "true", code=2)


def test_a_file_that_cannot_be_read_is_named(cli: Cli, tmp_path: Path) -> None:
    assert "no-such-file" in cli.refused("enqueue", "--file", str(tmp_path / "no-such-file"), code=2)
    assert "directory" in cli.refused("enqueue", "--file", str(tmp_path), code=2)


def test_a_folder_that_was_removed_is_no_reason_to_fail(cli: Cli) -> None:
    """It is removed once Python runs: without a folder Python itself may not start."""
    (cli.home / "gone").mkdir()
    script = "import os, sys; os.rmdir(os.getcwd()); from queuectl.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", script, "enqueue", "--", "true"],
        env=cli.env, cwd=cli.home / "gone", capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")
    assert cli("show", "1", "--json").json["cwd"] is None


# --- The storage itself -----------------------------------------------------------------------


def test_a_store_in_a_folder_that_is_missing_is_told(cli: Cli, tmp_path: Path) -> None:
    said = cli.refused("--db", str(tmp_path / "no" / "such" / "q.db"), "enqueue", "--", "true", code=75)
    assert str(tmp_path / "no" / "such") in said


@pytest.mark.skipif(not os.path.isdir("/sys/kernel"), reason="there is no folder here that nobody may write to")
def test_a_place_that_nobody_may_write_to_is_told(cli: Cli) -> None:
    """Not even root."""
    cli.refused("--db", "/sys/kernel/q.db", "enqueue", "--", "true", code=75)
    assert "/sys/kernel/state" in cli.refused(
        "enqueue", "--", "true", env={"XDG_STATE_HOME": "/sys/kernel/state"}, code=75
    )


def test_a_store_that_is_a_folder_is_told(cli: Cli, tmp_path: Path) -> None:
    result = cli("--db", str(tmp_path), "list")
    assert result.code in (75, 78), result
    assert len(result.err.strip().splitlines()) == 1


@pytest.mark.skipif(AS_ROOT, reason="root may write everywhere")
def test_a_store_in_a_folder_that_is_read_only_is_told(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "fixed"
    folder.mkdir(mode=0o500)
    cli.refused("--db", str(folder / "q.db"), "enqueue", "--", "true", code=75)


def test_a_database_of_another_program_is_left_alone(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE photos (name)")
        other.execute("INSERT INTO photos VALUES ('cat')")
    other.close()
    before = path.read_bytes()
    for words in (["enqueue", "--", "true"], ["list"], ["status"]):
        cli.refused("--db", str(path), *words, code=78)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_left_alone(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("dear diary, " * 100)
    cli.refused("--db", str(path), "list", code=78)
    assert path.read_text() == "dear diary, " * 100


def test_a_newer_version_is_left_alone(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "q.db"
    cli.ok("--db", str(path), "enqueue", "--", "true")
    connection = sqlite3.connect(path)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute(f"PRAGMA user_version = {version + 1_000_000}")
    connection.commit()
    connection.close()
    assert "newer" in cli.refused("--db", str(path), "enqueue", "--", "true", code=78)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.commit()
    connection.close()
    assert [job["id"] for job in cli("--db", str(path), "list", "--json").json] == ["1"]


def test_a_full_disk_is_told_and_what_was_stored_stays(cli: Cli, tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: SQLite hears EFBIG as it would hear ENOSPC."""
    path = tmp_path / "q.db"
    cli.ok("--db", str(path), "enqueue", "--id", "kept", "--", "true")
    lines = "".join(json.dumps({"command": f"echo {n} " + "x" * 1000}) + "\n" for n in range(3000))
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 1000; trap "" XFSZ; exec "$@"', "sh", *cli.argv, "--db", str(path), "enqueue", "-"],
        input=lines, env=cli.env, cwd=cli.home, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 75, done
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert [job["id"] for job in cli("--db", str(path), "list", "--json").json] == ["kept"]


@pytest.mark.parametrize("text", ["[jobs\n", "[jobs]\nqueeu = 'x'\n", "[jobs]\npriority = 'high'\n", "\xff"])
def test_a_broken_configuration_is_78(cli: Cli, tmp_path: Path, text: str) -> None:
    config = tmp_path / "broken.toml"
    config.write_bytes(text.encode("latin-1"))
    assert "broken.toml" in cli.refused("--config", str(config), "list", code=78)


def test_a_configuration_that_is_not_there_is_78(cli: Cli, tmp_path: Path) -> None:
    cli.refused("--config", str(tmp_path / "nope.toml"), "list", code=78)
