"""How a pool keeps up with jobs that are over in milliseconds. Decisions alone.

The next job of a worker begins when its result is stored: for a job of a millisecond that is half of its time. So while
jobs are short, a pool has a few more claims at hand than places, and a few more workers: a result that arrives frees
its place at once, the next job begins in a worker that waits for it, and results are stored several at a time. Never
do more jobs run at once than were asked for. A claim that finds no place soon is given back, its place in line kept.
"""

from __future__ import annotations

import sys

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")

SHORT = 0.02  # seconds from hand-over to result: up to here a job is short
STREAK = 8  # so many short jobs in a row make a pace
REST = 2.0  # so many seconds after the last of them, workers beyond the places are let go
MOST = 4  # no more of those than this, however many places there are
AHEAD = 2  # claims at hand for each of them
FAR = float("inf")
STALE = 0.05  # seconds that a claim waits for a place
LINGER = 0.002  # seconds that a result waits for others, while nobody waits for it


class Pace:
    """Whether the jobs of a pool with so many *places* are short, and what follows from that.

    *now* is always the monotonic clock.
    """

    def __init__(self, places: int) -> None:
        self._relief = min(places, MOST)
        self._streak = 0
        self.rest_at = 0.0  # when the workers beyond the places are to go, if nothing happens
        self.stale_at = 0.0  # when claims that wait for a place are to be given back
        self.linger_until = 0.0  # when the oldest of the results that wait for others is to be stored

    def claimed(self, number: int, now: float) -> None:
        """So many were claimed. That others were asked for in vain lets none of those that wait stay for longer."""
        if number:
            self.stale_at = now + STALE

    def ended(self, seconds: float, now: float, oldest: bool = True) -> None:
        """A job has taken so long, from its hand-over to its result: the *oldest* now of those to be stored, or not."""
        self._streak = self._streak + 1 if seconds <= SHORT else 0
        if self._streak >= STREAK:
            self.rest_at = now + REST
        if oldest:
            self.linger_until = now + LINGER

    @property
    def ahead(self) -> int:
        """How many claims to have at hand beyond the places."""
        return AHEAD * self._relief if self._streak >= STREAK else 0

    def relief(self, now: float) -> int:
        """How many workers to have beyond the places."""
        return self._relief if now < self.rest_at else 0

    def falter(self) -> None:
        """A claim has found no place in time: the jobs that run are not short.

        What waits from now on is a run that goes on; it waits for as long as it takes.
        """
        self._streak = 0
        self.stale_at = FAR
