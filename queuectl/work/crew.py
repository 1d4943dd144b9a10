"""The workers of a pool and the keeper that forks them: births, words, silence and deaths.

Nothing here waits: what takes time is a moment at which to look again. The crew knows processes and their records; what
becomes of a job is told to the pool, and decided there.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from queuectl.api import trees
from queuectl.api.model import OutcomeKind
from queuectl.core import wire
from queuectl.core.rundir import (
    SOCKET_SUFFIX,
    WORKER_SUFFIX,
    WorkerRecord,
    dead_keepers,
    list_lanes,
    live_keepers,
    read_worker,
)

from . import channel as words
from .channel import Channel
from .keeperlink import KeeperLink
from .legacy import end_left, here, remove, unborn_files
from .peer import BACKSTOP, FAR, Peer
from .points import reached
from .record import lane_id, worker_id
from .sockets import connect, is_own_user

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from queuectl.api.model import Claim

    from .ledger import Outlived
    from .poller import Poller
    from .setup import Setup

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")

BURIAL, BURY_AGAIN = 0.2, 0.01  # so long the keeper may take to end a dead worker's tree; so often we look
SILENCE = 3  # leases after which a worker that does not answer is ended
BIRTHS = 3  # so many workers or keepers may die before they did anything, then the next one waits
LONGEST_PAUSE = 30.0  # seconds between births that go wrong
LANES_AGAIN = 0.05  # seconds until lanes are looked at again, where one could not be opened or let go


class Crew:
    """The workers of one pool.

    *hear* is told what workers say (the peer, head and body of a frame), *mourn* of workers that are dead, with their
    record if there is one, when nothing of their tree lives. *spared* names other children of this process.
    *keeper* is one that has been started in advance.
    """

    def __init__(
        self,
        setup: Setup,
        size: int,
        lease: float,
        poll: Poller,
        *,
        hear: Callable[[Peer, list[Any], bytes], None],
        mourn: Callable[[Peer, WorkerRecord | None], None],
        spared: Callable[[], set[int]],
        log: Callable[[str], None],
        keeper: KeeperLink | None = None,
    ) -> None:
        self.setup = setup
        self.size = size  # how many jobs may run at once
        self.lanes = 1  # how many each worker should have
        self.lease = lease
        self.log = log
        self.peers: dict[str, Peer] = {}
        self.leased_at = time.monotonic()  # the pool's lease: a job that is handed over from now on runs under it
        #: When ``look`` has something to do, as ``next_moment`` found: a peer's moments change with each word.
        self.look_at = FAR
        self._numbered = 1  # the last further lane that was opened: no name comes back
        self._lanes_at = FAR  # when to look whether each worker has the lanes that it should have
        self._staff_at = 0.0  # when to try again to have as many workers as there should be
        self._poll = poll
        self._hear_out = hear
        self._mourn = mourn
        self._spared = spared
        self._by_descriptor: dict[int, Peer] = {}
        self._stillborn = 0
        self._birth_at = 0.0
        self._prepared = keeper  # starting already, and not yet told anything
        self._keeper: KeeperLink | None = None

    def close(self) -> None:
        """Let everybody go: workers end when they hold nothing, the keeper when they are gone."""
        for peer in self.peers.values():
            peer.quit()
            peer.channel.close()
        for keeper in (self._keeper, self._prepared):
            if keeper is not None:
                keeper.close()

    # -- births ---------------------------------------------------------------------------------------

    def staff(self, now: float) -> None:
        """Keep as many workers as there should be, each with its lanes; where they die before they speak, pause."""
        missing = self.size - sum([peer.is_first and not peer.leaving for peer in self.peers.values()])
        if missing > 0 and now >= self._birth_at and self._bear(missing, now):
            missing = 0
        self._staff_at = self._birth_at if missing > 0 else FAR
        if now >= self._lanes_at:
            self._lanes_at = now + LANES_AGAIN if self._tend_lanes() else FAR

    def want_lanes(self, number: int) -> None:
        """Let each worker have so many."""
        if number != self.lanes:
            self.lanes = number
            self._lanes_at = 0.0

    def _workers(self) -> dict[str, list[Peer]]:
        """The lanes of each worker, the first one first, where that is at work."""
        workers: dict[str, list[Peer]] = {}
        for peer in self.peers.values():
            if not peer.leaving:
                workers.setdefault(peer.worker, []).append(peer)
        return workers

    def _tend_lanes(self) -> bool:
        """Open lanes that are missing, and let go of those beyond what is wanted. Whether to look again."""
        again = False
        for lanes in self._workers().values():
            if lanes[0].ready:
                again |= not self._open_lanes(lanes[0], self.lanes - len(lanes))
            for peer in lanes[self.lanes :]:
                if peer.is_free:
                    peer.leaving = True
                    peer.quit()
                else:
                    again = True
        return again

    def _open_lanes(self, first: Peer, number: int) -> bool:
        """Open so many further lanes of a worker; whether that went well."""
        for _ in range(number):
            try:
                sock = connect(os.path.join(self.setup.run_dir, first.id + SOCKET_SUFFIX))
            except OSError:  # it is dead, or has no time
                return False
            self._numbered += 1
            peer = Peer(lane_id(first.id, self._numbered), Channel(sock), self._poll)
            self._admit(peer)
            peer.channel.send(words.LANE, peer.id, words.PROTOCOL)
            reached("pool.lane-asked")
        return True

    def _bear(self, number: int, now: float) -> bool:
        """Ask the keeper for so many workers; whether it heard that."""
        try:
            if self._keeper is None:
                self._keeper, self._prepared = self._prepared or KeeperLink(), None
                self._keeper.brief(self.setup)
                self._poll.register(self._keeper.fileno(), select.POLLIN)
            for _ in range(number):
                id = worker_id(self.setup.pool)
                self._admit(Peer(id, Channel(self._keeper.spawn(id)), self._poll))
                reached("pool.worker-asked")
        except OSError as error:
            self.log(f"the keeper does not answer: {error}")
            self._birth_at = now + 1.0
            return False
        return True

    def _admit(self, peer: Peer) -> None:
        self.peers[peer.id] = peer
        self._by_descriptor[peer.channel.fileno()] = peer
        self._poll.register(peer.channel.fileno(), select.POLLIN)

    def _failed_birth(self, now: float) -> None:
        self._stillborn += 1
        if self._stillborn >= BIRTHS:
            pause = min(LONGEST_PAUSE, 2.0 ** (self._stillborn - BIRTHS))
            self._birth_at = now + pause
            self.log(f"{self._stillborn} workers died before they could start; the next try is in {pause:g} s")

    def adopt(self, pool: str, orphans: Iterable[str]) -> None:
        """Ask workers that outlived their pool to serve this one. What cannot be reached ends by itself."""
        for path in orphans:
            record = read_worker(path)
            if record is None or record.id in self.peers:
                continue
            try:
                sock = connect(record.socket_path)
            except OSError:  # it is about to end, or has no time: we look again
                continue
            if not is_own_user(sock):
                sock.close()
                continue
            peer = Peer(record.id, Channel(sock), self._poll, adopted=True)
            peer.kill_at = time.monotonic() + SILENCE * self.lease
            self._admit(peer)
            peer.channel.send(words.ADOPT, pool, words.PROTOCOL)
            reached("takeover.adopt-sent")

    # -- words ----------------------------------------------------------------------------------------

    def dispatch(self, descriptor: int, mask: int) -> bool:
        """What poll said of a descriptor; False if it is none of ours."""
        peer = self._by_descriptor.get(descriptor)
        if peer is not None:
            if mask & select.POLLOUT:
                peer.channel.flush()
                peer.watch()
            if mask & ~select.POLLOUT:
                self._listen(peer)
            return True
        if self._keeper is not None and descriptor == self._keeper.fileno():
            self._hear_keeper()
            return True
        return False

    def _listen(self, peer: Peer) -> None:
        for head, body in peer.channel.receive():
            if head[0] == words.HI:
                peer.ready = True
                peer.kill_at = FAR
                if not peer.adopted:
                    self._stillborn = 0
                    if self.lanes > 1:
                        self._lanes_at = 0.0
                elif self.setup.alone is not None:
                    peer.tell_renewed(self.leased_at)
            self._hear_out(peer, head, body)
            if peer.broken:
                self._dismiss(peer.worker)
        if peer.channel.closed and peer.gone_at is None:
            self._poll.unregister(peer.channel.fileno())
            del self._by_descriptor[peer.channel.fileno()]
            peer.gone_at = peer.bury_at = time.monotonic()
            reached("pool.worker-gone")

    def tell_renewed(self) -> None:
        """Let the workers that run jobs know of the lease, where other hosts wait for it to run out."""
        for peer in self.peers.values() if self.setup.alone is not None else ():
            if peer.claim is not None and not peer.reported:
                peer.tell_renewed(self.leased_at)

    def let_forget(self) -> None:
        """Acknowledge what is stored and was not acknowledged yet."""
        for peer in self.peers.values():
            peer.let_forget()

    def end_jobs(self, force: bool) -> None:
        """Ask all of them to end what they run."""
        for peer in self.peers.values():
            peer.end_job(OutcomeKind.INTERRUPTED, force)

    # -- jobs -----------------------------------------------------------------------------------------

    def openings(self, ahead: int, settled: bool = False) -> list[Peer]:
        """Lanes that can take a job now: one of each worker that is idle, as many as there are places; then those whose
        job is to lie ready, *ahead* of them for each worker, of workers with the least to do first. With *settled*, as
        it will be once every result that is here is stored.
        """
        places = self.size
        idle: list[Peer] = []
        further: list[tuple[int, Peer]] = []
        for lanes in self._workers().values():
            open = [peer for peer in lanes if peer.is_free or (settled and peer.reported)]
            busy = sum([peer.is_busy for peer in lanes])
            if busy:
                places -= 1
            elif open:
                idle.append(open.pop(0))
                busy = 1
            further += enumerate(open[: max(0, ahead + 1 - busy)], busy)
        idle = idle[: max(0, places)]
        return idle + [peer for _depth, peer in sorted(further, key=_depth)]

    @property
    def is_supplied(self) -> bool:
        """Whether every worker has a job that lies ready behind the one that it runs."""
        for lanes in self._workers().values():  # noqa: SIM110 - asked twice in a step: a generator costs as much again
            if sum([peer.is_busy for peer in lanes]) < 2:
                return False
        return True

    def queued(self) -> list[Peer]:
        """Lanes whose job waits for another of the same worker to end, for all we know."""
        queued: list[Peer] = []
        for lanes in self._workers().values():
            queued += sorted([peer for peer in lanes if peer.is_busy], key=_handed_at)[1:]
        return queued

    def withdraw(self) -> None:
        """Ask for what lies ready, unless it has begun."""
        for peer in self.queued():
            peer.withdraw()

    def _dismiss(self, worker: str) -> None:
        """A worker takes no more jobs: it ends when what it holds is stored."""
        for peer in self.peers.values():
            if peer.worker == worker:
                peer.leaving = True

    def holder(self, id: str) -> Peer | None:
        """The worker that has a job in hand, or its result that is not yet stored."""
        for peer in self.peers.values():
            if peer.claim is not None and peer.claim.job.id == id and not peer.disowned:
                return peer
        return None

    def hand_over(
        self, peer: Peer, claim: Claim, executor: list[Any], backoff: list[Any], run: Outlived | None = None
    ) -> None:
        """Give a free worker its next job; that also lets it forget the one before. *run* goes on, to be taken up."""
        settings = claim.job.settings
        limit = settings.timeout
        patience = SILENCE * self.lease if limit is None else limit + settings.grace + BACKSTOP
        peer.claim, peer.unforgotten = claim, None
        peer.handed_at = time.monotonic()
        peer.kill_at = peer.handed_at + patience
        outlived = [] if run is None else [run.ident, run.started_at]
        moments = peer.handed_at, self.leased_at
        peer.channel.send(words.JOB, wire.pack_claim(claim), executor, backoff, *moments, *outlived)
        reached("pool.job-sent")
        if peer.channel.wants_write:
            peer.watch()

    # -- silence and death ----------------------------------------------------------------------------

    def next_moment(self, hiring: bool) -> float:
        """When ``look`` or ``staff`` has something to do, on the monotonic clock."""
        moments = [min(peer.bury_at, peer.kill_at) for peer in self.peers.values()]
        self.look_at = min(moments, default=FAR)
        return min(self.look_at, self._staff_at, self._lanes_at) if hiring else self.look_at

    def look(self, now: float) -> None:
        """Bury the dead whose tree is ended, and end who has been silent for too long."""
        for peer in [peer for peer in self.peers.values() if now >= peer.bury_at]:
            self._bury(peer, now)
        for peer in [peer for peer in self.peers.values() if now >= peer.kill_at]:
            self._end_silent(peer, now)

    def _record_of(self, peer: Peer) -> WorkerRecord | None:
        return read_worker(os.path.join(self.setup.run_dir, peer.id + WORKER_SUFFIX))

    def _bury(self, peer: Peer, now: float) -> None:
        if peer.adopted and not peer.ready:
            # It ended before it could be adopted: still an orphan, settled from its record once its lock is free.
            del self.peers[peer.id]
            peer.channel.close()
            return
        record = self._record_of(peer)
        assert peer.gone_at is not None
        if record is not None and (record.alive or not self._is_ended(peer, record, now - peer.gone_at)):
            peer.bury_at = now + BURY_AGAIN
            return
        del self.peers[peer.id]
        peer.channel.close()
        if not peer.ready:
            if peer.is_first:
                self._failed_birth(now)
            remove(unborn_files(self.setup.run_dir, peer.id))
        reached("pool.tree-ended")
        self._mourn(peer, record)

    def _is_ended(self, peer: Peer, record: WorkerRecord, waited: float) -> bool:
        """Whether nothing of a dead worker's tree lives: its keeper says so, or else we have ended it."""
        if peer.buried is not None or record.swept or record.job is None:
            return True
        if waited < BURIAL:
            return False
        spare = {*self._spared(), *live_keepers(self.setup.run_dir)}
        if self._keeper is not None:
            spare.add(self._keeper.pid)
        spare.update(other.pid for other in list_lanes(self.setup.run_dir) if other.alive and here(other))
        trees.end_children(spare, deadline=1.0)
        end_left(record)
        return True

    def _end_silent(self, peer: Peer, now: float) -> None:
        """End a worker that has not answered in time: to a job, to a stop, to an adoption."""
        record, claim = self._record_of(peer), peer.claim
        if record is None or not record.alive:
            peer.kill_at = FAR
            return
        took = claim is not None and record.job is not None and record.job.id == claim.job.id
        if took and claim is not None and peer.stop is None and claim.job.settings.timeout is None:
            peer.kill_at = FAR  # it runs, for as long as it likes
            return
        if not took and now < (later := peer.handed_at + SILENCE * self.lease) and peer in self.queued():
            peer.kill_at = later  # it lies ready: what runs before it may take its time
            return
        self.log(f"worker {peer.worker} does not answer: ending it")
        peer.kill_at = now + BACKSTOP
        if here(record) and trees.is_same(record.pid, record.inode):
            trees.send(record.pid, signal.SIGKILL)

    def _hear_keeper(self) -> None:
        def died(id: str, status: int) -> None:
            for peer in self.peers.values():
                if peer.worker == id:
                    peer.buried = status
                    if peer.gone_at is not None:
                        peer.bury_at = 0.0

        assert self._keeper is not None
        if not self._keeper.deaths(died):
            self.log("the keeper has died; a new one takes its place")
            self._poll.unregister(self._keeper.fileno())
            self._keeper.close()
            self._keeper = None
            remove(dead_keepers(self.setup.run_dir))


def _depth(further: tuple[int, Peer]) -> int:
    return further[0]


def _handed_at(peer: Peer) -> float:
    return peer.handed_at
