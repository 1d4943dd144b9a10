"""What the storage tells a pool of the jobs that it holds: lost, found, to be cancelled, watched.

It comes with each heartbeat, and with the answer to an exchange.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from queuectl.api.errors import StorageError
from queuectl.api.model import Held, OutcomeKind

from .points import reached

if TYPE_CHECKING:
    from collections.abc import Callable

    from queuectl.api.model import Exchange, Pulse
    from queuectl.api.storage import Storage

    from .crew import Crew
    from .ledger import Ledger
    from .outage import Outage
    from .pace import Pace
    from .showing import Showing
    from .takeover import Takeover

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")

BEATS = 5  # heartbeats in a lease, at least


class News:
    """The heart of one pool, and an ear for what it is answered."""

    def __init__(
        self,
        pool: str,
        storage: Storage,
        lease: float,
        heartbeat: float,
        log: Callable[[str], None],
        *,
        ledger: Ledger,
        crew: Crew,
        pace: Pace,
        takeover: Takeover,
        showing: Showing,
        outage: Outage,
    ) -> None:
        self.beat_at = 0.0  # on the monotonic clock
        self._pool = pool
        self._storage = storage
        self._lease = lease
        self._every = min(heartbeat, lease / BEATS)
        self._log = log
        self._ledger = ledger
        self._crew = crew
        self._pace = pace
        self._takeover = takeover
        self._showing = showing
        self._outage = outage

    def beat(self, now: float) -> None:
        """Renew the lease, and hear what has become of what we hold."""
        self.beat_at = now + self._every
        began = time.monotonic()
        held = [Held(claim.job.id, claim.token) for claim in self._ledger.held.values()]
        try:
            pulse = self._storage.heartbeat(self._pool, held, lease=self._lease)
        except StorageError as error:
            self._outage.begin(now, error)
            return
        reached("pool.beat")
        self._crew.leased_at = began
        self._crew.tell_renewed()
        for id in pulse.lost:
            self._disown(id)
        if not self._takeover.owns_up_to(pulse.found) and pulse.found:
            self._ledger.take(pulse.found)
            self._pace.claimed(len(pulse.found), now)
        self.hear(pulse)

    def hear(self, answer: Pulse | Exchange) -> None:
        """What others ask for: that jobs be cancelled, or shown."""
        for id in answer.cancel:
            self._cancel(id)
        self._showing.hear(answer.watched)

    def _disown(self, id: str) -> None:
        """Somebody else owns this job now: end it here, and do not store what comes of it."""
        peer = self._crew.holder(id)
        if peer is None:
            self._ledger.lose(id)
        elif not peer.reported:
            self._log(f"job {id} is no longer ours: ending it")
            peer.disowned = True
            peer.end_job(OutcomeKind.INTERRUPTED)

    def _cancel(self, id: str) -> None:
        """Somebody asked for a job of ours to be cancelled."""
        claim = self._ledger.mark_cancelled(id)
        if claim is None:
            return
        peer = self._crew.holder(id)
        if peer is None:
            self._takeover.cancel(claim)
            return
        peer.claim = claim
        if peer.stop is None:
            peer.end_job(OutcomeKind.CANCELLED)
