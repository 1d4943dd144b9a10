"""Backup, export and import: what was kept is kept, and what is wrong with a file is one sentence."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from commandline import Cli

PRINTS = "head -c 300000 /dev/zero | tr '\\0' 'x'; echo err >&2"


@pytest.fixture
def past(cli: Cli) -> Cli:
    """A storage with a past: jobs of each end, long and short output, one cancelled, one retried, one for later."""
    cli.ok("enqueue", "--id", "long", "--env", "TOKEN=secret", "--tag", "t", "-c", PRINTS)
    cli.ok("enqueue", "--id", "dies", "--max-retries", "0", "-c", r"printf '\377\000'; exit 3")
    cli.ok("enqueue", "-", stdin="echo one\necho two\n")
    cli("worker", "start", "--count", "2", "--until-empty")
    cli.ok("enqueue", "--id", "later", "--in", "1h", "-c", "echo later")
    cli.ok("enqueue", "--id", "gone", "--", "true")
    cli.ok("cancel", "gone", "--note", "no need")
    cli.ok("queue", "set", "mail", "--concurrency", "2")
    return cli


def shown(cli: Cli, *where: str) -> dict[str, Any]:
    """Everything that can be seen of all jobs, by id."""
    ids = cli.ok(*where, "list", "--ids", "--all").split()
    return {id: cli(*where, "show", id, "--json", "--reveal").json for id in sorted(ids)}


def printed(cli: Cli, *where: str) -> dict[str, bytes]:
    def logs(id: str, stream: str) -> bytes:
        words = [*cli.argv, *where, "logs", id, f"--{stream}"]
        return subprocess.run(words, env=cli.env, cwd=cli.home, capture_output=True, check=True).stdout

    return {f"{id} {stream}": logs(id, stream) for id in ("long", "dies", "3") for stream in ("stdout", "stderr")}


def test_an_import_is_what_was_exported(past: Cli, tmp_path: Path) -> None:
    file, db = str(tmp_path / "jobs.ndjson"), str(tmp_path / "new.db")
    assert past("export", file, "--json").json == {"file": file, "jobs": 6}
    assert os.stat(file).st_mode & 0o777 == 0o600
    assert past("--db", db, "import", file, "--json").json == {"jobs": 6, "new": 6, "left_out": []}
    assert shown(past, "--db", db) == shown(past)
    assert printed(past, "--db", db) == printed(past)
    queues = {queue["name"]: queue["concurrency"] for queue in past("--db", db, "queue", "list", "--json").json}
    assert queues == {"default": None, "mail": 2}
    assert past("--db", db, "import", file, "--json").json == {"jobs": 6, "new": 0, "left_out": []}
    assert past.ok("--db", db, "enqueue", "--", "true") == "7"
    again = past.ok("--db", db, "export").splitlines()
    assert [line for line in again if '"id":"7"' not in line][1:-1] == Path(file).read_text().splitlines()[1:-1]


def test_an_import_goes_on_where_it_was_cut_short(past: Cli, tmp_path: Path) -> None:
    """Wherever that was; and the whole file then adds what is missing, and nothing twice."""
    lines = past.ok("export").splitlines(keepends=True)
    text = "".join(lines)
    db = str(tmp_path / "new.db")
    for part in ("".join(lines[:4]), text[: len(text) // 2], "".join(lines[:-1])):
        said = past.refused("--db", db, "import", "-", stdin=part, code=2)
        assert "stdin" in said
        assert "imported" in said
    past.ok("--db", db, "import", "-", stdin=text)
    assert shown(past, "--db", db) == shown(past)
    assert printed(past, "--db", db) == printed(past)


def test_an_import_that_was_killed_is_completed_by_the_next(past: Cli, tmp_path: Path) -> None:
    past.ok("enqueue", "-", stdin="true\n" * 500)
    lines = past.ok("export").splitlines(keepends=True)
    db = str(tmp_path / "new.db")
    with past.popen("--db", db, "import", "-", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write("".join(lines[:400]).encode())
        process.stdin.flush()
        deadline = time.monotonic() + 30
        while not past.ok("--db", db, "list", "--ids"):
            assert time.monotonic() < deadline
        process.kill()
    there = len(past.ok("--db", db, "list", "--ids", "--all").split())
    assert 0 < there < 506
    assert past("--db", db, "import", "-", "--json", stdin="".join(lines)).json["new"] == 506 - there
    assert past.ok("--db", db, "export").splitlines()[1:] == "".join(lines).splitlines()[1:]


def test_what_runs_while_it_is_exported_waits_where_it_arrives(cli: Cli, pool: None, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    cli.ok("enqueue", "--id", "j", "-c", f"read line <{gate}")
    with gate.open("w"):  # it has begun when this is open, and ends when it is closed
        exported = cli("export")
    assert "workers are running" in exported.err
    cli.ok("--db", str(tmp_path / "new.db"), "import", "-", stdin=exported.out)
    job = cli("--db", str(tmp_path / "new.db"), "show", "j", "--json").json
    assert (job["state"], job["attempts"], job["pool"]) == ("pending", 0, None)


def test_a_job_whose_id_is_another_ones_is_left_out_by_name(cli: Cli, tmp_path: Path) -> None:
    other = ("--db", str(tmp_path / "other.db"))
    cli.ok("enqueue", "-", stdin="echo a\necho b\n")
    cli.ok(*other, "enqueue", "--", "echo", "mine")
    exported = cli.ok("export")
    done = cli(*other, "import", "-", "--json", stdin=exported)
    assert (done.code, done.json) == (4, {"jobs": 2, "new": 1, "left_out": ["1"]})
    assert "1 of 2 jobs were left out" in done.err
    assert [job["command"] for job in cli(*other, "list", "--json").json] == ["echo b", "echo mine"]


BEGIN = {"kind": "export", "version": 1, "at": 1, "storage": "s"}
JOB: dict[str, Any] = {
    "kind": "job", "id": "1", "seq": 1, "state": "pending", "run_at": 1, "created_at": 1, "updated_at": 1,
    "spec": {"command": "true"},
}  # fmt: skip


def changed(**fields: Any) -> dict[str, Any]:
    return {**JOB, **fields}


WRONG = {
    "no JSON": "{",
    "no object": "[]",
    "no kind": "{}",
    "another kind": '{"kind": "table"}',
    "no state": changed(state="happy"),
    "a number that is none": changed(run_at="soon"),
    "a number that is too large": changed(seq=1 << 60),
    "no command": changed(spec={}),
    "a path for an id": changed(id="../x", spec={"command": "x", "id": "../x"}),
    "an id that is not issued": changed(id="x"),
    "settings that are none": changed(spec={"command": "x", "settings": '{"max_retries": "many"}'}),
    "a priority that is too high": changed(spec={"command": "x", "priority": 2000}),
    "attempts that do not rise": changed(
        attempts=2,
        attempt_history=[
            {"number": 1, "token": 1, "pool": "p", "state": "failed", "outcome": {"kind": "exited"}} for _ in range(2)
        ],
    ),
    "output of nobody": {
        "kind": "output", "id": "9", "attempt": 1, "stream": "stdout", "offset": 0, "size": 1, "data": "eA==",
    },
    "a wrong count": {"kind": "end", "jobs": 7},
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_line_that_is_wrong_is_named_and_what_stands_before_it_is_kept(cli: Cli, wrong: Any) -> None:
    good = json.dumps(changed(id="2", seq=2))
    text = "\n".join([json.dumps(BEGIN), good, wrong if isinstance(wrong, str) else json.dumps(wrong), good])
    assert "stdin, line 3: " in cli.refused("import", "-", stdin=text, code=2)
    assert cli.ok("list", "--ids") == "2"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        (json.dumps(JOB), "beginning missing"),
        (json.dumps({**BEGIN, "version": 99}), "newer QueueCTL"),
        ("echo one\n", "not JSON"),
    ],
)
def test_what_is_no_export_is_told_so(cli: Cli, text: str, says: str) -> None:
    assert says in cli.refused("import", "-", stdin=text, code=2)
    assert cli.ok("list", "--ids") == ""


def test_files_that_are_there_are_not_overwritten(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "mine"
    file.write_text("mine")
    for command in ("export", "backup"):
        assert "exists already" in cli.refused(command, str(file), code=4)
        assert cli(command, str(tmp_path / "missing" / "file")).code == 2
    assert file.read_text() == "mine"
    assert os.listdir(tmp_path) == ["home", "mine"] or sorted(os.listdir(tmp_path)) == ["home", "mine"]
    assert "mine" in cli.refused("import", str(tmp_path / "mine.none"), code=2)


def test_an_export_that_cannot_be_made_names_the_file_that_was_asked_for(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / ("x" * 250)  # its draft has a longer name than a file may have
    assert f"queuectl: {file}: File name too long" in cli.refused("export", str(file), code=74)


def test_a_backup_is_a_storage_like_the_one_it_was_made_of(past: Cli, tmp_path: Path) -> None:
    copy = str(tmp_path / "copy.db")
    shape = past("backup", copy, "--json").json
    assert shape == {"file": copy, "bytes": os.stat(copy).st_size}
    assert shown(past, "--db", copy) == shown(past)
    assert printed(past, "--db", copy) == printed(past)
    assert past("--db", copy, "doctor", "--json").json["ok"]
    assert past.ok("--db", copy, "enqueue", "--", "true") == past.ok("enqueue", "--", "true")


def test_a_backup_is_made_while_jobs_run(cli: Cli, pool: None, tmp_path: Path) -> None:
    cli.ok("enqueue", "-", stdin="true\n" * 300)
    for n in range(3):
        copy = ("--db", str(tmp_path / f"copy{n}.db"))
        cli.ok("backup", copy[1])
        counts = cli(*copy, "status", "--json").json["counts"]
        assert counts["pending"] + counts["processing"] + counts["completed"] == 300
        checks = cli(*copy, "doctor", "--json").json["checks"]
        assert {check["level"] for check in checks if check["id"] in ("integrity", "counts")} == {"ok"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_that_asks_queuectl(cli: Cli, shell: str) -> None:
    script = cli.ok("completion", shell)
    assert "_QUEUECTL_COMPLETE" in script
    assert f"{shell}_complete" in script
    assert cli("completion", shell, "--json").json["shell"] == shell


def test_a_shell_gets_our_words(cli: Cli) -> None:
    asked = {"_QUEUECTL_COMPLETE": "bash_complete", "COMP_WORDS": "queuectl do", "COMP_CWORD": "1"}
    assert "doctor" in cli("do", env=asked).out
    asked["COMP_WORDS"] = "queuectl dlq pu"
    assert "purge" in cli(env={**asked, "COMP_CWORD": "2"}).out
