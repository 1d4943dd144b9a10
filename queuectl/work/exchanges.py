"""The exchanges of a pool with its storage: what has ended is stored, what is next is claimed, in one step for all.

A result is its worker's until the exchange that stores it is committed; only then is the worker told to forget it. An
exchange that fails changes nothing here, and is made again with all that has ended meanwhile.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from queuectl.api.errors import StorageError
from queuectl.api.model import State, Turn

from .legacy import remove
from .peer import FAR
from .points import reached

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from queuectl.api.model import Exchange, Settlement
    from queuectl.api.storage import Storage

    from .crew import Crew
    from .handover import Handover
    from .ledger import Ledger, Unsettled
    from .lookout import Lookout
    from .news import News
    from .outage import Outage
    from .pace import Pace
    from .telling import Telling

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")

FORGET = 0.05  # while jobs are short, a worker hears from its next job what is stored, or after so many seconds


class Exchanges:
    """Made by one pool, for all of its workers at once. *verbose*: the log also has what ended well."""

    def __init__(
        self,
        pool: str,
        storage: Storage,
        lease: float,
        log: Callable[[str], None],
        *,
        verbose: bool,
        ledger: Ledger,
        crew: Crew,
        pace: Pace,
        lookout: Lookout,
        outage: Outage,
        handover: Handover,
        news: News,
        telling: Telling,
    ) -> None:
        self.looked = False  # at least once, with a worker to give a job to
        self.back_by = 0.0  # when the last job that was lost here is due again
        self.forget_at = FAR  # when workers are told what is stored, if no job has told them before
        self._pool = pool
        self._storage = storage
        self._lease = lease
        self._log = log
        self._verbose = verbose
        self._ledger = ledger
        self._crew = crew
        self._pace = pace
        self._lookout = lookout
        self._outage = outage
        self._handover = handover
        self._news = news
        self._telling = telling

    def settle_at(self) -> float:
        """When what has ended is to be stored: at once, or a little later if nobody waits for it."""
        ledger = self._ledger
        if not ledger.unsettled:
            return FAR
        return self._pace.linger_until if self.lingers else 0.0

    @property
    def lingers(self) -> bool:
        """Whether nobody waits for results to be stored: every worker has its next job ready."""
        return self._pace.ahead > 0 and not self._ledger.stopping and self._crew.is_supplied

    def make(self, now: float) -> None:
        """Store what ended, take what is next, and tell everybody concerned."""
        batch = self._ledger.unsettled
        room = len(self._crew.openings(self._pace.ahead, settled=True))
        want = self._ledger.want(room)
        try:
            for entry in batch:
                if entry.large:
                    self._keep_output(entry)
            settlements = self._settlements(batch)
            turn = Turn(self._pool, settlements, want, self._ledger.ceilings(), lease=self._lease)
            reached("pool.before-exchange")
            began = time.monotonic()
            answer = self._storage.exchange(turn)
        except StorageError as error:
            self._outage.begin(now, error)
            return
        if self._outage.tries:
            self._outage.end()
        self._crew.leased_at = began
        self.looked = self.looked or (want > 0 and room > 0)
        if answer.claims:
            reached("pool.claimed")
        if batch:
            reached("pool.settled")
            self._settled(batch, answer)
            if self._telling.routes:
                self._telling.stored(settlements)
        self._hand_over(answer, batch, want, now)
        if answer.cancel or answer.watched:
            self._news.hear(answer)

    def _settlements(self, batch: Sequence[Unsettled]) -> tuple[Settlement, ...]:
        if self._telling.routes:
            return tuple([self._telling.addressed(entry) for entry in batch])
        return tuple([entry.settlement for entry in batch])

    def _hand_over(self, answer: Exchange, batch: Sequence[Unsettled], want: int, now: float) -> None:
        """Give workers what was claimed, and let them forget what was stored."""
        ledger, pace = self._ledger, self._pace
        ledger.take(answer.claims)
        pace.claimed(len(answer.claims), now)
        pace.stored(len(batch), now)
        free = self._crew.openings(pace.ahead)
        self._handover.give(free)
        self._acknowledge(batch, now)
        self._lookout.looked(now, want, answer, may_take=bool(free) and ledger.left != 0)

    def _keep_output(self, entry: Unsettled) -> None:
        """What is too long for a settlement comes before it."""
        for stream, path in entry.large:
            if os.path.exists(path):  # else it was kept before the exchange that failed
                self._storage.keep_output(entry.claim.job, entry.claim.job.attempts, stream, path)
                reached("pool.output-kept")

    def _settled(self, batch: Sequence[Unsettled], answer: Exchange) -> None:
        """The exchange is committed."""
        for entry in batch:
            if entry.peer is not None:
                entry.peer.free()
            if entry.remove:
                remove(entry.remove)
        for id in answer.unstored:
            self._log(f"a job that was to follow another was not stored: its id {id} is a number, or is taken")
        for id in answer.refused:
            self._log(f"job {id}: its result came too late and was refused; somebody else owns it now")
        applied = self._ledger.close(batch, answer.refused)
        for entry in applied:
            self._note(entry)
        self._telling.settled(applied)

    def _note(self, entry: Unsettled) -> None:
        """A line of the log for what ended otherwise than well."""
        settlement, job = entry.settlement, entry.claim.job
        if settlement.released:
            return
        if settlement.state is State.PENDING and settlement.delay:
            self.back_by = max(self.back_by, time.monotonic() + settlement.delay + 0.01)
        if settlement.state is not State.COMPLETED or self._verbose:
            then = f", next try in {settlement.delay:.3g} s" if settlement.delay else ""
            self._log(f"job {job.id} attempt {job.attempts} {settlement.state.value}: {settlement.reason}{then}")

    def _acknowledge(self, batch: Sequence[Unsettled], now: float) -> None:
        """Let workers forget what is stored. One that is given its next job knows by that: while jobs are short, that
        is soon, and saves waking it twice."""
        for entry in batch:
            if entry.peer is not None and entry.peer.claim is None:
                entry.peer.unforgotten = entry.claim.job.id, entry.claim.job.attempts
        if self._pace.ahead and not self._ledger.stopping:
            self.forget_at = min(self.forget_at, now + FORGET)
        else:
            self.let_forget()

    def let_forget(self) -> None:
        """Tell those that no job has told."""
        self.forget_at = FAR
        self._crew.let_forget()
