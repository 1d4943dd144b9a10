"""The reference storage keeps the contract: it is what others are compared with."""

from __future__ import annotations

import pytest

from queuectl.testing.memory import MemoryStorage
from queuectl.testing.storage import OpenStorage, StorageSuite


class TestMemoryStorage(StorageSuite):
    processes = False

    @pytest.fixture
    def open_storage(self) -> OpenStorage:
        first = MemoryStorage()
        return lambda: MemoryStorage(first)
