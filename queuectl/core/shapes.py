"""What a job, a queue and an attempt look like as JSON, on the command line and on the web alike.

Moments are RFC 3339 in UTC with milliseconds, spans are seconds. Keys are only ever added.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from queuectl.api.model import FINISHED, State
from queuectl.core.times import iso

if TYPE_CHECKING:
    from collections.abc import Iterable

    from queuectl.api.model import Attempt, History, Job, OutboxStat, QueueStat
    from queuectl.core.rundir import WorkerRecord


def job_shape(job: Job) -> dict[str, Any]:
    """One job as ``list --json`` shows it."""
    spec, settings, outcome = job.spec, job.settings, job.outcome
    shape: dict[str, Any] = {
        "id": job.id,
        "command": spec.command,
        "argv": list(spec.argv) if spec.argv is not None else None,
        "state": job.state.value,
        "reason": job.reason,
        "queue": spec.queue,
        "priority": spec.priority,
        "attempts": job.attempts,
        "tries": job.tries,
        "losses": job.losses,
        "max_retries": settings.max_retries,
        "run_at": iso(job.run_at),
        "created_at": iso(job.created_at),
        "updated_at": iso(job.updated_at),
        "ended_at": iso(job.updated_at) if job.state in FINISHED else None,
        "timeout_sec": settings.timeout,
        "exit_code": outcome.exit_code if outcome is not None else None,
        "duration_sec": outcome.duration if outcome is not None else None,
        "tags": list(spec.tags),
        "unique_key": spec.unique_key,
        "cwd": spec.cwd,
        "env": masked(spec.env),
        "executor": settings.executor,
        "backoff": settings.backoff,
        "cancel": job.cancel,
        "pool": job.pool,
    }
    return shape


_SECRET = ("pass", "secret", "token", "key", "auth", "cred", "dsn")


def masked(env: Any) -> dict[str, str]:
    """Variables with the values of those that look like secrets as dots, and passwords in addresses too."""
    return {
        name: "••••" if any(word in name.lower() for word in _SECRET) else _without_password(value)
        for name, value in env.items()
    }


def _without_password(value: str) -> str:
    if "://" not in value or "@" not in value:
        return value
    import re

    return re.sub(r"(?<=://)[^/@\s]*:[^/@\s]*(?=@)", "••••", value)


def attempt_shape(attempt: Attempt) -> dict[str, Any]:
    """One ended attempt as ``show --json`` shows it."""
    outcome = attempt.outcome
    return {
        "number": attempt.number,
        "ended": outcome.kind.value,
        "exit_code": outcome.exit_code,
        "started_at": iso(outcome.started_at) if outcome.started_at else None,
        "ended_at": iso(outcome.ended_at) if outcome.ended_at else None,
        "duration_sec": outcome.duration,
        "detail": outcome.detail,
        "state": attempt.state.value,
        "next_run_at": iso(attempt.run_at),
        "stdout_bytes": outcome.stdout_size,
        "stderr_bytes": outcome.stderr_size,
        "processes_left": outcome.left,
        "pool": attempt.pool,
    }


def detail_shape(job: Job, history: History, waits: str | None = None) -> dict[str, Any]:
    """One job with all that happened to it as ``show --json`` shows it. *waits* says why it is not running."""
    return {
        **job_shape(job),
        "waits": waits,
        "attempt_history": [attempt_shape(attempt) for attempt in history.attempts],
        "events": [
            {"at": iso(audit.at), "action": audit.action, "actor": audit.actor, "note": audit.note}
            for audit in history.audits
        ],
    }


def queue_shape(stat: QueueStat) -> dict[str, Any]:
    """One queue as ``queue list --json`` shows it."""
    return {
        "name": stat.name,
        **{state.value: stat.counts.get(state, 0) for state in State},
        "ready": stat.ready,
        "oldest_due": iso(stat.oldest_due),
        "paused": stat.paused,
        "pause_reason": stat.pause_reason,
        "concurrency": stat.limit,
    }


def outbox_shape(stat: OutboxStat) -> dict[str, Any]:
    """What waits for one notifier, and what became of the rest, as ``status --json`` shows it."""
    return {
        "notifier": stat.target,
        "waiting": stat.waiting,
        "oldest_at": iso(stat.oldest_at),
        "next_try_at": iso(stat.due_at),
        "delivered": stat.delivered,
        "dropped": stat.dropped,
        "error": stat.error or None,
        "error_at": iso(stat.error_at),
    }


def counts_of(stats: Iterable[QueueStat]) -> dict[str, int]:
    """How many jobs are in each state, over all queues; ``dlq`` is another word for ``dead``."""
    counts = {state.value: 0 for state in State}
    for stat in stats:
        for state, n in stat.counts.items():
            counts[State(state).value] += n
    counts["dlq"] = counts["dead"]
    return counts


def average_of(stats: Iterable[QueueStat]) -> float | None:
    """The mean duration in seconds of all attempts that ended; None when none has."""
    stats = list(stats)
    runs = sum(stat.runs for stat in stats)
    return round(sum(stat.run_ms for stat in stats) / runs / 1000, 3) if runs else None


def why_waiting(job: Job, stat: QueueStat | None, now: int) -> str | None:
    """Why a waiting job does not run: ``scheduled``, ``backoff``, ``paused: …``, ``limit of 2 reached`` or ``next``."""
    if job.state not in (State.PENDING, State.FAILED):
        return None
    if job.run_at > now:
        return f"{'backoff' if job.state is State.FAILED else 'scheduled'}: due at {iso(job.run_at)}"
    if stat is not None and stat.paused:
        return f"queue paused: {stat.pause_reason}" if stat.pause_reason else "queue paused"
    if stat is not None and stat.limit is not None and stat.counts.get(State.PROCESSING, 0) >= stat.limit:
        return f"queue limit of {stat.limit} running reached"
    return "due: waits for a free worker"


def worker_shape(record: WorkerRecord) -> dict[str, Any]:
    """One live worker as ``worker list --json`` shows it."""
    job = record.job
    return {
        "id": record.worker,
        "pid": record.pid,
        "pool": record.pool,
        "state": "idle" if job is None else "running" if job.outcome is None else "reporting",
        "job": None if job is None else job.id,
        "attempt": None if job is None else job.attempt,
        "started_at": iso(record.started_at),
        "job_started_at": None if job is None else iso(job.started_at),
    }
