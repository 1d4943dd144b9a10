"""Moving house: every job with its history out, and in again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from queuectl.api.model import Audit, History, Job, State, fault_of
from queuectl.api.storage import arriving

from .looking import history_of
from .rows import CUT, NUMBER, Batch, attempt_text, audit_text, job_of, maybe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .link import Link

LOADED_JOBS, LOADED_BYTES = 50, 1 << 20  # that one script takes


def export(link: Link, batch: int) -> Iterator[list[tuple[Job, History]]]:
    """Lots in order of number. What is stored while this goes on is not among them: it could go on for ever."""
    last, after = link.step("newest"), b"0"
    while last and after < last:
        rows = link.step("export", after, last, max(1, batch))
        if not rows:
            return
        yield [(job_of(row), history_of(attempts, audits)) for row, attempts, audits in rows]
        after = rows[-1][0][0]


def load(
    link: Link,
    jobs: Sequence[tuple[Job, History]],
    outputs: Mapping[tuple[str, int, str], bytes],
    now: int | None,
) -> int:
    """Insert those that are new, in lots; how many. First the numbers are taken, so that none is issued meanwhile."""
    if not jobs:
        return 0
    highest = max(_number(job) for job, _ in jobs)
    new, batch, words, n = 0, Batch(), list[Any](), 0
    for job, history in jobs:
        words += _words(job, history, outputs, batch)
        n += 1
        if n >= LOADED_JOBS or sum(len(word) for word in words if isinstance(word, bytes)) > LOADED_BYTES:
            new += link.writes("load", highest, *batch.head(), n, *words, now=now)
            batch, words, n = Batch(), [], 0
    if n:
        new += link.writes("load", highest, *batch.head(), n, *words, now=now)
    return new


def _number(job: Job) -> int:
    """The number a job comes with: an issued id is its number here, wherever it came from."""
    return int(job.id) if job.spec.id is None else job.seq


def _words(job: Job, history: History, outputs: Mapping[tuple[str, int, str], bytes], batch: Batch) -> list[Any]:
    job = arriving(job)
    asked = batch.words(job.spec)
    asked[3] = job.run_at  # when it is due now, in place of when it was asked for
    latest = history.attempts[-1].number if history.attempts else 0
    fault = fault_of(job.spec.command, job.reason) if job.state is State.DEAD else ""
    words = [
        *asked, _number(job), NUMBER[job.state], job.created_at, job.updated_at, job.attempts, job.tries,
        job.losses, job.token, latest, job.reason, fault, len(history.attempts),
    ]  # fmt: skip
    for attempt in history.attempts:
        ms = max(0, attempt.outcome.ended_at - attempt.outcome.started_at)
        words += [attempt.number, attempt_text(attempt), ms]
        words += [maybe(outputs.get((job.id, attempt.number, stream))) for stream in ("stdout", "stderr")]
    return [*words, len(history.audits), *map(_audit, history.audits)]


def _audit(audit: Audit) -> str:
    return f"{audit.at}{CUT}{audit_text(audit.action, audit.actor, audit.note)}"
