"""The notifier ``log``: one line of JSON for each event, to a file or to standard error."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from queuectl.api.markers import hookimpl
from queuectl.api.model import EVENT_KINDS
from queuectl.api.notifier import Notifier
from queuectl.api.providers import Option, Provider

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from queuectl.api.model import Event
    from queuectl.api.providers import Context


def _check_events(kinds: list[Any]) -> str | None:
    unknown = [repr(kind) for kind in kinds if kind not in EVENT_KINDS]
    return f"does not know {', '.join(unknown)}: choose from {', '.join(sorted(EVENT_KINDS))}" if unknown else None


OPTIONS = (
    Option("path", str, "", "the file to append to, made with mode 0600; empty: standard error", path=True),
    Option("events", list, [], "the kinds of event to write; empty: all", check=_check_events),
    Option("command", bool, False, "write the job's command too; it may hold secrets"),
)


class Log(Notifier):
    """Appends a line for each event.

    A batch is one ``write``, so that lines of several pools never mix. The file is opened for each batch: it may be
    moved away at any time and is then made anew. Bytes outside printable ASCII are escaped: whatever a job is called,
    it cannot end the line or reach a terminal.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._path = str(options.get("path") or "")
        self._kinds = frozenset(options.get("events") or EVENT_KINDS)
        self._command = bool(options.get("command", False))

    def notify(self, events: Sequence[Event]) -> None:
        lines = [line_of(event, command=self._command) for event in events if event.kind in self._kinds]
        if not lines:
            return
        data = "".join(lines).encode("ascii")
        if not self._path:
            _write(2, data)
            return
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            _write(file, data)
        finally:
            os.close(file)


def line_of(event: Event, *, command: bool = False) -> str:
    """One line of ASCII, ended by a newline and free of other control characters."""
    job, outcome = event.job, event.outcome
    fields: dict[str, Any] = {
        "at": _time(event.at),
        "action": event.kind,
        "job": job.id,
        "queue": job.spec.queue,
        "state": job.state,
        "attempt": job.attempts,
    }
    if outcome is not None:
        fields["exit_code"] = outcome.exit_code
        fields["duration_sec"] = outcome.duration
    if job.reason:
        fields["reason"] = job.reason
    if command:
        fields["command"] = job.spec.command
    return json.dumps(fields, separators=(",", ":")).replace("\x7f", "\\u007f") + "\n"


def _time(ms: int) -> str:
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (OverflowError, OSError, ValueError):  # no year that a calendar has: better the number than no line
        return str(ms)


def _write(file: int, data: bytes) -> None:
    """All of *data*: a full disk cuts a write short before it is an error."""
    while data:
        data = data[os.write(file, data) :]


def _open(options: Mapping[str, Any], _context: Context) -> Notifier:
    return Log(options)


@hookimpl
def queuectl_notifiers() -> Iterable[Provider[Notifier]]:
    yield Provider("log", _open, OPTIONS, summary="one line of JSON for each event, to a file or standard error")
