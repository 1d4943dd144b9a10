"""Kill anything at any time: every job ends once, where it can be seen."""

from __future__ import annotations

import os

import pytest
from chaos import Chaos, Plan
from driver import Driver

FULL = os.environ.get("QUEUECTL_FAULTS") == "full"


@pytest.mark.timeout(1800 if FULL else 300)
@pytest.mark.parametrize("cgroup", [True, False], ids=["with control groups", "without"])
def test_random_deaths(anybody: Driver, cgroup: bool, record_property: pytest.RecordProperty) -> None:
    if not cgroup:
        anybody.env["QUEUECTL_NO_CGROUP"] = "1"
    elif anybody.prefix and not FULL:
        pytest.skip("a normal user has no control group here: the other variant is this one")
    seed = int(os.environ.get("QUEUECTL_SEED", "0")) or int.from_bytes(os.urandom(4))
    figures = Chaos(anybody, Plan(10_000, 500, seed) if FULL else Plan(340, 20, seed)).run()
    for name, value in figures._asdict().items():
        record_property(name, value)
    print(figures)
    assert figures.rescue_median < 1 and figures.rescue_p99 < 3
