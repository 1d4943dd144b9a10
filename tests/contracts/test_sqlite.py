"""SQLite keeps the storage contract, under both durabilities."""

from __future__ import annotations

from pathlib import Path

import pytest

from queuectl.builtin.sqlite.storage import SQLiteStorage
from queuectl.testing.storage import OpenStorage, StorageSuite


class TestSQLiteStorage(StorageSuite):
    @pytest.fixture
    def open_storage(self, tmp_path: Path) -> OpenStorage:
        return lambda: SQLiteStorage(str(tmp_path / "queue.db"))
