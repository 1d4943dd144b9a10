"""The built-in executor keeps the contract, with each of its aids and without."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from queuectl.api.errors import StartFailed
from queuectl.api.executor import Executor, Run
from queuectl.api.processes import ProcessExecutor
from queuectl.api.providers import Context, Provider
from queuectl.builtin import subprocess
from queuectl.testing.executor import ExecutorSuite
from queuectl.testing.fakes import make_run


def opened() -> Executor:
    provider: Provider[Executor] = next(iter(subprocess.queuectl_executors()))
    defaults = {option.name: option.default for option in provider.options}
    return provider.open(defaults, Context("subprocess", None, "/", print))


class TestSubprocess(ExecutorSuite):
    @pytest.fixture
    def open_executor(self) -> Callable[[], Executor]:
        return opened


class TestSubprocessWithoutPidfds(TestSubprocess):
    @pytest.fixture(autouse=True)
    def without(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("QUEUECTL_NO_PIDFD", "1")


class TestSubprocessWithoutSubreaper(TestSubprocess):
    @pytest.fixture(autouse=True)
    def without(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("QUEUECTL_NO_SUBREAPER", "1")


class BehindNothing(ProcessExecutor):
    def prefix(self, run: Run) -> Sequence[str]:
        return ("no-such-program", "--")


def test_a_program_in_front_that_is_not_there_is_not_the_jobs() -> None:
    """Who reads why a job could not start looks at its command, which is there."""
    executor = BehindNothing()
    run = make_run("true", stdout=1, stderr=2)
    with pytest.raises(StartFailed, match="what the executor puts in front of the job cannot be run: no-such") as told:
        executor.start(run)
    assert told.value.code == 127
    executor.close()
