"""Percentiles out of histograms."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from queuectl.api.model import bucket_of
from queuectl.core.figures import percentile, summary


@given(st.lists(st.integers(0, 10**8), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_a_percentile_is_off_by_a_bucket_at_most(durations: list[int], share: float) -> None:
    found = percentile(Counter(map(bucket_of, durations)), share)
    ordered = sorted(durations)
    exact = ordered[max(0, -(-len(ordered) * round(share * 100) // 100) - 1)]
    assert exact * 0.79 - 1 <= found <= exact * 1.26 + 1


def test_nothing_has_no_percentiles() -> None:
    assert summary({}) == {"count": 0, "avg": None, "p50": None, "p95": None, "p99": None, "max": None}


def test_equal_durations_give_that_duration() -> None:
    figures = summary({bucket_of(5): 10})
    assert (figures["count"], figures["avg"], figures["p50"], figures["p99"], figures["max"]) == (
        10,
        0.005,
        0.005,
        0.005,
        0.005,
    )
