"""An event as JSON, for programs: what the notifiers ``webhook`` and ``command`` send.

Keys are only ever added. A job's own variables, its captured environment and its settings are never in it, its command
only where that was asked for: they may hold secrets.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from queuectl.api.model import Event, Outcome


def document(event: Event, *, command: bool = False) -> bytes:
    """One JSON object in ASCII, in one line without its end."""
    job, spec = event.job, event.job.spec
    about: dict[str, Any] = {
        "id": job.id,
        "queue": spec.queue,
        "state": job.state.value,
        "reason": job.reason,
        "priority": spec.priority,
        "tags": list(spec.tags),
        "attempts": job.attempts,
        "tries": job.tries,
        "losses": job.losses,
        "created_at": moment(job.created_at),
        "run_at": moment(job.run_at),
    }
    if command:
        about["command"] = spec.command
    said = {
        "type": f"job.{event.kind}",
        "timestamp": moment(event.at),
        "delivery": event.delivery,
        "job": about,
        "outcome": None if event.outcome is None else _outcome(event.outcome),
    }
    return json.dumps(said, separators=(",", ":")).encode("ascii")


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "kind": outcome.kind.value,
        "exit_code": outcome.exit_code,
        "detail": outcome.detail,
        "started_at": moment(outcome.started_at) if outcome.started_at else None,
        "ended_at": moment(outcome.ended_at) if outcome.ended_at else None,
        "duration_sec": outcome.duration,
    }


def moment(ms: int) -> str | int:
    """RFC 3339 in UTC with milliseconds; the number itself where no calendar has such a year."""
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (OverflowError, OSError, ValueError):
        return ms
