"""What holds for every command: help, JSON, near misses, global options, ids and exit codes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest
from commandline import Cli, lines

from queuectl.cli import COMMANDS


def every_command() -> Iterator[tuple[str, ...]]:
    """The words of each command and subcommand."""
    for name, (module, _, _) in COMMANDS.items():
        command = import_module(module).command
        yield (name,)
        for sub in command.commands if isinstance(command, click.Group) else ():
            yield name, sub


def click_command(words: tuple[str, ...]) -> click.Command:
    command: click.Command = import_module(COMMANDS[words[0]][0]).command
    for word in words[1:]:
        assert isinstance(command, click.Group)
        command = command.commands[word]
    return command


@pytest.mark.parametrize("words", list(every_command()), ids=" ".join)
def test_every_help_shows_an_example_before_anything_else(words: tuple[str, ...]) -> None:
    paragraphs = (click_command(words).help or "").split("\n\n")
    assert len(paragraphs[0]) < 120
    assert "queuectl " in paragraphs[1]
    assert "\b" in paragraphs[1]


@pytest.mark.parametrize("words", list(every_command()), ids=" ".join)
def test_every_command_that_prints_data_has_json(words: tuple[str, ...]) -> None:
    command = click_command(words)
    if isinstance(command, click.Group) or words in {("worker", "start"), ("init",), ("dashboard",)}:
        return
    assert "--json" in {option for param in command.params for option in param.opts}


@pytest.mark.parametrize("words", [("enqueue",), ("dlq", "list"), ("config",), ()], ids=" ".join)
def test_help_is_on_stdout_with_global_options(cli: Cli, words: tuple[str, ...]) -> None:
    short, long = cli(*words, "-h"), cli(*words, "--help")
    assert short == long
    assert short.code == 0
    assert short.err == ""
    assert "--db PATH" in short.out
    assert "--config FILE" in short.out


def test_help_imports_no_command(cli: Cli) -> None:
    done = cli("--help")
    assert all(name in done.out for name in COMMANDS)
    assert not (cli.home / ".local").exists()  # nor does it create anything


def test_no_command_is_a_usage_error_that_shows_the_help(cli: Cli) -> None:
    done = cli()
    assert (done.code, done.out) == (2, "")
    assert "enqueue" in done.err


def test_a_near_miss_is_told(cli: Cli) -> None:
    assert "did you mean 'status'?" in cli.refused("stauts", code=2)
    assert "--priority" in cli.refused("enqueue", "--prioritty", "3", "--", "x", code=2)
    assert "did you mean 'pending'?" in cli.refused("list", "--state", "pendign", code=2)
    assert "there is no command 'zzzzzz'" in cli.refused("zzzzzz", code=2)


def test_the_version_is_printed(cli: Cli) -> None:
    assert re.fullmatch(r"queuectl \d+\.\d+.*", cli.ok("--version"))


@pytest.mark.parametrize("where", ["before", "after"])
def test_global_options_work_before_and_after_the_command(cli: Cli, tmp_path: Path, where: str) -> None:
    db, config = str(tmp_path / "my.db"), tmp_path / "my.toml"
    config.write_text('[jobs]\nqueue = "mine"\n')
    options = ["--db", db, "--config", str(config)]
    words = [*options, "enqueue", "--", "true"] if where == "before" else ["enqueue", *options, "--", "true"]
    assert cli.ok(*words) == "1"
    shown = cli("dlq", *options, "list", "--json") if where == "before" else cli("list", "--json", *options)
    assert shown.code == 0
    assert cli("list", "--json", "--db", db).json[0]["queue"] == "mine"
    assert cli("list", "--json").json == []


def test_everything_works_on_an_empty_storage(cli: Cli) -> None:
    assert cli("list", "--json").json == []
    assert cli("dlq", "list", "--json").json == []
    assert cli("queue", "list", "--json").json == []
    status = cli("status", "--json").json
    assert set(status) == {"counts", "avg_duration_sec", "queues", "workers", "outbox"}
    assert status["counts"] == dict.fromkeys(
        ["pending", "processing", "completed", "failed", "dead", "cancelled", "dlq"], 0
    )
    metrics = cli("metrics", "--json").json
    assert metrics["success_rate"] is None
    assert metrics["run"]["p99"] is None
    assert [line.split(" ")[0] for line in lines(cli.ok("status"))[1:9]] == [
        "pending", "processing", "completed", "failed", "dead", "cancelled", "dlq", "avg_duration_sec",
    ]  # fmt: skip


def test_objects_of_list_have_the_promised_keys(cli: Cli) -> None:
    cli.ok("enqueue", "--", "true")
    (job,) = cli("list", "--json").json
    promised = (
        "id command state attempts max_retries created_at updated_at priority run_at timeout_sec exit_code "
        "duration_sec tries queue tags reason cwd unique_key"
    )
    assert set(promised.split()) <= set(job)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", job["created_at"])


def test_list_is_newest_first_and_filtered(cli: Cli) -> None:
    for words in (["-q", "a", "--tag", "x"], ["-q", "b"], ["-q", "a", "--tag", "y"]):
        cli.ok("enqueue", *words, "--", "true")
    cli.ok("cancel", "2")

    def ids(*words: str) -> list[str]:
        return [job["id"] for job in cli("list", "--json", *words).json]

    assert ids() == ["3", "2", "1"]
    assert ids("--limit", "2") == ["3", "2"]
    assert ids("--state", "cancelled") == ["2"]
    assert ids("--state", "pending,cancelled", "--queue", "b") == ["2"]
    assert ids("--tag", "x", "--tag", "y") == ["3", "1"]
    assert ids("--queue", "nope") == []
    assert ids("--since", "1h") == ["3", "2", "1"]
    assert ids("--since", "2099-01-01") == []
    assert sorted(cli.ok("list", "--ids", "--state", "pending").split()) == ["1", "3"]


def test_any_number_can_be_listed(cli: Cli) -> None:
    cli.ok("enqueue", "-", stdin="x\n" * 2500)
    assert len(cli("list", "--json", "--limit", "2400").json) == 2400
    everything = cli("list", "--json", "--all").json
    assert [job["id"] for job in everything] == [str(n) for n in range(2500, 0, -1)]


def test_ids_may_be_the_last_or_a_unique_beginning(cli: Cli) -> None:
    for id in ("backup-home", "backup-www", "report"):
        cli.ok("enqueue", "--id", id, "--", "true")
    assert cli("show", "@last", "--json").json["id"] == "report"
    assert cli("show", "backup-h", "--json").json["id"] == "backup-home"
    assert "backup-home" in cli.refused("show", "backup", code=3)
    cli.ok("enqueue", "--", "true")
    assert cli("show", "4", "--json").json["id"] == "4"


@pytest.mark.parametrize("id", ["77", "nope", "@first", "a b", "\x1b[31m", "x" * 5000, "--", "é"])
def test_an_id_that_is_not_there_is_3(cli: Cli, id: str) -> None:
    said = cli.refused("show", "--", id, code=3)
    assert "\x1b" not in said
    assert len(said) < 300


@pytest.mark.parametrize("command", ["logs", "wait", "cancel", "retry", "dlq show", "dlq retry"])
def test_every_command_says_3_for_an_id_that_is_not_there(cli: Cli, command: str) -> None:
    assert "'77'" in cli.refused(*command.split(), "77", code=3)


def test_nothing_is_done_when_one_of_the_ids_is_not_there(cli: Cli) -> None:
    cli.ok("enqueue", "--", "true")
    cli.refused("cancel", "1", "2", code=3)
    assert cli("show", "1", "--json").json["state"] == "pending"


def test_the_wrong_state_is_4(cli: Cli) -> None:
    cli.ok("enqueue", "--", "true")
    assert "pending" in cli.refused("retry", "1", code=4)
    assert "not in the DLQ" in cli.refused("dlq", "retry", "1", code=4)
    assert "not in the DLQ" in cli.refused("dlq", "show", "1", code=4)
    cli.ok("cancel", "1")
    assert "cancelled" in cli.refused("cancel", "1", code=4)


def test_cancel_and_retry_leave_their_trace(cli: Cli) -> None:
    cli.ok("enqueue", "--in", "1h", "--", "true")
    assert cli("cancel", "1", "--note", "no\x1b[2Jt now", "--json").json[0]["state"] == "cancelled"
    assert cli("retry", "1", "--json").json[0]["state"] == "pending"
    job = cli("show", "1", "--json").json
    assert [(event["action"], event["actor"]) for event in job["events"]] == [("cancel", "tester"), ("retry", "tester")]
    assert "\x1b" not in cli.ok("show", "1")
    assert "no\\x1b[2Jt now" in cli.ok("show", "1")


def test_queues_are_paused_resumed_and_limited(cli: Cli) -> None:
    cli.ok("enqueue", "-q", "mail", "--", "true")
    cli.ok("queue", "pause", "mail", "--reason", "down")
    cli.ok("queue", "set", "mail", "--concurrency", "2")
    (queue,) = cli("queue", "list", "--json").json
    assert (queue["paused"], queue["pause_reason"], queue["concurrency"]) == (True, "down", 2)
    assert cli("show", "1", "--json").json["waits"] == "queue paused: down"
    assert cli("queue", "resume", "mail", "--json").json["paused"] is False
    assert cli("queue", "set", "mail", "--concurrency", "none", "--json").json["concurrency"] is None


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "x", "99999999999", "", "٣"])
def test_a_concurrency_that_cannot_be_is_refused(cli: Cli, value: str) -> None:
    cli.refused("queue", "set", "mail", "--concurrency", value, code=2)


def test_dlq_retry_wants_ids_or_all(cli: Cli) -> None:
    cli.refused("dlq", "retry", code=2)
    cli.refused("dlq", "retry", "1", "--all", code=2)
    assert cli("dlq", "retry", "--all") == (0, "", "there was no dead job to retry\n")


def test_wait_times_out_with_124(cli: Cli) -> None:
    cli.ok("enqueue", "--", "true")
    assert "had not ended" in cli.refused("wait", "1", "--timeout", "50ms", code=124)


def test_wait_says_how_it_went(cli: Cli) -> None:
    cli.ok("enqueue", "--in", "1h", "--", "true")
    cli.ok("cancel", "1")
    done = cli("wait", "1", "--json")
    assert done.code == 1
    assert json.loads(done.out)[0]["state"] == "cancelled"


def test_a_configured_concurrency_is_in_force_from_the_first_job_on(cli: Cli, tmp_path: Path) -> None:
    config = tmp_path / "q.toml"
    config.write_text("[queues.video]\nconcurrency = 1\n")
    cli.ok("enqueue", "--config", str(config), "-q", "video", "--", "true")
    assert cli("queue", "list", "--json").json[0]["concurrency"] == 1
    cli.ok("queue", "set", "video", "--concurrency", "5")
    cli.ok("enqueue", "--config", str(config), "-q", "video", "--", "true")
    assert cli("queue", "list", "--json").json[0]["concurrency"] == 5
