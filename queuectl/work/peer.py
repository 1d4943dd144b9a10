"""A worker, as its pool knows it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from queuectl.api.model import Claim, OutcomeKind

    from .channel import Channel

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")

FAR = float("inf")


class Peer:
    """The line to a worker, and what it was given and told."""

    def __init__(self, id: str, channel: Channel, *, adopted: bool = False) -> None:
        self.id = id
        self.channel = channel
        self.ready = False  # it has said HI
        self.adopted = adopted  # from a dead pool: it ends when its job is stored
        self.leaving = adopted
        self.claim: Claim | None = None  # handed to it, or ended and not yet stored
        self.handed_at = 0.0  # when that was
        self.unforgotten: tuple[str, int] | None = None  # job and attempt that are stored, and it does not know it yet
        self.reported = False  # its result is here, and waits for an exchange
        self.disowned = False  # the claim is no longer ours: the result is not to be stored
        self.stop: OutcomeKind | None = None  # why it was asked to end its job
        self.forced = False
        self.buried: int | None = None  # wait status, once its tree is ended
        self.gone_at: float | None = None  # when its line was found closed
        self.bury_at = FAR  # when to look whether its tree is ended
        self.kill_at = FAR  # when it must have answered

    @property
    def is_free(self) -> bool:
        return self.ready and not self.leaving and self.claim is None and not self.channel.closed

    @property
    def is_busy(self) -> bool:
        """Whether a job of it may be running: one whose result is here runs no more."""
        return self.claim is not None and not self.reported

    def free(self) -> None:
        """What it held is settled, or is no longer ours."""
        self.claim = None
        self.reported = self.disowned = self.forced = False
        self.stop = None
        self.kill_at = FAR
