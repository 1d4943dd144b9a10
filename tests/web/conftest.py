from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from desk import Desk, Served

from queuectl.core.app import App


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("QUEUECTL_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USER", "tester")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path, tokens=True)
    yield made
    made.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(App.open(None, str(tmp_path / "queue.db")))
    yield made
    made.close()
