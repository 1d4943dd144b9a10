"""Metrics over an hour, a day, a week: what ran, how well, how long it waited and ran."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Blueprint, json, render_template, request

from queuectl.core.figures import ENDINGS, RUNS, percentile, summary
from queuectl.web.charts import throughput
from queuectl.web.pages.overview import RANGES, chosen_range, merged
from queuectl.web.site import site
from queuectl.web.words import now_ms

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from queuectl.core.figures import Slot

SHARES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
#: Milliseconds, and how they read.
STEP_WORDS = {
    10: "10 ms", 100: "100 ms", 1000: "1 s", 10_000: "10 s", 60_000: "1 min", 600_000: "10 min", 3_600_000: "1 h"
}  # fmt: skip
STEPS = tuple(STEP_WORDS)

blueprint = Blueprint("stats", __name__)


@blueprint.get("/stats")
def index() -> str:
    storage = site().storage
    chosen = chosen_range(request.args.get("range"))
    stats = storage.stat()
    name = request.args.get("queue") or None
    if name not in [stat.name for stat in stats]:
        name = None
    slots = site().past.slots(storage, now_ms(), *RANGES[chosen], queue=name)
    wait, run = merged(slots, "wait"), merged(slots, *RUNS)
    ended = {ending: sum(slot.count(ending) for slot in slots) for ending in ENDINGS}
    completed, dead = ended["completed"], ended["dead"]
    return render_template(
        "stats.html",
        ranges=list(RANGES),
        chosen=chosen,
        queues=[stat.name for stat in stats],
        queue=name,
        chart=throughput(slots),
        success=completed / (completed + dead) if completed + dead else None,
        rows=[
            ("waited", "from due to started", summary(wait)),
            ("ran", "attempts that ended by themselves", summary(run)),
        ],
        lines=[
            ("wait", "Waited", json.dumps(lines_of(slots, "wait"))),
            ("run", "Ran", json.dumps(lines_of(slots, *RUNS))),
        ],
        shares=[("Waited", steps_of(wait)), ("Ran", steps_of(run))],
    )


def lines_of(slots: Sequence[Slot], *measures: str) -> list[list[Any]]:
    """For a chart over time: moments in seconds, then a line for each percentile; None where nothing happened."""
    histograms = [slot.of(*measures) for slot in slots]
    lines: list[list[Any]] = [[slot.start // 1000 for slot in slots]]
    for _, share in SHARES:
        lines.append([round(percentile(h, share) / 1000, 3) if h else None for h in histograms])
    return lines


def steps_of(histogram: Mapping[int, int]) -> list[tuple[str, int, float]]:
    """How many took how long: (words, number, share in percent), in a few steps."""
    from queuectl.api.model import bucket_bounds

    total = sum(histogram.values())
    found, below = [], 0
    for step in STEPS:
        n = sum(n for bucket, n in histogram.items() if bucket_bounds(bucket)[0] < step) - below
        found.append((f"< {STEP_WORDS[step]}", n, 100 * n / total if total else 0.0))
        below += n
    rest = total - below
    found.append((f"≥ {STEP_WORDS[STEPS[-1]]}", rest, 100 * rest / total if total else 0.0))
    return found
