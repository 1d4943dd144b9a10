from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

import pytest
from queuectl_redis.storage import RedisStorage, open_storage
from redis_servers import Server

_numbers = itertools.count()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Server]:
    server = Server("redis").start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[Server]:
    server = Server("valkey").start()
    yield server
    server.close()


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server that a test may end, fill and empty; what it accepted survives it."""
    server = Server("redis", "--appendonly", "yes", "--appendfsync", "always").start()
    yield server
    server.close()


@pytest.fixture
def server(redis_server: Server) -> Server:
    """The server that a test is about. A class of tests may name another one."""
    return redis_server


@pytest.fixture
def fresh(server: Server) -> Callable[[], Callable[[], RedisStorage]]:
    """Makes one empty storage after the other; each is opened by what it returns."""

    def new() -> Callable[[], RedisStorage]:
        options = {"url": server.url, "prefix": f"test-{os.getpid()}-{next(_numbers)}"}
        return lambda: open_storage(options)

    return new
