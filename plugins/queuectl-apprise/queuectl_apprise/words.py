"""What a message says: a template in which names stand for what is known of an event.

A template is the owner's, what is filled in is whatever users put into their jobs. So it is filled in once, never read
as a template again, and is one line of printable text of bounded length.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from queuectl.api.model import Event

LONGEST = 500  # characters of one thing that is filled in
NOTHING = "-"
_NAME = re.compile(r"\{([a-z_]+)\}")

#: What a template may name. The command may hold secrets: it is sent only where a template asks for it.
FIELDS: dict[str, Callable[[Event], object]] = {
    "kind": lambda event: event.kind,
    "id": lambda event: event.job.id,
    "queue": lambda event: event.job.spec.queue,
    "state": lambda event: event.job.state.value,
    "reason": lambda event: event.job.reason,
    "tags": lambda event: ", ".join(event.job.spec.tags),
    "priority": lambda event: event.job.spec.priority,
    "attempts": lambda event: event.job.attempts,
    "tries": lambda event: event.job.tries,
    "losses": lambda event: event.job.losses,
    "exit_code": lambda event: None if event.outcome is None else event.outcome.exit_code,
    "duration": lambda event: None if event.outcome is None else event.outcome.duration,
    "at": lambda event: moment(event.at),
    "delivery": lambda event: event.delivery,
    "command": lambda event: event.job.spec.command,
}


def complaint_about(template: str) -> str | None:
    """What is wrong with a template; None if nothing is."""
    unknown = [name for name in _NAME.findall(template) if name not in FIELDS]
    if unknown:
        return f"there is no {{{unknown[0]}}}; there are {', '.join(FIELDS)}"
    return None if template.strip() else "expected some text"


def filled(template: str, event: Event) -> str:
    """The template with all that it names filled in."""
    return _NAME.sub(lambda match: plain(FIELDS[match[1]](event)), template)


def plain(value: object) -> str:
    """A value as one line of printable text."""
    text = NOTHING if value is None or value == "" else str(value)
    if len(text) > LONGEST:
        text = text[: LONGEST - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def moment(ms: int) -> str:
    """A time for people, in UTC; the number itself where no calendar has such a year."""
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, OSError, ValueError):
        return str(ms)
