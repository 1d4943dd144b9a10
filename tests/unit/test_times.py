"""Durations and moments as people write them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from queuectl.api.errors import BadInput
from queuectl.core.times import iso, parse_duration, parse_when, span

#: A Wednesday in Berlin, a while after noon; clocks change at the end of that month.
NOON = int(datetime(2026, 3, 25, 11, 30, tzinfo=UTC).timestamp() * 1000)


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Any:
    """This host stands in Berlin."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90), ("90s", 90), ("1h30m", 5400), ("2d", 172800), ("1w", 604800), ("250ms", 0.25), ("1.5h", 5400),
        (90, 90), (0.5, 0.5), (" 5 M ".replace(" ", ""), 300), ("0", 0),
    ],
)  # fmt: skip
def test_durations_are_seconds(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "-5", "-5s", "5 minutes", "inf", "nan", "1e3", "h", "1h 30m", "٣s", "9" * 40, -1, float("inf"), float("nan"),
     True, None, [], {}, 10**400, "200000d"],
)  # fmt: skip
def test_what_is_no_duration_is_refused_in_one_line(text: object) -> None:
    with pytest.raises(BadInput) as caught:
        parse_duration(text, "timeout")
    assert "timeout" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-12-01T08:00:00Z", "2026-12-01T08:00:00.000Z"),
        ("2026-12-01T08:00:00.250+01:00", "2026-12-01T07:00:00.250Z"),
        ("2026-12-01 08:00", "2026-12-01T07:00:00.000Z"),  # winter
        ("2026-07-01 08:00", "2026-07-01T06:00:00.000Z"),  # summer, seen from winter
        ("2026-07-01", "2026-06-30T22:00:00.000Z"),
        ("2026-07-01 08:00 America/New_York", "2026-07-01T12:00:00.000Z"),
        ("2026-07-01 08:00 UTC", "2026-07-01T08:00:00.000Z"),
        ("18:30", "2026-03-25T17:30:00.000Z"),
        ("08:00", "2026-03-26T07:00:00.000Z"),  # has gone by today
        ("8:00", "2026-03-26T07:00:00.000Z"),
        ("tomorrow 8:00", "2026-03-26T07:00:00.000Z"),
        ("today 8:00", "2026-03-25T07:00:00.000Z"),
        ("now", "2026-03-25T11:30:00.000Z"),
        ("+1h30m", "2026-03-25T13:00:00.000Z"),
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"),
    ],
)
@pytest.mark.usefixtures("berlin")
def test_moments_are_resolved_by_the_zone_they_name_or_this_hosts(text: str, utc: str) -> None:
    assert iso(parse_when(text, NOON)) == utc


@pytest.mark.usefixtures("berlin")
def test_a_time_that_the_change_of_clocks_skips_is_an_hour_later() -> None:
    assert iso(parse_when("2026-03-29 02:30", NOON)) == "2026-03-29T01:30:00.000Z"  # 03:30 on the wall


@pytest.mark.usefixtures("berlin")
def test_a_time_that_happens_twice_is_the_first() -> None:
    assert iso(parse_when("2026-10-25 02:30", NOON)) == "2026-10-25T00:30:00.000Z"


@pytest.mark.usefixtures("berlin")
def test_tomorrow_is_the_same_wall_clock_over_a_change_of_clocks() -> None:
    eve = int(datetime(2026, 3, 28, 20, 0, tzinfo=UTC).timestamp() * 1000)
    assert iso(parse_when("tomorrow 8:00", eve)) == "2026-03-29T06:00:00.000Z"


@pytest.mark.parametrize(
    "text",
    ["", "tomorrow", "noon", "25:00", "12:60", "2026-13-01", "2026-02-30 08:00", "9999-12-31T23:59:59Z", "0001-01-01",
     "2100-01-02", "1969-12-31T23:59:59Z", "10000-01-01", "2026-12-01T08:00:00+99:00", "2026-12-01 08:00 Mars/Olympus",
     "2026-12-01 08:00 ../etc/passwd", "Z", "+", "+9999w", "2026-12-01T08", 5, 1.5, None, True, [], "1" * 5000,
     "２０２６-12-01"],
)  # fmt: skip
def test_what_is_no_moment_is_refused_in_one_line(text: object) -> None:
    with pytest.raises(BadInput) as caught:
        parse_when(text, NOON)
    assert "run_at" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_spans_for_people_have_two_units_at_most() -> None:
    assert [span(s) for s in (0.25, 42, 303, 7800, 100 * 3600)] == [
        "0.25 s",
        "42 s",
        "5 min 3 s",
        "2 h 10 min",
        "4 d 4 h",
    ]
