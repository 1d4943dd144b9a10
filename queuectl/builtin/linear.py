"""The backoff policy ``linear``: each delay is longer than the last one by the same step."""

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

OPTIONS = (
    Option("delay", float, 10.0, "seconds before the first retry", minimum=0, maximum=YEAR, unit="s"),
    Option("step", float, 10.0, "seconds that each further delay is longer", minimum=0, maximum=YEAR, unit="s"),
    Option("max_delay", float, 3600.0, "no delay is longer than this (seconds)", minimum=0, maximum=YEAR, unit="s"),
)


class Linear(Backoff):
    """``delay``, ``delay + step``, ``delay + 2 * step`` … seconds, capped.

    What a job asks for itself (``backoff_options``) overrides, key by key, what the instance's table says.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = {"delay": 10.0, "step": 10.0, "max_delay": 3600.0, **options}

    def delay(self, job: Job, outcome: Outcome, rng: Random) -> float | None:
        options = {**self._options, **job.settings.backoff_options}
        first, step, longest = (float(options[name]) for name in ("delay", "step", "max_delay"))
        try:
            return min(longest, first + step * (max(1, job.tries) - 1))
        except OverflowError:  # an integer too large for a float
            return longest


def _open(options: Mapping[str, Any], _context: Context) -> Backoff:
    return Linear(options)


@hookimpl
def queuectl_backoffs() -> Iterable[Provider[Backoff]]:
    yield Provider("linear", _open, OPTIONS, summary="each delay one step longer, capped", job_options=OPTIONS)
