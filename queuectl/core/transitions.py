"""What becomes of an attempt: the rules of retrying, losing, interrupting and cancelling, and nothing else.

Pure functions of a claim and an outcome; the storage enforces the edges, this module chooses among them. Every ending
goes through here, whether a worker reported it, its record was found, or nothing of it is left.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from queuectl.api.backoff import exponential_delay
from queuectl.api.model import WAITING, Claim, Event, Job, Outcome, OutcomeKind, Settlement, State

if TYPE_CHECKING:
    from random import Random

#: So many attempts lost in a row make a job poison: it takes its workers with it.
POISON = 3
#: Lost jobs come back within this many seconds, spread out.
LOST_JITTER = 0.5
#: No retry is put off longer than ten years, whatever a policy says: ``run_at`` has to stay in this century.
LONGEST_DELAY = 315_360_000.0

COUNTED = frozenset({OutcomeKind.EXITED, OutcomeKind.SIGNALLED, OutcomeKind.TIMEOUT, OutcomeKind.START_FAILED})
VERDICTS = frozenset({"success", "retry", "dead"})


def verdict_of(outcome: Outcome) -> str:
    """Core's own verdict: exit code 0 is success, anything else is worth a retry."""
    return "success" if outcome.kind is OutcomeKind.EXITED and outcome.code == 0 else "retry"


def may_retry(job: Job) -> bool:
    """Whether ``max_retries`` allows another try after the one that has just ended (not yet counted in *job*)."""
    return job.tries + 1 <= job.settings.max_retries


def default_delay(job: Job) -> float:
    """Core's own delay for a job whose tries already count the one that failed.

    The options may be meant for another policy, which has its own idea of these words: only plain numbers are taken.
    """
    options = job.settings.backoff_options
    return exponential_delay(
        job.tries,
        _number(options.get("base"), 1.0, 2.0),
        _number(options.get("max_delay"), 0.0, 3600.0),
    )


def _number(value: object, least: float, default: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return default
    return float(value) if least <= value < 1e9 else default


def settle(
    claim: Claim,
    outcome: Outcome,
    *,
    verdict: str | None = None,
    delay: float | None = None,
    decided: bool = False,
    swept: bool = True,
    rng: Random | None = None,
    stdout: bytes | None = None,
    stderr: bytes | None = None,
) -> Settlement:
    """What becomes of a claim whose attempt ended with *outcome*.

    *verdict* and *delay* are the worker's answers (*decided*); without them core's own rules apply. *delay* None with
    a decided retry means that the policy gave up. *swept* says that somebody saw the worker of a lost attempt die:
    only then does the loss count towards poison. *rng* spreads lost jobs out.
    """
    job = claim.job
    if outcome.kind in COUNTED:
        state, delay, reason = _after_try(job, outcome, verdict if decided else None, delay, decided)
        tries, losses = job.tries + 1, 0
    else:
        tries, losses = job.tries, 0
        state, delay, reason = State.PENDING, 0.0, describe(outcome)
        if outcome.kind is OutcomeKind.CANCELLED:
            state = State.CANCELLED
        elif outcome.kind is OutcomeKind.LOST:
            losses = job.losses + swept
            if losses >= POISON:
                state, reason = State.DEAD, "poison"
            elif rng is not None:
                delay = rng.random() * LOST_JITTER
    if job.cancel and (state in WAITING or outcome.kind is OutcomeKind.LOST):
        state, reason = State.CANCELLED, "cancelled"
    return Settlement(
        job.id,
        claim.token,
        state,
        outcome,
        delay=delay if state in WAITING else None,
        tries=tries,
        losses=losses,
        reason=reason,
        stdout=stdout,
        stderr=stderr,
    )


def _after_try(
    job: Job, outcome: Outcome, verdict: str | None, delay: float | None, decided: bool
) -> tuple[State, float | None, str]:
    """The state, delay and reason after an attempt that counts as a try."""
    reason = describe(outcome)
    if verdict not in VERDICTS:
        verdict = verdict_of(outcome)
    if verdict == "success":
        return State.COMPLETED, None, reason
    if verdict == "dead":
        return State.DEAD, None, reason
    if not may_retry(job):
        return State.DEAD, None, reason
    if decided and delay is None:
        return State.DEAD, None, f"{reason}; the backoff policy gave up"
    if delay is None or not decided or not math.isfinite(delay) or delay < 0:
        delay = default_delay(job._replace(tries=job.tries + 1))
    return State.FAILED, min(delay, LONGEST_DELAY), reason


def release(claim: Claim) -> Settlement:
    """Give back a claim that certainly never started: no attempt, and its place in the line is kept."""
    job = claim.job
    state, reason = (State.FAILED if job.tries else State.PENDING), job.reason
    if job.cancel:
        state, reason = State.CANCELLED, "cancelled"
    return Settlement(job.id, claim.token, state, tries=job.tries, losses=job.losses, reason=reason, released=True)


def describe(outcome: Outcome) -> str:
    """The reason for people: ``exit 3``, ``signal 9``, ``timeout`` …, with the detail where there is one."""
    kind = outcome.kind
    if kind is OutcomeKind.EXITED:
        text = f"exit {outcome.code}"
    elif kind is OutcomeKind.SIGNALLED:
        text = f"signal {outcome.code}"
    else:
        text = kind.value.replace("_", " ")
    return f"{text}: {outcome.detail}" if outcome.detail else text


def event_of(claim: Claim, settlement: Settlement, at: int) -> Event | None:
    """The event that an applied settlement is told as; None for a release, unless it cancels: that is nobody's news."""
    state, outcome = settlement.state, settlement.outcome
    if settlement.released and state is not State.CANCELLED:
        return None
    kind = state.value
    if state is State.PENDING and outcome is not None:
        kind = outcome.kind.value  # lost or interrupted
    job = claim.job._replace(
        state=state,
        attempts=claim.job.attempts - settlement.released,
        tries=settlement.tries,
        losses=settlement.losses,
        reason=settlement.reason,
        outcome=claim.job.outcome if outcome is None else outcome,
        run_at=at + round(1000 * settlement.delay) if settlement.delay is not None else claim.job.run_at,
        updated_at=at,
        pool=None,
        cancel=False,
    )
    return Event(kind, at, job, outcome)
