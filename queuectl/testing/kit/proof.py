"""What pytest collects for ``queuectl plugins check``: the suite of one kind, for one component that a plugin offers.

The request is JSON in the file that ``QUEUECTL_PROOF`` names, see :class:`queuectl.testing.kit.proving.Request`.
"""

from __future__ import annotations

import json
import os
from itertools import count
from math import inf
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from queuectl.api.errors import QueueCTLError
from queuectl.api.executor import Executor
from queuectl.api.model import Settings
from queuectl.core.plugins import Recipe, guarded, open_recipe
from queuectl.testing.fakes import FAILURE, make_job
from queuectl.testing.kit import proving

if TYPE_CHECKING:
    from collections.abc import Callable

    from queuectl.api.backoff import Backoff
    from queuectl.api.storage import Storage
    from queuectl.testing.subjects.subject import OpenStorage

with open(os.environ["QUEUECTL_PROOF"], encoding="utf-8") as _file:
    REQUEST: dict[str, Any] = json.load(_file)

_fresh = count(1)


def options_in(folder: Path) -> dict[str, Any]:
    """The component's options, with ``{folder}`` and ``{fresh}`` filled in: another place each time this is called."""
    words = {proving.FOLDER: str(folder), proving.FRESH: f"check{os.getpid()}x{next(_fresh)}"}

    def filled(value: Any) -> Any:
        if isinstance(value, str):
            for word, text in words.items():
                value = value.replace(word, text)
        return value

    return {name: filled(value) for name, value in REQUEST["options"].items()}


def opened(options: dict[str, Any]) -> Any:
    """The component, opened as the program does it."""
    recipe = Recipe(REQUEST["module"], REQUEST["provider"], options, REQUEST["provider"])
    return open_recipe(recipe, REQUEST["kind"], None, print)


def proof() -> type:
    """The suite of the kind, given what ``open`` returns."""
    return {"storage": _storage, "executor": _executor, "backoff": _backoff, "notifier": _notifier}[REQUEST["kind"]]()


def _storage() -> type:
    from queuectl.testing.storage import StorageSuite

    class StorageProof(StorageSuite):
        @pytest.fixture
        def open_storage(self, tmp_path: Path) -> OpenStorage:
            options = options_in(tmp_path)
            return lambda: opened(options)

        @pytest.fixture
        def new_storage(self, tmp_path: Path) -> Callable[[], OpenStorage]:
            numbers = count()

            def new_storage() -> OpenStorage:
                folder = tmp_path / f"another{next(numbers)}"
                folder.mkdir()
                options = options_in(folder)
                return lambda: opened(options)

            return new_storage

        @pytest.fixture
        def open_copy(self) -> Callable[[str], Any]:
            places = [name for name, value in REQUEST["options"].items() if proving.FOLDER in str(value)]
            if len(places) != 1:
                pytest.skip("how a backup is opened cannot be known here: the plugin's own tests can say")
            return lambda path: opened({**options_in(Path()), places[0]: path})

        def test_the_offer_says_the_same_abilities_as_the_storage(self, storage: Storage) -> None:
            """Core asks the offer, so as not to open the storage: a difference would be a broken promise."""
            assert sorted(ability.value for ability in storage.abilities) == sorted(REQUEST["abilities"])

    return StorageProof


def _executor() -> type:
    from queuectl.testing.executor import ExecutorSuite

    class ExecutorProof(ExecutorSuite):
        @pytest.fixture
        def open_executor(self, tmp_path: Path) -> Callable[[], Any]:
            options = options_in(tmp_path)
            return lambda: opened(options)

    return ExecutorProof


def _backoff() -> type:
    from queuectl.testing.backoff import BackoffSuite

    class BackoffProof(BackoffSuite):
        @pytest.fixture
        def backoff(self, tmp_path: Path) -> Any:
            return opened(options_in(tmp_path))

    return BackoffProof


def _notifier() -> type:
    from queuectl.testing.notifier import NotifierSuite

    class NotifierProof(NotifierSuite):
        @pytest.fixture
        def notifier(self, tmp_path: Path) -> Any:
            return opened(options_in(tmp_path))

    return NotifierProof


# --- What it claims by what it is: the suite then holds it to that ------------------------------------


def seen(folder: Path) -> dict[str, Any]:
    """What an executor or a backoff claims by what it is. PluginError, with the cause, where it cannot be asked."""
    if REQUEST["kind"] not in ("executor", "backoff"):
        return {}
    component = opened(options_in(folder))
    if REQUEST["kind"] == "executor":
        return _executor_claims(component)
    claims: dict[str, Any] = guarded(REQUEST["provider"], lambda: _backoff_claims(component))
    return claims


def _executor_claims(component: Executor) -> dict[str, Any]:
    kind = type(component)
    guarded(REQUEST["provider"], component.close)
    return {"cleans": kind.clean is not Executor.clean, "attaches": kind.attach is not Executor.attach}


def _backoff_claims(component: Backoff) -> dict[str, Any]:
    def delay(tries: int, seed: int) -> float:
        job = make_job("false", tries=tries, attempts=tries, settings=Settings(max_retries=tries))
        answer = component.delay(job, FAILURE, Random(seed))
        return inf if answer is None else answer

    rows = [[delay(tries, seed) for tries in range(1, 80)] for seed in range(5)]
    chance = len({delay(6, seed) for seed in range(50)}) > 1
    return {"random": chance, "monotone": all(row == sorted(row) for row in rows)}


def complete(component: type) -> None:
    """Give the suite what is claimed, or a test that fails for the reason why that cannot be known."""
    try:
        claims = seen(Path(os.environ["QUEUECTL_PROOF"]).parent)
    except QueueCTLError as error:  # the other tests meet what is wrong as well, and the report says which
        claims, cause = {}, error

        @staticmethod  # type: ignore[misc]
        def test_what_it_claims_can_be_seen() -> None:
            """What a component claims by what it is, is put to the test: here it could not even be asked."""
            raise cause

        component.test_what_it_claims_can_be_seen = test_what_it_claims_can_be_seen  # type: ignore[attr-defined]
    for name, value in {**claims, **REQUEST["claims"]}.items():
        setattr(component, name, tuple(value) if isinstance(value, list) else value)


TestComponent = proof()
TestComponent.__name__ = TestComponent.__qualname__ = "TestComponent"
complete(TestComponent)
#: Every claim with the value that the suite has for it.
CLAIMS = {name: getattr(TestComponent, name) for name in proving.CLAIMS[REQUEST["kind"]]}
