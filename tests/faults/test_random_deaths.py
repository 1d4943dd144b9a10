"""Kill anything at any time: every job ends once, where it can be seen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos import Chaos, Plan
from driver import NOBODY, Driver, until, whose
from targets import FULL, report, target

from queuectl.api import trees

PLAN_JOBS, PLAN_KILLS = target(340, 10_000), target(20, 500)


@pytest.fixture
def group(anybody: Driver, cgroup: bool) -> Iterator[list[str]]:
    """Words before a pool's command: they let an ordinary user have the control groups that systemd would give."""
    base = trees.cgroup_base()
    if not (cgroup and anybody.prefix and base):
        yield []
        return
    path = Path(f"{base}/queuectl-test-{os.getpid()}")
    path.mkdir()
    for name in ("", "cgroup.procs", "cgroup.subtree_control"):
        os.chown(path / name, NOBODY, NOBODY)
    yield ["sh", "-c", f'echo $$ > {path}/cgroup.procs && exec "$@"', "sh"]
    anybody.close()
    until(lambda: not (path / "cgroup.procs").read_text().split(), "the group is empty")
    for left in path.iterdir():
        if left.is_dir():
            left.rmdir()
    path.rmdir()


@pytest.mark.timeout(1800 if FULL else 300)
@pytest.mark.parametrize("cgroup", [True, False], ids=["with control groups", "without"])
def test_random_deaths(anybody: Driver, cgroup: bool, group: list[str]) -> None:
    if not cgroup:
        anybody.env["QUEUECTL_NO_CGROUP"] = "1"
    elif anybody.prefix and not FULL:
        pytest.skip("one variant of a normal user is enough for every run")
    seed = int(os.environ.get("QUEUECTL_SEED", "0")) or int.from_bytes(os.urandom(4))
    means = "with control groups" if cgroup else "without"
    with report(f"random kills {means}, as {whose(anybody)}", PLAN_KILLS) as figure:
        figures = Chaos(anybody, Plan(PLAN_JOBS, PLAN_KILLS, seed), group).run()
        figure.more = {key: value for key, value in figures._asdict().items() if key != "kills"}
        assert figures.kills_ahead or not FULL, "short jobs were under way when something was killed"
        assert figures.rescue_median_s < 1 and figures.rescue_p99_s < 3
        figure.held = figures.kills
    print(figures)
