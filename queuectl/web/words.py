"""How values read on a page: times, spans, sizes, and text that a job has had a hand in."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from queuectl.core.text import safe_line, safe_text
from queuectl.core.times import iso, local, span

if TYPE_CHECKING:
    from flask import Flask

#: Every state with a symbol, so that colour is never the only sign.
SYMBOLS = {
    "pending": "○",
    "processing": "◐",
    "completed": "✓",
    "failed": "↻",
    "dead": "✕",
    "cancelled": "⊘",
    "paused": "‖",
    "open": "▸",
    "idle": "○",
    "running": "◐",
    "reporting": "◑",
    "ok": "✓",
    "warning": "!",
    "error": "✕",
    "lost": "?",
    "interrupted": "↩",
}
#: The order in which pages show them: what is under way or needs somebody comes first.
STATES = ("pending", "processing", "failed", "dead", "completed", "cancelled")
SHORTENED = 400

#: Sequences by which a terminal is coloured or steered: they say nothing on a page.
_STEERING = re.compile(
    r"\x1b\[[0-9;:?<=>!]*[ -/]*[@-~]|\x1b\][^\x07\x1b\n]{0,4096}(?:\x07|\x1b\\)|\x1b[()][0-9A-Za-z]|\x9b[0-9;:?]*[@-~]"
)


def register(app: Flask) -> None:
    """Make these known to the templates of *app*."""
    app.jinja_env.filters.update(
        ago=ago,
        span=span_of,
        elapsed=elapsed,
        sentence=sentence,
        seconds=seconds,
        size=size,
        line=line,
        number=number,
        plural=plural,
        percent=percent,
        rate=rate,
    )
    app.jinja_env.filters["exact"] = exact
    app.jinja_env.globals.update(symbols=SYMBOLS)
    app.jinja_env.finalize = visible


def visible(value: Any) -> Any:
    """Whatever a template puts on a page, with what would disturb it made visible. What is escaped already stays."""
    return safe_text(value) if type(value) is str else value


def exact(value: Any) -> Markup:
    """For the value of a field: what comes back has to be what it was."""
    return escape(value)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def ago(moment: int | None, now: int | None = None) -> Markup:
    """A moment as it is seen from now, with the absolute one at hand."""
    if moment is None:
        return Markup('<span class="none">–</span>')
    left = moment - (now_ms() if now is None else now)
    if abs(left) < 1000:
        text = "now"
    else:
        text = f"in {rough(left)}" if left > 0 else f"{rough(-left)} ago"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(iso(moment), local(moment), text)


def rough(ms: int) -> str:
    """One unit and two digits are enough to read at a glance."""
    for unit, length, least in (("d", 86_400_000, 172_800_000), ("h", 3_600_000, 6_000_000), ("min", 60_000, 100_000)):
        if ms >= least:
            return f"{round(ms / length)} {unit}"
    return f"{max(1, ms // 1000)} s"


def elapsed(since: int, now: int) -> Markup:
    """How long something has gone on: whole seconds, since it goes on while it is read."""
    return Markup('<span data-since="{}">{}</span>').format(since, span_of_whole(max(0, now - since) // 1000))


def span_of_whole(seconds: int) -> str:
    return span(seconds) if seconds >= 10 else f"{seconds} s"


def span_of(ms: float | None) -> str:
    return "–" if ms is None else span(max(0.0, ms / 1000))


def seconds(value: float | None) -> str:
    """A duration as people read it, from microscopic to days."""
    if value is None:
        return "–"
    return f"{value * 1000:.0f} ms" if value < 1 else span(value)


def size(n: int) -> str:
    for unit, length in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if n >= length:
            return f"{n / length:.1f} {unit}"
    return f"{n} B"


def number(n: float | None) -> str:
    """With a thin space between thousands."""
    return "–" if n is None else f"{n:,}".replace(",", "\u2009")


def rate(n: float | None) -> str:
    """How many a minute."""
    if not n:
        return "0"
    return number(round(n)) if n >= 10 else f"{n:.1f}"


def sentence(text: str) -> str:
    """Begun with a capital letter, and otherwise as it is."""
    return text[:1].upper() + text[1:]


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def plural(n: int, one: str, many: str = "") -> str:
    return f"{number(n)} {one if n == 1 else many or one + 's'}"


def line(text: Any, most: int = SHORTENED) -> str:
    """*text* on one line, with what would disturb a page made visible, and cut where nobody reads on."""
    shown = safe_line(str(text)[: most + 1])
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def output_text(data: bytes) -> str:
    """What a job printed, as text: colours and cursor moves left out, any other control byte shown."""
    text = data.decode("utf-8", "replace")
    return safe_text(_STEERING.sub("", text).replace("\r\n", "\n"))
