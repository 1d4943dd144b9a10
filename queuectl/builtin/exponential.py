"""The backoff policy ``exponential``: 2, 4, 8 … seconds, up to an hour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from queuectl.api.backoff import Backoff, exponential_delay
from queuectl.api.markers import hookimpl
from queuectl.api.providers import Option, Provider

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from random import Random

    from queuectl.api.model import Job, Outcome
    from queuectl.api.providers import Context

YEAR = 31_536_000.0

OPTIONS = (
    Option("base", float, 2.0, "delay before the n-th retry is base ** n seconds", minimum=1, maximum=1e6),
    Option("max_delay", float, 3600.0, "no delay is longer than this (seconds)", minimum=0, maximum=YEAR, unit="s"),
    Option(
        "jitter",
        str,
        "none",
        "none; full: anywhere between 0 and the delay; equal: between half of it and all of it",
        choices=("none", "full", "equal"),
    ),
)


class Exponential(Backoff):
    """``base ** tries`` seconds, capped, spread by chance if asked for.

    What a job asks for itself (``backoff_options``) overrides, key by key, what the instance's table says.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = {"base": 2.0, "max_delay": 3600.0, "jitter": "none", **options}

    def delay(self, job: Job, outcome: Outcome, rng: Random) -> float | None:
        options = {**self._options, **job.settings.backoff_options}
        whole = exponential_delay(job.tries, options["base"], options["max_delay"])
        match options["jitter"]:
            case "full":
                return rng.random() * whole
            case "equal":
                return (0.5 + 0.5 * rng.random()) * whole
        return whole


def _open(options: Mapping[str, Any], _context: Context) -> Backoff:
    return Exponential(options)


@hookimpl
def queuectl_backoffs() -> Iterable[Provider[Backoff]]:
    yield Provider(
        "exponential", _open, OPTIONS, summary="base ** n seconds before the n-th retry, capped", job_options=OPTIONS
    )
