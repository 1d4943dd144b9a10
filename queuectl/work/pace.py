"""How a pool keeps up with jobs that are over in milliseconds. Decisions alone.

The next job of a worker begins when its result is stored: for a job of a millisecond that is half of its time. So while
jobs are short, each worker has a few lanes: the next job lies ready in one when another's has ended, and results are
stored several at a time. Never do more jobs run at once than were asked for. A claim that has not begun soon is given
back, its place in line kept.
"""

from __future__ import annotations

import sys

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")

SHORT = 0.02  # seconds that a job runs: up to here it is short
STREAK = 8  # so many short jobs in a row make a pace
REST = 2.0  # so many seconds after the last of them, further lanes are let go
LANES = 8  # of one worker
MOST = 16  # claims that lie ready in one pool; where it has more workers than that, none does
READY = 0.025  # seconds of work that lie ready for one worker
STALE = 0.05  # seconds that a claim lies ready before it is asked for
LINGER = 0.01  # seconds that a result waits for others, while nobody waits for it
FAR = float("inf")


class Pace:
    """Whether the jobs of a pool with so many *places* are short, and what follows from that.

    *now* is always the monotonic clock.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._lanes = 1 + min(LANES - 1, MOST // places)
        self._streak = 0
        self._each = 0.0  # seconds from one result of a worker to its next
        self._stored_at = 0.0
        self.rest_at = 0.0  # when further lanes are to go, if nothing happens
        self.stale_at = FAR  # when to see whether a claim lies ready for too long
        self.linger_until = 0.0  # when results that wait for others are to be stored

    def claimed(self, number: int, now: float) -> None:
        """So many were claimed."""
        if number:
            self.stale_at = min(self.stale_at, now + STALE)

    def ended(self, seconds: float, now: float) -> None:
        """A job has run for so long."""
        self._streak = self._streak + 1 if seconds <= SHORT else 0
        if self._streak >= STREAK:
            self.rest_at = now + REST

    def stored(self, number: int, now: float) -> None:
        """All results that were here are stored, so many. The next wait until half of what lies ready is done."""
        if number:
            self._each = (now - self._stored_at) * self._places / number
            self._stored_at = now
            self.linger_until = now + min(LINGER, self._each * (self.ahead + 1) / 2)

    @property
    def ahead(self) -> int:
        """How many claims are to lie ready for each worker."""
        if self._streak < STREAK:
            return 0
        return min(self._lanes - 1, max(1, int(READY / self._each))) if self._each else self._lanes - 1

    def lanes(self, now: float) -> int:
        """How many lanes each worker should have."""
        return self._lanes if now < self.rest_at else 1

    def falter(self) -> None:
        """A claim has not begun in time: the jobs that run are not short."""
        self._streak = 0
