"""``enqueue``: three forms, and nothing is guessed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commandline import Cli


def stored(cli: Cli, id: str) -> dict[str, object]:
    return dict(cli("show", id, "--json").json)


def test_ids_are_short_numbers_printed_alone(cli: Cli) -> None:
    assert [cli("enqueue", "--", "true") for _ in range(2)] == [(0, "1\n", ""), (0, "2\n", "")]


def test_words_behind_the_dashes_never_meet_a_shell(cli: Cli) -> None:
    id = cli.ok("enqueue", "--", "printf", "%s|", "a b", "$HOME", "--db", "-h", "--", "*")
    job = stored(cli, id)
    assert job["argv"] == ["printf", "%s|", "a b", "$HOME", "--db", "-h", "--", "*"]
    assert job["command"] == "printf '%s|' 'a b' '$HOME' --db -h -- '*'"


def test_one_word_behind_the_dashes_is_no_shell_line_either(cli: Cli) -> None:
    assert stored(cli, cli.ok("enqueue", "--", "a && b"))["argv"] == ["a && b"]


@pytest.mark.parametrize("option", ["--shell", "-c"])
def test_a_shell_line_is_asked_for(cli: Cli, option: str) -> None:
    job = stored(cli, cli.ok("enqueue", option, "a | b"))
    assert (job["command"], job["argv"]) == ("a | b", None)


def test_json_says_everything(cli: Cli) -> None:
    asked = {"id": "job1", "command": "echo hi", "run_at": "2030-01-02T03:04:05Z", "timeout_sec": 5, "priority": 3,
             "max_retries": 2, "queue": "mail", "tags": ["a"], "env": {"X": "1"}, "unique_key": "k"}  # fmt: skip
    assert cli.ok("enqueue", json.dumps(asked)) == "job1"
    job = stored(cli, "job1")
    assert {key: job[key] for key in asked if key != "run_at"} == {k: v for k, v in asked.items() if k != "run_at"}
    assert job["run_at"] == "2030-01-02T03:04:05.000Z"
    assert job["state"] == "pending"
    assert str(job["waits"]).startswith("scheduled")


def test_options_say_everything(cli: Cli) -> None:
    id = cli.ok(
        "enqueue", "--id", "j", "-q", "mail", "-p", "7", "--timeout", "1m", "--grace", "2s", "--max-retries", "0",
        "--backoff", "fixed", "--env", "A=1=2", "--env", "B=", "--cwd", "sub", "--tag", "x", "--tag", "y",
        "--unique", "u", "--", "true",
    )  # fmt: skip
    job = stored(cli, id)
    expected = {
        "id": "j", "queue": "mail", "priority": 7, "timeout_sec": 60.0, "max_retries": 0, "backoff": "fixed",
        "env": {"A": "1=2", "B": ""}, "cwd": str(cli.home / "sub"), "tags": ["x", "y"], "unique_key": "u",
    }  # fmt: skip
    assert {key: job[key] for key in expected} == expected


@pytest.mark.parametrize("words", [["echo hi"], ["echo", "hi"], ["[1]"], ["'{}'"], ["-", "-"], ["{", "}"]])
def test_anything_else_shows_the_form_with_dashes(cli: Cli, words: list[str]) -> None:
    assert "queuectl enqueue -- " in cli.refused("enqueue", *words, code=2)
    assert cli("list", "--json").json == []


def test_nothing_to_enqueue_is_said(cli: Cli) -> None:
    assert "nothing to enqueue" in cli.refused("enqueue", code=2)
    assert "empty" in cli.refused("enqueue", "--", "", code=2)
    assert "at least one" in cli.refused("enqueue", "--", code=2)


def test_a_file_has_shell_lines_json_comments_and_blanks(cli: Cli, tmp_path: Path) -> None:
    text = 'echo 1 | cat\n\n  # not a job\n{"command": "echo 2", "id": "two"}\r\n  echo 3  \nlast without end'
    (tmp_path / "jobs").write_text(text)
    assert cli.ok("enqueue", "--file", str(tmp_path / "jobs")).split() == ["1", "two", "3", "4"]
    assert cli.ok("enqueue", "-", stdin=text.replace("two", "2b")).split()[1] == "2b"
    commands = [job["command"] for job in reversed(cli("list", "--json", "--limit", "4").json)]
    assert commands == ["echo 1 | cat", "echo 2", "echo 3", "last without end"]


def test_options_hold_for_every_line_that_does_not_say_otherwise(cli: Cli) -> None:
    cli.ok("enqueue", "-q", "a", "-p", "5", "--tag", "t", "-", stdin='x\n{"command": "y", "queue": "b", "tags": []}\n')
    first, second = reversed(cli("list", "--json").json)
    assert (first["queue"], first["priority"], first["tags"]) == ("a", 5, ["t"])
    assert (second["queue"], second["priority"], second["tags"]) == ("b", 5, [])


def test_what_a_job_says_itself_counts_under_whatever_name(cli: Cli) -> None:
    options = ["--timeout", "5", "--in", "1h", "--max-retries", "1"]
    id = cli.ok("enqueue", *options, '{"command": "x", "timeout_sec": 7, "run_at": "2030-01-01T00:00:00Z"}')
    job = stored(cli, id)
    assert (job["timeout_sec"], job["run_at"], job["max_retries"]) == (7.0, "2030-01-01T00:00:00.000Z", 1)


@pytest.mark.parametrize("option", ["--id", "--unique"])
def test_what_names_one_job_is_not_for_a_file(cli: Cli, option: str) -> None:
    assert option in cli.refused("enqueue", option, "x", "-", stdin="a\nb\n", code=2)


def test_a_plugin_may_change_and_refuse_jobs(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "guard.py").write_text(
        "from queuectl.api import JobRejected, hookimpl\n"
        "@hookimpl\n"
        "def queuectl_prepare(jobs):\n"
        "    for n, job in enumerate(jobs):\n"
        "        if 'rm' in job.command: raise JobRejected('no rm here')\n"
        "        if 'zero' in job.command: 1 / 0\n"
        "        jobs[n] = job._replace(tags=(*job.tags, 'seen'))\n"
    )
    config = tmp_path / "q.toml"
    config.write_text('[plugins]\nfiles = ["guard.py"]\n')
    assert cli("--config", str(config), "enqueue", "-", stdin="a\nb\n").code == 0
    assert [job["tags"] for job in cli("list", "--json").json] == [["seen"], ["seen"]]
    assert "no rm here" in cli.refused("--config", str(config), "enqueue", "-", stdin="c\nrm -rf x\n", code=65)
    assert "guard" in cli.refused("--config", str(config), "enqueue", "-c", "zero", code=70)
    assert len(cli("list", "--json").json) == 2


def test_values_that_sound_secret_are_dots_unless_revealed(cli: Cli) -> None:
    id = cli.ok("enqueue", "--env", "API_TOKEN=canary", "--env", "A=1", "--", "true")
    for words in (["show", id], ["show", id, "--json"], ["list", "--json"]):
        assert "canary" not in cli.ok(*words)
    assert "canary" in cli.ok("show", id, "--reveal")
    assert cli("show", id, "--reveal", "--json").json["env"]["API_TOKEN"] == "canary"


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        ('{"comand": "x"}', "did you mean 'command'"), ("{", "not JSON"), ('{"command": ""}', "empty"),
        ('{"command": "x", "id": "a"}', "earlier line"), ('{"command": "x", "executor": "nope"}', "nope"),
        ('{"command": "x", "backoff_options": {"bse": 3}}', "bse"),
    ],
)  # fmt: skip
def test_one_bad_line_and_nothing_is_stored(cli: Cli, bad: str, word: str) -> None:
    said = cli.refused("enqueue", "-", stdin=f'echo 1\n{{"command": "x", "id": "a"}}\n\n{bad}\necho 5\n', code=2)
    assert "line 4" in said
    assert word in said
    assert cli("list", "--json").json == []


def test_bytes_that_are_not_utf8_are_named_by_their_line(cli: Cli) -> None:
    assert "stdin, line 2" in cli.refused("enqueue", "-", stdin=b"echo 1\necho \xff\n", code=2)
    assert cli("list", "--json").json == []


def test_an_empty_file_is_no_error(cli: Cli) -> None:
    assert cli("enqueue", "-") == (0, "", "there was nothing to enqueue\n")


def test_an_id_that_exists_stores_nothing_of_the_batch(cli: Cli) -> None:
    cli.ok("enqueue", "--id", "a", "--", "true")
    assert "id a exists" in cli.refused("enqueue", "-", stdin='x\n{"command": "y", "id": "a"}\n', code=4)
    assert [job["id"] for job in cli("list", "--json").json] == ["a"]


def test_a_unique_key_names_the_job_that_has_it(cli: Cli) -> None:
    cli.ok("enqueue", "--unique", "k", "--", "true")
    again = cli("enqueue", "--unique", "k", "--", "false")
    assert (again.code, again.out) == (0, "1\n")
    assert "job 1 has the unique key 'k'" in again.err
    cli.ok("cancel", "1")
    assert cli.ok("enqueue", "--unique", "k", "--", "true") == "2"


def test_the_resolved_time_is_echoed(cli: Cli) -> None:
    result = cli("enqueue", "--at", "2030-06-01 08:00 Europe/Berlin", "--", "true")
    assert (result.code, result.out) == (0, "1\n")
    assert "2030-06-01T06:00:00.000Z" in result.err
    assert "in 10 min" in cli("enqueue", "--in", "10m", "--", "true").err


def test_json_output_says_what_was_created(cli: Cli) -> None:
    assert cli("enqueue", "--json", "--unique", "k", "--", "true").json == [{"id": "1", "created": True}]
    assert cli("enqueue", "--json", "--unique", "k", "--", "true").json == [{"id": "1", "created": False}]


def test_the_environment_is_captured_by_the_allow_list(cli: Cli) -> None:
    id = cli.ok("enqueue", "--", "true", env={"LC_TIME": "C", "SECRET_THING": "canary-5912"})
    files = [path for path in cli.home.rglob("*") if path.is_file()]
    content = b"".join(path.read_bytes() for path in files)
    assert b"LC_TIME" in content
    assert b"canary-5912" not in content
    assert "canary" not in cli.ok("show", id, "--json")


def test_ten_thousand_lines_are_one_transaction_of_seconds(cli: Cli) -> None:
    text = "".join(f"echo {n}\n" for n in range(10_000))
    assert cli.ok("enqueue", "-", stdin=text).split() == [str(n) for n in range(1, 10_001)]
    assert cli("status", "--json").json["counts"]["pending"] == 10_000
