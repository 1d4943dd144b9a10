"""A disk that fails now and then: nothing is called stored that is not, and it goes on when the disk does."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from shaky import Disk
from targets import SEED, counted, report, target

from queuectl.api.errors import StorageBusy, StorageError, StorageFull
from queuectl.api.model import Action, Claim, Held, Settlement, State, Turn, Where
from queuectl.builtin.sqlite.storage import SQLiteStorage
from queuectl.testing.subjects.subject import NOW, completed, failed, job, read, released

#: apsw tells of each error of a file that SQLite swallowed, as it may: a checkpoint that did not come off comes later.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

_numbers = itertools.count()


@pytest.fixture
def disk() -> Iterator[Disk]:
    made = Disk(f"shaky{next(_numbers)}")
    yield made
    made.unregister()


def opened(path: Path, disk: Disk) -> SQLiteStorage:
    return SQLiteStorage(str(path), busy_seconds=0.2, vfs=disk.name)


class Life:
    """What a program does with a storage, and what it was told is stored."""

    def __init__(self, path: Path, disk: Disk, rng: random.Random) -> None:
        self.path, self.disk, self.rng = path, disk, rng
        self.storage: SQLiteStorage | None = None
        self.enqueued: set[str] = set()
        self.settled: dict[str, Settlement] = {}
        self.claims: list[Claim] = []
        self.ends: dict[str, Settlement] = {}  # what became of each: handed in again it is the same
        self.raised: set[str] = set()

    def step(self) -> None:
        """One call. What is raised is a sentence; what returns is kept in mind."""
        try:
            if self.storage is None:
                self.storage = opened(self.path, self.disk)
            self.call(self.storage)
        except StorageError as error:
            assert type(error) in (StorageError, StorageFull, StorageBusy), (type(error), error)
            assert str(self.path) in str(error) and "\n" not in str(error)
            self.raised.add(type(error).__name__)

    def call(self, storage: SQLiteStorage) -> None:
        kind = self.rng.randrange(10)
        if kind < 4:
            jobs = [job("x" * self.rng.choice((5, 3000))) for _ in range(self.rng.choice((1, 1, 20)))]
            self.enqueued.update(receipt.id for receipt in storage.enqueue(jobs, now=NOW))
        elif kind < 8:
            self.turn(storage)
        elif kind == 8:
            storage.apply(Action.RETRY, Where(states=(State.COMPLETED,)), limit=2, now=NOW)
            storage.stat(now=NOW)
        else:
            self.storage = None
            storage.close()

    def turn(self, storage: SQLiteStorage) -> None:
        """As a pool takes it: what is not known to be stored is handed in again."""
        for claim in self.claims:
            if f"{claim.job.id} {claim.token}" not in self.ends:
                end = self.rng.choice((completed, failed, released))(claim)
                self.ends[f"{claim.job.id} {claim.token}"] = end if end.released else end._replace(stdout=b"o" * 2000)
        done = [self.ends[f"{claim.job.id} {claim.token}"] for claim in self.claims]
        answer = storage.exchange(Turn("pool", tuple(done), want=5, now=NOW))
        assert answer.refused == ()
        self.settled |= {f"{s.id} {s.token}": s for s in done if not s.released}
        self.claims = list(answer.claims)

    def check(self) -> None:
        """With the disk in order again: everything acknowledged is there, nothing is half there."""
        self.disk.heal()
        if self.storage is not None:
            self.storage.close()
        storage = opened(self.path, self.disk)
        assert [job is not None for job in storage.get(sorted(self.enqueued))] == [True] * len(self.enqueued)
        for settlement in self.settled.values():
            history = storage.history(settlement.id)
            assert settlement.token in [attempt.token for attempt in history.attempts], settlement
        # A step that was refused because its sync failed may be found done when the file is opened anew: then what it
        # settled is settled, and what it claimed comes with the next heartbeat.
        known = [Held(claim.job.id, claim.token) for claim in self.claims]
        found = {claim.job.id for claim in storage.heartbeat("pool", known, lease=60, now=NOW).found}
        for claim in self.claims:
            assert read(storage, claim.job.id).token == claim.token or claim.job.id in found
        keys = [f"{claim.job.id} {claim.token}" for claim in self.claims]
        done = [self.ends[key] for key in keys if key in self.ends]
        assert storage.exchange(Turn("pool", tuple(done), now=NOW)).refused == ()
        assert [finding for finding in storage.check() if finding.level != "ok"] == []
        assert storage.enqueue([job()], now=NOW)
        storage.close()


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["open", "read", "write", "sync", "truncate", "delete", "any", "full"])
def test_nothing_is_called_stored_that_is_not(tmp_path: Path, disk: Disk, kind: str) -> None:
    wanted = target(6, 400)
    with report(f"I/O errors: {kind}", wanted) as figure:
        figure.ran = 0
        raised: set[str] = set()
        for seed in range(wanted):
            rng = random.Random(f"{SEED} {kind} {seed}")
            life = Life(tmp_path / f"{seed}.db", disk, rng)
            figure.ran += 1
            try:
                for _ in range(4):  # it works, it fails, it works again …
                    disk.heal()
                    for _ in range(rng.randrange(6)):
                        life.step()
                    disk.full = kind == "full"
                    every = rng.choice((1, 2, 3, 7, 20))
                    if kind != "full":
                        disk.plan = lambda what, n: kind in (what, "any") and n % every == 0  # noqa: B023
                    for _ in range(rng.randrange(12)):
                        life.step()
                life.check()
            except BaseException as error:
                error.add_note(f"seed {seed}, QUEUECTL_FAULTS_SEED={SEED}")
                raise
            raised |= life.raised
            figure.held += 1
        if kind in ("write", "sync", "any"):
            assert raised == {"StorageError"}
        if kind == "full":
            assert raised == {"StorageFull"}


def test_each_call_of_one_life_fails_once(tmp_path: Path, disk: Disk) -> None:
    """The n-th write, sync … of the same work, for every n: as SQLite tests itself."""
    counting = Life(tmp_path / "all.db", disk, random.Random(5))
    for _ in range(12):
        counting.step()
    counting.check()
    calls = {kind: n for kind, n in disk.calls.items() if kind != "read"}
    cases = [(kind, n) for kind, most in sorted(calls.items()) for n in range(1, most + 1, target(8, 1))]
    with report("I/O errors: each call of one life", counted(len(cases), sum(calls.values()))) as figure:
        for kind, nth in cases:
            disk.heal()
            disk.calls.clear()
            life = Life(tmp_path / f"{kind}{nth}.db", disk, random.Random(5))
            disk.plan = lambda what, n: (what, n) == (kind, nth)  # noqa: B023
            for _ in range(12):
                life.step()
            life.check()
            figure.held += 1


def test_a_storage_that_cannot_be_opened_says_so(tmp_path: Path, disk: Disk) -> None:
    disk.plan = lambda kind, _n: kind == "open"
    with pytest.raises(StorageError, match=r"queue\.db cannot be opened"):
        opened(tmp_path / "queue.db", disk)
    disk.heal()
    opened(tmp_path / "queue.db", disk).close()
