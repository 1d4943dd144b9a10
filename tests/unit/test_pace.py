from __future__ import annotations

import pytest

from queuectl.work.pace import FAR, LANES, LINGER, MOST, READY, REST, SHORT, STALE, STREAK, Pace


def short_jobs(pace: Pace, count: int = STREAK, now: float = 100.0) -> Pace:
    for _ in range(count):
        pace.ended(SHORT / 2, now)
    return pace


def at_a_rate(pace: Pace, each: float, now: float = 100.0) -> Pace:
    """As if the only worker ended a job every so many seconds."""
    pace.stored(1, now - each)
    pace.stored(1, now)
    return pace


def test_nothing_is_claimed_ahead_before_jobs_are_known_to_be_short() -> None:
    pace = short_jobs(Pace(1), STREAK - 1)
    assert (pace.ahead, pace.lanes(100.0)) == (0, 1)
    pace.ended(SHORT, 100.0)
    assert (pace.ahead, pace.lanes(100.0)) == (LANES - 1, LANES)


def test_one_long_job_ends_claiming_ahead_and_keeps_the_lanes_for_a_while() -> None:
    pace = short_jobs(Pace(1))
    pace.ended(SHORT * 1.5, 101.0)
    assert pace.ahead == 0
    assert pace.lanes(101.0) == LANES


@pytest.mark.parametrize("seconds, lanes", [(REST - 0.1, LANES), (REST + 0.1, 1)])
def test_further_lanes_go_when_no_short_job_came_for_a_while(seconds: float, lanes: int) -> None:
    assert short_jobs(Pace(1)).lanes(100.0 + seconds) == lanes


@pytest.mark.parametrize("places", [1, 2, 3, 8, MOST, MOST + 1, 200])
def test_no_more_lies_ready_in_a_pool_than_may_however_many_places_it_has(places: int) -> None:
    assert short_jobs(Pace(places)).ahead * places <= MOST


@pytest.mark.parametrize("each, ahead", [(0.0005, LANES - 1), (READY / 3, 3), (READY, 1), (10 * READY, 1)])
def test_the_longer_jobs_take_the_fewer_lie_ready(each: float, ahead: int) -> None:
    assert at_a_rate(short_jobs(Pace(1)), each * 0.99).ahead == ahead


def test_what_lies_ready_begins_before_it_would_be_asked_for() -> None:
    for each in (0.0005, 0.001, 0.005, 0.01, SHORT):
        assert at_a_rate(short_jobs(Pace(1)), each).ahead * each < STALE


@pytest.mark.parametrize("each", [0.0005, 0.001, 0.005, 0.01, SHORT])
def test_results_are_stored_before_a_worker_has_nothing_ready(each: float) -> None:
    pace = at_a_rate(short_jobs(Pace(1)), each)
    assert pace.linger_until - 100.0 <= min(LINGER, each * pace.ahead) + 1e-9


def test_results_wait_no_longer_because_others_are_asked_for() -> None:
    """An exchange that stores nothing does not begin the wait anew, however often somebody enqueues."""
    pace = at_a_rate(short_jobs(Pace(1)), 0.001)
    until = pace.linger_until
    pace.stored(0, until - 0.001)
    assert pace.linger_until == until


def test_a_claim_that_did_not_begin_in_time_ends_claiming_ahead() -> None:
    pace = short_jobs(Pace(1))
    pace.falter()
    assert pace.ahead == 0


def test_a_claim_lies_ready_no_longer_because_others_are_asked_for() -> None:
    """A pool asks whenever it is woken: else whoever enqueues often enough would let claims wait for ever."""
    pace = short_jobs(Pace(1))
    pace.claimed(0, 99.0)
    assert pace.stale_at == FAR
    pace.claimed(2, 100.0)
    pace.claimed(0, 100.0 + STALE / 2)
    pace.claimed(1, 100.0 + STALE / 2)
    assert pace.stale_at == 100.0 + STALE
