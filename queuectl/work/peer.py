"""A lane of a worker, as its pool knows it."""

from __future__ import annotations

import os
import select
import sys
import time
from typing import TYPE_CHECKING

from queuectl.api import trees
from queuectl.api.model import OutcomeKind
from queuectl.core.rundir import LANE_MARK

from . import channel as words
from .ledger import END
from .points import reached

if TYPE_CHECKING:
    from queuectl.api.model import Claim

    from .channel import Channel
    from .poller import Poller

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")

FAR = float("inf")
#: So much later than it should a worker may answer, then it is ended.
BACKSTOP = float(os.environ.get("QUEUECTL_BACKSTOP_SECONDS", "15"))


class Peer:
    """The line to a worker, and what that was given and told on it."""

    def __init__(self, id: str, channel: Channel, poll: Poller, *, adopted: bool = False) -> None:
        self.id = id
        self.worker = id.partition(LANE_MARK)[0]
        self.channel = channel
        self.ready = False  # it has said HI
        self.adopted = adopted  # from a dead pool: it ends when its job is stored
        self.leaving = adopted
        self.broken = False  # something of its job could not be ended: its worker takes no other
        self.claim: Claim | None = None  # handed to it, or ended and not yet stored
        self.handed_at = 0.0  # when that was
        self.unforgotten: tuple[str, int] | None = None  # job and attempt that are stored, and it does not know it yet
        self.reported = False  # its result is here, and waits for an exchange
        self.disowned = False  # the claim is no longer ours: the result is not to be stored
        self.stop: OutcomeKind | None = None  # why it was asked to end its job
        self.forced = False
        self.withdrawn = False  # it was asked to give back its job, unless that has begun
        self.buried: int | None = None  # wait status, once its tree is ended
        self.gone_at: float | None = None  # when its line was found closed
        self.bury_at = FAR  # when to look whether its tree is ended
        self.kill_at = FAR  # when it must have answered
        self._poll = poll

    @property
    def is_first(self) -> bool:
        """Whether it is the lane that its worker was born with, and ends with."""
        return self.id == self.worker

    @property
    def is_free(self) -> bool:
        return self.claim is None and self.ready and not self.leaving and not self.channel.closed

    @property
    def is_busy(self) -> bool:
        """Whether its job runs or is about to, for all we know."""
        return self.claim is not None and not self.reported

    def free(self) -> None:
        """What it held is settled, or is no longer ours."""
        self.claim = None
        self.reported = self.disowned = self.forced = self.withdrawn = False
        self.stop = None
        self.kill_at = FAR

    # -- words to it ----------------------------------------------------------------------------------

    def watch(self) -> None:
        """Let the poll tell when it speaks, and when it can hear the rest of what we said."""
        if not self.channel.closed:
            mask = select.POLLIN | (select.POLLOUT if self.channel.wants_write else 0)
            self._poll.modify(self.channel.fileno(), mask)

    def acknowledge(self, id: str, attempt: int) -> None:
        """Let it forget a result."""
        self.channel.send(words.ACK, id, attempt)
        reached("pool.ack-sent")
        if self.leaving:
            self.channel.send(words.QUIT)

    def let_forget(self) -> None:
        """Acknowledge what is stored and was not acknowledged yet."""
        job, self.unforgotten = self.unforgotten, None
        if job is not None:
            self.acknowledge(*job)

    def quit(self) -> None:
        """Let it end when it holds nothing."""
        self.let_forget()
        self.channel.send(words.QUIT)

    def tell_renewed(self, moment: float) -> None:
        """The pool's lease was renewed at *moment*."""
        self.channel.send(words.LEASED, moment)
        self.watch()

    def end_job(self, why: OutcomeKind, force: bool = False) -> None:
        """Ask it to end its job, by *force* at once. The first reason counts."""
        claim = self.claim
        if claim is None or self.reported or (self.stop is not None and (self.forced or not force)):
            return
        self.stop, self.forced = why, force
        self.kill_at = time.monotonic() + claim.job.settings.grace + trees.TREE_DEADLINE + BACKSTOP
        self.channel.send(words.STOP, claim.job.id, claim.job.attempts, why, force)
        self.watch()

    def withdraw(self) -> None:
        """Ask it to give back what it was given, unless that has begun."""
        claim = self.claim
        if claim is not None and not (self.withdrawn or self.reported or self.stop is not None):
            self.withdrawn = True
            self.channel.send(words.RETURN, claim.job.id, claim.job.attempts)
            self.watch()
            reached("pool.return-sent")

    def take_up(self, claim: Claim, disowned: bool, stopping: int) -> None:
        """It has a run that outlived its worker or its pool. Meanwhile it may have been cancelled, lost or stopped."""
        self.claim, self.disowned = claim, disowned
        if claim.job.cancel and not disowned:
            self.end_job(OutcomeKind.CANCELLED)
        elif disowned or stopping >= END:
            self.end_job(OutcomeKind.INTERRUPTED)
