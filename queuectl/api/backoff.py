"""The backoff contract: when a failed job is tried again."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

    from .model import Job, Outcome


class Backoff(abc.ABC):
    """A policy of delays. Pure: no clock, no I/O, no state. It runs in a worker, which sends its answer along."""

    @abc.abstractmethod
    def delay(self, job: Job, outcome: Outcome, rng: Random) -> float | None:
        """Seconds until the next try, or None to give up now (the job goes to the DLQ).

        ``job.tries`` already counts the try that has just failed: 1 before the first retry. It is asked only while
        ``max_retries`` allows another try. Chance comes from *rng* alone, so that tests can seed it. A negative,
        infinite or non-number answer is a fault: the built-in exponential rule is then used instead.
        """


def exponential_delay(tries: int, base: float = 2.0, max_delay: float = 3600.0) -> float:
    """``base ** tries`` seconds, capped: 2, 4, 8 … with the default base. Never overflows.

    The rule of the built-in policy, and what core applies when a policy fails or took its worker with it.
    """
    try:
        return min(float(max_delay), float(base) ** tries)  # an integer base would grow to a number of gigabytes
    except OverflowError:
        return float(max_delay)
