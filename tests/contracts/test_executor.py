"""The built-in executor keeps the contract, with each of its aids and without."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from queuectl.api.executor import Executor
from queuectl.api.providers import Context, Provider
from queuectl.builtin import subprocess
from queuectl.testing.executor import ExecutorSuite


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
