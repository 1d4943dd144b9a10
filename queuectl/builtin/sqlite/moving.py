"""Moving house: every job with its history out, and in again. Copies of the whole file are made by ``backup``."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from queuectl.api.model import FINISHED, WAITING, Attempt, Audit, History, Job
from queuectl.api.storage import arriving

from . import statements
from .changing import _SQL as _CHANGING
from .database import pack
from .enqueueing import _SQL as _ENQUEUE
from .exchange import _SQL as _EXCHANGE
from .exchange import keep_fault
from .rows import (
    ATTEMPT_BITS,
    ATTEMPT_COLUMNS,
    DEAD,
    JOB_COLUMNS,
    LATER,
    NOT_WAITING,
    NUMBER,
    READY,
    attempt_id,
    attempt_of,
    extra_of,
    job_of,
    seq_of,
)
from .tally import MS_PLACE, RUNS_PLACE, Tally

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .database import Database

_SQL = {
    name: text.replace("{job}", JOB_COLUMNS).replace("{attempt}", ATTEMPT_COLUMNS)
    for name, text in statements.load("moving").items()
}


# -- out ------------------------------------------------------------------------------------------


def export(db: Database, batch: int) -> Iterator[list[tuple[Job, History]]]:
    """Batches in order of number. What is stored while this goes on is not among them: it could go on for ever."""
    with db.reading:
        ((last,),) = db.execute(_SQL["newest"]).fetchall()
    seq = 0
    while last is not None and seq < last:
        with db.reading:
            pairs = _batch(db, seq, last, max(1, batch))
        if not pairs:
            return
        yield pairs
        seq = pairs[-1][0].seq


def _batch(db: Database, after: int, last: int, limit: int) -> list[tuple[Job, History]]:
    rows = db.execute(_SQL["jobs"], (after, last, limit)).fetchall()
    if not rows:
        return []
    first, final = rows[0][0], rows[-1][0]
    attempts: defaultdict[int, list[Attempt]] = defaultdict(list)
    for row in db.execute(_SQL["attempts"], (attempt_id(first, 0), attempt_id(final + 1, 0) - 1)):
        attempts[row[8] >> ATTEMPT_BITS].append(attempt_of(row))
    audits: defaultdict[int, list[Audit]] = defaultdict(list)
    for seq, *audit in db.execute(_SQL["audits"], (first, final)):
        audits[seq].append(Audit(*audit))
    pairs = []
    for row in rows:
        seq = row[0]
        ended = tuple(attempts[seq])
        job = job_of(db, row, ended[-1].outcome if ended else None)
        pairs.append((job, History(ended, tuple(audits[seq]))))
    return pairs


# -- in -------------------------------------------------------------------------------------------


def load(
    db: Database,
    jobs: Sequence[tuple[Job, History]],
    outputs: Mapping[tuple[str, int, str], bytes],
    now: int,
) -> int:
    """Insert those that are new, all in one transaction; how many."""
    if not jobs:
        return 0
    with db.writing:
        tally = Tally()
        following, age, tokens = db.execute(_ENQUEUE["counters"]).fetchone()
        db.begin_texts(age)
        next_seq = max([following, *[_number(job) + 1 for job, _ in jobs]])
        new = 0
        for job, history in jobs:
            seq = _place(db, job, next_seq)
            if seq is not None:
                next_seq = max(next_seq, seq + 1)
                _insert(db, arriving(job), history, seq, now, tally, tokens)
                _keep(db, job, history, seq, outputs, tally)
                new += 1
        if next_seq != following:
            db.execute(_ENQUEUE["advance"], (next_seq,))
        tally.write(db)
    return new


def _number(job: Job) -> int:
    """The number a job comes with: an issued id is its number here, wherever it came from."""
    return int(job.id) if job.spec.id is None else job.seq


def _place(db: Database, job: Job, free: int) -> int | None:
    """The number that a job is stored under; None if it is not. *free* is a number that nobody has."""
    if seq_of(db, job.id) is not None:
        return None
    key = job.spec.unique_key
    if key is not None and job.state not in FINISHED and db.execute(_ENQUEUE["has_key"], (key,)).fetchone():
        return None
    seq = _number(job)
    if not db.execute(_SQL["has_number"], (seq,)).fetchone():
        return seq
    return None if job.spec.id is None else free


def _insert(db: Database, job: Job, history: History, seq: int, now: int, tally: Tally, tokens: int) -> None:
    spec, state = job.spec, NUMBER[job.state]
    due = NOT_WAITING if job.state not in WAITING else READY if job.run_at <= now else LATER
    queue = db.queue_id(spec.queue)
    token = job.token if spec.id is None else max(job.token, tokens)
    row: tuple[Any, ...] = (
        seq, queue, state, due, -spec.priority, job.run_at, job.created_at, job.updated_at, job.attempts, job.tries,
        job.losses, token, spec.run_at, db.text_id(spec.settings), db.text_id(spec.environment),
        None if spec.cwd is None else db.text_id(spec.cwd), spec.id, spec.unique_key, job.reason, pack(spec.command),
        None if spec.argv is None else json.dumps(spec.argv), extra_of(spec),
    )  # fmt: skip
    db.execute(_SQL["insert"], row)
    if state == DEAD:
        keep_fault(db, seq, job.reason)
    for tag in spec.tags:
        db.execute(_ENQUEUE["tag"], (tag, seq))
    db.execute(_CHANGING["delete_audits"], (seq,))  # that a former version left of a deleted job
    for audit in history.audits:
        db.execute(_SQL["audit"], (audit.at, seq, audit.action, audit.actor, audit.note))
    tally.move(queue, None, (state, due))


def _keep(
    db: Database,
    job: Job,
    history: History,
    seq: int,
    outputs: Mapping[tuple[str, int, str], bytes],
    tally: Tally,
) -> None:
    """The attempts of a job with their short output; in the figures of its queue, but in no histogram."""
    counts = tally.row(db.queue_id(job.spec.queue))
    for attempt in history.attempts:
        outcome = attempt.outcome
        db.execute(
            _EXCHANGE["attempt"],
            (
                attempt_id(seq, attempt.number), attempt.token, attempt.pool, NUMBER[attempt.state], attempt.run_at,
                outcome.kind.value, outcome.code, outcome.started_at, outcome.ended_at, outcome.detail,
                outcome.stdout_size, outcome.stderr_size, outcome.left,
                outputs.get((job.id, attempt.number, "stdout")), outputs.get((job.id, attempt.number, "stderr")),
            ),
        )  # fmt: skip
        counts[RUNS_PLACE] += 1
        counts[MS_PLACE] += max(0, outcome.ended_at - outcome.started_at)
