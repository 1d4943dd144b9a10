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
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from queuectl.api import trees
from queuectl.api.model import OutcomeKind
from queuectl.core import wire
from queuectl.core.rundir import WORKER_SUFFIX, WorkerRecord, dead_keepers, list_workers, live_keepers, read_worker

from . import channel as words
from .channel import Channel
from .keeperlink import KeeperLink
from .legacy import end_left, here, remove, unborn_files
from .peer import FAR, Peer
from .points import reached
from .record import worker_id
from .sockets import connect, is_own_user

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from queuectl.api.model import Claim

    from .ledger import Outlived
    from .setup import Setup

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")

BURIAL, BURY_AGAIN = 0.2, 0.01  # so long the keeper may take to end a dead worker's tree; so often we look
#: So much later than it should a worker may answer, then it is ended.
BACKSTOP = float(os.environ.get("QUEUECTL_BACKSTOP_SECONDS", "15"))
SILENCE = 3  # leases after which a worker that does not answer is ended
BIRTHS = 3  # so many workers or keepers may die before they did anything, then the next one waits
LONGEST_PAUSE = 30.0  # seconds between births that go wrong


class Poller(Protocol):
    """What we need of ``select.poll``, which is not there on every system."""

    def register(self, fd: int, eventmask: int = ..., /) -> None: ...
    def modify(self, fd: int, eventmask: int, /) -> None: ...
    def unregister(self, fd: int, /) -> None: ...


class Crew:
    """The workers of one pool.

    *hear* is told what workers say (the peer, head and body of a frame), *mourn* of workers that are dead, with their
    record if there is one, when nothing of their tree lives. *keeper* is one that has been started in advance.
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
        log: Callable[[str], None],
        keeper: KeeperLink | None = None,
    ) -> None:
        self.setup = setup
        self.size = size  # how many jobs may run at once
        self.relief = 0  # how many workers there should be beyond that
        self.lease = lease
        self.log = log
        self.peers: dict[str, Peer] = {}
        self.spared: set[int] = set()  # other children of this process
        self._poll = poll
        self._hear_out = hear
        self._mourn = mourn
        self._by_descriptor: dict[int, Peer] = {}
        self._stillborn = 0
        self._birth_at = 0.0
        self._prepared = keeper  # starting already, and not yet told anything
        self._keeper: KeeperLink | None = None
        self._leased_at = time.monotonic()

    def close(self) -> None:
        """Let everybody go: workers end when they hold nothing, the keeper when they are gone."""
        for peer in self.peers.values():
            self._quit(peer)
            peer.channel.close()
        for keeper in (self._keeper, self._prepared):
            if keeper is not None:
                keeper.close()

    # -- the lease ------------------------------------------------------------------------------------

    def renewed(self, moment: float) -> None:
        """The pool's lease was renewed at *moment*: a job handed over from now on runs under it."""
        self._leased_at = moment

    def tell_renewed(self) -> None:
        """Let the workers that run jobs know, where other hosts wait for the lease to run out."""
        for peer in self.peers.values() if self.setup.alone is not None else ():
            if peer.claim is not None and not peer.reported:
                self._tell_renewed(peer)

    def _tell_renewed(self, peer: Peer) -> None:
        peer.channel.send(words.LEASED, self._leased_at)
        self._watch(peer)

    # -- births ---------------------------------------------------------------------------------------

    def staff(self, now: float) -> None:
        """Keep as many workers as there should be; where they die before they speak, after a pause."""
        if self._own() > self.size + self.relief:
            self._let_go()
        if now < self._birth_at or self._own() >= self.size + self.relief:
            return
        try:
            if self._keeper is None:
                self._keeper, self._prepared = self._prepared or KeeperLink(), None
                self._keeper.brief(self.setup)
                self._poll.register(self._keeper.fileno(), select.POLLIN)
            while self._own() < self.size + self.relief:
                id = worker_id(self.setup.pool)
                self._admit(Peer(id, Channel(self._keeper.spawn(id))))
                reached("pool.worker-asked")
        except OSError as error:
            self.log(f"the keeper does not answer: {error}")
            self._birth_at = now + 1.0

    def _own(self) -> int:
        return sum(1 for peer in self.peers.values() if not peer.leaving)

    def _let_go(self) -> None:
        """Workers beyond what is wanted end, those that hold nothing; the others are asked again."""
        for peer in [peer for peer in self.peers.values() if peer.is_free][: self._own() - self.size - self.relief]:
            peer.leaving = True
            self._quit(peer)

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
            peer = Peer(record.id, Channel(sock), adopted=True)
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
                self._watch(peer)
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
                elif self.setup.alone is not None:
                    self._tell_renewed(peer)
            self._hear_out(peer, head, body)
        if peer.channel.closed and peer.gone_at is None:
            self._poll.unregister(peer.channel.fileno())
            del self._by_descriptor[peer.channel.fileno()]
            peer.gone_at = peer.bury_at = time.monotonic()
            reached("pool.worker-gone")

    def _watch(self, peer: Peer) -> None:
        if not peer.channel.closed:
            mask = select.POLLIN | (select.POLLOUT if peer.channel.wants_write else 0)
            self._poll.modify(peer.channel.fileno(), mask)

    @property
    def places(self) -> int:
        """How many more jobs may run now."""
        return self.size - sum(1 for peer in self.peers.values() if peer.is_busy and not peer.adopted)

    def free(self) -> Iterator[Peer]:
        """Workers that could take a job now, as many as there are places."""
        return islice((peer for peer in self.peers.values() if peer.is_free), max(0, self.places))

    def room(self, settling: int) -> int:
        """How many jobs could begin once so many of its workers are free again."""
        return min(self.places, settling + sum(1 for peer in self.peers.values() if peer.is_free))

    @property
    def has_relief(self) -> bool:
        """Whether a further result could come without anybody having to wait for it to be stored."""
        return any(peer.is_free for peer in self.peers.values())

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
        peer.channel.send(words.JOB, wire.pack_claim(claim), executor, backoff, self._leased_at, *outlived)
        reached("pool.job-sent")
        if peer.channel.wants_write:
            self._watch(peer)

    def acknowledge(self, peer: Peer, id: str, attempt: int) -> None:
        """Let a worker forget a result."""
        peer.channel.send(words.ACK, id, attempt)
        reached("pool.ack-sent")
        if peer.leaving:
            peer.channel.send(words.QUIT)

    def let_forget(self) -> None:
        """Acknowledge what is stored and was not acknowledged yet."""
        for peer in self.peers.values():
            self._let_forget(peer)

    def _let_forget(self, peer: Peer) -> None:
        job, peer.unforgotten = peer.unforgotten, None
        if job is not None:
            self.acknowledge(peer, *job)

    def _quit(self, peer: Peer) -> None:
        self._let_forget(peer)
        peer.channel.send(words.QUIT)

    def stop(self, peer: Peer, why: OutcomeKind, force: bool = False) -> None:
        """Ask a worker to end its job, by *force* at once. The first reason counts."""
        claim = peer.claim
        if claim is None or peer.reported or (peer.stop is not None and (peer.forced or not force)):
            return
        peer.stop, peer.forced = why, force
        peer.kill_at = time.monotonic() + claim.job.settings.grace + trees.TREE_DEADLINE + BACKSTOP
        peer.channel.send(words.STOP, claim.job.id, claim.job.attempts, why, force)
        self._watch(peer)

    def stop_all(self, force: bool) -> None:
        for peer in self.peers.values():
            self.stop(peer, OutcomeKind.INTERRUPTED, force)

    # -- silence and death ----------------------------------------------------------------------------

    def next_moment(self, hiring: bool) -> float:
        """When ``look`` or ``staff`` has something to do, on the monotonic clock."""
        moments = [FAR]
        if hiring and self._own() < self.size + self.relief:
            moments.append(self._birth_at)
        for peer in self.peers.values():
            moments += (peer.bury_at, peer.kill_at)
        return min(moments)

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
        spare = {*self.spared, *live_keepers(self.setup.run_dir)}
        if self._keeper is not None:
            spare.add(self._keeper.pid)
        spare.update(other.pid for other in list_workers(self.setup.run_dir) if other.alive and here(other))
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
        self.log(f"worker {peer.id} does not answer: ending it")
        peer.kill_at = now + BACKSTOP
        if here(record) and trees.is_same(record.pid, record.inode):
            trees.send(record.pid, signal.SIGKILL)

    def _hear_keeper(self) -> None:
        def died(id: str, status: int) -> None:
            peer = self.peers.get(id)
            if peer is not None:
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
