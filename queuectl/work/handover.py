"""Gives the claims of a pool to workers that are free."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from queuectl.api.errors import ConfigError, PluginError
from queuectl.api.model import Outcome, OutcomeKind
from queuectl.core import transitions

from .ledger import Unsettled, key_of
from .legacy import remove
from .pace import FAR, STALE
from .points import reached

if TYPE_CHECKING:
    from queuectl.api.model import Settings
    from queuectl.core.app import App

    from .crew import Crew
    from .ledger import Ledger
    from .pace import Pace
    from .peer import Peer

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")


class Handover:
    """From the ledger's line to the crew, with the recipes of what a job needs to run."""

    def __init__(self, app: App, ledger: Ledger, crew: Crew, pace: Pace) -> None:
        self._app = app
        self._ledger = ledger
        self._crew = crew
        self._pace = pace
        self._recipes: dict[tuple[str, str], tuple[list[Any], list[Any]]] = {}

    def give(self, free: list[Peer]) -> None:
        """Give waiting claims to these; what is left of *free* has none."""
        waiting, outlived = self._ledger.waiting, self._ledger.outlived
        while waiting and free:
            claim = waiting.pop(0)
            run = outlived.get(key_of(claim)) if outlived else None
            try:
                executor, backoff = self._recipes_of(claim.job.settings)
            except (ConfigError, PluginError) as error:
                now = time.time_ns() // 1_000_000
                kind = OutcomeKind.START_FAILED if run is None else OutcomeKind.LOST
                outcome = Outcome(kind, 126, now, now, str(error))
                remove(self._ledger.taken_up(claim))
                self._ledger.keep([Unsettled(claim, transitions.settle(claim, outcome))])
                continue
            peer = free.pop(0)
            self._crew.hand_over(peer, claim, executor, backoff, run)
            if run is not None:
                peer.take_up(claim, run.disowned, self._ledger.stopping)

    def place_waiting(self) -> None:
        """Hand over what has found no worker yet, where there is one now."""
        self.give(self._crew.openings(self._pace.ahead))

    def mind_the_stale(self, now: float) -> None:
        """Take back what was handed over and has not begun for too long, and give back what nobody has."""
        since = [peer.handed_at for peer in self._crew.queued() if not peer.withdrawn]
        self._pace.stale_at = min(since, default=FAR) + STALE
        if now < self._pace.stale_at and not self._ledger.waiting:
            return
        self._pace.stale_at = FAR
        self._pace.falter()
        self._ledger.give_back_waiting()
        self._crew.withdraw()
        reached("pool.given-back")

    def _recipes_of(self, settings: Settings) -> tuple[list[Any], list[Any]]:
        """Executor and backoff. ConfigError or PluginError if one cannot be had."""
        names = settings.executor, settings.backoff
        recipes = self._recipes.get(names)
        if recipes is None:
            executor, backoff = self._app.executor_recipe(names[0]), self._app.backoff_recipe(names[1])
            recipes = self._recipes[names] = list(executor), list(backoff)
        return recipes
