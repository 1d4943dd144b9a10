"""Model: random calls, compared with the reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest

from .subject import OpenStorage, Subject


class ModelTests(Subject):
    """Random calls by several pools, with deaths and clock jumps. Needs hypothesis, and the fixture ``new_storage``."""

    #: How many random lives.
    model_examples: ClassVar[int] = 100
    #: How many calls in each of them at most.
    model_steps: ClassVar[int] = 50
    #: The same lives each time; False: others each time.
    model_seeded: ClassVar[bool] = True

    @pytest.fixture
    def new_storage(self) -> Callable[[], OpenStorage]:
        """Returns a function that makes a further empty storage, and returns the function that opens it."""
        pytest.skip("give your suite a fixture `new_storage` that makes one empty storage after the other")

    @pytest.mark.timeout(3600)
    def test_random_calls_are_answered_as_by_the_reference(self, new_storage: Callable[[], OpenStorage]) -> None:
        """Every answer, and all that is stored after each call; with the freedoms that the contract leaves."""
        pytest.importorskip("hypothesis")
        from queuectl.testing.machine import run_machine

        run_machine(new_storage, examples=self.model_examples, steps=self.model_steps, seeded=self.model_seeded)
