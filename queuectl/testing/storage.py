"""The conformance suite for storages.

Subclass it in your tests and say how your storage is opened::

    import pytest
    from queuectl.testing.storage import StorageSuite

    class TestRedisStorage(StorageSuite):
        @pytest.fixture
        def open_storage(self, redis_url):
            return lambda: RedisStorage(redis_url)  # called again: another process's view of the same storage

The storage has to be empty at the start of each test. ``processes = False`` says that it lives in one process. One that
declares the ability BACKUP also needs a fixture ``open_copy``: a function that opens the file that ``backup`` wrote.
With a fixture ``new_storage``, a function that makes one empty storage after the other and returns how each is opened,
the state machine of ``queuectl.testing.machine`` is run too (it needs hypothesis).

Each test says in its docstring what it demands, and why. Tests of an ability that the storage does not declare are
skipped by name; there are others then, which demand that it is refused. The suite is versioned with the core: new
tests may fail old storages in a minor release only, and the changelog says so.
"""

from __future__ import annotations

from .subjects.change import ApplyTests, PruneTests, QueueTests, WakeTests
from .subjects.enqueue import EnqueueTests, UniqueTests
from .subjects.exchange import ClaimTests, SettleTests
from .subjects.keep import LifeTests, LiveTests, OutboxTests, OutputTests, UndeclaredTests
from .subjects.lease import LeaseTests
from .subjects.model import ModelTests
from .subjects.moving import BackupTests, MovingTests
from .subjects.query import QueryTests
from .subjects.race import ClockTests, RaceTests
from .subjects.subject import OpenStorage

__all__ = ["OpenStorage", "StorageSuite"]


class StorageSuite(
    EnqueueTests,
    UniqueTests,
    ClaimTests,
    SettleTests,
    LeaseTests,
    QueryTests,
    ApplyTests,
    QueueTests,
    PruneTests,
    WakeTests,
    OutputTests,
    LiveTests,
    OutboxTests,
    MovingTests,
    BackupTests,
    UndeclaredTests,
    LifeTests,
    RaceTests,
    ClockTests,
    ModelTests,
):
    """Every sentence of ``queuectl.api.storage`` as a test."""
