"""Race: real processes at one storage, and processes that die at it. Clock: whose time it is."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import ClassVar

import pytest

from queuectl.api.model import State, Turn
from queuectl.api.storage import Storage

from .subject import NOW, OpenStorage, Subject, completed, counts_of, job, put, read, stat_of

DEADLINE = 60.0


class Child:
    """A process that runs a function with a line to write to, and ends without cleaning up."""

    def __init__(self, work: Callable[[Callable[[object], None]], None]) -> None:
        self._read, write = os.pipe()
        self.pid = _fork()
        if self.pid == 0:
            code = 1
            try:
                os.close(self._read)

                def say(word: object) -> None:
                    os.write(write, json.dumps(word).encode() + b"\n")

                work(say)
                code = 0
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(write)
        self._file = os.fdopen(self._read)

    def words(self, most: int | None = None) -> list[object]:
        """What it said, until it ends or has said so much."""
        said: list[object] = []
        while (most is None or len(said) < most) and (line := self._file.readline()):
            if line.endswith("\n"):
                said.append(json.loads(line))
        return said

    def kill(self) -> None:
        os.kill(self.pid, 9)

    def join(self) -> int:
        """Its exit code, negative for a signal."""
        _, status = os.waitpid(self.pid, 0)
        self._file.close()
        return os.waitstatus_to_exitcode(status)


def _fork() -> int:
    if sys.platform == "win32":
        raise NotImplementedError("set processes to False")
    return os.fork()


class RaceTests(Subject):
    """Several processes. Skipped by storages that live in one."""

    #: How many jobs are raced for. A storage that is slow, because it is small, may ask for less: from 100 on.
    race_jobs: ClassVar[int] = 4000
    #: How many processes race.
    racers: ClassVar[int] = 4

    @pytest.fixture
    def several(self) -> None:
        if not self.processes or sys.platform == "win32":
            pytest.skip("lives in one process")

    def test_each_job_is_claimed_exactly_once(self, open_storage: OpenStorage, several: None) -> None:
        """The promise that everything else rests on: no token is given twice, no job is left."""
        self.fill(open_storage, self.race_jobs)

        def work(say: Callable[[object], None]) -> None:
            storage = open_storage()
            pool = f"pool{os.getpid()}"
            exchange = storage.exchange(Turn(pool, want=7, now=NOW))
            while exchange.claims:
                say([claim.job.id for claim in exchange.claims])
                done = tuple([completed(claim) for claim in exchange.claims])
                exchange = storage.exchange(Turn(pool, done, want=7, now=NOW))
                assert exchange.refused == ()

        children = [Child(work) for _ in range(self.racers)]
        said = [word for child in children for word in child.words()]
        assert [child.join() for child in children] == [0] * self.racers
        claimed = Counter(id for ids in said for id in ids)  # type: ignore[attr-defined]
        assert len(claimed) == self.race_jobs and set(claimed.values()) == {1}
        storage = open_storage()
        assert counts_of(storage) == {"completed": self.race_jobs}
        assert stat_of(storage).runs == self.race_jobs and stat_of(storage).ready == 0
        storage.close()

    def test_a_limit_holds_while_many_claim(self, open_storage: OpenStorage, several: None) -> None:
        """Never one too many, at any moment that anybody can see."""
        n = min(300, self.race_jobs)
        self.fill(open_storage, n, limit=3)

        def work(say: Callable[[object], None]) -> None:
            storage = open_storage()
            pool = f"pool{os.getpid()}"
            settled: tuple[object, ...] = ()
            until = time.monotonic() + DEADLINE
            while time.monotonic() < until:
                claims = storage.exchange(Turn(pool, settled, want=2, now=NOW)).claims  # type: ignore[arg-type]
                stat = stat_of(storage)
                say(stat.counts[State.PROCESSING])
                settled = tuple([completed(claim) for claim in claims])
                if not claims and not stat.ready:
                    return

        children = [Child(work) for _ in range(self.racers)]
        running = [word for child in children for word in child.words()]
        assert [child.join() for child in children] == [0] * self.racers
        assert 1 <= max(running) <= 3  # type: ignore[type-var, operator]
        storage = open_storage()
        assert counts_of(storage) == {"completed": n}
        storage.close()

    def test_many_enqueue_at_once(self, open_storage: OpenStorage, several: None) -> None:
        """Every id is given once, and every job is there."""
        rounds = min(50, self.race_jobs // 20)

        def work(say: Callable[[object], None]) -> None:
            storage = open_storage()
            for _ in range(rounds):
                say(put(storage, job(), job()))

        children = [Child(work) for _ in range(self.racers)]
        ids = [id for child in children for word in child.words() for id in word]  # type: ignore[attr-defined]
        assert [child.join() for child in children] == [0] * self.racers
        assert len(set(ids)) == len(ids) == 2 * rounds * self.racers
        storage = open_storage()
        assert counts_of(storage) == {"pending": len(ids)}
        storage.close()

    def test_what_was_acknowledged_survives_a_kill(self, open_storage: OpenStorage, several: None) -> None:
        """When enqueue returned the job is there, whatever becomes of the process; and nobody is locked out."""

        def work(say: Callable[[object], None]) -> None:
            storage = open_storage()
            while True:
                say(put(storage, job("a"), job("b")))

        for rounds in (1, 5, 20):
            child = Child(work)
            said = child.words(rounds)
            child.kill()
            said += child.words()
            assert child.join() == -9
            storage = open_storage()
            ids = [id for word in said for id in word]  # type: ignore[attr-defined]
            assert all(found is not None for found in storage.get(ids))
            assert sum(counts_of(storage).values()) % 2 == 0, "half a call was stored"
            storage.close()

    def test_a_pool_killed_at_work_loses_nothing(self, open_storage: OpenStorage, several: None) -> None:
        """What it settled is settled, what it held is found, what it did not get is waiting; the counts agree."""
        n = min(500, self.race_jobs)
        self.fill(open_storage, n)

        def work(say: Callable[[object], None]) -> None:
            storage = open_storage()
            claims = storage.exchange(Turn("killed", want=5, now=NOW)).claims
            while claims:
                done = tuple([completed(claim) for claim in claims])
                claims = storage.exchange(Turn("killed", done, want=5, now=NOW)).claims
                say([settlement.id for settlement in done])

        child = Child(work)
        said = child.words(20)
        child.kill()
        said += child.words()
        child.join()
        storage = open_storage()
        settled = [id for word in said for id in word]  # type: ignore[attr-defined]
        assert {read(storage, id).state for id in settled} == {State.COMPLETED}
        held = storage.reap("heir", dead=["killed"], now=NOW)
        storage.exchange(Turn("heir", tuple([completed(claim) for claim in held]), now=NOW))
        left = storage.exchange(Turn("heir", want=n, now=NOW)).claims
        storage.exchange(Turn("heir", tuple([completed(claim) for claim in left]), now=NOW))
        assert counts_of(storage) == {"completed": n} and stat_of(storage).runs == n
        assert [finding for finding in storage.check() if finding.level == "error"] == []
        storage.close()

    def fill(self, open_storage: OpenStorage, n: int, limit: int | None = None) -> None:
        storage = open_storage()
        storage.set_queue("default", limit=limit, now=NOW)
        put(storage, *[job(str(number)) for number in range(n)])
        storage.close()  # a storage is not carried over a fork


class ClockTests(Subject):
    """Whose time it is."""

    def test_without_now_it_is_the_storages_time(self, storage: Storage) -> None:
        """In production nobody passes one: clocks of hosts differ. Ours and the storage's agree within minutes."""
        (receipt,) = storage.enqueue([job()])
        created = read(storage, receipt.id).created_at
        assert abs(created - time.time_ns() // 1_000_000) < 10 * 60_000
        (claim,) = storage.exchange(Turn("pool", want=1)).claims
        assert claim.job.updated_at >= created
        assert storage.stat()[0].counts[State.PROCESSING] == 1

    def test_time_may_stand_still_or_go_back(self, storage: Storage) -> None:
        """A clock that was set back loses no job and no order."""
        put(storage, job("a"), job("b"), now=NOW)
        put(storage, job("c"), now=NOW - 60_000)
        claims = storage.exchange(Turn("pool", want=3, now=NOW - 120_000)).claims
        settlements = tuple([completed(claim) for claim in claims])
        assert storage.exchange(Turn("pool", settlements, now=NOW - 180_000)).refused == ()
        assert len(claims) + stat_of(storage).counts[State.PENDING] == 3
