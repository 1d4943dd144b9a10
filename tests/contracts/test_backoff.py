"""The built-in backoff policies keep the contract, and say what their options say."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from queuectl.api.backoff import Backoff
from queuectl.api.model import Job, Outcome, OutcomeKind, Settings
from queuectl.api.providers import Context, Provider
from queuectl.builtin import exponential, fixed, linear
from queuectl.testing.backoff import BackoffSuite
from queuectl.testing.fakes import make_job

CONTEXT = Context("x", None, "/", print)


def opened(module: Any, **options: Any) -> Backoff:
    """The policy that a module offers, with the defaults that configuration would fill in."""
    provider: Provider[Backoff] = next(iter(module.queuectl_backoffs()))
    return provider.open({**{option.name: option.default for option in provider.options}, **options}, CONTEXT)


class TestExponential(BackoffSuite):
    monotone = True
    longest = 3600.0

    @pytest.fixture
    def backoff(self) -> Backoff:
        return opened(exponential)


class TestExponentialAtItsExtremes(BackoffSuite):
    monotone = True
    longest = exponential.YEAR

    @pytest.fixture
    def backoff(self) -> Backoff:
        return opened(exponential, base=1_000_000, max_delay=exponential.YEAR)


class TestExponentialWithFullJitter(BackoffSuite):
    monotone = True
    random = True
    longest = 3600.0

    @pytest.fixture
    def backoff(self) -> Backoff:
        return opened(exponential, jitter="full")


class TestExponentialWithEqualJitter(BackoffSuite):
    monotone = True
    random = True
    longest = 3600.0
    shortest = 1.0

    @pytest.fixture
    def backoff(self) -> Backoff:
        return opened(exponential, jitter="equal")


class TestExponentialByTheJob(BackoffSuite):
    monotone = True
    longest = 5.0

    @pytest.fixture
    def backoff(self) -> Backoff:
        return opened(exponential, base=10)

    def job(self, tries: int) -> Job:
        return make_job(tries=tries, settings=Settings(backoff_options={"base": 2, "max_delay": 5}))


class TestFixed(BackoffSuite):
    monotone = True
    shortest = longest = 10.0

    @pytest.fixture
    def backoff(self) -> Backoff:
        return opened(fixed)


class TestLinear(BackoffSuite):
    monotone = True
    shortest = 10.0
    longest = 3600.0

    @pytest.fixture
    def backoff(self) -> Backoff:
        return opened(linear)


def delays(backoff: Backoff, tries: int, seed: int = 1, **options: Any) -> list[float | None]:
    failed = Outcome(OutcomeKind.EXITED, 1)
    settings = Settings(backoff_options=options)
    return [backoff.delay(make_job(tries=n, settings=settings), failed, Random(seed)) for n in range(1, tries + 1)]


def test_exponential_doubles_from_two_seconds_to_an_hour() -> None:
    assert delays(opened(exponential), 13) == [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600]


def test_full_jitter_is_anywhere_below_and_equal_jitter_in_the_upper_half() -> None:
    full = [delays(opened(exponential, jitter="full"), 6, seed)[-1] for seed in range(500)]
    equal = [delays(opened(exponential, jitter="equal"), 6, seed)[-1] for seed in range(500)]
    assert 0 <= min(full) < 6 and 58 < max(full) <= 64  # type: ignore[operator, type-var]
    assert 32 <= min(equal) < 35 and 61 < max(equal) <= 64  # type: ignore[operator, type-var]


def test_linear_grows_by_its_step() -> None:
    assert delays(opened(linear, delay=5, step=3, max_delay=12), 4) == [5, 8, 11, 12]


@pytest.mark.parametrize(
    ("module", "asked", "expected"),
    [
        (exponential, {"base": 3}, [3, 9]),
        (exponential, {"max_delay": 3}, [2, 3]),
        (fixed, {"delay": 1}, [1, 1]),
        (linear, {"step": 1}, [10, 11]),
    ],
)
def test_what_a_job_asks_for_itself_overrides_the_table_key_by_key(
    module: Any, asked: dict[str, float], expected: list[float]
) -> None:
    assert delays(opened(module), 2, **asked) == expected


@pytest.mark.parametrize("module", [exponential, fixed, linear])
def test_a_job_may_ask_for_whatever_the_table_may_say(module: Any) -> None:
    (provider,) = module.queuectl_backoffs()
    assert provider.job_options == provider.options
    assert all(option.help and option.maximum for option in provider.options if option.type is float)
