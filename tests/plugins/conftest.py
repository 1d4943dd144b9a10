"""What every test here starts with."""

from __future__ import annotations

from pathlib import Path

import pytest
from place import Place

from queuectl.testing.plugin import queuectl_project

__all__ = ["place", "queuectl_project"]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)
