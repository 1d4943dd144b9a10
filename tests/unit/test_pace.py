from __future__ import annotations

import pytest

from queuectl.work.pace import AHEAD, MOST, REST, SHORT, STALE, STREAK, Pace


def short_jobs(pace: Pace, count: int = STREAK, now: float = 100.0) -> Pace:
    for _ in range(count):
        pace.ended(SHORT / 2, now)
    return pace


def test_nothing_is_claimed_ahead_before_jobs_are_known_to_be_short() -> None:
    pace = short_jobs(Pace(2), STREAK - 1)
    assert (pace.ahead, pace.relief(100.0)) == (0, 0)
    pace.ended(SHORT, 100.0)
    assert (pace.ahead, pace.relief(100.0)) == (2 * AHEAD, 2)


def test_one_long_job_ends_claiming_ahead_and_keeps_the_workers_for_a_while() -> None:
    pace = short_jobs(Pace(2))
    pace.ended(SHORT * 1.5, 101.0)
    assert pace.ahead == 0
    assert pace.relief(101.0) == 2


@pytest.mark.parametrize("seconds, relief", [(REST - 0.1, 2), (REST + 0.1, 0)])
def test_workers_beyond_the_places_go_when_no_short_job_came_for_a_while(seconds: float, relief: int) -> None:
    assert short_jobs(Pace(2)).relief(100.0 + seconds) == relief


def test_a_large_pool_has_few_workers_beyond_its_places() -> None:
    assert short_jobs(Pace(200)).relief(100.0) == MOST


def test_a_claim_that_found_no_place_ends_claiming_ahead() -> None:
    pace = short_jobs(Pace(1))
    pace.falter()
    assert pace.ahead == 0


def test_a_claim_waits_no_longer_because_others_are_asked_for_in_vain() -> None:
    """A pool asks whenever it is woken: else whoever enqueues often enough would let claims wait for ever."""
    pace = short_jobs(Pace(1))
    pace.claimed(2, 100.0)
    pace.claimed(0, 100.0 + STALE / 2)
    assert pace.stale_at == 100.0 + STALE
    pace.claimed(1, 100.0 + STALE / 2)
    assert pace.stale_at == 100.0 + STALE / 2 + STALE
