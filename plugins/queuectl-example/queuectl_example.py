"""Exit codes that are final, and exit codes that are fine: the smallest useful plugin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from queuectl.api import Job, Option, Outcome, OutcomeKind, hookimpl

__version__ = "0.1.0"


def check_codes(codes: list[Any]) -> str | None:
    """What is wrong with a list of exit codes, for who wrote it; None if it is right."""
    good = all(type(code) is int and 0 <= code <= 255 for code in codes)
    return None if good else "expected a list of exit codes, 0 to 255"


class ExitCodes:
    """The hooks, and what they share: the options, once they are known."""

    def __init__(self) -> None:
        self._verdicts: dict[int, str] = {}

    @hookimpl
    def queuectl_options(self) -> Iterable[Option]:
        yield Option("dead", list, [64, 65, 78], "exit codes that are never tried again", check=check_codes)
        yield Option("success", list, [], "as good as 0", check=check_codes)

    @hookimpl
    def queuectl_configure(self, options: Mapping[str, Any]) -> None:
        self._verdicts = {
            **dict.fromkeys(options["dead"], "dead"),
            **dict.fromkeys(options["success"], "success"),
        }

    @hookimpl
    def queuectl_verdict(self, job: Job, outcome: Outcome) -> str | None:
        if outcome.kind is not OutcomeKind.EXITED or outcome.code is None:
            return None
        return self._verdicts.get(outcome.code)


plugin = ExitCodes()
