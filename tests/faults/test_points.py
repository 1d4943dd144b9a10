"""Death at every point: a pool, a keeper or a worker is hit at each labelled step of its work, by each signal.

``queuectl/work/points.py`` lets a process be hit where it stands. The jobs write a journal; what it says is joined
with the rows and their attempts. Whatever was hit, every job ends once, and only an attempt whose worker was hit while
it was under way is followed by another.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
from driver import Driver, PoolProcess, until
from gates import Gate
from targets import report

from queuectl.api.model import Turn
from queuectl.builtin.sqlite.storage import SQLiteStorage
from queuectl.core.rundir import list_pools, list_workers

SOURCES = Path(__file__).resolve().parents[2] / "queuectl"
KILL, TERM = "KILL", "TERM"

NOTE = 'n() {{ echo "$QUEUECTL_JOB_ID $QUEUECTL_ATTEMPT $1" >> {folder}/journal; }}; n start; '
SHORT = NOTE + "n end"
LARGE = NOTE + "head -c 100000 /dev/zero; n end"
RETRIED = NOTE + '[ "$QUEUECTL_TRY" -ge 2 ]'
#: So many in a row make a pace, and more.
MANY = 40
LONG = NOTE + "sleep 0.3; n end"
#: Takes its worker with it, once.
DEADLY = NOTE + '[ "$QUEUECTL_ATTEMPT" != 1 ] || kill -9 $PPID; n end'
VERDICT = "from queuectl.api import hookimpl\n\n@hookimpl\ndef queuectl_verdict(job, outcome):\n    return None\n"
#: Runs until the test opens the gate.
GATED = NOTE + "read word < {folder}/gate; n end"


class Group(NamedTuple):
    """Points that are struck one after the other in one run: a new process takes the place of each that was hit."""

    story: str  # the method of Story that brings processes to these points
    labels: tuple[str, ...]
    rerun: tuple[str, ...] = ()  # signals after which the attempt that was hit is followed by another


GROUPS = {
    "pool, at its start and end": Group(
        "work", ("pool.drafted", "pool.joined", "pool.worker-asked", "pool.hi-read", "pool.leaving", "pool.left")
    ),
    "pool, claiming": Group(
        "work", ("pool.before-exchange", "pool.claimed", "pool.job-sent", "pool.done-read", "pool.beat")
    ),
    "pool, settling": Group("work", ("pool.output-kept", "pool.settled", "pool.ack-sent")),
    "pool, ahead of short jobs": Group(
        "short_work", ("pool.lane-asked", "pool.given-back", "pool.return-sent", "pool.returned-read")
    ),
    "pool, burying a worker": Group("deadly_work", ("pool.worker-gone", "pool.tree-ended")),
    "pool, restarting": Group("restart", ("restart.checked", "restart.before-exec")),
    "pool, taking over": Group(
        "takeover",
        (
            "takeover.locked",
            "takeover.adopted",
            "takeover.tree-ended",
            "takeover.sorted",
            "takeover.adopt-sent",
            "takeover.hi-read",
            "takeover.settled",
            "takeover.workers-cleaned",
            "takeover.cleaned",
        ),
    ),
    "pool, inheriting from another host": Group("inheritance", ("takeover.inheriting", "takeover.inherited")),
    "keeper": Group("deadly_work", ("keeper.drafted", "keeper.asked", "keeper.forked", "keeper.tree-ended")),
    "keeper, burying": Group("deadly_work", ("keeper.swept", "keeper.told")),
    "worker, without a job": Group("work", ("worker.listening", "worker.drafted", "worker.born", "worker.hi-sent")),
    "worker, at the start of a job": Group("work", ("worker.job-read",)),
    "worker, job started": Group("work", ("worker.started", "worker.spawned"), (KILL, TERM)),
    "worker, job running": Group("lasting_work", ("worker.running", "worker.collected"), (KILL, TERM)),
    "worker, job ended": Group("work", ("worker.decided", "worker.done-sent", "worker.ack-read", "worker.files-reset")),
    "worker, with a job that lay ready": Group("short_work", ("worker.returned",), (KILL, TERM)),
    "worker, while a plugin decides": Group("decided_by_a_plugin", ("worker.ended",)),
    "worker, adopted": Group("takeover", ("worker.adopt-read",), (KILL, TERM)),
    "worker, just adopted": Group("takeover", ("worker.adopted",), (KILL, TERM)),
    "worker, alone": Group("alone", ("worker.result-kept",)),
}


class Story:
    """Brings processes to points, and then everything to an end."""

    def __init__(self, driver: Driver, labels: tuple[str, ...], number: str) -> None:
        self.driver = driver
        self.labels = labels
        self.mark = driver.folder / "struck"
        self.jobs: list[str] = []
        self.planned_losses = 0
        self.point = {
            "QUEUECTL_POINT": ",".join(labels),
            "QUEUECTL_POINT_SIGNAL": number,
            "QUEUECTL_POINT_MARK": str(self.mark),
        }
        driver.env["QUEUECTL_WORKER__HEARTBEAT"] = "0.2"

    # -- what can be told about it ----------------------------------------------------------------

    @property
    def struck(self) -> list[str]:
        return [label for label in self.labels if Path(f"{self.mark}.{label}").exists()]

    def __call__(self, story: str) -> None:
        rounds = 0
        while set(self.struck) != set(self.labels):
            rounds += 1
            assert rounds <= len(self.labels) + 1, f"never reached: {set(self.labels) - set(self.struck)}"
            getattr(self, story)()

    # -- the stories ------------------------------------------------------------------------------

    def work(self) -> None:
        self.put(SHORT, LARGE, SHORT, RETRIED)
        self.drain()

    def lasting_work(self) -> None:
        """Jobs that do not end at once, and so are named in the record."""
        self.put(LONG, SHORT, LONG)
        self.drain()

    def short_work(self) -> None:
        """Short jobs, so that others lie ready, and then some that let those wait."""
        self.put(*[SHORT] * MANY, LONG, LONG, SHORT, SHORT, SHORT)
        self.drain()

    def deadly_work(self) -> None:
        self.put(DEADLY, SHORT)
        self.planned_losses += 1
        self.drain()

    def decided_by_a_plugin(self) -> None:
        (self.driver.folder / "local.py").write_text(VERDICT)
        (self.driver.folder / "queuectl.toml").write_text('[plugins]\nfiles = ["./local.py"]\n')
        self.driver.env["QUEUECTL_CONFIG"] = str(self.driver.folder / "queuectl.toml")
        self.work()

    def takeover(self) -> None:
        """A pool dies that has one job running, one whose worker dies too, and one that is not handed over."""
        with self.gate() as open_gate:
            running, orphaned = self.put(GATED, GATED)
            pool = self.start()
            victim = self.driver.worker_of(orphaned)
            self.driver.worker_of(running)
            until(lambda: len(self.journal()) >= 2, "both run")
            pool.signal(signal.SIGKILL)
            pool.end()
            os.kill(victim["pid"], signal.SIGKILL)
            self.planned_losses += 1
            self.put(SHORT)
            before = set(self.struck)
            while set(self.struck) != set(self.labels):
                pool = self.start("--until-empty")
                self.await_hit(pool)
                if pool.popen.poll() is None:
                    break
                before = set(self.struck)
            open_gate()
            self.drain()
            assert before <= set(self.struck)

    def inheritance(self) -> None:
        """A pool of another host held a job, and may have run it, when its lease ran out."""
        self.put(SHORT)
        storage = SQLiteStorage(str(self.driver.db))
        (claim,) = storage.exchange(Turn("elsewhere", want=1, lease=0.001)).claims
        storage.close()
        self.planned_losses += 1
        self.drain()
        assert self.driver.job(claim.job.id)["attempts"] == 2, "the number of an attempt is given only once"

    def await_hit(self, pool: PoolProcess) -> None:
        """Wait until the pool has ended, every point was struck, or a takeover has left nothing of the dead pools."""

        def look() -> bool:
            if pool.popen.poll() is not None or set(self.struck) == set(self.labels):
                return True
            return [record.pid for record in list_pools(str(self.driver.run_dir))] == [pool.pid]

        until(look, "it was hit, or has taken over")

    def restart(self) -> None:
        with self.gate() as open_gate:
            (running,) = self.put(GATED)
            pool = self.start("--until-empty")
            self.driver.worker_of(running)
            until(self.journal, "it runs")
            before = self.struck
            pool.signal(signal.SIGUSR2)
            until(lambda: self.struck != before, "the point is reached")
            open_gate()
            self.drain()

    def alone(self) -> None:
        with self.gate() as open_gate:
            (running,) = self.put(GATED)
            pool = self.start()
            self.driver.worker_of(running)
            until(self.journal, "it runs")
            pool.signal(signal.SIGKILL)
            pool.end()
            open_gate()
            until(lambda: self.struck, "the worker has ended without a pool")
            self.drain()

    # -- means ------------------------------------------------------------------------------------

    def put(self, *commands: str) -> list[str]:
        lines = [
            json.dumps(
                {
                    "command": command.format(folder=self.driver.folder),
                    "backoff": "fixed",
                    "backoff_options": {"delay": 0.05},
                }
            )
            for command in commands
        ]
        ids = self.driver.run("enqueue", "-", input="\n".join(lines) + "\n").stdout.split()
        self.jobs += ids
        return ids

    def start(self, *words: str) -> PoolProcess:
        """A pool; it may be hit before it could say that it is up."""
        before = dict(self.driver.env)
        self.driver.env.update(self.point)
        try:
            return self.driver.launch("--count", "2", *words)
        finally:
            self.driver.env.clear()
            self.driver.env.update(before)

    def drain(self) -> None:
        """Let pools work until one of them has ended, unhit, because there was nothing left."""
        for _ in range(2 * len(self.labels) + 3):
            before = self.struck
            for pool in self.driver.pools:
                pool.end()
            if self.start("--until-empty").end() == 0 and self.struck == before:
                return
        raise AssertionError("it does not come to an end")

    def journal(self) -> list[tuple[str, int]]:
        """The attempts that were started, once for each time."""
        path = self.driver.folder / "journal"
        if not path.exists():
            return []
        words = [line.split() for line in path.read_text().splitlines()]
        return [(id, int(attempt)) for id, attempt, what in words if what == "start"]

    def gate(self) -> Gate:
        return Gate(self.driver.folder / "gate")

    # -- the judgement ----------------------------------------------------------------------------

    def judge(self, *, reruns: int) -> None:
        """*reruns*: how many attempts may have been followed by another because their worker was hit."""
        rows = {row["id"]: row for row in self.driver.json("list", "--limit", "1000")}
        assert set(rows) == set(self.jobs), "what was acknowledged is what is there"
        runs = Counter(self.journal())
        assert [run for run, times in runs.items() if times > 1] == [], "an attempt was run twice"
        again = 0
        for id, row in rows.items():
            assert row["state"] == "completed", (id, row)
            history = self.driver.job(id)["attempt_history"] if row["attempts"] > 1 else [{"ended": "exited"}]
            ends = [attempt["ended"] for attempt in history]
            assert len(ends) == row["attempts"], f"job {id}: attempts are counted"
            assert runs[id, row["attempts"]] == 1, f"job {id} completed without having run"
            assert {attempt for job, attempt in runs if job == id} <= set(range(1, row["attempts"] + 1))
            assert set(ends) <= {"exited", "lost", "interrupted"}
            again += sum(end != "exited" for end in ends)
            if 100_000 in (attempt.get("stdout_bytes") for attempt in history) or "100000" in row["command"]:
                assert len(self.driver.run("logs", id, "--stdout").stdout) == 100_000, f"job {id}: its output is whole"
        assert self.planned_losses <= again <= self.planned_losses + reruns, f"{again} attempts were lost"
        run_dir = str(self.driver.run_dir)
        assert [record.path for record in list_workers(run_dir) if record.alive] == []
        assert [record.path for record in list_pools(run_dir) if record.alive] == []
        assert list(self.driver.run_dir.glob("*.new")) == [], "who was killed while it made a file left nothing"


@pytest.mark.parametrize("number", [KILL, TERM])
@pytest.mark.parametrize("group", GROUPS)
def test_death_at_every_point(driver: Driver, group: str, number: str) -> None:
    plan = GROUPS[group]
    with report("death at every point", len(plan.labels)) as figure:
        story = Story(driver, plan.labels, number)
        story(plan.story)
        story.judge(reruns=len(plan.labels) if number in plan.rerun else 0)
        figure.held = len(plan.labels)


#: Struck by tests of their own: what a courier was doing is judged by what its receiver was told (test_outbox.py), and
#: runs that outlive their workers by what they ran in (test_taking_up.py).
ELSEWHERE = {"courier.taken", "courier.told", "worker.named"}


def test_every_point_of_the_code_is_struck() -> None:
    found = set()
    for path in SOURCES.rglob("*.py"):
        found |= set(re.findall(r'(?:reached\(|point=)"([a-z.-]+)"', path.read_text(encoding="utf-8")))
    struck = [label for group in GROUPS.values() for label in group.labels]
    assert sorted([*struck, *ELSEWHERE]) == sorted(found)


def test_a_draft_is_left_to_who_lives_and_made_again_if_it_is_gone(driver: Driver) -> None:
    struck = driver.folder / "struck"
    point = {"QUEUECTL_POINT": "pool.drafted", "QUEUECTL_POINT_SIGNAL": "STOP", "QUEUECTL_POINT_MARK": str(struck)}
    driver.env |= point
    pool = driver.launch("--until-empty")
    until(lambda: Path(f"{struck}.pool.drafted").exists(), "it makes its file")
    until(lambda: Path(f"/proc/{pool.pid}/stat").read_text().rpartition(") ")[2].startswith("T"), "it is stopped")
    (draft,) = driver.run_dir.glob("*.pool.new")
    assert driver.launch("--until-empty").end() == 0
    assert draft.exists(), "its maker lives"
    draft.unlink()
    pool.signal(signal.SIGCONT)
    assert pool.end() == 0
    assert list(driver.run_dir.glob("*.new")) == []
