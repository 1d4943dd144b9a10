"""Pool, keeper, workers and jobs are killed at once, round after round on one storage: the next pool recovers all."""

from __future__ import annotations

import os
import random
import secrets
import signal
import time
from collections import Counter

import apsw
import pytest
from driver import Driver, PoolProcess, processes_with, until
from targets import SEED, report, target

from queuectl.api import trees
from queuectl.core.rundir import list_pools

ROUNDS = target(5, 100)
LIMIT = 2.0  # seconds from the start of the next pool until nothing of the dead one is left to settle
JOBS = 12
COMMAND = (
    'n() {{ echo "$QUEUECTL_JOB_ID $QUEUECTL_ATTEMPT $1" >> {folder}/journal; }}; n start; '
    "[ -e {folder}/calm ] || {middle}; n end; : {mark}"
)
#: What jobs do before the blow falls; some are over by then, some leave something behind.
MIDDLES = ("true", "sleep 0.05", "sleep 0.2", "sleep 1000", "{{ (setsid sleep 1000 &); sleep 1000; }}")


def descendants(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for each in found:
        found += trees.children(each)
    return found


class Rounds:
    """One storage that everybody who works on it dies away from."""

    def __init__(self, driver: Driver, seed: int) -> None:
        self.driver = driver
        self.random = random.Random(seed)
        self.mark = f"all-{seed}-{secrets.token_hex(4)}"
        self.acknowledged: list[str] = []
        self.calm = driver.folder / "calm"
        self.slowest = 0.0

    def journal(self) -> list[tuple[str, int, str]]:
        path = self.driver.folder / "journal"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(id, int(attempt), what) for id, attempt, what in map(str.split, lines)]

    def blow(self, number: int) -> None:
        """Fresh jobs, a pool at work on them, and the end of everybody at a random moment."""
        self.driver.env["QUEUECTL_NO_CGROUP"] = "1" if number % 2 else ""
        lines = []
        for _ in range(JOBS):
            middle = self.random.choice(MIDDLES).format()
            lines.append(COMMAND.format(folder=self.driver.folder, middle=middle, mark=self.mark))
        self.calm.unlink(missing_ok=True)
        self.acknowledged += self.driver.run("enqueue", "-", input="\n".join(lines) + "\n").stdout.split()
        started = len(self.journal())
        pool = self.driver.start("--count", "4")
        enough = started + self.random.randrange(0, 5)
        until(lambda: len(self.journal()) >= enough, "it is at work")
        victims = descendants(pool.pid)
        self.random.shuffle(victims)
        for pid in victims:
            trees.send(pid, signal.SIGKILL)
        pool.end()

    def recover(self) -> None:
        self.calm.touch()
        began = time.monotonic()
        pool = self.driver.launch("--count", "4", "--until-empty")
        until(lambda: self.is_alone(pool), "the next pool has settled all that the dead one held")
        took = time.monotonic() - began
        self.slowest = max(self.slowest, took)
        assert took < LIMIT, f"recovered after {took:.2f} s"
        assert pool.end() == 0
        with apsw.Connection(str(self.driver.db), flags=apsw.SQLITE_OPEN_READONLY) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert processes_with(self.mark) == []

    def is_alone(self, pool: PoolProcess) -> bool:
        return pool.popen.poll() is not None or [r.pid for r in list_pools(str(self.driver.run_dir))] == [pool.pid]

    def judge(self) -> None:
        rows = {row["id"]: row for row in self.driver.json("list", "--limit", str(10 * len(self.acknowledged)))}
        assert sorted(rows) == sorted(self.acknowledged)
        runs = Counter((id, attempt) for id, attempt, what in self.journal() if what == "start")
        assert {row["state"] for row in rows.values()} == {"completed"}
        assert [run for run, times in runs.items() if times > 1] == []
        for id, row in rows.items():
            assert row["attempts"] in (1, 2), row
            assert runs[id, row["attempts"]] == 1, row
        assert {path.name for path in self.driver.run_dir.iterdir()} <= {"takeover.lock"}


@pytest.mark.timeout(60 + 6 * ROUNDS)
def test_everything_dies_at_once_and_is_recovered_by_the_next_pool(driver: Driver) -> None:
    seed = SEED or int.from_bytes(os.urandom(4))
    print(f"seed {seed}")
    with report("everything dies at once", ROUNDS) as figure:
        rounds = Rounds(driver, seed)
        for number in range(ROUNDS):
            figure.ran = number + 1
            rounds.blow(number)
            rounds.recover()
            figure.held += 1
            figure.more["slowest_recovery_s"] = round(rounds.slowest, 2)
        rounds.judge()
