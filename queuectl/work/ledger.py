"""What a pool holds: claims that wait for a worker, claims that a worker has, results that wait to be stored.

Bookkeeping and decisions alone: no socket, no storage, no process.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

from queuectl.api.model import Claim, Settlement, State
from queuectl.core import transitions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .peer import Peer

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")


#: How far a pool is told to stop: its jobs may finish, they are ended, they are left to end as they like.
FINISH, END, LEAVE = 1, 2, 3


class Unsettled(NamedTuple):
    """A result that waits to be stored."""

    claim: Claim
    settlement: Settlement
    peer: Peer | None = None  # who holds it until it is stored
    large: tuple[tuple[str, str], ...] = ()  # streams that are to be kept as files, with their paths
    remove: tuple[str, ...] = ()  # files that are of no use once it is stored, in this order


class Outlived(NamedTuple):
    """A run whose worker died and which goes on: another worker takes it up."""

    ident: str
    started_at: int
    files: tuple[str, ...] = ()  # what names the run until the next worker's record does
    deaths: int = 1  # of workers
    disowned: bool = False  # the claim is no longer ours: it is taken up to be ended


def key_of(claim: Claim) -> tuple[str, int]:
    return claim.job.id, claim.job.attempts


def wanted(room: int, waiting: int, left: int | None) -> int:
    """How many jobs to claim: for each that could be handed over; none twice, no more than are left.

    In the *room* count lanes whose results are in the same exchange; without that they would stand empty until
    somebody else has finished.
    """
    want = max(0, room - waiting)
    return want if left is None else min(want, left)


class Ledger:
    """The books of one pool. *queues* are its own ceilings, *most* is how many jobs it may take in all."""

    def __init__(self, queues: Mapping[str, int | None] | None = None, most: int | None = None) -> None:
        self._queues = queues
        self._most = most
        self.held: dict[str, Claim] = {}  # every claim of this pool, whoever has it
        self.waiting: list[Claim] = []  # those that no worker has yet
        self.unsettled: list[Unsettled] = []
        self.outlived: dict[tuple[str, int], Outlived] = {}  # by job and attempt; their claims wait first in line
        self.stopping = 0  # or FINISH, END, LEAVE: nothing more is claimed
        self.done = 0  # attempts that were stored
        self.died = 0  # of which ended dead

    @property
    def is_empty(self) -> bool:
        return not (self.held or self.waiting or self.unsettled)

    @property
    def left(self) -> int | None:
        """How many jobs may still be claimed; None: any number."""
        if self.stopping:
            return 0
        return None if self._most is None else max(0, self._most - self.done - len(self.held))

    @property
    def is_used_up(self) -> bool:
        return self._most is not None and self.done >= self._most

    def want(self, room: int) -> int:
        """How many jobs to claim in the next exchange, if so many could be handed over after it."""
        return wanted(room, len(self.waiting), self.left)

    def ceilings(self) -> Mapping[str, int | None] | None:
        """What may be claimed of each queue in the next exchange, which settles all that is unsettled."""
        if self._queues is None or all(ceiling is None for ceiling in self._queues.values()):
            return self._queues
        ending = {(entry.claim.job.id, entry.claim.token) for entry in self.unsettled}
        running = [claim.job.spec.queue for claim in self.held.values() if (claim.job.id, claim.token) not in ending]
        return {
            name: None if ceiling is None else max(0, ceiling - running.count(name))
            for name, ceiling in self._queues.items()
        }

    def hold(self, claims: Iterable[Claim]) -> None:
        """Claims that somebody has, or that are adopted."""
        self.held.update({claim.job.id: claim for claim in claims})

    def take(self, claims: Sequence[Claim]) -> None:
        """Claims that wait for a worker."""
        self.hold(claims)
        self.waiting += claims

    def take_up(self, claim: Claim, run: Outlived) -> None:
        """A claim whose run goes on waits for a worker that takes it up."""
        self.hold([claim])
        self.outlived[key_of(claim)] = run
        self.waiting.insert(0, claim)

    def taken_up(self, claim: Claim) -> tuple[str, ...]:
        """A worker's own record names the run now, or it has ended; the files that are of no more use."""
        run = self.outlived.pop(key_of(claim), None)
        return () if run is None else run.files

    def keep(self, entries: Iterable[Unsettled]) -> None:
        """Results that are to be stored."""
        self.unsettled += entries

    def give_back(self, claim: Claim) -> None:
        """A claim that certainly never started is to be given back."""
        self.unsettled.append(Unsettled(claim, transitions.release(claim)))

    def give_back_waiting(self) -> None:
        """Give back what never started. A run that goes on is not among it."""
        for claim in self.waiting:
            if key_of(claim) not in self.outlived:
                self.give_back(claim)
        self.waiting = [claim for claim in self.waiting if key_of(claim) in self.outlived]

    def forget(self, claim: Claim) -> None:
        """It is no longer ours under this token. We may hold the same job under a later one by now."""
        held = self.held.get(claim.job.id)
        if held is not None and held.token == claim.token:
            del self.held[claim.job.id]

    def lose(self, id: str) -> None:
        """A job that no worker has is not this pool's any more. A run that goes on is still to be ended."""
        self.held.pop(id, None)
        for claim in [claim for claim in self.waiting if claim.job.id == id]:
            if (run := self.outlived.get(key_of(claim))) is not None:
                self.outlived[key_of(claim)] = run._replace(disowned=True)
            else:
                self.waiting.remove(claim)

    def mark_cancelled(self, id: str) -> Claim | None:
        """Note that a job is to be cancelled; its claim. One that waits is given back at once, and so cancelled."""
        claim = self.held.get(id)
        if claim is None:
            return None
        marked = self.held[id] = claim._replace(job=claim.job._replace(cancel=True))
        if key_of(marked) in self.outlived:
            self.waiting = [marked if key_of(waiting) == key_of(marked) else waiting for waiting in self.waiting]
        elif any(waiting.job.id == id for waiting in self.waiting):
            self.waiting = [waiting for waiting in self.waiting if waiting.job.id != id]
            self.give_back(marked)
        return marked

    def close(self, batch: Sequence[Unsettled], refused: Sequence[str]) -> list[Unsettled]:
        """The exchange that stored *batch* is committed; those that were applied."""
        self.unsettled = self.unsettled[len(batch) :]
        applied = []
        for entry in batch:
            self.forget(entry.claim)
            if entry.claim.job.id in refused:
                continue
            applied.append(entry)
            if not entry.settlement.released:
                self.done += 1
                self.died += entry.settlement.state is State.DEAD
        return applied
