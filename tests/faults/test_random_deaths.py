"""Kill anything at any time: every job ends once, where it can be seen."""

from __future__ import annotations

import os

import pytest
from chaos import Chaos, Plan
from driver import Driver
from targets import FULL, report, target

PLAN_JOBS, PLAN_KILLS = target(340, 10_000), target(20, 500)


@pytest.mark.timeout(1800 if FULL else 300)
@pytest.mark.parametrize("cgroup", [True, False], ids=["with control groups", "without"])
def test_random_deaths(anybody: Driver, cgroup: bool) -> None:
    if not cgroup:
        anybody.env["QUEUECTL_NO_CGROUP"] = "1"
    elif anybody.prefix and not FULL:
        pytest.skip("a normal user has no control group here: the other variant is this one")
    seed = int(os.environ.get("QUEUECTL_SEED", "0")) or int.from_bytes(os.urandom(4))
    who = "a normal user" if anybody.prefix else "this user"
    with report(f"random deaths, {who}, {'with' if cgroup else 'without'} control groups: kills", PLAN_KILLS) as figure:
        figures = Chaos(anybody, Plan(PLAN_JOBS, PLAN_KILLS, seed)).run()
        figure.more = figures._asdict()
        assert figures.rescue_median < 1 and figures.rescue_p99 < 3
        figure.held = figures.kills
    print(figures)
