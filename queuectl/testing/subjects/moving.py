"""Moving: everything of one storage into another, and copies made while work goes on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event as Signal
from threading import Thread

import pytest

from queuectl.api.errors import Conflict, QueueCTLError
from queuectl.api.model import INLINE_OUTPUT, Action, History, Job, QueueStat, State, Where
from queuectl.api.storage import Ability, Storage, arriving
from queuectl.core import moving
from queuectl.testing.memory import MemoryStorage

from .subject import (
    MINUTE,
    NOW,
    OpenStorage,
    Subject,
    completed,
    counts_of,
    dead,
    ended,
    failed,
    hand_in,
    job,
    lost,
    need,
    one_in_each_state,
    put,
    put_one,
    read,
    stat_of,
    take,
    take_one,
)

LONG = os.urandom(3) * INLINE_OUTPUT


def filled(storage: Storage) -> None:
    """Jobs in every state, with all that can be said of a job, and a job with a past and with output of each size."""
    one_in_each_state(storage)
    put(
        storage,
        job(
            "everything", argv=("a", "b c"), id="named", queue="other", priority=7, run_at=NOW + MINUTE, cwd="/x",
            env={"A": "ü"}, settings='{"timeout":1.5}', environment='{"B":"\\u00e9"}',
        ),
        job("not UTF-8: \udcff", queue="other", priority=-1000),
    )  # fmt: skip
    storage.apply(Action.CANCEL, Where(ids=("named",)), actor="ann", note="why", now=NOW)
    storage.apply(Action.RETRY, Where(ids=("named",)), actor="bob", now=NOW)
    id = put_one(storage, command="past", priority=9)
    for ending in (failed, lost, dead):
        claim = take_one(storage, now=NOW + 10 * MINUTE)
        assert claim.job.id == id
        number = claim.job.attempts
        storage.put_output(claim.job, number, "stderr", 0, LONG)
        outcome = ended(stdout_size=5, stderr_size=len(LONG))
        hand_in(storage, ending(claim, stdout=b"out %d" % number, outcome=outcome, delay=0.0), now=NOW + 10 * MINUTE)


def told(storage: Storage) -> Sequence[tuple[Job, History]]:
    return [pair for batch in storage.export(batch=2) for pair in batch]


def printed(storage: Storage, pairs: Sequence[tuple[Job, History]]) -> dict[tuple[str, int, str], bytes]:
    """All output that is kept, by where it is from."""
    return {
        (job.id, attempt.number, stream): data
        for job, history in pairs
        for attempt in history.attempts
        for stream in ("stdout", "stderr")
        if (data := storage.read_output(job.id, attempt.number, stream, 0, 1 << 20))
    }


def arrived(pairs: Sequence[tuple[Job, History]]) -> list[tuple[Job, History]]:
    return [(arriving(job), history) for job, history in pairs]


def figures(storage: Storage) -> Sequence[QueueStat]:
    """The counts of every queue, as if what ran waited: it does where it arrives."""
    found = []
    for stat in storage.stat(now=NOW):
        counts = dict(stat.counts)
        counts[State.PENDING] += counts[State.PROCESSING]
        found.append(stat._replace(counts=counts | {State.PROCESSING: 0}, ready=0, oldest_due=None))
    return found


class MovingTests(Subject):
    """Export and load."""

    def test_what_is_loaded_is_what_was_exported(self, storage: Storage) -> None:
        """Ids, history and times are kept; loading again changes nothing."""
        need(storage, Ability.MOVING)
        one_in_each_state(storage)
        storage.apply(Action.RETRY, Where(states=(State.DEAD,)), actor="ann", now=NOW)
        before = told(storage)
        storage.apply(Action.DELETE, Where(), now=NOW)
        assert storage.load(before) == len(before) - 1
        assert storage.load(before) == 0
        assert told(storage) == before

    @pytest.mark.parametrize("way", ["in", "out"])
    def test_a_whole_storage_moves(self, storage: Storage, way: str) -> None:
        """Attempts, audits, output, counters and how queues are set are the same where they arrive."""
        need(storage, Ability.MOVING)
        source, target = (MemoryStorage(), storage) if way == "in" else (storage, MemoryStorage())
        filled(source)
        source.set_queue("other", paused=True, reason="move", limit=3, now=NOW)
        moving.copy(source, target)
        pairs = told(source)
        assert told(target) == arrived(pairs)
        assert printed(target, pairs) == printed(source, pairs)
        assert figures(target) == figures(source)
        again = moving.copy(source, target)
        assert (again.jobs, again.new, again.conflicts) == (len(pairs), 0, [])
        assert told(target) == arrived(pairs)
        assert figures(target) == figures(source)

    def test_what_was_running_arrives_as_pending(self, storage: Storage) -> None:
        """Nobody runs it there. Its attempt is given back, as no outcome of it will come; its place is kept."""
        need(storage, Ability.MOVING)
        source = MemoryStorage()
        ids = put(source, job("a"), job("b"))
        take(source, 2)
        source.apply(Action.CANCEL, Where(ids=(ids[1],)), now=NOW)
        assert storage.load(told(source), now=NOW) == 2
        first, second = read(storage, ids[0]), read(storage, ids[1])
        assert (first.state, first.attempts, first.pool, first.run_at) == (State.PENDING, 0, None, NOW)
        assert (second.state, second.attempts, second.cancel) == (State.CANCELLED, 0, False)
        claim = take_one(storage)
        assert (claim.job.id, claim.job.attempts) == (ids[0], 1)
        assert claim.token > 1, "a settlement that comes late from there has no token here"

    def test_what_was_loaded_runs_in_its_order(self, storage: Storage) -> None:
        """Due, later, and high priorities first, as where it came from."""
        need(storage, Ability.MOVING)
        source = MemoryStorage()
        put(source, job("later", run_at=NOW + MINUTE), job("b"), job("c"), job("first", priority=1))
        storage.load(list(reversed(told(source))), now=NOW)
        assert [claim.job.spec.command for claim in take(storage, 9)] == ["first", "b", "c"]
        assert [claim.job.spec.command for claim in take(storage, 9, now=NOW + MINUTE)] == ["later"]

    def test_short_output_comes_with_its_job_and_long_output_after_it(self, storage: Storage) -> None:
        """What was put again is there once."""
        need(storage, Ability.MOVING)
        source = MemoryStorage()
        id = put_one(source)
        hand_in(source, completed(take_one(source)))
        storage.load(told(source), outputs={(id, 1, "stdout"): b"short", (id, 2, "stdout"): b"of nobody"})
        (stored,) = storage.get([id])
        assert stored is not None
        for offset in (0, INLINE_OUTPUT, INLINE_OUTPUT):
            storage.put_output(stored, 1, "stderr", offset, LONG[offset : offset + INLINE_OUTPUT])
        assert storage.read_output(id, 1, "stdout") == b"short"
        assert storage.read_output(id, 1, "stderr", 0, 1 << 20) == LONG[: 2 * INLINE_OUTPUT]

    def test_numbers_go_on_after_the_highest_loaded(self, storage: Storage) -> None:
        """An issued id is never given twice."""
        need(storage, Ability.MOVING)
        id = put_one(storage)
        pairs = told(storage)
        storage.apply(Action.DELETE, Where(), now=NOW)
        storage.load([(pair[0]._replace(seq=500, id="500"), pair[1]) for pair in pairs])
        assert int(put_one(storage)) > 500 > int(id)

    def test_a_job_that_is_there_is_left_alone(self, storage: Storage) -> None:
        """Whatever came of it since; and one of another storage that has its id."""
        need(storage, Ability.MOVING)
        source = MemoryStorage()
        put(source, job("theirs"), job("named", id="n"))
        ours = put(storage, job("ours"))
        hand_in(storage, completed(take_one(storage)))
        assert storage.load(told(source)) == 1
        assert read(storage, ours[0]).spec.command == "ours"
        assert read(storage, "n").spec.command == "named"
        assert moving.copy(source, storage).conflicts == ["1"]

    def test_a_named_job_gives_way_with_its_number(self, storage: Storage) -> None:
        """Its id is its name; the number is only the order in which jobs came."""
        need(storage, Ability.MOVING)
        source = MemoryStorage()
        put(source, job("named", id="n"))
        claim = take_one(source)
        source.put_output(claim.job, 1, "stdout", 0, LONG)
        hand_in(source, completed(claim))
        (ours,) = put(storage, job("ours"))
        assert moving.copy(source, storage).conflicts == []
        assert read(storage, ours).spec.command == "ours"
        assert read(storage, "n").seq > read(storage, ours).seq
        assert storage.read_output("n", 1, "stdout", 0, 1 << 20) == LONG
        assert int(put_one(storage)) > read(storage, "n").seq

    def test_a_key_that_is_taken_keeps_a_job_out(self, storage: Storage) -> None:
        """At most one unfinished job has it. Finished ones may come in any number."""
        need(storage, Ability.MOVING)
        need(storage, Ability.UNIQUE)
        source = MemoryStorage()
        for id in ("a", "b"):
            put(source, job(id=id, unique_key="k"))
            if id == "a":
                hand_in(source, completed(take_one(source)))
        put_one(storage, id="c", unique_key="k")
        assert storage.load(told(source)) == 1
        assert [found and found.id for found in storage.get(["a", "b"])] == ["a", None]

    def test_an_export_of_nothing_is_nothing(self, storage: Storage) -> None:
        """And loading nothing stores nothing."""
        need(storage, Ability.MOVING)
        assert told(storage) == [] and storage.load([]) == 0 and storage.stat() == []


class BackupTests(Subject):
    """A copy while work goes on."""

    @pytest.fixture
    def open_copy(self) -> Callable[[str], Storage]:
        """Returns a function that opens what ``backup`` wrote to a path."""
        raise NotImplementedError("give your suite a fixture `open_copy` that returns a function")

    @pytest.fixture
    def copy(self, storage: Storage, request: pytest.FixtureRequest) -> Iterator[Callable[[str], Storage]]:
        """As ``open_copy``, and closed after the test."""
        need(storage, Ability.BACKUP)
        opened: list[Storage] = []

        def copy(path: str) -> Storage:
            opened.append(request.getfixturevalue("open_copy")(path))
            return opened[-1]

        yield copy
        for each in opened:
            each.close()

    def test_a_copy_has_everything(self, storage: Storage, copy: Callable[[str], Storage], tmp_path: Path) -> None:
        """Output too, whatever its size; and what happens later is not in it."""
        filled(storage)
        pairs = told(storage)
        output, before = printed(storage, pairs), storage.stat(now=NOW)
        storage.backup(str(tmp_path / "copy"))
        put_one(storage)
        twin = copy(str(tmp_path / "copy"))
        assert told(twin) == pairs
        assert printed(twin, pairs) == output
        assert twin.stat(now=NOW) == before
        assert not [finding for finding in twin.check() if finding.level != "ok"]

    def test_a_copy_made_while_work_goes_on_is_of_one_moment(
        self, storage: Storage, open_storage: OpenStorage, copy: Callable[[str], Storage], tmp_path: Path
    ) -> None:
        """Each turn completes one job and enqueues its successor: in a copy there is always exactly one that waits."""
        put(storage, *[job("ballast " * 50, queue="ballast") for _ in range(5000)])
        put(storage, job("chain", queue="chain"))
        enough, stop = Signal(), Signal()
        turns = 0

        def work() -> None:
            nonlocal turns
            worker = open_storage()
            while not stop.is_set():
                for claim in take(worker, 1, queues={"chain": 1}):
                    hand_in(worker, completed(claim, then=(job("chain", queue="chain"),)))
                    turns += 1
                if turns >= 20:
                    enough.set()
            worker.close()

        thread = Thread(target=work)
        thread.start()
        try:
            assert enough.wait(60)
            for n in range(3):
                before = stat_of(storage, "chain").runs
                storage.backup(str(tmp_path / f"copy{n}"))
                after = stat_of(storage, "chain").runs
                twin = copy(str(tmp_path / f"copy{n}"))
                counts = counts_of(twin, "chain")
                assert counts.get("pending", 0) + counts.get("processing", 0) == 1
                assert before <= counts["completed"] <= after
                assert counts_of(twin, "ballast") == {"pending": 5000}
                assert not [finding for finding in twin.check() if finding.level != "ok"]
        finally:
            stop.set()
            thread.join()

    def test_a_copy_overwrites_nothing(self, storage: Storage, copy: Callable[[str], Storage], tmp_path: Path) -> None:
        """And where none can be made nothing is left."""
        path = tmp_path / "copy"
        path.write_bytes(b"mine")
        with pytest.raises(Conflict):
            storage.backup(str(path))
        assert path.read_bytes() == b"mine"
        with pytest.raises(QueueCTLError):
            storage.backup(str(tmp_path / "missing" / "copy"))
        assert not (tmp_path / "missing").exists()
