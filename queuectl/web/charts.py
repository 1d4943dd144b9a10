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
    top: int  # the number that the full height stands for
    first: str
    last: str
    total: int
    words: list[tuple[str, int]]


def throughput(slots: Sequence[Slot]) -> Chart:
    """Attempts that ended, by how."""
    counts = [[(word, slot.count(*measures)) for word, measures in RESULTS] for slot in slots]
    top = max([sum(n for _, n in bar) for bar in counts], default=0)
    bars = []
    for place, (slot, bar) in enumerate(zip(slots, counts, strict=True)):
        said = ", ".join(f"{n} {word}" for word, n in bar if n) or "nothing"
        bars.append(Bar(place * 10.0, 8.5, _stack(bar, top), f"{local(slot.start)[:16]}: {said}"))
    words = [(word, sum(bar[at][1] for bar in counts)) for at, (word, _) in enumerate(RESULTS)]
    return Chart(
        bars,
        len(slots) * 10.0,
        top,
        local(slots[0].start)[:16] if slots else "",
        local(slots[-1].start)[:16] if slots else "",
        sum(n for _, n in words),
        words,
    )


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
