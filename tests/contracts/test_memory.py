"""The reference storage keeps the contract: it is what others are compared with."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from targets import FULL, target

from queuectl.api.storage import Storage
from queuectl.testing.memory import MemoryStorage
from queuectl.testing.storage import OpenStorage, StorageSuite
from queuectl.testing.subjects.query import QueryTests


class TestMemoryStorage(StorageSuite):
    processes = False

    @pytest.fixture
    def open_storage(self) -> OpenStorage:
        first = MemoryStorage()
        return lambda: MemoryStorage(first)

    #: Compared with itself: what remains is that it keeps what needs no reference.
    model_examples = target(50, 2000)
    model_seeded = not FULL

    @pytest.fixture
    def new_storage(self) -> Callable[[], OpenStorage]:
        def new_storage() -> OpenStorage:
            first = MemoryStorage()
            return lambda: MemoryStorage(first)

        return new_storage


class WithDefaults(MemoryStorage):
    """What a storage need not write, as the contract has it."""

    resolve = Storage.resolve
    summed = Storage.summed


def test_what_a_storage_need_not_write_is_right_as_it_is() -> None:
    QueryTests().test_a_prefix_finds_given_ids(WithDefaults())
    assert WithDefaults().resolve("") == []
