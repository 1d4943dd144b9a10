"""Storing new jobs: for ``enqueue``, and for what a settlement brings along."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from queuectl.api.errors import BadInput, JobExists
from queuectl.api.model import Event, Job, NewJob, Receipt, State, targets_of

from . import statements
from .database import pack
from .rows import LATER, READY, extra_of, job_id
from .tally import READY_PLACE, STATE_PLACE, Tally

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from queuectl.api.model import Route

    from .database import Database

_SQL = statements.load("enqueue")
_CHUNK = 5000


def insert(
    db: Database, jobs: Iterable[NewJob], now: int, tally: Tally, routes: Sequence[Route] = ()
) -> tuple[list[Receipt], bool]:
    """Store *jobs* in a running transaction: their receipts, and whether one of them is due."""
    seq, age, tokens = db.execute(_SQL["counters"]).fetchone()
    db.begin_texts(age)
    first = seq
    batch = _Batch(db)
    receipts: list[Receipt] = []
    rows: list[tuple[Any, ...]] = []
    tags: list[tuple[str, int]] = []
    arrived: dict[int, int] = {}
    text_id, queue_id = db.text_id, db.queue_id
    any_due = False
    for job in jobs:
        if job.id is not None and (complaint := batch.complaint_about(job.id)) is not None:
            raise complaint
        if job.unique_key is not None and (holder := batch.holder(job.unique_key, job_id(seq, job.id))):
            receipts.append(Receipt(holder, False))
            continue
        run_at = now if job.run_at is None else job.run_at
        due = READY if run_at <= now else LATER
        queue = queue_id(job.queue)
        row = tally.row(queue)
        row[STATE_PLACE] += 1
        arrived[queue] = arrived.get(queue, 0) + 1
        if due == READY:
            row[READY_PLACE] += 1
            any_due = True
        rows.append(
            (
                seq,
                queue,
                due,
                -job.priority,
                run_at,
                now,
                now,
                job.run_at,
                text_id(job.settings),
                text_id(job.environment),
                None if job.cwd is None else text_id(job.cwd),
                job.id,
                0 if job.id is None else tokens,
                job.unique_key,
                job.command if job.command.isascii() else pack(job.command),
                None if job.argv is None else json.dumps(job.argv),
                extra_of(job) if job.env or job.tags else None,
            )
        )
        tags += [(tag, seq) for tag in job.tags]
        id = str(seq) if job.id is None else job.id
        receipts.append(Receipt(id, True))
        if routes and (targets := targets_of(routes, "enqueued", job)):
            from .outbox import put

            stored = Job(id, seq, job, State.PENDING, run_at, now, now, token=0 if job.id is None else tokens)
            put(db, targets, Event("enqueued", now, stored), now, tally)
        seq += 1
        if len(rows) >= _CHUNK:
            db.conn.executemany(_SQL["insert"], rows)
            rows.clear()
    db.conn.executemany(_SQL["insert"], rows)
    if tags:
        db.conn.executemany(_SQL["tag"], tags)
    if seq != first:
        db.execute(_SQL["advance"], (seq,))
        for queue, n in arrived.items():
            tally.enqueued(now, queue, n)
    return receipts, any_due


def storable(db: Database, jobs: Iterable[NewJob], unstored: list[str]) -> list[NewJob]:
    """Those of *jobs* that can have the ids they ask for; the ids of the others are added to *unstored*."""
    batch = _Batch(db)
    kept = []
    for job in jobs:
        if job.id is not None and batch.complaint_about(job.id) is not None:
            unstored.append(job.id)
        else:
            kept.append(job)
    return kept


class _Batch:
    """The ids and keys of one call, beside those in the file: rows are not written one by one."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._ids: set[str] = set()
        self._keys: dict[str, str] = {}

    def complaint_about(self, id: str) -> BadInput | JobExists | None:
        """Why a job cannot have this id; None: from now on it is taken."""
        if id.isdecimal() and id.isascii():
            return BadInput(f"the id {id} is a number: only issued ids are, give it a letter")
        if id in self._ids or self._db.execute(_SQL["has_id"], (id,)).fetchone():
            return JobExists(f"a job with the id {id} exists already")
        self._ids.add(id)
        return None

    def holder(self, key: str, id: str) -> str | None:
        """The unfinished job that has *key*; if there is none, it is now *id*."""
        if key in self._keys:
            return self._keys[key]
        row = self._db.execute(_SQL["has_key"], (key,)).fetchone()
        if row is not None:
            return job_id(*row)
        self._keys[key] = id
        return None


def enqueue(db: Database, jobs: Sequence[NewJob], routes: Sequence[Route], now: int) -> list[Receipt]:
    """All of *jobs* or none, in one transaction."""
    if not jobs:
        return []
    with db.writing:
        tally = Tally()
        receipts, _ = insert(db, jobs, now, tally, routes)
        tally.write(db)
    return receipts
