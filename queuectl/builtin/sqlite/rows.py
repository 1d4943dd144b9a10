"""Rows and records: what stands in a column, and what it means."""

from __future__ import annotations

import json
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from queuectl.api.model import Attempt, Event, Job, NewJob, Outcome, OutcomeKind, State

from .database import FAULTS, Nonsense, unpack

if TYPE_CHECKING:
    from collections.abc import Callable

    from .database import Database

Row = ParamSpec("Row")
Record = TypeVar("Record")

#: The number of a state is its place here. Literal numbers stand in the SQL, where partial indexes need them.
STATES = (State.PENDING, State.FAILED, State.PROCESSING, State.COMPLETED, State.DEAD, State.CANCELLED)
NUMBER = {state: number for number, state in enumerate(STATES)}
PENDING, FAILED, PROCESSING, COMPLETED, DEAD, CANCELLED = range(6)
NOT_WAITING, READY, LATER = range(3)

#: The columns that ``job_of`` takes, in its order.
JOB_COLUMNS = (
    "seq, queue, state, rank, run_at, created_at, updated_at, attempts, tries, losses, token, cancel, asked_at, "
    "settings, environment, cwd, pool, id, ukey, reason, command, argv, extra"
)
#: The columns that ``attempt_of`` and ``outcome_of`` take.
ATTEMPT_COLUMNS = (
    "kind, code, started_at, ended_at, detail, stdout_size, stderr_size, left, id, token, pool, state, run_at"
)
ATTEMPT_BITS = 20


def attempt_id(seq: int, number: int) -> int:
    return (seq << ATTEMPT_BITS) + number


def job_id(seq: int, given: str | None) -> str:
    return str(seq) if given is None else given


def seq_of(db: Database, id: str) -> int | None:
    """The row of a job: an issued id is its number, a given one is looked up."""
    if id.isdecimal() and id.isascii():
        if len(id) > 18 or (id[0] == "0"):
            return None
        row = db.execute("SELECT seq FROM job WHERE seq = ? AND id IS NULL", (int(id),)).fetchone()
    else:
        row = db.execute("SELECT seq FROM job WHERE id = ?", (id,)).fetchone()
    return None if row is None else int(row[0])


def reads(decode: Callable[Row, Record]) -> Callable[Row, Record]:
    """A function that makes a record of a row: where it cannot, the row is damaged."""

    @wraps(decode)
    def decoded(*row: Row.args, **named: Row.kwargs) -> Record:
        try:
            return decode(*row, **named)
        except FAULTS as error:
            raise Nonsense(str(error)) from error

    return decoded


@reads
def job_of(db: Database, row: Any, outcome: Outcome | None = None) -> Job:
    """The job of a row of ``JOB_COLUMNS``; *outcome* is that of its latest ended attempt."""
    (
        seq, queue, state, rank, run_at, created_at, updated_at, attempts, tries, losses, token, cancel, asked_at,
        settings, environment, cwd, pool, given, ukey, reason, command, argv, extra,
    ) = row  # fmt: skip
    more = json.loads(extra) if extra else {}
    spec = NewJob(
        unpack(command),
        tuple(json.loads(argv)) if argv is not None else None,
        given,
        db.queue_name(queue),
        -rank,
        asked_at,
        ukey,
        tuple(more.get("tags", ())),
        None if cwd is None else db.text(cwd),
        more.get("env", {}),
        db.text(settings),
        db.text(environment),
    )
    return Job(
        job_id(seq, given), seq, spec, STATES[state], run_at, created_at, updated_at, attempts, tries, losses, token,
        pool, bool(cancel), reason, outcome,
    )  # fmt: skip


@reads
def outcome_of(row: Any) -> Outcome:
    kind, code, started_at, ended_at, detail, stdout_size, stderr_size, left = row[:8]
    return Outcome(OutcomeKind(kind), code, started_at, ended_at, detail, stdout_size, stderr_size, left)


@reads
def attempt_of(row: Any) -> Attempt:
    id, token, pool, state, run_at = row[8:]
    return Attempt(id & ((1 << ATTEMPT_BITS) - 1), token, pool, STATES[state], outcome_of(row), run_at)


def extra_of(job: NewJob) -> str | None:
    if not job.env and not job.tags:
        return None
    extra: dict[str, Any] = {}
    if job.env:
        extra["env"] = dict(job.env)
    if job.tags:
        extra["tags"] = job.tags
    return json.dumps(extra, separators=(",", ":"))


# -- events, for the outbox -------------------------------------------------------------------------


@reads
def event_of(text: str) -> Event:
    return Event.parse(text)
