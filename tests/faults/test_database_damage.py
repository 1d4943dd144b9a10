"""A damaged database: whatever is wrong with it, a sentence says so; nothing hangs, nothing is a traceback."""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from driver import Driver
from targets import SEED, report, target

from queuectl.api.errors import QueueCTLError
from queuectl.api.model import Action, Held, Route, State, Turn, Where
from queuectl.builtin.sqlite.storage import SQLiteStorage
from queuectl.testing.subjects.subject import NOW, completed, dead, failed, job, lost, one_in_each_state

PAGE = 4096


def fill(path: Path) -> None:
    """Something in every table and in every index."""
    storage = SQLiteStorage(str(path), durability="normal")
    one_in_each_state(storage)
    storage.set_queue("other", limit=3, actor="me", now=NOW)
    jobs = [
        job(f"work {n}", queue=("default", "other")[n % 2], priority=n % 3, tags=("t",), env={"A": "b"}, cwd="/srv",
            run_at=NOW + (n % 4) * 10_000, unique_key=f"k{n}", id=f"job-{n}", argv=("work", str(n)))
        for n in range(60)
    ]  # fmt: skip
    storage.enqueue(jobs, deliveries=(Route("mail"),), now=NOW)
    for ending in (completed, failed, dead, lost):
        claims = storage.exchange(Turn("p", want=6, now=NOW)).claims
        done = tuple([ending(claim)._replace(stdout=b"said " * 300) for claim in claims])
        storage.exchange(Turn("p", done, now=NOW))
    storage.apply(Action.CANCEL, Where(tags=("t",)), actor="me", limit=5, now=NOW)
    storage.close()


def damage(data: bytearray, rng: random.Random) -> None:
    """One of the ways in which files go wrong."""
    pages = len(data) // PAGE
    kind = rng.randrange(7)
    if kind == 0:  # single bits
        for _ in range(rng.choice((1, 1, 3, 20))):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 1:  # bytes
        for _ in range(rng.choice((1, 8, 200))):
            data[rng.randrange(len(data))] = rng.randrange(256)
    elif kind == 2:  # a page that was never written
        page = rng.randrange(pages)
        data[page * PAGE : (page + 1) * PAGE] = bytes(PAGE)
    elif kind == 3:  # a page in the place of another
        one, other = rng.randrange(pages), rng.randrange(pages)
        data[one * PAGE : (one + 1) * PAGE] = data[other * PAGE : (other + 1) * PAGE]
    elif kind == 4:  # the end is missing
        del data[rng.randrange(len(data)) :]
    elif kind == 5:  # the header
        data[rng.randrange(100)] = rng.randrange(256)
    else:  # noise
        start = rng.randrange(len(data))
        data[start : start + 512] = rng.randbytes(len(data[start : start + 512]))


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Nothing may hang."""

    def late(number: int, frame: Any) -> None:
        raise AssertionError(f"it took more than {seconds:g} s")

    was = signal.signal(signal.SIGALRM, late)
    left, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left)
        signal.signal(signal.SIGALRM, was)


def everything(storage: SQLiteStorage, folder: Path) -> Iterator[Callable[[], Any]]:
    """Every method, as different programs call them."""
    ids = [*map(str, range(1, 7)), *(f"job-{n}" for n in range(0, 60, 7))]
    now = NOW + 15_000
    places: list[Where] = [Where(), Where(text="work"), Where(tags=("t",)), Where(queues=("other",))]
    places += [Where(states=(state,)) for state in State]

    def pages(where: Where) -> None:
        cursor = storage.find(where, limit=30).cursor
        for _ in range(100):
            if cursor is None:
                return
            cursor = storage.find(where, limit=30, cursor=cursor).cursor

    def turn() -> None:
        claims = storage.exchange(Turn("p", want=9, now=now)).claims
        storage.exchange(Turn("p", tuple([completed(claim) for claim in claims]), want=3, now=now))

    yield lambda: storage.stat(now=now)
    yield from [lambda where=where: pages(where) for where in places]
    yield lambda: storage.get(ids)
    yield from [lambda id=id: storage.history(id) for id in ids]
    yield from [lambda id=id: storage.read_output(id, 1, "stdout") for id in ids]
    yield lambda: storage.output_size("job-1", 1, "stderr")
    yield lambda: storage.resolve("job-5")
    yield lambda: storage.samples(0, now)
    yield storage.pools
    yield lambda: list(storage.export())
    yield turn
    yield lambda: storage.heartbeat("p", [Held("1", 1)], lease=60, now=now)
    yield lambda: storage.reap("q", dead=["p", "pool"], now=now)
    yield lambda: storage.enqueue(
        [job("new", unique_key="k3"), job("new", tags=("t",))], deliveries=(Route("mail"),), now=now
    )
    yield lambda: storage.take_deliveries(now=now)
    yield storage.outbox
    yield lambda: storage.drop_deliveries(now)
    yield from [lambda action=action: storage.apply(action, Where(queues=("other",)), limit=20) for action in Action]
    yield lambda: storage.set_queue("other", limit=1)
    yield lambda: storage.leave("p")
    yield lambda: storage.backup(str(folder / "copy"))
    yield storage.check
    yield lambda: storage.prune(now + 1, limit=20)
    yield turn


def try_all(path: Path) -> set[str]:
    """Call everything; the kinds of what was raised, each of which must be a sentence of ours."""
    raised = set()
    storage = None
    try:
        storage = SQLiteStorage(str(path), durability="normal", busy_seconds=0.2)
        calls = everything(storage, path.parent)
    except QueueCTLError as error:
        calls = iter(())
        raised.add(spoken(error, path))
    for call in calls:
        try:
            call()
        except QueueCTLError as error:
            raised.add(spoken(error, path))
    if storage is not None:
        storage.close()
    return raised


def spoken(error: QueueCTLError, path: Path) -> str:
    assert "\n" not in str(error) and len(str(error)) > 20, error
    assert error.exit_code in (4, 75, 78), (type(error), error)
    return type(error).__name__


@pytest.mark.timeout(7200)
def test_damage_is_said_in_a_sentence(tmp_path: Path) -> None:
    good = tmp_path / "good.db"
    fill(good)
    whole = good.read_bytes()
    assert not Path(f"{good}-wal").exists(), "all of it is in the file"
    wanted = target(200, 5000)
    kinds: set[str] = set()
    with report("damaged databases", wanted) as figure:
        figure.ran = 0
        for seed in range(wanted):
            rng = random.Random(seed + SEED * 1_000_003)
            data = bytearray(whole)
            damage(data, rng)
            folder = tmp_path / "one"
            folder.mkdir()
            path = folder / "queue.db"
            path.write_bytes(data)
            figure.ran += 1
            try:
                with within(20):
                    kinds |= try_all(path)
            except BaseException as error:
                error.add_note(f"damage of seed {seed}, QUEUECTL_FAULTS_SEED={SEED}")
                raise
            figure.held += 1
            shutil.rmtree(folder)
    assert "StorageInvalid" in kinds


@pytest.mark.parametrize("seed", range(6))
def test_the_command_line_says_it_too(driver: Driver, seed: int) -> None:
    """With the exit status of its kind, for reading and for writing."""
    fill(driver.db)
    data = bytearray(driver.db.read_bytes())
    rng = random.Random(seed)
    while len(data) == driver.db.stat().st_size:  # at least one page less, and some more damage
        damage(data, rng)
        del data[len(data) - PAGE * rng.choice((0, 0, 1, 5)) :]
    driver.db.write_bytes(data)
    for words in (
        ("status",),
        ("list",),
        ("enqueue", "--", "true"),
        ("show", "job-3"),
        ("worker", "start", "--until-empty"),
    ):
        done = driver.run(*words, code=None)
        assert done.returncode in (0, 1, 3, 78), (words, done)
        assert done.returncode in (0, 1) or str(driver.db) in done.stderr or done.returncode == 3, (words, done.stderr)
