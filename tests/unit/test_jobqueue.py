"""The Python face: ``from queuectl import Queue``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from queuectl import Queue
from queuectl.api.errors import BadInput, JobExists, NotFound, WaitTimeout, WrongState
from queuectl.api.model import State
from queuectl.core.jobqueue import captured


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    """A queue of its own, in a folder of its own."""
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with Queue.open(db=str(tmp_path / "q.db")) as opened:
        yield opened


def test_importing_the_package_imports_nothing_of_it() -> None:
    code = "import sys, queuectl; print([m for m in sys.modules if m.startswith('queuectl.')])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_a_text_is_a_shell_line_and_a_list_is_not(queue: Queue, tmp_path: Path) -> None:
    first = queue.enqueue("echo $HOME")
    second = queue.enqueue(["echo", "$HOME"], priority=3, tags=["x"], delay="1h")
    assert (first.id, first.created, second.id) == ("1", True, "2")
    assert queue.get("1").spec.argv is None
    job = queue.get("2")
    assert (job.spec.argv, job.spec.priority, job.spec.tags) == (("echo", "$HOME"), 3, ("x",))
    assert job.spec.cwd == str(tmp_path)


def test_many_are_stored_or_none(queue: Queue) -> None:
    receipts = queue.enqueue_many({"command": f"echo {n}"} for n in range(100))
    assert [receipt.id for receipt in receipts] == [str(n) for n in range(1, 101)]
    with pytest.raises(BadInput, match=r"job 2: unknown key 'comand'; did you mean 'command'\?"):
        queue.enqueue_many([{"command": "x"}, {"comand": "x"}])
    with pytest.raises(JobExists):
        queue.enqueue_many([{"command": "x", "id": "a"}, {"command": "x", "id": "a"}])
    assert len(list(queue.find(limit=None))) == 100
    assert queue.enqueue_many([]) == ()


def test_a_unique_key_gives_the_job_that_has_it(queue: Queue) -> None:
    queue.enqueue("x", unique="k")
    again = queue.enqueue("y", unique="k")
    assert (again.id, again.created) == ("1", False)


def test_find_pages_through_any_number(queue: Queue) -> None:
    queue.enqueue_many({"command": "x", "queue": "ab"[n % 2]} for n in range(2300))
    assert [job.seq for job in queue.find(limit=None)] == list(range(2300, 0, -1))
    assert sum(1 for _ in queue.find(queues=["a"], limit=None)) == 1150
    assert sum(1 for _ in queue.find(states=["pending"], limit=1500)) == 1500
    assert [job.id for job in queue.find(limit=1)] == ["2300"]


def test_waiting_for_what_is_not_there_or_does_not_end(queue: Queue) -> None:
    queue.enqueue("x")
    with pytest.raises(NotFound):
        queue.wait("1", "nope")
    with pytest.raises(WaitTimeout):
        queue.wait("1", timeout=0)
    queue.cancel("1")
    assert [job.state for job in queue.wait("1", "1", timeout=0)] == [State.CANCELLED] * 2
    assert queue.wait() == []


def test_cancel_and_retry(queue: Queue) -> None:
    queue.enqueue_many([{"command": "x"}, {"command": "y"}])
    assert [(c.id, c.was, c.now) for c in queue.cancel("2", "1")] == [
        ("2", State.PENDING, State.CANCELLED),
        ("1", State.PENDING, State.CANCELLED),
    ]
    with pytest.raises(WrongState, match="job 1 cannot be cancelled: it is cancelled"):
        queue.cancel("1")
    queue.retry("1")
    assert queue.get("1").state is State.PENDING
    with pytest.raises(WrongState):
        queue.retry("1")
    assert queue.retry_all(states=[State.CANCELLED]) == ["2"]


def test_pause_resume_and_limit(queue: Queue) -> None:
    queue.pause("mail", "down")
    queue.limit("mail", 3)
    (stat,) = queue.stat()
    assert (stat.name, stat.paused, stat.pause_reason, stat.limit) == ("mail", True, "down", 3)
    queue.resume("mail")
    queue.limit("mail", None)
    (stat,) = queue.stat()
    assert (stat.paused, stat.limit) == (False, None)
    with pytest.raises(BadInput):
        queue.limit("mail", 0)


def test_closing_twice_is_closing_once(queue: Queue) -> None:
    queue.enqueue("x")
    queue.close()
    queue.close()


def test_what_is_captured_is_what_the_list_allows() -> None:
    environ = {"PATH": "/bin", "LC_ALL": "C", "LC_X": "y", "SECRET": "s", "QUEUECTL_X": "q", "LANG": "\udcff"}
    assert json.loads(captured(["PATH", "LC_*", "LANG", "QUEUECTL_*", "NOPE"], environ)) == {
        "PATH": "/bin", "LC_ALL": "C", "LC_X": "y"
    }  # fmt: skip
    assert captured(["B", "A"], {"B": "1", "A": "2"}) == captured(["A", "B"], {"A": "2", "B": "1"})
    assert captured([], environ) == "{}"
