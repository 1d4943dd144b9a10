"""Redis and Valkey keep the storage contract."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis_servers import Server

from queuectl.testing.storage import OpenStorage, StorageSuite


class TestRedisStorage(StorageSuite):
    model_examples = 100
    race_jobs = 2000

    @pytest.fixture
    def open_storage(self, fresh: Callable[[], OpenStorage]) -> OpenStorage:
        return fresh()

    @pytest.fixture
    def new_storage(self, fresh: Callable[[], OpenStorage]) -> Callable[[], OpenStorage]:
        return fresh


class TestValkeyStorage(TestRedisStorage):
    model_examples = 40
    race_jobs = 1000

    @pytest.fixture
    def server(self, valkey_server: Server) -> Server:
        return valkey_server
