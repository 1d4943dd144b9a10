"""The geometry of charts that the server draws: numbers for the SVG in ``templates/charts.html``."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from queuectl.core.times import local

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queuectl.core.figures import Slot

HEIGHT = 100.0
#: What a bar of attempts is made of, from the bottom: the word, and the measures that count for it.
RESULTS = (
    ("completed", ("completed",)),
    ("failed", ("failed", "lost", "interrupted")),
    ("dead", ("dead",)),
    ("cancelled", ("cancelled",)),
)


class Part(NamedTuple):
    """One colour of a bar."""

    word: str
    y: float
    height: float


class Bar(NamedTuple):
    """One slot of time."""

    x: float
    width: float
    parts: list[Part]
    title: str


class Chart(NamedTuple):
    """Stacked bars over time."""

    bars: list[Bar]
    width: float
    top: int  # the number that the full height stands for: a round one, and so is its half
    ticks: list[str]  # moments, evenly from the left edge to the right one
    words: list[tuple[str, int]]
    arrivals: str  # the points of a line: jobs that were put in
    enqueued: int


def throughput(slots: Sequence[Slot]) -> Chart:
    """Attempts that ended, by how, and a line of what was put in."""
    counts = [[(word, slot.count(*measures)) for word, measures in RESULTS] for slot in slots]
    arrived = [slot.count("enqueued") for slot in slots]
    top = round_up(max([*(sum(n for _, n in bar) for bar in counts), *arrived], default=0))
    bars = []
    for place, (slot, bar, n) in enumerate(zip(slots, counts, arrived, strict=True)):
        said = ", ".join([f"{n} {word}" for word, n in bar if n] or ["nothing ended"])
        bars.append(Bar(place * 10.0, 8.5, _stack(bar, top), f"{local(slot.start)[:16]}: {said}; {n} enqueued"))
    return Chart(
        bars,
        len(slots) * 10.0,
        top,
        _ticks(slots),
        [(word, sum(bar[at][1] for bar in counts)) for at, (word, _) in enumerate(RESULTS)],
        " ".join(f"{place * 10 + 4.25:g},{HEIGHT - HEIGHT * n / top:.2f}" for place, n in enumerate(arrived)),
        sum(arrived),
    )


def round_up(n: int) -> int:
    """The next number that an axis can have at its end, with a whole number at its half."""
    size = 1
    while True:
        for step in (2, 4, 6, 8, 10):
            if n <= step * size:
                return step * size
        size *= 10


def _ticks(slots: Sequence[Slot]) -> list[str]:
    """Four moments and now: of a day the hour, of a week the day."""
    long = slots[-1].start - slots[0].start > 2 * 86_400_000
    shown = slice(5, 10) if long else slice(11, 16)
    return [*(local(slots[len(slots) * quarter // 4].start)[shown] for quarter in range(4)), "now"]


def _stack(bar: Sequence[tuple[str, int]], top: int) -> list[Part]:
    parts, y = [], HEIGHT
    for word, n in bar:
        if n:
            height = max(1.5, HEIGHT * n / top)
            y -= height
            parts.append(Part(word, round(max(0.0, y), 2), round(height, 2)))
    return parts


def spark(values: Sequence[float]) -> str:
    """The points of a small line, 100 by 20."""
    top = max(values, default=0) or 1
    step = 100 / max(1, len(values) - 1)
    return " ".join(f"{at * step:.1f},{19 - 18 * value / top:.1f}" for at, value in enumerate(values))
