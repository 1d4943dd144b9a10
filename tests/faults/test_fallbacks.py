"""Where the system lacks a facility, jobs still run and their trees are still ended, as far as anybody can."""

from __future__ import annotations

import os
import secrets
import signal

import pytest
from driver import Driver, processes_with, until
from test_trees import KINDS, lines, put

FALLBACKS = {
    "no control groups": ("QUEUECTL_NO_CGROUP", ()),
    "no process descriptors": ("QUEUECTL_NO_PIDFD", ()),
    # Without a subreaper what cleared its environment and left the session cannot be seen.
    "no subreaper": ("QUEUECTL_NO_SUBREAPER", ("daemon without environment",)),
}


@pytest.mark.parametrize("fallback", FALLBACKS)
def test_trees_are_ended_without(anybody: Driver, fallback: str) -> None:
    variable, hidden = FALLBACKS[fallback]
    anybody.env[variable] = "1"
    mark = str(secrets.randbelow(10**12)).rjust(12, "6")
    kinds = {name: kind for name, kind in KINDS.items() if name not in hidden}
    ids = put(anybody, mark, kinds)
    anybody.start("--count", str(len(ids)))
    until(lambda: lines(anybody.folder / "up") == len(ids), "every tree is up")
    anybody.run("cancel", *ids)
    assert {anybody.job(id)["state"] for id in ids} == {"cancelled"}
    assert processes_with(mark) == []


@pytest.mark.parametrize("fallback", FALLBACKS)
def test_a_dead_worker_is_survived_without(driver: Driver, fallback: str) -> None:
    driver.env[FALLBACKS[fallback][0]] = "1"
    mark = str(secrets.randbelow(10**12)).rjust(12, "5")
    id = driver.enqueue(f'[ "$QUEUECTL_ATTEMPT" = 2 ] || {{ (setsid sleep 1000.{mark} &); sleep 1000.{mark}; }}')
    pool = driver.start("--count", "1", "--until-empty")
    worker = driver.worker_of(id)
    until(lambda: len(processes_with(f"1000.{mark}")) >= 3, "the tree is up")
    os.kill(worker["pid"], signal.SIGKILL)
    assert pool.end() == 0
    assert driver.job(id)["attempts"] == 2
    assert processes_with(mark) == []
