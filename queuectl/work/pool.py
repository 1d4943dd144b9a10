"""The pool: one ``worker start``. It talks to the storage, hands jobs to its workers and stores what they report.

One process, one thread, one loop over one ``poll``. Nothing in it waits for a worker, a plugin or a dead process: what
takes time is a state with a deadline. One exchange with the storage settles and claims for all workers at once. A claim
is handed over when the worker's record has it, a result when its settlement is committed; until then the other side
keeps it.
"""

from __future__ import annotations

import os
import random
import select
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from queuectl import __version__
from queuectl.api import trees
from queuectl.api.errors import ConfigError, PluginError, QueueCTLError, StorageError, StorageInvalid
from queuectl.api.model import (
    Claim,
    Exchange,
    Held,
    Outcome,
    OutcomeKind,
    Settlement,
    State,
    Turn,
)
from queuectl.api.model import Pool as PoolRow
from queuectl.api.storage import Ability
from queuectl.core import transitions, wire
from queuectl.core.rundir import (
    WORKER_SUFFIX,
    PoolRecord,
    WorkerRecord,
    dead_keepers,
    list_workers,
    live_keepers,
    read_worker,
)

from . import channel as words
from . import supervisor
from .channel import Channel
from .keeper import KeeperLink
from .output import Limits
from .points import reached
from .record import create_pool_file, new_id, own_identity, quiet_pipe
from .sockets import connect, is_own_user
from .takeover import STREAMS, Legacy, Takeover, end_left, from_record, here, remove
from .worker import Setup, is_ours

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from queuectl.core.app import App
    from queuectl.core.plugins import Recipe

    from .courier import CourierLink
    from .logfile import LogFile

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")

LOOK_EVERY = 1.0  # an idle pool asks so often whether something has changed, should a wake-up have been lost
SWEEP_EVERY = 1.0  # so often it looks for dead pools and for orphans that have ended
AGAIN = 0.05  # while a takeover is under way, or a pool has just been seen dead
TAKE_OVER = 500  # claims in one step
INHERIT_EVERY = 15.0  # so often it looks for leases that ran out with nobody of this host to know why
FAR, MINUTE = float("inf"), 60.0  # no known moment is waited for longer than a minute at a stretch
CLOCK_SET = 1.0  # the wall clock has been set, or the machine has slept, if it is off by more than this many seconds
BURIAL, BURY_AGAIN = 0.2, 0.01  # so long the keeper may take to end a dead worker's tree; so often we look
ALONE_MARGIN = 5.0
BACKSTOP = 15.0  # so much later than it should a worker may answer, then it is ended
SILENCE = 3  # leases after which a worker that does not answer is ended
BIRTHS = 3  # so many workers may die before they said a word, then the next one waits


class Options(NamedTuple):
    """What ``worker start`` was asked for."""

    workers: int = 1
    queues: Mapping[str, int | None] | None = None  # None: all; a number is this pool's own ceiling
    until_empty: bool = False
    max_jobs: int | None = None
    drain: float | None = None  # seconds that running jobs get at a stop; None: until they are done
    lease: float = 60.0
    heartbeat: float = 5.0
    verbose: bool = False
    log_file: LogFile | None = None  # of a pool in the background: kept within its bounds


class Peer:
    """A worker, as its pool knows it."""

    def __init__(self, id: str, channel: Channel, *, adopted: bool = False) -> None:
        self.id = id
        self.channel = channel
        self.ready = False  # it has said HI
        self.leaving = adopted
        self.adopted = adopted  # from a dead pool: it ends when its job is stored
        self.claim: Claim | None = None  # handed to it, or ended and not yet stored
        self.reported = False  # its result is here, and waits for an exchange
        self.disowned = False  # the claim is no longer ours: the result is not to be stored
        self.stop: OutcomeKind | None = None
        self.forced = False
        self.buried: int | None = None  # wait status, once its tree is ended
        self.gone_at: float | None = None  # when its line was found closed
        self.bury_at = FAR  # when to look whether its tree is ended
        self.kill_at = FAR  # when it must have answered

    @property
    def free(self) -> bool:
        return self.ready and not self.leaving and self.claim is None and not self.channel.closed


class Unsettled(NamedTuple):
    """A result that waits to be stored."""

    claim: Claim
    settlement: Settlement
    peer: Peer | None = None  # who holds it until it is stored
    large: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


def wanted(free: int, settling: int, waiting: int, left: int | None) -> int:
    """How many jobs to claim: for each worker that is free or about to be, but none twice and no more than are left.

    Workers whose results are in the same exchange count as free; without that they would stand idle until somebody
    else has finished.
    """
    want = max(0, free + settling - waiting)
    return want if left is None else min(want, left)


class Pool:
    """One pool, from its start to its end."""

    def __init__(
        self, app: App, options: Options, log: Callable[[str], None], courier: CourierLink | None = None
    ) -> None:
        self.app = app
        self.options = options
        self.log = log
        self.courier = courier
        self.id = new_id()
        self.storage = app.storage
        self.run_dir = app.run_dir
        self.rng = random.Random(os.urandom(8))
        output = app.config.output
        self.limits = Limits(output.limit, output.head, output.tail)
        self.takeover = Takeover(self.run_dir, self.id, self.limits, self.rng)
        self.died_dead = 0  # own jobs that ended dead
        self.stopping = 0  # how often a stop was asked for
        self.done = 0

        self._peers: dict[str, Peer] = {}
        self._by_descriptor: dict[int, Peer] = {}
        self._waiting: list[Claim] = []  # claimed, with no worker to give it to yet
        self._unsettled: list[Unsettled] = []
        self._held: dict[str, Claim] = {}  # every claim of ours, whoever has it
        self._recipes: dict[tuple[str, str], list[Any]] = {}
        self._look_at = 0.0  # when to ask for work, as far as is known
        self._swept = False  # whether we have looked for what dead pools left
        self._back_by = 0.0  # when the last job that was lost here is due again
        self._looked = False  # at least once, with a worker to give a job to
        self._net_at = 0.0  # when to look whether we missed something
        self._inherit_at = 0.0
        self._retry_at = 0.0
        self._retries = 0
        self._beat_at = 0.0
        self._sweep_at = 0.0
        self._clock = time.time() - time.monotonic()
        self._spawn_at = 0.0
        self._stillborn = 0
        self._suspects: frozenset[str] = frozenset()
        self._watched: dict[int, str] = {}  # descriptors of the processes of other pools, to hear of their end
        self._drain_by: float | None = None
        self._signals: list[int] = []
        self._leave_now = False

    # -- life ---------------------------------------------------------------------------------------

    def run(self, ready: Callable[[], None] | None = None) -> int:
        """Work until told to stop, or until there is nothing left to do. The exit status."""
        self._open()
        try:
            if ready is not None:
                ready()
            while not self._finished():
                self._step()
            return 1 if self.options.until_empty and self.died_dead else 0
        finally:
            self._close()

    def _open(self) -> None:
        self._poll = select.poll()
        self._wake, self._wake_write = quiet_pipe()
        self._poll.register(self._wake, select.POLLIN)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        for number in numbers:
            signal.signal(number, lambda number, _frame: self._signals.append(number))
        trees.become_subreaper()
        started = time.time_ns() // 1_000_000
        queues = tuple(self.options.queues or ())
        host = socket.gethostname()
        record = PoolRecord(
            self.id,
            **own_identity(),
            started_at=started,
            path="",
            host=host,
            queues=queues,
            workers=self.options.workers,
            version=__version__,
        )
        self._lock = create_pool_file(self.run_dir, record)
        row = PoolRow(self.id, host, os.getpid(), started, queues, self.options.workers, version=__version__)
        self.storage.join(row, lease=self.options.lease)
        reached("pool.joined")
        for name, queue in self.app.config.queues.items():
            if queue.concurrency is not None:
                self.storage.set_queue(name, limit=queue.concurrency, seed=True)
        self._listener = self.storage.listen(self.id)
        if self._listener is not None:
            self._poll.register(self._listener.fileno(), select.POLLIN)
        self._courier_polled: set[int] = set()
        if self.courier is not None:
            self.courier.start()
        self._setup = self._make_setup()
        self._start_keeper()

    def _make_setup(self) -> Setup:
        app = self.app
        recipes = self._recipes_of(app)
        return Setup(
            pool=self.id,
            run_dir=self.run_dir,
            home=app.home,
            sys_path=[os.path.abspath(path) if path else os.getcwd() for path in sys.path],
            arguments=list(app.arguments),
            hooks=app.has_job_hooks,
            hidden=list(app.hidden_environment),
            cgroup=trees.cgroup_base(),
            alone=self._alone_limit(),
            limit=self.limits.limit,
            head=self.limits.head,
            tail=self.limits.tail,
            warm_up=[[kind, list(recipe)] for kind, recipe in recipes if is_ours(recipe.module)],
        )

    @staticmethod
    def _recipes_of(app: App) -> list[tuple[str, Recipe]]:
        """Every executor and backoff that the configuration names. ConfigError if one cannot be had."""
        main, queues = app.config.main, app.config.queues.values()
        executors = {main.executor, *(queue.executor for queue in queues if queue.executor)}
        backoffs = {main.backoff, *(queue.backoff for queue in queues if queue.backoff)}
        recipes: list[tuple[str, Recipe]] = [("executor", app.executor_recipe(name)) for name in sorted(executors)]
        recipes += [("backoff", app.backoff_recipe(name)) for name in sorted(backoffs)]
        return recipes

    def _alone_limit(self) -> float | None:
        """How long a worker may go on without a pool: on a storage that other hosts share, until just before its job
        could be given away; else as long as its lock tells that it lives."""
        if Ability.MULTI_HOST not in self.storage.abilities:
            return None
        return max(1.0, self.options.lease - self.app.config.jobs.grace - ALONE_MARGIN)

    def _finished(self) -> bool:
        if self._leave_now:
            return True
        if self._held or self._unsettled or self._waiting:
            return False
        if self.stopping:
            return True
        if self.options.max_jobs is not None and self.done >= self.options.max_jobs:
            return True
        return self.options.until_empty and self._idle() and self._nothing_due()

    def _idle(self) -> bool:
        """Whether we have looked everywhere, and nothing is about to be due: what another pool lost may come back."""
        now = time.monotonic()
        soon = now + transitions.LOST_JITTER
        return self._looked and self._swept and not self._suspects and now >= self._back_by and soon < self._look_at

    def _nothing_due(self) -> bool:
        """Whether in the open queues that this pool serves nothing is due and no retry is to come."""
        try:
            stats = self.storage.stat()
        except StorageError:
            return False
        serves = self.options.queues
        return not any(
            stat.ready or stat.counts.get(State.FAILED, 0)
            for stat in stats
            if not stat.paused and (serves is None or stat.name in serves)
        )

    def _close(self) -> None:
        for peer in self._peers.values():
            peer.channel.send(words.QUIT)
            peer.channel.close()
        self._keeper.close()
        if self.courier is not None:
            self.courier.close()
        try:
            if not self._leave_now:
                reached("pool.leaving")
                self.storage.leave(self.id)
                reached("pool.left")
        except StorageError as error:
            self.log(f"cannot take leave of the storage: {error}")
        if self._listener is not None:
            self._listener.close()
        self.takeover.release()
        if not self._held:
            remove([os.path.join(self.run_dir, f"{self.id}.pool")])
        os.close(self._lock)

    # -- the loop -----------------------------------------------------------------------------------

    def _step(self) -> None:
        now = time.monotonic()
        ready = self._poll.poll(max(0.0, self._next_moment(now) - now) * 1000 + 0.5)
        for descriptor, mask in ready:
            self._dispatch(descriptor, mask)
        self._obey_signals()
        now = time.monotonic()
        self._bury(now)
        self._end_silent(now)
        if now >= self._beat_at:
            self._heartbeat(now)
        if now >= self._sweep_at:
            self._sweep(now)
        if self._drain_by is not None and now >= self._drain_by:
            self._drain_by = None
            self._stop_all(False)
        self._staff(now)
        if now >= self._retry_at and (self._unsettled or self._should_look(now)):
            self._exchange(now)
        if self.courier is not None:
            self._tend_courier(now)

    def _should_look(self, now: float) -> bool:
        """Whether it is time to ask for work: known to be due, or something has changed unheard."""
        if now >= self._look_at:
            return True
        if now < self._net_at:
            return False
        self._net_at = now + LOOK_EVERY
        try:
            return self.storage.changed()
        except StorageError as error:
            self._later(now, error)
            return False

    def _next_moment(self, now: float) -> float:
        moments = [self._beat_at, self._sweep_at]
        if self._unsettled:
            moments.append(self._retry_at)
        else:
            moments.append(max(min(self._look_at, self._net_at), self._retry_at))
        if self._drain_by is not None:
            moments.append(self._drain_by)
        if self._own_workers() < self.options.workers and not self.stopping:
            moments.append(self._spawn_at)
        for peer in self._peers.values():
            moments += (peer.bury_at, peer.kill_at)
        if self.courier is not None and (due := self.courier.next_deadline()) is not None:
            moments.append(due)
        return max(now, min(moments))

    def _dispatch(self, descriptor: int, mask: int) -> None:
        peer = self._by_descriptor.get(descriptor)
        if peer is not None:
            if mask & select.POLLOUT:
                peer.channel.flush()
                self._watch(peer)
            if mask & ~select.POLLOUT:
                self._hear(peer)
        elif descriptor == self._wake:
            try:
                while os.read(self._wake, 4096):
                    pass
            except BlockingIOError:
                pass
        elif self._listener is not None and descriptor == self._listener.fileno():
            self._listener.drain()
            self._look_at = 0.0
        elif descriptor == self._keeper.fileno():
            self._hear_keeper()
        elif descriptor in self._watched:
            self._unwatch(descriptor)
            self._sweep_at = 0.0
        elif self.courier is not None:
            self.courier.handle(descriptor, mask)

    def _tend_courier(self, now: float) -> None:
        assert self.courier is not None
        self.courier.tick(now)
        wanted_now = dict(self.courier.wants())
        for descriptor in self._courier_polled - wanted_now.keys():
            try:
                self._poll.unregister(descriptor)
            except KeyError:
                pass
        for descriptor, mask in wanted_now.items():
            self._poll.register(descriptor, mask)
        self._courier_polled = set(wanted_now)

    # -- signals and stopping ---------------------------------------------------------------------

    def _obey_signals(self) -> None:
        while self._signals:
            number = self._signals.pop(0)
            if number == signal.SIGCHLD:
                self._reap()
            elif number == signal.SIGUSR1:
                self.stop(2)
            elif number == signal.SIGQUIT:
                self.stop(2)
                self._stop_all(True)
            elif number == signal.SIGUSR2:
                self._restart()
            else:
                self.stop(self.stopping + 1)

    def stop(self, level: int) -> None:
        """1: take no more jobs and let the running ones end. 2: end them politely. 3: leave them and go at once."""
        if level <= self.stopping:
            return
        self.stopping = level
        supervisor.tell(supervisor.STOPPING)
        if level == 1:
            running = sum(1 for peer in self._peers.values() if peer.claim is not None)
            if running:
                self.log(f"stopping: {running} running job{'s' * (running != 1)} may finish; stop again to end them")
            if self.options.drain is not None:
                self._drain_by = time.monotonic() + self.options.drain
            for claim in self._waiting:
                self._unsettled.append(Unsettled(claim, transitions.release(claim)))
            self._waiting.clear()
        elif level == 2:
            self._stop_all(False)
        else:
            self._leave_now = True

    def _restart(self) -> None:
        """Execute this program anew, in place: the same process, new code and configuration.

        Every descriptor of ours closes at that moment, so the new image meets its workers exactly as after a crash,
        and takes over from itself. A configuration that cannot be used, or a program that is gone, changes nothing.
        """
        if self.stopping:
            return
        try:
            fresh = type(self.app).reopen(self.app.arguments)
            self._recipes_of(fresh)
            fresh.storage  # noqa: B018 - opening it is the test
            fresh.close()
        except QueueCTLError as error:
            self.log(f"not restarted: {error}")
            return
        reached("restart.checked")
        self.log("restarting in place; running jobs go on")
        if self.courier is not None:
            self.courier.close(1.0)
        supervisor.tell(supervisor.reloading())
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        reached("restart.before-exec")
        try:
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
        except OSError as error:
            signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
            supervisor.tell(supervisor.READY)
            self.log(f"not restarted: {sys.executable}: {error.strerror}")

    def _stop_all(self, force: bool) -> None:
        for peer in self._peers.values():
            self._stop_peer(peer, OutcomeKind.INTERRUPTED, force)

    def _stop_peer(self, peer: Peer, why: OutcomeKind, force: bool = False) -> None:
        claim = peer.claim
        if claim is None or peer.reported or (peer.stop is not None and (peer.forced or not force)):
            return
        peer.stop, peer.forced = why, force
        peer.kill_at = time.monotonic() + claim.job.settings.grace + trees.TREE_DEADLINE + BACKSTOP
        peer.channel.send(words.STOP, claim.job.id, claim.job.attempts, why, force)
        self._watch(peer)

    def _reap(self) -> None:
        """Collect what has become our child: the keeper, and workers whose keeper died."""
        trees.reap()

    # -- workers --------------------------------------------------------------------------------------

    def _start_keeper(self) -> None:
        self._keeper = KeeperLink(self._setup)
        self._poll.register(self._keeper.fileno(), select.POLLIN)

    def _staff(self, now: float) -> None:
        """Keep ``count`` workers, one birth at a time when they die before they speak."""
        if self.stopping or now < self._spawn_at:
            return
        while self._own_workers() < self.options.workers:
            id = new_id()
            try:
                sock = self._keeper.spawn(id)
            except OSError as error:
                self.log(f"the keeper does not answer: {error}")
                self._spawn_at = now + 1.0
                return
            self._admit(Peer(id, Channel(sock)))
            reached("pool.worker-asked")

    def _own_workers(self) -> int:
        return sum(1 for peer in self._peers.values() if not peer.adopted)

    def _admit(self, peer: Peer) -> None:
        self._peers[peer.id] = peer
        self._by_descriptor[peer.channel.fileno()] = peer
        self._poll.register(peer.channel.fileno(), select.POLLIN)

    def _watch(self, peer: Peer) -> None:
        if not peer.channel.closed:
            self._poll.modify(
                peer.channel.fileno(), select.POLLIN | (select.POLLOUT if peer.channel.wants_write else 0)
            )

    def _hear(self, peer: Peer) -> None:
        for head, body in peer.channel.receive():
            word = head[0]
            if word == words.HI and peer.adopted:
                self._welcome(peer, head[4])
            elif word == words.HI:
                peer.ready = True
                reached("pool.hi-read")
                self._stillborn = 0
                self._look_at = 0.0
            elif word == words.DONE:
                reached("pool.done-read")
                self._take_result(peer, head, body)
            elif word == words.STARTED:
                self._tell_started(peer, head)
        if peer.channel.closed and peer.gone_at is None:
            self._poll.unregister(peer.channel.fileno())
            del self._by_descriptor[peer.channel.fileno()]
            peer.gone_at = peer.bury_at = time.monotonic()
            reached("pool.worker-gone")

    def _hear_keeper(self) -> None:
        def died(id: str, status: int) -> None:
            peer = self._peers.get(id)
            if peer is not None:
                peer.buried = status
                if peer.gone_at is not None:
                    peer.bury_at = 0.0

        if not self._keeper.deaths(died):
            self.log("the keeper has died; a new one takes its place")
            self._poll.unregister(self._keeper.fileno())
            self._keeper.close()
            remove(dead_keepers(self.run_dir))
            self._start_keeper()

    def _bury(self, now: float) -> None:
        """Settle what dead workers held, once nothing of it lives, and forget them."""
        for peer in [peer for peer in self._peers.values() if now >= peer.bury_at]:
            if peer.adopted and not peer.ready:
                self._turn_away(peer)
                continue
            record = read_worker(os.path.join(self.run_dir, peer.id + WORKER_SUFFIX))
            assert peer.gone_at is not None
            if record is not None and (record.alive or not self._is_ended(peer, record, now - peer.gone_at)):
                peer.bury_at = now + BURY_AGAIN
                continue
            del self._peers[peer.id]
            peer.channel.close()
            if not peer.ready:
                self._stillborn += 1
                if self._stillborn >= BIRTHS:
                    self._spawn_at = now + min(30.0, 2.0 ** (self._stillborn - BIRTHS))
                    self.log(f"{self._stillborn} workers died before they could start; next try in a while")
            claim = peer.claim
            if claim is None or peer.reported or peer.disowned:
                if peer.reported:
                    self._orphan_result(peer, record)
                elif record is not None:
                    self._forget_files(record.path)
                if peer.disowned and claim is not None:
                    self._forget(claim)
                continue
            reached("pool.tree-ended")
            legacy = from_record(claim, record, self.limits, self.rng, swept=True)
            if not legacy.settlement.released:
                self.log(f"worker {peer.id} died with job {claim.job.id}: {legacy.settlement.reason}")
            self._keep(legacy, claim)

    def _is_ended(self, peer: Peer, record: WorkerRecord, waited: float) -> bool:
        """Whether nothing of a dead worker's tree lives: its keeper says so, or else we have ended it."""
        if peer.buried is not None or record.swept or record.job is None:
            return True
        if waited < BURIAL:
            return False
        self._end_tree_of(record)
        return True

    def _orphan_result(self, peer: Peer, record: Any) -> None:
        """A worker died after it had reported: its result is here, its files go once that is stored."""
        for index, entry in enumerate(self._unsettled):
            if entry.peer is peer:
                files = () if record is None else from_files(record.path)
                self._unsettled[index] = entry._replace(peer=None, remove=files)

    def _forget_files(self, path: str) -> None:
        remove(from_files(path))

    def _end_tree_of(self, record: WorkerRecord) -> None:
        """The keeper did not say that it had ended this tree: end it from here."""
        spare = {self._keeper.pid, *live_keepers(self.run_dir)}
        if self.courier is not None and (pid := getattr(self.courier, "pid", None)) is not None:
            spare.add(pid)
        spare.update(other.pid for other in list_workers(self.run_dir) if other.alive and here(other))
        trees.end_children(spare, deadline=1.0)
        end_left(record)

    def _end_silent(self, now: float) -> None:
        """End workers that have not answered in time: to a job, to a stop, to an adoption."""
        for peer in [peer for peer in self._peers.values() if now >= peer.kill_at]:
            record = read_worker(os.path.join(self.run_dir, peer.id + WORKER_SUFFIX))
            claim = peer.claim
            if record is None or not record.alive:
                peer.kill_at = FAR
                continue
            took = claim is not None and record.job is not None and record.job.id == claim.job.id
            if took and claim is not None and peer.stop is None and claim.job.settings.timeout is None:
                peer.kill_at = FAR  # it runs, for as long as it likes
                continue
            self.log(f"worker {peer.id} does not answer: ending it")
            peer.kill_at = now + BACKSTOP
            if here(record) and trees.is_same(record.pid, record.inode):
                trees.send(record.pid, signal.SIGKILL)

    # -- adoption -------------------------------------------------------------------------------------

    def _adopt(self) -> None:
        """Ask workers that outlived their pool to serve this one. What cannot be reached ends by itself."""
        for path in self.takeover.orphans:
            record = read_worker(path)
            if record is None or record.id in self._peers:
                continue
            try:
                sock = connect(record.socket_path)
            except OSError:  # it is about to end, or has no time: we look again
                continue
            if not is_own_user(sock):
                sock.close()
                continue
            peer = Peer(record.id, Channel(sock), adopted=True)
            peer.kill_at = time.monotonic() + SILENCE * self.options.lease
            self._admit(peer)
            peer.channel.send(words.ADOPT, self.id, words.PROTOCOL)
            reached("takeover.adopt-sent")

    def _welcome(self, peer: Peer, held: list[Any] | None) -> None:
        """An adopted worker has said what it holds; that is the only truth about it."""
        claim = self.takeover.orphans.pop(os.path.join(self.run_dir, peer.id + WORKER_SUFFIX), None)
        peer.ready = True
        peer.kill_at = FAR
        reached("takeover.hi-read")
        if claim is not None and held == [claim.job.id, claim.job.attempts]:
            peer.claim = claim
            if claim.job.cancel:
                self._stop_peer(peer, OutcomeKind.CANCELLED)
            elif self.stopping > 1:
                self._stop_peer(peer, OutcomeKind.INTERRUPTED)
            return
        peer.claim = None
        if claim is not None:
            self._unsettled.append(Unsettled(claim, transitions.release(claim)))

    def _turn_away(self, peer: Peer) -> None:
        """A worker ended before it could be adopted: its record has the result, once its lock is free."""
        del self._peers[peer.id]
        peer.channel.close()

    # -- results --------------------------------------------------------------------------------------

    def _take_result(self, peer: Peer, head: list[Any], body: bytes) -> None:
        _word, id, attempt, packed, verdict, delay, sizes = head[:7]
        claim = peer.claim
        if claim is None or peer.disowned or (claim.job.id, claim.job.attempts) != (id, attempt):
            peer.channel.send(words.ACK, id, attempt)
            if peer.disowned and claim is not None:
                self._forget(claim)
                self._free(peer)
            return
        outcome = wire.unpack_outcome(packed)
        assert outcome is not None
        if outcome.left:
            peer.leaving = True
        kept: list[bytes | None] = []
        large: list[tuple[str, str]] = []
        at = 0
        for stream, size in zip(STREAMS, sizes, strict=True):
            if size < 0:
                kept.append(None)
                large.append((stream, os.path.join(self.run_dir, f"{peer.id}.{stream[3:]}")))
            else:
                kept.append(body[at : at + size])
                at += size
        settlement = transitions.settle(
            claim,
            outcome,
            verdict=verdict,
            delay=delay,
            decided=verdict is not None,
            rng=self.rng,
            stdout=kept[0],
            stderr=kept[1],
        )
        peer.reported = True
        peer.kill_at = FAR
        self._unsettled.append(Unsettled(claim, settlement, peer, tuple(large)))

    def _keep(self, legacy: Legacy, claim: Claim) -> None:
        self._unsettled.append(Unsettled(claim, legacy.settlement, None, legacy.large, legacy.remove))

    def _tell_started(self, peer: Peer, head: list[Any]) -> None:
        if self.courier is not None and peer.claim is not None and peer.claim.job.id == head[1]:
            from queuectl.api.model import Event

            self.courier.send([Event("started", head[4], peer.claim.job)])

    def _free(self, peer: Peer) -> None:
        peer.claim = None
        peer.reported = peer.disowned = peer.forced = False
        peer.stop = None
        peer.kill_at = FAR

    # -- the exchange ---------------------------------------------------------------------------------

    def _may_claim(self) -> bool:
        return not self.stopping and self._left() != 0 and any(peer.free for peer in self._peers.values())

    def _left(self) -> int | None:
        """How many jobs may still be claimed under ``--max-jobs``."""
        most = self.options.max_jobs
        return None if most is None else max(0, most - self.done - len(self._held))

    def _exchange(self, now: float) -> None:
        batch = self._unsettled
        free = sum(1 for peer in self._peers.values() if peer.free)
        settling = sum(1 for entry in batch if entry.peer is not None and not entry.peer.leaving)
        want = 0 if self.stopping else wanted(free, settling, len(self._waiting), self._left())
        try:
            for entry in batch:
                for stream, path in entry.large:
                    if os.path.exists(path):
                        self.storage.keep_output(entry.claim.job, entry.claim.job.attempts, stream, path)
                        reached("pool.output-kept")
            turn = Turn(
                self.id,
                tuple(entry.settlement for entry in batch),
                want,
                self._ceilings(batch),
                lease=self.options.lease,
            )
            reached("pool.before-exchange")
            answer = self.storage.exchange(turn)
        except StorageError as error:
            self._later(now, error)
            return
        if self._retries:
            self.log("the storage answers again")
            self._retries = 0
        self._unsettled = []
        self._looked = self._looked or want > 0
        if answer.claims:
            reached("pool.claimed")
        if batch:
            reached("pool.settled")
        self._settled(batch, answer)
        self._take_claims(answer.claims)
        self._acknowledge(batch)
        self._look_at = self._next_look(now, answer, want)
        self._net_at = now + LOOK_EVERY
        for id in answer.cancel:
            self._cancel(id)

    def _ceilings(self, batch: Sequence[Unsettled]) -> Mapping[str, int | None] | None:
        """What may be claimed of each queue in this turn, for a pool with ceilings of its own."""
        queues = self.options.queues
        if queues is None or all(ceiling is None for ceiling in queues.values()):
            return queues
        ending = {(entry.claim.job.id, entry.claim.token) for entry in batch}
        running = [claim.job.spec.queue for claim in self._held.values() if (claim.job.id, claim.token) not in ending]
        return {
            name: None if ceiling is None else max(0, ceiling - running.count(name)) for name, ceiling in queues.items()
        }

    def _later(self, now: float, error: StorageError) -> None:
        """Keep what is to be stored and try again soon; the workers hold their results meanwhile.

        A storage that is damaged or gone does not come back: then this pool ends. Its workers finish what they have,
        and keep the results for the pool that takes over when it has been put right.
        """
        if isinstance(error, StorageInvalid):
            raise error
        if not self._retries:
            self.log(f"the storage cannot be used: {error}; trying again")
        self._retries += 1
        self._retry_at = now + min(10.0, 0.05 * 2 ** min(self._retries, 8)) * (0.5 + self.rng.random())

    def _next_look(self, now: float, answer: Exchange, want: int) -> float:
        if not self._may_claim():
            return FAR
        if answer.more or (want and len(answer.claims) == want):
            return 0.0
        if answer.next_due is None:
            return FAR
        return now + min(MINUTE, max(0.0, answer.next_due / 1000 - time.time()) + 0.001)

    def _settled(self, batch: Sequence[Unsettled], answer: Exchange) -> None:
        """The exchange is committed: tell everybody concerned."""
        refused = set(answer.refused)
        events = []
        for entry in batch:
            id, settlement = entry.claim.job.id, entry.settlement
            self._forget(entry.claim)
            if entry.peer is not None:
                self._free(entry.peer)
            remove(entry.remove)
            if id in refused:
                self.log(f"job {id}: its result came too late and was refused; somebody else owns it now")
                continue
            self._count(entry)
            if self.courier is not None:
                event = transitions.event_of(entry.claim, settlement, time.time_ns() // 1_000_000)
                if event is not None:
                    events.append(event)
        if events and self.courier is not None:
            self.courier.send(events)

    def _acknowledge(self, batch: Sequence[Unsettled]) -> None:
        """Let workers forget what is stored; a worker that has been given its next job knows by that."""
        for entry in batch:
            peer = entry.peer
            if peer is not None and peer.claim is None:
                peer.channel.send(words.ACK, entry.claim.job.id, entry.claim.job.attempts)
                reached("pool.ack-sent")
                if peer.leaving:
                    peer.channel.send(words.QUIT)

    def _count(self, entry: Unsettled) -> None:
        settlement, job = entry.settlement, entry.claim.job
        if settlement.released:
            return
        self.done += 1
        state = settlement.state
        if state is State.DEAD:
            self.died_dead += 1
        elif state is State.PENDING and settlement.delay:
            self._back_by = max(self._back_by, time.monotonic() + settlement.delay + 0.01)
        if state is not State.COMPLETED or self.options.verbose:
            then = f", next try in {settlement.delay:.3g} s" if settlement.delay else ""
            self.log(f"job {job.id} attempt {job.attempts} {state.value}: {settlement.reason}{then}")

    def _take_claims(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            self._held[claim.job.id] = claim
        self._waiting += claims
        if not self._waiting:
            return
        for peer in self._peers.values():
            if not self._waiting:
                break
            if peer.free:
                self._hand_over(peer, self._waiting.pop(0))

    def _hand_over(self, peer: Peer, claim: Claim) -> None:
        settings = claim.job.settings
        try:
            executor = self._recipe("executor", settings.executor)
            backoff = self._recipe("backoff", settings.backoff)
        except (ConfigError, PluginError) as error:
            now = time.time_ns() // 1_000_000
            outcome = Outcome(OutcomeKind.START_FAILED, 126, now, now, str(error))
            self._unsettled.append(Unsettled(claim, transitions.settle(claim, outcome)))
            return
        peer.claim = claim
        limit = settings.timeout
        patience = SILENCE * self.options.lease if limit is None else limit + settings.grace + BACKSTOP
        peer.kill_at = time.monotonic() + patience
        peer.channel.send(words.JOB, wire.pack_claim(claim), executor, backoff)
        reached("pool.job-sent")
        if peer.channel.wants_write:
            self._watch(peer)

    def _recipe(self, kind: str, name: str) -> list[Any]:
        recipe = self._recipes.get((kind, name))
        if recipe is None:
            make = self.app.executor_recipe if kind == "executor" else self.app.backoff_recipe
            recipe = self._recipes[kind, name] = list(make(name))
        return recipe

    # -- news from elsewhere --------------------------------------------------------------------------

    def _heartbeat(self, now: float) -> None:
        self._beat_at = now + self.options.heartbeat
        held = [Held(claim.job.id, claim.token) for claim in self._held.values()]
        try:
            pulse = self.storage.heartbeat(self.id, held, lease=self.options.lease)
            reached("pool.beat")
        except StorageError as error:
            self._later(now, error)
            return
        for id in pulse.lost:
            self._disown(id)
        for claim in pulse.found:
            self._held[claim.job.id] = claim
            self._waiting.append(claim)
        if pulse.found:
            self._take_claims(())
        for id in pulse.cancel:
            self._cancel(id)

    def _holder(self, id: str) -> Peer | None:
        for peer in self._peers.values():
            if peer.claim is not None and peer.claim.job.id == id and not peer.disowned:
                return peer
        return None

    def _forget(self, claim: Claim) -> None:
        """It is no longer ours under this token. We may hold the same job under a later one by now."""
        held = self._held.get(claim.job.id)
        if held is not None and held.token == claim.token:
            del self._held[claim.job.id]

    def _disown(self, id: str) -> None:
        """Somebody else owns this job now: end it here, and do not store what comes of it."""
        peer = self._holder(id)
        self._waiting = [claim for claim in self._waiting if claim.job.id != id]
        if peer is None or peer.reported:
            if peer is None:
                self._held.pop(id, None)
            return
        self.log(f"job {id} is no longer ours: ending it")
        peer.disowned = True
        self._stop_peer(peer, OutcomeKind.INTERRUPTED)

    def _cancel(self, id: str) -> None:
        peer = self._holder(id)
        if peer is not None and peer.claim is not None:
            peer.claim = peer.claim._replace(job=peer.claim.job._replace(cancel=True))
            self._held[id] = peer.claim
            if peer.stop is None:
                self._stop_peer(peer, OutcomeKind.CANCELLED)
            return
        for index, claim in enumerate(self._waiting):
            if claim.job.id == id:
                del self._waiting[index]
                marked = claim._replace(job=claim.job._replace(cancel=True))
                self._unsettled.append(Unsettled(marked, transitions.release(marked)))
                return
        self._cancel_orphan(id)

    def _cancel_orphan(self, id: str) -> None:
        """A job whose worker outlived another pool: its worker ends it when it is asked to end itself."""
        for path, claim in self.takeover.orphans.items():
            if claim.job.id == id and not claim.job.cancel:
                self.takeover.orphans[path] = claim._replace(job=claim.job._replace(cancel=True))
                record = read_worker(path)
                if record is not None and record.alive and here(record) and trees.is_same(record.pid, record.inode):
                    trees.send(record.pid, signal.SIGTERM)

    def _sweep(self, now: float) -> None:
        """Look for dead pools and inherit what they held; settle orphans that have ended."""
        self._sweep_at = now + SWEEP_EVERY
        self._mind_the_clock(now)
        if self.options.log_file is not None:
            self.options.log_file.turn()
        self._reap()
        for legacy in self.takeover.grown_up():
            claim = self._held.get(legacy.settlement.id)
            if claim is not None:
                self._keep(legacy, claim)
        alive, dead = self.takeover.others()
        self._watch_pools(alive)
        try:
            if now >= self._inherit_at:
                self._inherit_at = now + INHERIT_EVERY
                self._inherit([record.id for record in [*alive, *dead]])
            self._adopt()
            if dead and self._suspects >= {record.id for record in dead}:
                self._take_over([record.id for record in alive], dead, now)
        except StorageError as error:
            self._later(now, error)
        fresh = {record.id for record in dead} - self._suspects
        if fresh:
            # A dying process closes its lock and its sockets one after the other: look twice before believing it.
            self._sweep_at = now + AGAIN
        self._suspects = frozenset(record.id for record in dead)
        self._swept = True

    def _mind_the_clock(self, now: float) -> None:
        """The storage says by the wall clock what is due, and we wait by another: when it was set, look anew."""
        clock = time.time() - now
        jump, self._clock = clock - self._clock, clock
        if abs(jump) > CLOCK_SET:
            self.log(f"the clock has jumped by {jump:+.0f} s; looking again for what is due")
            self._look_at = 0.0

    def _watch_pools(self, alive: Sequence[PoolRecord]) -> None:
        """Hear at once of the end of another pool of this host; the look once a second is the net below."""
        watched = set(self._watched.values())
        for record in alive:
            if record.id in watched or not record.inode or not here(record):
                continue
            descriptor = trees.open_pidfd(record.pid)
            if descriptor is None:
                continue
            if trees.pidfd_inode(descriptor) != record.inode:
                os.close(descriptor)
                continue
            self._watched[descriptor] = record.id
            self._poll.register(descriptor, select.POLLIN)
        for descriptor, id in list(self._watched.items()):
            if id not in {record.id for record in alive}:
                self._unwatch(descriptor)

    def _unwatch(self, descriptor: int) -> None:
        del self._watched[descriptor]
        self._poll.unregister(descriptor)
        os.close(descriptor)

    def _inherit(self, known: list[str]) -> None:
        """Adopt the claims of pools that have no record here and whose lease has run out: another host's, or none's."""
        for claim in self.storage.reap(self.id, alive=[*known, self.id], lease=self.options.lease):
            self._held[claim.job.id] = claim
            for legacy in self.takeover.sort([claim], same_boot=False):
                self._keep(legacy, claim)

    def _take_over(self, alive: list[str], dead: list[PoolRecord], now: float) -> None:
        """Adopt what dead pools of this host held; when all of it is stored, remove what they left.

        The lock is kept from the first to the last, so that nobody removes what another still reads.
        """
        if not self.takeover.acquire():
            return
        self._sweep_at = now + AGAIN
        reached("takeover.locked")
        names = [record.id for record in dead]
        same_boot = all(here(record) for record in dead)
        # Other hosts' pools are spared here, whatever their lease: that no record of this host names their claims
        # does not prove that these never ran. `_inherit` takes them as lost.
        others = [pool.id for pool in self.storage.pools()]
        claims = self.storage.reap(
            self.id, dead=names, alive=[*alive, *others, self.id], limit=TAKE_OVER, lease=self.options.lease
        )
        reached("takeover.adopted")
        self._held.update({claim.job.id: claim for claim in claims})
        for legacy in self.takeover.sort(claims, same_boot=same_boot):
            self._keep(legacy, self._held[legacy.settlement.id])
        reached("takeover.sorted")
        self._adopt()
        if not claims and not self._unsettled:
            reached("takeover.settled")
            self.takeover.clean(dead, self._peers)
            reached("takeover.cleaned")
            self.takeover.release()


def from_files(path: str) -> tuple[str, ...]:
    """The files of a worker by the path of its record, the record last."""
    stem = path.removesuffix(WORKER_SUFFIX)
    return (stem + ".sock", stem + ".out", stem + ".err", path)
