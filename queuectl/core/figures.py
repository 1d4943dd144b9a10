"""Figures out of the histograms that a storage keeps: totals, success rate, percentiles of waiting and running."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from queuectl.api.model import bucket_bounds
from queuectl.core.shapes import counts_of
from queuectl.core.times import iso

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from queuectl.api.model import OutboxStat, Sample
    from queuectl.api.storage import Storage

#: The ways an attempt ends; each has a histogram of durations.
ENDINGS = ("completed", "failed", "dead", "cancelled", "lost", "interrupted")
#: Those of them in which the command had its say.
RUNS = ("completed", "failed", "dead")


def figures(
    storage: Storage,
    since: int,
    until: int,
    queues: Sequence[str] | None = None,
    samples: Iterable[Sample] | None = None,
) -> dict[str, Any]:
    """What ``metrics --json`` prints. Whole minutes count, so the minute of *since* is in it.

    *samples* are those of this time, where somebody has them at hand already.
    ``success_rate`` is the share of the jobs that ended by themselves which completed; ``run`` is the duration of
    attempts that ended by themselves.
    """
    histograms: dict[str, Counter[int]] = {measure: Counter() for measure in ("enqueued", "wait", *ENDINGS)}
    for sample in samples if samples is not None else storage.summed(since, until, until // 60_000 + 1):
        if queues is None or sample.queue in queues:
            histograms.setdefault(sample.measure, Counter())[sample.bucket] += sample.n
    run: Counter[int] = Counter()
    for name in RUNS:
        run.update(histograms[name])
    completed, dead = histograms["completed"].total(), histograms["dead"].total()
    ran = summary(run)
    stats = [stat for stat in storage.stat() if queues is None or stat.name in queues]
    runs = sum(stat.runs for stat in stats)
    return {
        "since": iso(since),
        "until": iso(until),
        "totals": {**counts_of(stats), "total": sum(sum(stat.counts.values()) for stat in stats), "attempts": runs},
        "enqueued": histograms["enqueued"].total(),
        "attempts": {name: histograms[name].total() for name in ENDINGS},
        "success_rate": round(completed / (completed + dead), 4) if completed + dead else None,
        "avg_duration_sec": ran["avg"],
        "wait": summary(histograms["wait"]),
        "run": ran,
        "outbox": _outbox(storage.outbox()),
    }


def _outbox(stats: Iterable[OutboxStat]) -> dict[str, int]:
    """What waits for notifiers now, and what became of the rest, ever; of all queues."""
    stats = list(stats)
    return {name: sum(getattr(stat, name) for stat in stats) for name in ("waiting", "delivered", "dropped")}


def summary(histogram: Mapping[int, int]) -> dict[str, Any]:
    """Count, average, percentiles and maximum in seconds; exact within a bucket's width, a quarter at most."""
    count = sum(histogram.values())
    if not count:
        return {"count": 0, "avg": None, "p50": None, "p95": None, "p99": None, "max": None}
    middle = sum(n * sum(bucket_bounds(bucket)) / 2 for bucket, n in histogram.items())
    return {
        "count": count,
        "avg": _seconds(middle / count),
        **{
            name: _seconds(percentile(histogram, share)) for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
        },
        "max": _seconds(bucket_bounds(max(histogram))[1]),
    }


def percentile(histogram: Mapping[int, int], share: float) -> float:
    """The duration (ms) that *share* of all do not exceed, placed evenly within its bucket."""
    wanted = share * sum(histogram.values())
    below = 0
    for bucket in sorted(histogram):
        n = histogram[bucket]
        if n and below + n >= wanted:
            low, high = bucket_bounds(bucket)
            return low + (high - low) * (wanted - below) / n
        below += n
    return 0.0


def _seconds(ms: float) -> float:
    return round(ms / 1000, 3)


class Slot(NamedTuple):
    """What one stretch of time saw: a histogram for each measure."""

    start: int  # ms
    histograms: Mapping[str, Mapping[int, int]]

    def count(self, *measures: str) -> int:
        return sum(sum(self.histograms.get(measure, {}).values()) for measure in measures)

    def of(self, *measures: str) -> Counter[int]:
        """One histogram of several measures."""
        merged: Counter[int] = Counter()
        for measure in measures:
            merged.update(self.histograms.get(measure, {}))
        return merged
