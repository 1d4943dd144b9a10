"""Durations and moments as people write them: one small closed grammar, and nothing guessed.

Durations: ``90``, ``90s``, ``1h30m``, ``2d``, ``1w``, ``250ms``. Moments: RFC 3339 (``2026-12-01T08:00:00+01:00``),
``2026-12-01 08:00`` and ``2026-12-01`` on this host's clock or with a zone behind it (``2026-12-01 08:00
Europe/Berlin``, ``… UTC``), ``08:00`` (the next one), ``today 18:00``, ``tomorrow 8:00``, ``now``, ``+1h30m``.
Everything is turned into milliseconds since the epoch by the zone's own rules: a wall-clock time that a change of
clocks skips is taken an hour later, one that happens twice is taken the first time.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from queuectl.api.errors import BadInput
from queuectl.api.model import RUN_AT_LATEST

if TYPE_CHECKING:
    from datetime import datetime, tzinfo

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
LONGEST = 100 * 366 * 86400.0  # no span means anything beyond a century

_NUMBER = re.compile(r"\d{1,12}(\.\d{1,6})?", re.ASCII)
_PART = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)(ms|[smhdw])", re.ASCII)
_SPAN = re.compile(r"(?:\d{1,12}(?:\.\d{1,6})?(?:ms|[smhdw]))+", re.ASCII)
_MOMENT = re.compile(
    r"(?:(?P<year>\d{4,})-(?P<month>\d\d)-(?P<day>\d\d)|(?P<word>today|tomorrow))?"
    r"(?:(?:(?<=\S)[T ]+|^)(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?P<fraction>\.\d{1,9})?)?)?"
    r"\s*(?P<zone>Z|UTC|[+-]\d\d:?\d\d|[A-Za-z_]+/[A-Za-z0-9_+/-]+)?",
    re.ASCII | re.IGNORECASE,
)


def parse_duration(value: object, what: str = "duration") -> float:
    """Seconds, from a number or a text; never negative, never infinite. *what* names it in the complaint."""
    if isinstance(value, str):
        text = value.strip().lower()
        if _NUMBER.fullmatch(text):
            seconds = float(text)
        elif _SPAN.fullmatch(text):
            seconds = sum(float(number) * UNITS[unit] for number, unit in _PART.findall(text))
        else:
            raise BadInput(f"{what} {_show(value)} is not a duration like 90, 90s, 1h30m or 2d")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value) if abs(value) < 1e15 else math.inf
    else:
        raise BadInput(f"{what} must be a number of seconds or a duration like 90s or 1h30m, not {_show(value)}")
    if not 0 <= seconds <= LONGEST:
        raise BadInput(f"{what} {_show(value)} is out of range: it must lie between 0 and a century")
    return seconds


def parse_when(value: object, now: int, what: str = "run_at") -> int:
    """The moment (ms since the epoch) that *value* names, seen from *now*. May lie in the past; not before 1970."""
    if not isinstance(value, str):
        raise BadInput(f"{what} must be a text like 2026-12-01T08:00:00Z or tomorrow 8:00, not {_show(value)}")
    text = value.strip()
    if text.lower() == "now":
        return now
    if text.startswith("+"):
        moment = now + round(1000 * parse_duration(text[1:], what))
    else:
        match = _MOMENT.fullmatch(text)
        if match is None or not text or (match["hour"] is None and match["year"] is None):
            raise BadInput(
                f"{what} {_show(value)} is not a time like 2026-12-01T08:00:00Z, 2026-12-01 08:00, 18:30 "
                "or tomorrow 8:00"
            )
        moment = _moment(match, now, what, value)
    if not 0 <= moment <= RUN_AT_LATEST:
        raise BadInput(f"{what} {_show(value)} is out of range: it must lie between 1970 and 2100")
    return moment


def _moment(match: re.Match[str], now: int, what: str, value: str) -> int:
    from datetime import datetime, timedelta  # only jobs with a run_at pay for it

    zone = _zone(match["zone"], what)
    here = datetime.fromtimestamp(now / 1000, zone)
    fraction = round(float(match["fraction"] or 0) * 1000)
    clock = (int(match["hour"] or 0), int(match["minute"] or 0), int(match["second"] or 0))
    try:
        if match["year"]:
            if len(match["year"]) > 4:
                raise ValueError
            wall = datetime(int(match["year"]), int(match["month"]), int(match["day"]), *clock)
        else:
            wall = datetime(here.year, here.month, here.day, *clock)
            if (match["word"] or "").lower() == "tomorrow":
                wall += timedelta(days=1)
    except (ValueError, OverflowError):
        raise BadInput(f"{what} {_show(value)} is no date and time of the calendar") from None
    if not 1969 < wall.year < 2102:  # mktime and zone rules are not asked about the rest
        raise BadInput(f"{what} {_show(value)} is out of range: it must lie between 1970 and 2100")
    moment = _epoch(wall, zone) + fraction
    if not match["year"] and not match["word"] and moment <= now:
        moment = _epoch(wall + timedelta(days=1), zone) + fraction
    return moment


def _epoch(wall: datetime, zone: tzinfo | None) -> int:
    """Milliseconds of a wall-clock time. Both readings are asked and judged by where they lead back to: the standard
    library reads a skipped time one way in a named zone and the other way in the host's."""
    from datetime import datetime

    readings = []
    for fold in (0, 1):
        folded = wall.replace(fold=fold)
        readings.append((folded.replace(tzinfo=zone) if zone is not None else folded.astimezone()).timestamp())
    real = [t for t in readings if datetime.fromtimestamp(t, zone).replace(tzinfo=None) == wall]
    return round(1000 * (min(real) if real else max(readings)))


def _zone(name: str | None, what: str) -> tzinfo | None:
    """The zone a time names; None: this host's."""
    if not name:
        return None
    from datetime import UTC, timedelta, timezone

    if name.upper() in ("Z", "UTC"):
        return UTC
    if name[0] in "+-":
        digits = name[1:].replace(":", "")
        offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
        if offset >= timedelta(hours=24):
            raise BadInput(f"{what}: {name} is no offset from UTC")
        return timezone(-offset if name[0] == "-" else offset)
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise BadInput(f"{what}: the time zone {name!r} is not known on this host") from None


def iso(ms: int | None) -> str | None:
    """RFC 3339 in UTC with milliseconds: ``2026-12-01T07:00:00.000Z``."""
    if ms is None:
        return None
    import time

    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(ms // 1000))}.{ms % 1000:03d}Z"


def local(ms: int) -> str:
    """For people: the wall clock of this host with its zone, ``2026-12-01 08:00:00 CET``."""
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(ms // 1000))


def span(seconds: float) -> str:
    """For people, two units at most: ``0.25 s``, ``42 s``, ``5 min 3 s``, ``2 h 10 min``, ``3 d 4 h``."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    for size, name, small, small_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // small
            return f"{whole // size} {name}" + (f" {rest} {small_name}" if rest else "")
    return f"{whole} s"


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
