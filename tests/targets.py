"""How much is run: a part in every run of the tests, all of it by ``make faults``.

``QUEUECTL_FAULTS=full`` asks for the full targets. ``QUEUECTL_FAULTS_REPORT`` names a file that figures are added to,
one JSON object a line: what was run, its full target, how much ran, and how much of that held.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

FULL = os.environ.get("QUEUECTL_FAULTS") == "full"
#: The seed of a run that is not the usual one: other random moments, other damage.
SEED = int(os.environ.get("QUEUECTL_FAULTS_SEED", "0"))


def target(part: int, full: int) -> int:
    """How often: *part* in every run, *full* by ``make faults``."""
    return full if FULL else part


class Figure:
    """What a test has to tell: how much ran, how much held, and what was measured."""

    def __init__(self, name: str, target: int) -> None:
        self.name = name
        self.target = target
        self.ran = target
        self.held = 0
        self.more: dict[str, object] = {}


@contextmanager
def report(name: str, target: int) -> Iterator[Figure]:
    """Adds one line to the report when the test ends, well or not. *target* is that of this run."""
    figure = Figure(name, target)
    try:
        yield figure
    finally:
        if path := os.environ.get("QUEUECTL_FAULTS_REPORT"):
            line = {"name": name, "target": figure.target, "ran": figure.ran, "held": figure.held, **figure.more}
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
