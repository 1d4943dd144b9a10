"""The backoff policy ``fixed``: the same delay before every retry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from queuectl.api.backoff import Backoff
from queuectl.api.markers import hookimpl
from queuectl.api.providers import Option, Provider

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from random import Random

    from queuectl.api.model import Job, Outcome
    from queuectl.api.providers import Context

YEAR = 31_536_000.0

OPTIONS = (Option("delay", float, 10.0, "seconds before every retry", minimum=0, maximum=YEAR, unit="s"),)


class Fixed(Backoff):
    """``delay`` seconds, always. A job's own ``backoff_options`` override the instance's table."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = {"delay": 10.0, **options}

    def delay(self, job: Job, outcome: Outcome, rng: Random) -> float | None:
        return float({**self._options, **job.settings.backoff_options}["delay"])


def _open(options: Mapping[str, Any], _context: Context) -> Backoff:
    return Fixed(options)


@hookimpl
def queuectl_backoffs() -> Iterable[Provider[Backoff]]:
    yield Provider("fixed", _open, OPTIONS, summary="the same delay before every retry", job_options=OPTIONS)
