"""What becomes of an attempt: the table of DESIGN 2, row by row, and what must hold for any other."""

from __future__ import annotations

import math
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as some

from queuectl.api.model import EDGES, FINISHED, RUN_AT_LATEST, WAITING, Outcome, OutcomeKind, Settings, State
from queuectl.core.transitions import LONGEST_DELAY, LOST_JITTER, POISON, describe, event_of, release, settle
from queuectl.testing.fakes import NEW_YEAR, make_claim

GOOD = Outcome(OutcomeKind.EXITED, 0)
BAD = Outcome(OutcomeKind.EXITED, 3)
SIGNAL = Outcome(OutcomeKind.SIGNALLED, 9)
TIMEOUT = Outcome(OutcomeKind.TIMEOUT, None, detail="after 5 s")
UNSTARTED = Outcome(OutcomeKind.START_FAILED, 127, detail="no such file")
LOST = Outcome(OutcomeKind.LOST)
INTERRUPTED = Outcome(OutcomeKind.INTERRUPTED)
CANCELLED = Outcome(OutcomeKind.CANCELLED)

COMPLETED, FAILED, DEAD, PENDING, GONE = (
    State.COMPLETED,
    State.FAILED,
    State.DEAD,
    State.PENDING,
    State.CANCELLED,
)
#: Tries so far, of the four that max_retries = 3 allows.
FIRST, LAST = 0, 3


class Row(NamedTuple):
    outcome: Outcome
    becomes: State
    tries: int = FIRST  # before
    verdict: str | None = None
    delay: float | None = 7.0  # what the policy said; used where something was decided
    decided: bool = True
    cancel: bool = False
    losses: int = 0  # before
    swept: bool = True
    then_delay: float | None = None
    then_tries: int = 1
    then_losses: int = 0
    reason: str = ""


def rows() -> list[Any]:
    table = [
        # -- exit 0
        Row(GOOD, COMPLETED, reason="exit 0"),
        Row(GOOD, COMPLETED, decided=False, reason="exit 0"),
        Row(GOOD, COMPLETED, tries=LAST, then_tries=4, reason="exit 0"),
        Row(GOOD, COMPLETED, verdict="success", reason="exit 0"),
        Row(GOOD, FAILED, verdict="retry", then_delay=7.0, reason="exit 0"),
        Row(GOOD, DEAD, verdict="retry", tries=LAST, then_tries=4, reason="exit 0"),
        Row(GOOD, DEAD, verdict="dead", reason="exit 0"),
        # -- a cancel that came too late for one that ended by itself
        Row(GOOD, COMPLETED, cancel=True, reason="exit 0"),
        Row(GOOD, GONE, cancel=True, verdict="retry", reason="cancelled"),
    ]
    for outcome, reason in (
        (BAD, "exit 3"),
        (SIGNAL, "signal 9"),
        (TIMEOUT, "timeout: after 5 s"),
        (UNSTARTED, "start failed: no such file"),
    ):
        table += [
            Row(outcome, FAILED, then_delay=7.0, reason=reason),
            Row(outcome, FAILED, delay=0.0, then_delay=0.0, reason=reason),
            Row(outcome, FAILED, tries=LAST - 1, then_delay=7.0, then_tries=3, reason=reason),
            Row(outcome, FAILED, verdict="retry", then_delay=7.0, reason=reason),
            Row(outcome, FAILED, verdict="nonsense", then_delay=7.0, reason=reason),
            Row(outcome, FAILED, losses=2, then_delay=7.0, then_losses=0, reason=reason),
            Row(outcome, COMPLETED, verdict="success", reason=reason),
            Row(outcome, COMPLETED, verdict="success", tries=LAST, then_tries=4, reason=reason),
            Row(outcome, DEAD, verdict="dead", reason=reason),
            Row(outcome, DEAD, tries=LAST, then_tries=4, reason=reason),
            Row(outcome, DEAD, tries=LAST, verdict="retry", then_tries=4, reason=reason),
            Row(outcome, DEAD, delay=None, reason=f"{reason}; the backoff policy gave up"),
            # -- nothing was decided: core's own rule, whatever else is claimed
            Row(outcome, FAILED, decided=False, then_delay=2.0, reason=reason),
            Row(outcome, FAILED, decided=False, delay=None, tries=2, then_delay=8.0, then_tries=3, reason=reason),
            Row(outcome, FAILED, decided=False, verdict="success", then_delay=2.0, reason=reason),
            Row(outcome, DEAD, decided=False, tries=LAST, then_tries=4, reason=reason),
            # -- a delay that is none: core's own
            Row(outcome, FAILED, delay=-1.0, then_delay=2.0, reason=reason),
            Row(outcome, FAILED, delay=math.nan, then_delay=2.0, reason=reason),
            Row(outcome, FAILED, delay=math.inf, then_delay=2.0, reason=reason),
            Row(outcome, FAILED, delay=1e300, then_delay=LONGEST_DELAY, reason=reason),
            # -- cancelled meanwhile: it is not tried again
            Row(outcome, GONE, cancel=True, reason="cancelled"),
            Row(outcome, COMPLETED, cancel=True, verdict="success", reason=reason),
            Row(outcome, DEAD, cancel=True, tries=LAST, then_tries=4, reason=reason),
        ]
    for tries in (FIRST, LAST):
        table += [
            Row(LOST, PENDING, tries, then_delay=0.0, then_tries=tries, then_losses=1, reason="lost"),
            Row(LOST, PENDING, tries, losses=1, then_delay=0.0, then_tries=tries, then_losses=2, reason="lost"),
            Row(LOST, DEAD, tries, losses=2, then_tries=tries, then_losses=3, reason="poison"),
            Row(LOST, PENDING, tries, swept=False, then_delay=0.0, then_tries=tries, reason="lost"),
            Row(
                LOST,
                PENDING,
                tries,
                losses=2,
                swept=False,
                then_delay=0.0,
                then_tries=tries,
                then_losses=2,
                reason="lost",
            ),
            Row(LOST, GONE, tries, cancel=True, then_tries=tries, then_losses=1, reason="cancelled"),
            Row(LOST, GONE, tries, cancel=True, losses=2, then_tries=tries, then_losses=3, reason="cancelled"),
            Row(INTERRUPTED, PENDING, tries, then_delay=0.0, then_tries=tries, reason="interrupted"),
            Row(INTERRUPTED, PENDING, tries, losses=2, then_delay=0.0, then_tries=tries, reason="interrupted"),
            Row(INTERRUPTED, GONE, tries, cancel=True, then_tries=tries, reason="cancelled"),
            Row(CANCELLED, GONE, tries, cancel=True, then_tries=tries, reason="cancelled"),
            Row(CANCELLED, GONE, tries, then_tries=tries, reason="cancelled"),
            Row(CANCELLED, GONE, tries, verdict="success", then_tries=tries, reason="cancelled"),
            Row(LOST, PENDING, tries, verdict="dead", then_delay=0.0, then_tries=tries, then_losses=1, reason="lost"),
        ]
    return [pytest.param(row, id=_name(number, row)) for number, row in enumerate(table)]


def _name(number: int, row: Row) -> str:
    given = [row.outcome.kind.value, row.verdict or ("no-verdict" if row.decided else "undecided"), f"try{row.tries}"]
    return "-".join([f"{number:03}", *given, *(["cancel"] if row.cancel else []), row.becomes.value])


@pytest.mark.parametrize("row", rows())
def test_the_table(row: Row) -> None:
    claim = make_claim(token=5, tries=row.tries, losses=row.losses, cancel=row.cancel, attempts=9)
    settlement = settle(
        claim, row.outcome, verdict=row.verdict, delay=row.delay, decided=row.decided, swept=row.swept, stdout=b"out"
    )
    assert settlement.state is row.becomes
    assert settlement.delay == row.then_delay
    assert (settlement.tries, settlement.losses) == (row.then_tries, row.then_losses)
    assert settlement.reason == row.reason
    assert (settlement.id, settlement.token, settlement.outcome) == ("1", 5, row.outcome)
    assert (settlement.stdout, settlement.stderr, settlement.released) == (b"out", None, False)


def test_max_retries_of_three_means_four_tries() -> None:
    tries = 0
    delays = []
    while True:
        settlement = settle(make_claim(tries=tries), BAD)
        tries = settlement.tries
        if settlement.state is not FAILED:
            break
        delays.append(settlement.delay)
    assert (tries, settlement.state, delays) == (4, DEAD, [2.0, 4.0, 8.0])


def test_without_retries_the_first_failure_is_the_last() -> None:
    assert settle(make_claim(settings=Settings(max_retries=0)), BAD).state is DEAD


def test_three_losses_in_a_row_are_poison() -> None:
    losses, states = 0, []
    for _ in range(POISON):
        settlement = settle(make_claim(losses=losses), LOST)
        losses = settlement.losses
        states.append(settlement.state)
    assert states == [PENDING, PENDING, DEAD]


def test_lost_jobs_come_back_spread_out() -> None:
    rng = Random(1)
    delays = {settle(make_claim(), LOST, rng=rng).delay for _ in range(50)}
    assert len(delays) == 50 and all(delay is not None and 0 <= delay <= LOST_JITTER for delay in delays)


@pytest.mark.parametrize(
    ("options", "delay"),
    [
        ({"base": 3}, 3.0),
        ({"base": 10, "max_delay": 4}, 4.0),
        ({"base": "3"}, 2.0),  # another policy's idea of the word
        ({"base": True}, 2.0),
        ({"base": -3, "max_delay": -1}, 2.0),
        ({"base": math.nan, "max_delay": math.nan}, 2.0),
        ({"max_delay": [1]}, 2.0),
    ],
)
def test_cores_own_delay_takes_only_plain_numbers_from_the_job(options: dict[str, Any], delay: float) -> None:
    assert settle(make_claim(settings=Settings(backoff_options=options)), BAD).delay == delay


@pytest.mark.parametrize(
    ("tries", "cancel", "state", "reason"),
    [
        (0, False, PENDING, "lost"),
        (2, False, FAILED, "lost"),
        (0, True, GONE, "cancelled"),
        (2, True, GONE, "cancelled"),
    ],
)
def test_a_release_gives_the_claim_back_as_it_was(tries: int, cancel: bool, state: State, reason: str) -> None:
    claim = make_claim(token=4, tries=tries, losses=1, cancel=cancel, reason="lost", attempts=3)
    settlement = release(claim)
    assert settlement.released and settlement.outcome is None and settlement.delay is None
    assert (settlement.id, settlement.token, settlement.state, settlement.reason) == ("1", 4, state, reason)
    assert (settlement.tries, settlement.losses) == (tries, 1)
    event = event_of(claim, settlement, NEW_YEAR)
    if cancel:
        assert event is not None and event.kind == "cancelled" and event.job.attempts == 2
    else:
        assert event is None


@pytest.mark.parametrize(
    ("outcome", "fields", "kind"),
    [
        (GOOD, {}, "completed"),
        (BAD, {}, "failed"),
        (BAD, {"tries": LAST}, "dead"),
        (LOST, {}, "lost"),
        (LOST, {"losses": 2}, "dead"),
        (INTERRUPTED, {}, "interrupted"),
        (CANCELLED, {}, "cancelled"),
        (BAD, {"cancel": True}, "cancelled"),
    ],
)
def test_the_event_says_what_happened_and_how_the_job_is_now(
    outcome: Outcome, fields: dict[str, Any], kind: str
) -> None:
    claim = make_claim(attempts=6, **fields)
    settlement = settle(claim, outcome)
    event = event_of(claim, settlement, NEW_YEAR + 5)
    assert event is not None
    assert (event.kind, event.at, event.outcome) == (kind, NEW_YEAR + 5, outcome)
    job = event.job
    assert (job.state, job.reason, job.tries, job.losses) == (
        settlement.state,
        settlement.reason,
        settlement.tries,
        settlement.losses,
    )
    assert (job.attempts, job.pool, job.cancel, job.outcome, job.updated_at) == (6, None, False, outcome, NEW_YEAR + 5)
    if settlement.delay is not None:
        assert job.run_at == NEW_YEAR + 5 + round(1000 * settlement.delay)


def test_reasons_are_for_people() -> None:
    assert describe(UNSTARTED) == "start failed: no such file"
    assert describe(Outcome(OutcomeKind.EXITED, 0, detail="1 process left")) == "exit 0: 1 process left"


anything = some.fixed_dictionaries(
    {
        "outcome": some.builds(
            Outcome,
            some.sampled_from(OutcomeKind),
            some.none() | some.integers(0, 255),
            detail=some.text(max_size=10),
        ),
        "verdict": some.sampled_from([None, "success", "retry", "dead", "", "SUCCESS"]),
        "delay": some.none() | some.floats() | some.integers(-5, 10**12),
        "decided": some.booleans(),
        "swept": some.booleans(),
    }
)
jobs = some.fixed_dictionaries(
    {
        "tries": some.integers(0, 10**6),
        "losses": some.integers(0, 5),
        "attempts": some.integers(1, 10**6),
        "cancel": some.booleans(),
        "settings": some.builds(
            Settings,
            max_retries=some.integers(0, 10**6),
            backoff_options=some.dictionaries(
                some.sampled_from(["base", "max_delay", "jitter"]),
                some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=3),
            ),
        ),
    }
)


@given(jobs, anything, some.integers(0, 2**32))
def test_whatever_happens_the_edge_exists_and_the_numbers_make_sense(
    job: dict[str, Any], given: dict[str, Any], seed: int
) -> None:
    claim = make_claim(**job)
    settlement = settle(claim, given.pop("outcome"), rng=Random(seed), **given)
    assert settlement.state in EDGES[State.PROCESSING]
    assert (settlement.delay is not None) == (settlement.state in WAITING)
    if settlement.delay is not None:
        assert math.isfinite(settlement.delay) and 0 <= settlement.delay <= LONGEST_DELAY
    assert settlement.tries - claim.job.tries in (0, 1)
    assert settlement.losses in (0, claim.job.losses, claim.job.losses + 1)
    if settlement.state is FAILED:
        assert settlement.tries <= claim.job.settings.max_retries
    if claim.job.cancel:
        assert settlement.state in FINISHED
    event = event_of(claim, settlement, NEW_YEAR)
    assert event is not None and event.job.run_at < RUN_AT_LATEST


@given(jobs)
def test_a_release_takes_an_edge_too(job: dict[str, Any]) -> None:
    settlement = release(make_claim(**job))
    assert settlement.state in EDGES[State.PROCESSING]


@given(jobs, some.lists(anything, max_size=30))
def test_a_job_always_comes_to_an_end(job: dict[str, Any], script: list[dict[str, Any]]) -> None:
    """A history of attempts never leads to a job that has more tries, or more losses in a row, than it may have."""
    fields = {**job, "tries": 0, "losses": 0, "cancel": False}
    for step in script:
        answers = dict(step)
        settlement = settle(make_claim(**fields), answers.pop("outcome"), **answers)
        assert settlement.tries <= job["settings"].max_retries + 1
        assert settlement.losses <= POISON
        if settlement.state in FINISHED:
            return
        fields.update(tries=settlement.tries, losses=settlement.losses)
