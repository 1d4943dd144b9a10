"""Moving house: everything of one storage into another, directly or by way of a file of JSON lines.

A storage is told as a row of records: where it comes from, its queues, each job with its history and then, in pieces,
what its attempts printed, and an end, so that a file that was cut short is noticed. :func:`records` tells one,
:class:`Arrival` listens; ``core.exportlines`` makes lines of records and records of lines. Neither side holds more than
a few hundred jobs.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from queuectl.api.errors import BadInput
from queuectl.api.model import INLINE_OUTPUT, History, Job
from queuectl.core.outputs import STREAMS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from queuectl.api.storage import Storage

VERSION = 1
PIECE = 192 * 1024  # bytes of output in one record: 256 KiB as base64
BATCH = 200  # jobs that are written in one step: none holds up claims for long
WEIGHT = 4 << 20  # or so many bytes of their output


class Begin(NamedTuple):
    """The first record."""

    version: int
    at: int
    storage: str  # identity of where it comes from


class QueueSet(NamedTuple):
    """A queue, and how it is set."""

    name: str
    paused: bool
    pause_reason: str
    limit: int | None


class Moved(NamedTuple):
    """A job with its history."""

    job: Job
    history: History


class Piece(NamedTuple):
    """A part of what an attempt of the job before it printed."""

    id: str
    attempt: int
    stream: str
    offset: int
    size: int  # of the whole stream, as it was kept
    data: bytes


class End(NamedTuple):
    """The last record."""

    jobs: int


Record = Begin | QueueSet | Moved | Piece | End


# -- out ------------------------------------------------------------------------------------------


def records(storage: Storage) -> Iterator[Record]:
    """Everything that is to be moved. Jobs that change meanwhile are told as they are when their turn comes."""
    yield Begin(VERSION, time.time_ns() // 1_000_000, storage.identity)
    for stat in storage.stat():
        yield QueueSet(stat.name, stat.paused, stat.pause_reason, stat.limit)
    jobs = 0
    for batch in storage.export(batch=BATCH):
        for job, history in batch:
            jobs += 1
            yield Moved(job, history)
            for attempt in history.attempts:
                for stream in STREAMS:
                    yield from _pieces(storage, job.id, attempt.number, stream)
    yield End(jobs)


def _pieces(storage: Storage, id: str, attempt: int, stream: str) -> Iterator[Piece]:
    size = storage.output_size(id, attempt, stream)
    offset = 0
    while offset < size and (data := storage.read_output(id, attempt, stream, offset, PIECE)):
        yield Piece(id, attempt, stream, offset, size, data)
        offset += len(data)


# -- in -------------------------------------------------------------------------------------------


class Arrival:
    """Takes records into a storage. Taking the same ones again, after whatever went wrong, is harmless."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.jobs = 0  # in the records
        self.new = 0
        self.conflicts: list[str] = []  # ids of jobs that another one keeps out
        self.ended = False  # the last record has come
        self._pairs: list[tuple[Job, History]] = []
        self._outputs: dict[tuple[str, int, str], bytes] = {}
        self._weight = 0
        self._owner: Job | None = None  # whose pieces come now: as records have it
        self._here: Job | None = None  # the same as it is in this storage, once that was looked at
        self._present: tuple[str, int, str] | None = None  # a stream that is here already

    def add(self, record: Record) -> None:
        """Take one. BadInput for one that cannot stand there."""
        if self.ended:
            raise BadInput("nothing can follow the end")
        if isinstance(record, Moved):
            self._add_job(record)
        elif isinstance(record, Piece):
            self._add_piece(record)
        elif isinstance(record, QueueSet):
            self.storage.set_queue(
                record.name, paused=record.paused, reason=record.pause_reason, limit=record.limit, seed=True
            )
        elif isinstance(record, End):
            self.flush()
            self.ended = True
            if record.jobs != self.jobs:
                raise BadInput(f"there should be {record.jobs} jobs, and {self.jobs} were there")

    def flush(self) -> None:
        """Store what was taken so far."""
        pairs, outputs = self._pairs, self._outputs
        self._pairs, self._outputs, self._weight = [], {}, 0
        if not pairs:
            return
        self.new += self.storage.load(pairs, outputs=outputs)
        stored = self.storage.get([job.id for job, _ in pairs])
        for (job, _), there in zip(pairs, stored, strict=True):
            if there is None or not _is_same(job, there):
                self.conflicts.append(job.id)
            elif self._owner is job:
                self._here = there

    def _add_job(self, moved: Moved) -> None:
        if len(self._pairs) >= BATCH or self._weight >= WEIGHT:
            self.flush()
        self.jobs += 1
        self._owner, self._here, self._present = moved.job, None, None
        self._pairs.append((moved.job, moved.history))

    def _add_piece(self, piece: Piece) -> None:
        owner = self._owner
        if owner is None or owner.id != piece.id:
            raise BadInput(f"output of job {piece.id} does not stand behind that job")
        key = (piece.id, piece.attempt, piece.stream)
        if piece.size <= INLINE_OUTPUT and piece.offset == 0 and self._here is None:
            self._outputs[key] = piece.data
            self._weight += len(piece.data)
            return
        self.flush()
        if self._here is None:
            return  # another job keeps it out
        if piece.offset == 0 and self.storage.output_size(*key) >= piece.size:
            self._present = key
        if key != self._present:
            self.storage.put_output(self._here, piece.attempt, piece.stream, piece.offset, piece.data)


def _is_same(job: Job, there: Job) -> bool:
    """Whether a stored job is the one that was exported, whatever happened to it since."""
    return job.created_at == there.created_at and job.spec.command == there.spec.command


def copy(source: Storage, target: Storage) -> Arrival:
    """Everything of one storage into another."""
    arrival = Arrival(target)
    for record in records(source):
        arrival.add(record)
    return arrival
