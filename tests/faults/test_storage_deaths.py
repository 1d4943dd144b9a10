"""Processes die in the middle of a call to SQLite, many work at once: what was acknowledged is there."""

from __future__ import annotations

import os
import random
import time
from functools import partial
from pathlib import Path

import pytest
from load import Acknowledged, Say, work
from targets import SEED, report, target

from queuectl.builtin.sqlite.storage import SQLiteStorage
from queuectl.testing.subjects.race import Child


@pytest.mark.timeout(3600)
def test_a_process_killed_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    """Two work, both are killed, and the next two go on with the same file."""
    path = str(tmp_path / "queue.db")
    wanted = target(50, 1000)
    known = Acknowledged()
    with report("processes killed in the middle of a mixed load", wanted) as figure:
        figure.ran = 0
        for number in range(wanted):
            rng = random.Random(f"{SEED} {number}")
            figure.ran += 1
            children = [Child(partial(load, path, rng.random())) for _ in range(2)]
            heard = Acknowledged()
            for child in children:
                heard.hear(child.words(rng.randrange(1, 12)))
                time.sleep(rng.random() * 0.003)  # at any moment of the next call
                child.kill()
            for child in children:
                heard.hear(child.words())
                assert child.join() == -9
            known.enqueued |= heard.enqueued
            known.settled |= heard.settled
            known.deleting |= heard.deleting
            storage = SQLiteStorage(path)
            heard.deleting = known.deleting
            heard.check(storage)
            storage.close()
            figure.held += 1
    storage = SQLiteStorage(path)
    known.check(storage)
    storage.close()
    assert known.enqueued and known.settled and known.deleting


def load(path: str, seed: float, say: Say) -> None:
    storage = SQLiteStorage(path)
    work(storage, random.Random(seed), say, lambda: True)


@pytest.mark.timeout(600)
def test_sixteen_processes_do_not_meet_a_locked_database(tmp_path: Path) -> None:
    """Each call of each returns, none says that the database is locked or busy; the longest wait is bounded."""
    path = str(tmp_path / "queue.db")
    SQLiteStorage(path).close()
    seconds = target(4, 60)

    def busy(say: Say) -> None:
        storage = SQLiteStorage(path)
        end, calls, longest = time.monotonic() + seconds, 0, 0.0
        rng = random.Random(os.getpid())

        def going_on() -> bool:
            nonlocal calls, longest, last
            now = time.monotonic()
            calls, longest, last = calls + 1, max(longest, now - last), now
            return now < end

        last = time.monotonic()
        work(storage, rng, lambda _: None, going_on)
        say([calls, longest])
        storage.close()

    with report("16 processes of mixed load: seconds", seconds) as figure:
        children = [Child(busy) for _ in range(16)]
        said = [child.words() for child in children]
        assert [child.join() for child in children] == [0] * 16, "one of them ended with an error"
        counts = [(calls, longest) for ((calls, longest),) in said]  # type: ignore[misc]
        figure.held = seconds
        figure.more = {"calls": sum(calls for calls, _ in counts), "longest_call_s": max(wait for _, wait in counts)}
    assert min(calls for calls, _ in counts) > 5, "one of them starved"
    storage = SQLiteStorage(path)
    assert [finding for finding in storage.check() if finding.level != "ok"] == []
    storage.close()
