"""What destroys something: it asks, it can say what it would do, and then it does that and nothing else."""

from __future__ import annotations

import os
import pty
import subprocess

import pytest
from commandline import Cli

ENDED = """
import sys
from queuectl import Queue
from queuectl.api.model import State, Turn
from queuectl.core import transitions
from queuectl.api.model import Outcome, OutcomeKind
queue = Queue.open()
storage = queue.app.storage
def end(id, kind, code, days):
    at = storage.get([id])[0].created_at - days * 86_400_000
    (claim,) = storage.exchange(Turn("p", want=1, now=None)).claims
    done = transitions.settle(claim, Outcome(kind, code, at, at), verdict="dead" if code else None, decided=bool(code))
    storage.exchange(Turn("p", (done,), now=at))
for id, code, days in (("new", 0, 1), ("old", 0, 40), ("died", 1, 40), ("died2", 1, 1)):
    queue.enqueue("x", id=id, queue="mail" if id == "died2" else "default")
    end(id, OutcomeKind.EXITED, code, days)
queue.enqueue("x", id="waits")
storage.leave("p")
"""


CLAIM = """
from queuectl import Queue
from queuectl.api.model import Turn
Queue.open().app.storage.exchange(Turn("p", want=1))
"""


@pytest.fixture
def jobs(cli: Cli) -> set[str]:
    """Two that completed, a day and forty days ago, two that died, and one that waits."""
    subprocess.run([cli.argv[0], "-c", ENDED], env=cli.env, cwd=cli.home, check=True)
    return {"new", "old", "died", "died2", "waits"}


def there(cli: Cli) -> set[str]:
    return set(cli.ok("list", "--ids").split())


def on_a_terminal(cli: Cli, *words: str, answer: str) -> tuple[int, str]:
    """A command line whose terminal somebody types an answer on; its exit code and what was shown."""
    leader, follower = pty.openpty()
    process = cli.popen(*words, stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    os.write(leader, answer.encode())
    shown = b""
    while True:
        try:
            piece = os.read(leader, 4096)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(leader)
    return process.wait(30), shown.decode()


COMMANDS = [
    (["delete", "old", "died"], {"old", "died"}),
    (["dlq", "purge"], {"died", "died2"}),
    (["dlq", "purge", "--queue", "mail"], {"died2"}),
    (["prune", "--older-than", "30d"], {"old"}),
    (["prune", "--older-than", "0"], {"old", "new"}),
    (["prune", "--older-than", "30d", "--state", "dead"], {"died"}),
    (["prune", "--older-than", "0", "--state", "dead", "--state", "completed"], {"old", "new", "died", "died2"}),
]
EACH = pytest.mark.parametrize(("words", "goes"), COMMANDS, ids=[" ".join(words) for words, _goes in COMMANDS])


@EACH
def test_where_nobody_can_be_asked_nothing_is_done(cli: Cli, jobs: set[str], words: list[str], goes: set[str]) -> None:
    assert "--yes" in cli.refused(*words, code=2)
    assert there(cli) == jobs


@EACH
def test_a_dry_run_names_what_would_go(cli: Cli, jobs: set[str], words: list[str], goes: set[str]) -> None:
    done = cli(*words, "--dry-run")
    assert done.code == 0
    assert set(done.out.split()) == goes
    assert f"{len(goes)} job" in done.err
    assert there(cli) == jobs
    shape = cli(*words, "--dry-run", "--json").json
    assert (shape["dry_run"], set(shape["ids"]), shape["count"]) == (True, goes, len(goes))


@EACH
def test_yes_does_it(cli: Cli, jobs: set[str], words: list[str], goes: set[str]) -> None:
    done = cli(*words, "--yes", "--json")
    assert done.code == 0
    assert (done.json["dry_run"], done.json["count"]) == (False, len(goes))
    assert there(cli) == jobs - goes
    assert cli(*words[:1] if words[0] == "delete" else words, *words[1:] * (words[0] == "delete"), "--yes").code in (
        0,
        3,
    )
    assert there(cli) == jobs - goes


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1), ("\x04", 130)])
def test_somebody_on_a_terminal_is_asked(cli: Cli, jobs: set[str], answer: str, code: int) -> None:
    got, shown = on_a_terminal(cli, "dlq", "purge", answer=answer)
    assert got == code, shown
    assert "Delete 2 jobs in the DLQ" in shown
    assert there(cli) == (jobs - {"died", "died2"} if code == 0 else jobs)


def test_an_empty_dlq_needs_no_answer(cli: Cli) -> None:
    assert cli("dlq", "purge", "--json").json == {"dry_run": False, "ids": [], "count": 0}


def test_delete_names_what_it_does_not_know_and_touches_nothing(cli: Cli, jobs: set[str]) -> None:
    assert "nobody" in cli.refused("delete", "--yes", "old", "nobody", code=3)
    assert there(cli) == jobs


def test_what_runs_is_not_deleted(cli: Cli) -> None:
    cli.ok("enqueue", "--id", "a", "--", "true")
    cli.ok("enqueue", "--id", "b", "--", "true")
    subprocess.run([cli.argv[0], "-c", CLAIM], env=cli.env, cwd=cli.home, check=True)
    assert "before it is cancelled" in cli.refused("delete", "--yes", "a", "b", code=4)
    assert there(cli) == {"a", "b"}


@pytest.mark.parametrize("words", [["--older-than", "yesterday"], ["--older-than", "1d", "--state", "pending"], []])
def test_prune_wants_an_age_and_states_that_are_ends(cli: Cli, words: list[str]) -> None:
    cli.refused("prune", *words, code=2)
