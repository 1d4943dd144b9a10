"""A storage that cannot be used for a while: when it may be tried again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from queuectl.api.errors import StorageError, StorageInvalid

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")

FIRST, LONGEST = 0.1, 10.0  # seconds between tries


class Outage:
    """From the first call that fails to the next exchange that does not. Meanwhile workers hold their results."""

    def __init__(self, log: Callable[[str], None], rng: Random) -> None:
        self.retry_at = 0.0  # on the monotonic clock
        self.tries = 0  # in vain, since it was last of use
        self._log = log
        self._rng = rng

    def begin(self, now: float, error: StorageError) -> None:
        """A call has failed: leave the storage alone, longer each time.

        One that is damaged or gone does not come back: the *error* is raised again, and so the pool ends. Its workers
        finish what they have, and keep the results for the pool that takes over when it has been put right.
        """
        if isinstance(error, StorageInvalid):
            raise error
        if not self.tries:
            self._log(f"the storage cannot be used: {error}; trying again")
        pause = min(LONGEST, FIRST * 2 ** min(self.tries, 8))
        self.tries += 1
        self.retry_at = now + pause * (0.5 + self._rng.random())

    def end(self) -> None:
        """An exchange has succeeded."""
        self._log("the storage answers again")
        self.tries = 0
