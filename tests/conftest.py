from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from driver import AS_NOBODY, Driver, give_to_nobody

from queuectl.testing.plugin import receiver_of

__all__ = ["anybody", "driver", "receiver_of"]


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    made = Driver(tmp_path)
    yield made
    made.close()


@pytest.fixture(params=["as this user", "as a normal user"])
def anybody(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Driver]:
    """A driver for each kind of user that this one can be."""
    normal = request.param == "as a normal user"
    if normal and os.getuid() != 0:
        pytest.skip("this user is a normal one already")
    if normal:
        give_to_nobody(tmp_path)
    made = Driver(tmp_path, prefix=AS_NOBODY if normal else ())
    yield made
    made.close()
