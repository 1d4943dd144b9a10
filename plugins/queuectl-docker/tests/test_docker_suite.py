"""The executor keeps the contract: the public suite, on a real engine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from dockerd import PYTHON, Engine, opened

from queuectl.api.executor import Executor
from queuectl.testing.executor import ExecutorSuite

#: Every test of the suite, or of those that differ in nothing but a number only some: each takes a second.
FULL = os.environ.get("QUEUECTL_FAULTS") == "full"


class TestDocker(ExecutorSuite):
    here = False
    cleans = True
    attaches = True
    tells_signals = False  # the engine says 128 + n for both
    takes_bytes = False  # it is spoken to in JSON
    many = 100 if FULL else 5
    python = (PYTHON, "-I", "-S")

    @pytest.fixture
    def open_executor(self, engine: Engine, tmp_path: Path) -> Callable[[], Executor]:
        options = engine.options(user="0:0", mounts=[f"{tmp_path}:{tmp_path}"])
        return lambda: opened(options, tmp_path)
