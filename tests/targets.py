"""How much is run: a part in every run of the tests, all of it by ``make faults``.

``QUEUECTL_FAULTS=full`` asks for the full targets. ``QUEUECTL_FAULTS_REPORT`` names a file that figures are added to,
one JSON object a line: what was run, its full target, how much ran, how much of that held, and whether the run was one
that asked for all of it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

FULL = os.environ.get("QUEUECTL_FAULTS") == "full"
#: The seed of a run that is not the usual one: other random moments, other damage.
SEED = int(os.environ.get("QUEUECTL_FAULTS_SEED", "0"))


class Count(int):
    """How often something is run here, and how often ``make faults`` runs it. Multiplied, both are."""

    full: int

    def __mul__(self, times: int) -> Count:
        return counted(int(self) * times, self.full * times)


def target(part: int, full: int) -> Count:
    """How often: *part* in every run, *full* by ``make faults``."""
    return counted(full if FULL else part, full)


def counted(here: int, full: int) -> Count:
    """So many are run here, of so many in all."""
    count = Count(here)
    count.full = full
    return count


class Figure:
    """What a test has to tell: how much ran, how much held, and what was measured."""

    def __init__(self, name: str, target: int) -> None:
        self.name = name
        self.target = target.full if isinstance(target, Count) else target
        self.ran = int(target)
        self.held = 0
        self.more: dict[str, object] = {}


@contextmanager
def report(name: str, target: int) -> Iterator[Figure]:
    """Adds one line to the report when the test ends, well or not. *target* is a ``target(…)``, or always the same.

    The page of guarantees lists every name: ``tools/guarantees.py``.
    """
    figure = Figure(name, target)
    try:
        yield figure
    finally:
        if path := os.environ.get("QUEUECTL_FAULTS_REPORT"):
            line = {"name": name, "target": figure.target, "ran": figure.ran, "held": figure.held, "full": FULL}
            line |= figure.more
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
