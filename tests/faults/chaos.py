"""Random deaths under load, judged by a journal that the jobs write and by the list of acknowledged enqueues.

The journal is the evidence: each attempt appends a line at its start and at its end, in one write. The checker joins it
with what was acknowledged, with the rows and with their attempts, and says what does not hold.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from driver import Driver, PoolProcess, processes_with, until

from queuectl.core.rundir import list_lanes, list_pools, list_workers, live_keepers

LINE = (
    'j() {{ echo "$1 $QUEUECTL_JOB_ID $QUEUECTL_ATTEMPT $(date +%s%N)" >> {journal}; }}; '
    "j start; {middle} j end; : {mark}"
)
TICKER = (
    '(setsid sh -c \'while :; do echo "tick $QUEUECTL_JOB_ID $QUEUECTL_ATTEMPT $(date +%s%N)" >> {journal}; '
    "sleep 0.02; done; : {mark}' &); sleep 0.0{n};"
)
#: Over in a millisecond, since nothing is forked: many of them in a row let a pool claim ahead.
SWIFT = (
    'j() {{ read t _ < /proc/uptime; echo "$1 $QUEUECTL_JOB_ID $QUEUECTL_ATTEMPT ${{t%.*}}${{t#*.}}0000000"'
    " >> {journal}; }}; j start; j end; : {mark}"
)
#: What jobs do between their two lines; some leave a ticker behind that notes when it should be gone.
MIDDLES = ("", "sleep 0.0{n};", "sleep 0.0{n};", "(while :; do j tick; sleep 0.02; done) & sleep 0.0{n};", TICKER)


class Plan(NamedTuple):
    jobs: int
    kills: int
    seed: int
    pools: int = 2
    workers: int = 2


class Figures(NamedTuple):
    """What a run did and what it showed."""

    jobs: int
    kills: int
    restarts: int
    kills_ahead: int  # while a worker had more than one lane, as it has while jobs are short
    lost_attempts: int
    extra_runs: int
    rescue_median_s: float  # seconds from the death of a worker to its job being due again, its jitter included
    rescue_p99_s: float


class Chaos:
    """One run of a plan."""

    def __init__(self, driver: Driver, plan: Plan, prefix: Sequence[str] = ()) -> None:
        self.driver = driver
        self.prefix = prefix  # words before a pool's command
        self.plan = plan
        self.random = random.Random(plan.seed)
        self.mark = f"chaos-{plan.seed}-{os.getpid()}"
        self.journal = driver.folder / "journal"
        self.acknowledged: list[str] = []
        self.pools: list[PoolProcess] = []
        self.kills = self.restarts = self.ahead = 0
        self.hit: dict[tuple[str, int], int] = {}  # attempts whose worker was killed, and when (ns)

    def run(self) -> Figures:
        print(f"seed {self.plan.seed}")
        self.pools = [self._pool() for _ in range(self.plan.pools)]
        while self.kills < self.plan.kills or len(self.acknowledged) < self.plan.jobs:
            self._enqueue()
            time.sleep(self.random.uniform(0.02, 0.25))
            if self.kills < self.plan.kills:
                self._strike()
            self._staff()
        until(self._drained, "every job has ended", deadline=120)
        self.driver.run("worker", "stop", "--timeout", "30")
        return self._judge()

    # -- doing ------------------------------------------------------------------------------------

    def _pool(self) -> PoolProcess:
        return self.driver.start("--count", str(self.plan.workers), prefix=self.prefix)

    def _staff(self) -> None:
        """Start a new pool for each dead one; sometimes two at once."""
        alive = [pool for pool in self.pools if pool.popen.poll() is None]
        while len(alive) < self.plan.pools:
            alive.append(self._pool())
        self.pools = alive

    def _enqueue(self) -> None:
        left = self.plan.jobs - len(self.acknowledged)
        if left <= 0:
            return
        swift = self.random.random() < 0.3
        n = self.plan.jobs / max(1, self.plan.kills) * self.random.uniform(0.5, 1.5) * (1.8 if swift else 0.66)
        lines = []
        for _ in range(min(left, max(1, round(n)))):
            if swift:
                lines.append(SWIFT.format(journal=self.journal, mark=self.mark))
                continue
            middle = self.random.choice(MIDDLES).format(
                n=self.random.randrange(1, 10), journal=self.journal, mark=self.mark
            )
            lines.append(LINE.format(journal=self.journal, middle=middle, mark=self.mark))
        self.acknowledged += self.driver.run("enqueue", "-", input="\n".join(lines) + "\n").stdout.split()

    def _strike(self) -> None:
        """Kill one of ours, or several at once, or let a pool restart."""
        run_dir = str(self.driver.run_dir)
        draw = self.random.random()
        pools = [record.pid for record in list_pools(run_dir) if record.alive]
        workers = [record for record in list_workers(run_dir) if record.alive]
        if max(Counter(record.worker for record in list_lanes(run_dir)).values(), default=0) > 1:
            self.ahead += 1
        if draw < 0.1 and pools:
            os.kill(self.random.choice(pools), signal.SIGUSR2)
            self.restarts += 1
            return
        if draw < 0.45 and pools:
            self._kill(self.random.choice(pools))
        elif draw < 0.85 and workers:
            victim = self.random.choice(workers)
            if victim.job is not None:
                self.hit.setdefault((victim.job.id, victim.job.attempt), time.time_ns())
            self._kill(victim.pid)
        elif keepers := live_keepers(run_dir):
            self._kill(self.random.choice(keepers))

    def _kill(self, pid: int) -> None:
        try:
            os.kill(pid, signal.SIGKILL)
            self.kills += 1
        except ProcessLookupError:
            pass

    def _drained(self) -> bool:
        self._staff()
        counts = self.driver.json("status")["counts"]
        return not any(counts[state] for state in ("pending", "processing", "failed"))

    # -- judging ----------------------------------------------------------------------------------

    def _judge(self) -> Figures:
        starts: dict[tuple[str, int], list[int]] = defaultdict(list)
        lines: dict[str, list[tuple[int, int]]] = defaultdict(list)  # by job: (time, attempt)
        for line in self.journal.read_text().splitlines():
            word, id, attempt, at = line.split()
            lines[id].append((int(at), int(attempt)))
            if word == "start":
                starts[id, int(attempt)].append(int(at))
        rows = {row["id"]: row for row in self.driver.json("list", "--limit", str(10 * self.plan.jobs))}
        assert set(rows) == set(self.acknowledged), "what was acknowledged is what is there"
        lost = extra = 0
        rescues: list[float] = []
        for id, row in rows.items():
            history = self.driver.job(id)["attempt_history"] if row["attempts"] != 1 else None
            ends = ["exited"] if history is None else [attempt["ended"] for attempt in history]
            assert row["attempts"] == len(ends), f"job {id}: attempts are counted"
            poisoned = ends[-3:] == ["lost"] * 3
            assert row["state"] == ("dead" if poisoned else "completed"), (id, row, ends)
            assert all(end == "lost" for end in ends[:-1]), f"job {id}: {ends}"
            for attempt in range(1, len(ends) + 1):
                began = starts.get((id, attempt), [])
                assert len(began) <= 1, f"job {id} attempt {attempt} was run twice"
                if ends[attempt - 1] == "exited":
                    assert len(began) == 1, f"job {id} attempt {attempt} ended without having run"
            lost += ends.count("lost")
            extra += sum(len(starts.get((id, attempt), [])) for attempt in range(1, len(ends) + 1)) - 1
            newest = 0
            for _at, attempt in sorted(lines[id]):
                assert attempt >= newest, f"job {id}: a line of attempt {attempt} after attempt {newest} had begun"
                newest = max(newest, attempt)
            for attempt in history or ():
                hit = self.hit.get((id, attempt["number"]))
                if attempt["ended"] == "lost" and hit is not None and attempt["next_run_at"]:
                    due = datetime.fromisoformat(attempt["next_run_at"]).timestamp()
                    rescues.append(due - hit / 1e9)
        assert extra <= lost, f"{extra} extra runs for {lost} lost attempts"
        assert processes_with(self.mark) == [], "nothing of any job lives"
        assert set(starts) <= {(id, n) for id, row in rows.items() for n in range(1, row["attempts"] + 1)}
        self._nothing_left(self.driver.run_dir)
        rescues.sort()
        return Figures(
            len(rows),
            self.kills,
            self.restarts,
            self.ahead,
            lost,
            extra,
            statistics.median(rescues) if rescues else 0.0,
            rescues[int(len(rescues) * 0.99)] if rescues else 0.0,
        )

    def _nothing_left(self, run_dir: Path) -> None:
        """Pools are gone; what is left in ``run/`` belongs to nobody who lives."""
        assert [record for record in list_workers(str(run_dir)) if record.alive] == []
        assert [record for record in list_pools(str(run_dir)) if record.alive] == []
