"""The conformance suite for backoff policies.

Subclass it in your tests and say how your policy is made::

    import pytest
    from queuectl.testing.backoff import BackoffSuite

    class TestSteady(BackoffSuite):
        monotone = True  # optional: what your policy promises beyond the contract
        longest = 60.0

        @pytest.fixture
        def backoff(self):
            return Steady(seconds=5)

Each test says in its docstring what it demands, and why.
"""

from __future__ import annotations

import math
from random import Random
from typing import ClassVar

import pytest

from queuectl.api.backoff import Backoff
from queuectl.api.model import Job, Outcome, OutcomeKind, Settings
from queuectl.testing.fakes import make_job

OUTCOMES = (
    Outcome(OutcomeKind.EXITED, 1),
    Outcome(OutcomeKind.EXITED, 0),  # a verdict may call it a failure
    Outcome(OutcomeKind.SIGNALLED, 9),
    Outcome(OutcomeKind.TIMEOUT, None, detail="after 5 s"),
    Outcome(OutcomeKind.START_FAILED, 127, detail="no such file"),
)
TRIES = (1, 2, 3, 5, 8, 20, 63, 64, 1000, 1023, 1024, 1025, 10**6)
HUGE = (2**31, 2**63, 10**18, 10**400)


class BackoffSuite:
    """What every policy has to hold."""

    #: Whether a further try never waits less than the one before, with the same luck.
    monotone: ClassVar[bool] = False
    #: Whether chance has a part in it.
    random: ClassVar[bool] = False
    #: No delay is longer, in seconds; None: nothing is promised.
    longest: ClassVar[float | None] = None
    #: No delay is shorter, in seconds.
    shortest: ClassVar[float] = 0.0

    @pytest.fixture
    def backoff(self) -> Backoff:
        """The policy under test."""
        raise NotImplementedError("give your suite a fixture `backoff` that returns the policy to test")

    def job(self, tries: int) -> Job:
        """A job that has just failed for the *tries*-th time. Override it if your policy needs options of the job."""
        return make_job("false", tries=tries, attempts=tries, settings=Settings(max_retries=tries))

    def delay(self, backoff: Backoff, tries: int, seed: int = 1, outcome: Outcome = OUTCOMES[0]) -> float | None:
        return backoff.delay(self.job(tries), outcome, Random(seed))

    @pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: f"{outcome.kind}-{outcome.code}")
    @pytest.mark.parametrize("tries", TRIES)
    def test_the_answer_is_a_sensible_number_or_none(self, backoff: Backoff, tries: int, outcome: Outcome) -> None:
        """After any number of tries and any kind of failure: seconds, or None to give up.

        Not negative, not infinite, not NaN, not a truth value: such an answer is thrown away, and the built-in rule
        is used without your policy ever being asked again for that retry.
        """
        for seed in range(5):
            self.check(self.delay(backoff, tries, seed, outcome))

    @pytest.mark.parametrize("tries", HUGE, ids=["2^31", "2^63", "10^18", "10^400"])
    def test_huge_numbers_of_tries_do_not_overflow(self, backoff: Backoff, tries: int) -> None:
        """Nobody tries so often, but ``base ** tries`` meets its limits early, and a policy must not raise."""
        self.check(self.delay(backoff, tries))

    def check(self, delay: float | None) -> None:
        if delay is None:
            return
        assert isinstance(delay, (int, float)) and not isinstance(delay, bool), f"{delay!r} is no number of seconds"
        assert math.isfinite(delay), f"{delay} is no delay"
        assert delay >= self.shortest, f"{delay} is less than {self.shortest}"
        assert self.longest is None or delay <= self.longest, f"{delay} is more than {self.longest}"

    def test_the_same_luck_gives_the_same_answer(self, backoff: Backoff) -> None:
        """Chance comes from the *rng* that is handed in and from nowhere else: so a test can seed it.

        No clock either: a policy may be asked late, or twice.
        """
        for tries in (1, 2, 3, 10):
            first = self.delay(backoff, tries, seed=7)
            assert [self.delay(backoff, tries, seed=7) for _ in range(5)] == [first] * 5

    def test_being_asked_changes_nothing(self, backoff: Backoff) -> None:
        """A policy has no memory. Workers come and go, each has its own instance, and jobs meet any of them."""
        fresh = [self.delay(backoff, tries) for tries in (1, 2, 3)]
        for tries in (9, 3, 1, 50):
            self.delay(backoff, tries)
        assert [self.delay(backoff, tries) for tries in (1, 2, 3)] == fresh

    def test_the_job_is_left_alone(self, backoff: Backoff) -> None:
        """What it is handed is immutable in name; the mappings inside are so by agreement."""
        job = self.job(3)
        settings = job.settings
        before = (repr(job), dict(settings.backoff_options))
        backoff.delay(job, OUTCOMES[0], Random(1))
        assert (repr(job), dict(settings.backoff_options)) == before

    def test_later_tries_wait_no_less(self, backoff: Backoff) -> None:
        """With the same luck, a further failure never shortens the delay. Only where ``monotone`` is claimed."""
        if not self.monotone:
            pytest.skip("monotone is not claimed")
        for seed in range(5):
            delays = [self.delay(backoff, tries, seed) for tries in range(1, 80)]
            numbers = [math.inf if delay is None else delay for delay in delays]  # to give up is to wait for ever
            assert numbers == sorted(numbers)

    def test_chance_spreads_delays(self, backoff: Backoff) -> None:
        """Jobs that failed together do not come back together. Only with ``random``; else no chance at all."""
        delays = {self.delay(backoff, 6, seed) for seed in range(50)}
        if self.random:
            assert len(delays) > 25, "the delays of fifty jobs hardly differ"
        else:
            assert len(delays) == 1, "the delay depends on chance, but random is not claimed"
