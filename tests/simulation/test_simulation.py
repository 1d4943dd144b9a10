"""Thousands of interleavings of pools that die, stall and hear nothing: every job ends once, and none runs twice.

A failure names one integer: ``World(seed).live(steps)`` lives it again.
"""

from __future__ import annotations

import pytest
from targets import SEED, report, target
from world import World

STEPS = 250


@pytest.mark.timeout(7200)
def test_every_history_ends_well() -> None:
    wanted = target(500, 50_000)
    first = SEED * 10_000_000
    with report("simulated histories of pools, workers and hosts", wanted) as figure:
        figure.ran = 0
        for seed in range(first, first + wanted):
            figure.ran += 1
            try:
                World(seed).live(STEPS)
            except Exception as error:
                error.add_note(f"World({seed}).live({STEPS})")
                raise
            figure.held += 1


def test_a_seed_is_one_history() -> None:
    """Else a failure could not be lived again."""
    worlds = [World(7), World(7)]
    for world in worlds:
        world.live(STEPS)
    assert worlds[0].journal == worlds[1].journal and len(worlds[0].journal) > 10
