"""The pool: one ``worker start``. It talks to the storage, hands jobs to its workers and stores what they report.

One process, one thread, one loop over one ``poll``. Nothing in it waits for a worker, a plugin or a dead process: what
takes time is a state with a deadline. One exchange with the storage settles and claims for all workers at once. A claim
is handed over when the worker's record has it, a result when its settlement is committed; until then the other side
keeps it.

The parts: the *ledger* has the books, the *crew* the workers and their keeper, *takeover* an eye on other pools.
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
    Delivery,
    Event,
    Exchange,
    Held,
    Outcome,
    OutcomeKind,
    Settlement,
    State,
    Turn,
    targets_of,
)
from queuectl.api.model import Pool as PoolRow
from queuectl.core import transitions, wire
from queuectl.core.rundir import POOL_SUFFIX, PoolRecord, WorkerRecord, read_worker

from . import channel as words
from . import supervisor
from .crew import Crew
from .inheritance import SUFFIX as INHERITED_SUFFIX
from .ledger import Ledger, Unsettled, key_of
from .legacy import STREAMS, files_of, from_record, here, outlived, remove
from .output import Limits
from .pace import LINGER, Pace
from .peer import FAR, Peer
from .points import reached
from .record import create_pool_file, new_id, own_identity, quiet_pipe
from .setup import make_setup, recipes_of
from .showing import Showing
from .takeover import Takeover

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from queuectl.core.app import App

    from .courier import CourierLink
    from .couriers import Couriers
    from .keeperlink import KeeperLink
    from .logfile import LogFile

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")

LOOK_EVERY = 1.0  # an idle pool asks so often whether something has changed, should a wake-up have been lost
MINUTE = 60.0  # no known moment is waited for longer than this at a stretch
CLOCK_SET = 1.0  # the wall clock has been set, or the machine has slept, if it is off by more than this many seconds
BEATS = 5  # heartbeats in a lease, at least
FORGET = 0.05  # while jobs are short, a worker hears from its next job what is stored, or after so many seconds
RETRY_FIRST, RETRY_LONGEST = 0.1, 10.0  # seconds between tries of a storage that cannot be used


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


class Pool:
    """One pool, from its start to its end."""

    def __init__(
        self,
        app: App,
        options: Options,
        log: Callable[[str], None],
        courier: CourierLink | None = None,
        couriers: Couriers | None = None,
        keeper: KeeperLink | None = None,
    ) -> None:
        self.app = app
        self.options = options
        self.log = log
        self.courier = courier  # who tells of events live
        self.couriers = couriers  # who tell what waits in the outbox
        self.routes = app.routes
        self._prepared = keeper
        self.id = new_id()
        self.storage = app.storage
        self.run_dir = app.run_dir
        self.rng = random.Random(os.urandom(8))
        self.stopping = 0  # how often a stop was asked for
        self.ledger = Ledger(options.queues, options.max_jobs)
        self.pace = Pace(options.workers)
        output = app.config.output
        self.limits = Limits(output.limit, output.head, output.tail)
        self.takeover = Takeover(self.storage, self.run_dir, self.id, self.limits, self.rng, options.lease, self.ledger)
        self.showing = Showing(self.storage, self.run_dir)
        self._poll = select.poll()
        self._recipes: dict[tuple[str, str], list[Any]] = {}
        self._signals: list[int] = []
        self._courier_polled: set[int] = set()
        self._leave_now = False
        # Moments on the monotonic clock.
        self._look_at = 0.0  # when to ask for work, as far as is known
        self._net_at = 0.0  # when to look whether we missed something
        self._retry_at = 0.0  # when the storage may be tried again
        self._beat_at = 0.0
        self._drain_by = FAR
        self._back_by = 0.0  # when the last job that was lost here is due again
        self._retries = 0
        self._linger_until = 0.0  # when the oldest result in the ledger is to be stored at the latest
        self._forget_at = FAR  # when workers are told what is stored, if no job has told them before
        self._looked = False  # at least once, with a worker to give a job to
        self._clock = time.time() - time.monotonic()
        self.turned_at = time.monotonic()  # when its loop last went round: a probe looks from another thread

    # -- life ---------------------------------------------------------------------------------------

    def run(self, ready: Callable[[], None] | None = None) -> int:
        """Work until told to stop, or until there is nothing left to do. The exit status."""
        self._open()
        try:
            if ready is not None:
                ready()
            while not self._is_finished():
                self._step()
            return 1 if self.options.until_empty and self.ledger.died else 0
        finally:
            self._close()

    def _open(self) -> None:
        self._wake, self._wake_write = quiet_pipe()
        self._poll.register(self._wake, select.POLLIN)
        self._catch_signals()
        trees.become_subreaper()
        setup = make_setup(self.app, self.id, self.limits, self.options.lease)
        row = self._make_known()
        self.crew = Crew(
            setup,
            self.options.workers,
            self.options.lease,
            self._poll,
            hear=self._hear,
            mourn=self._mourn,
            log=self.log,
            keeper=self._prepared,
        )
        self.crew.staff(time.monotonic())  # workers get ready while the storage is joined
        self.storage.join(row, lease=self.options.lease)
        reached("pool.joined")
        for name, queue in self.app.config.queues.items():
            if queue.concurrency is not None:
                self.storage.set_queue(name, limit=queue.concurrency, seed=True)
        self._listener = self.storage.listen(self.id)
        if self._listener is not None:
            self._poll.register(self._listener.fileno(), select.POLLIN)
        if self.courier is not None:
            self.courier.start()

    def _make_known(self) -> PoolRow:
        """Make this pool known on this host by a locked file; the row that makes it known in the storage."""
        started, host = time.time_ns() // 1_000_000, socket.gethostname()
        queues, workers = tuple(self.options.queues or ()), self.options.workers
        record = PoolRecord(
            self.id, **own_identity(), started_at=started, path="", host=host, queues=queues, workers=workers,
            version=__version__,
        )  # fmt: skip
        self._lock = create_pool_file(self.run_dir, record)
        return PoolRow(self.id, host, os.getpid(), started, queues, workers, version=__version__)

    def _is_finished(self) -> bool:
        if self._leave_now:
            return True
        if not self.ledger.is_empty:
            return False
        if self.stopping or self.ledger.is_used_up:
            return True
        return self.options.until_empty and self._is_idle() and self._nothing_due()

    def _is_idle(self) -> bool:
        """Whether we have looked everywhere, and nothing is about to be due: what another pool lost may come back."""
        now = time.monotonic()
        soon = now + transitions.LOST_JITTER
        return self._looked and self.takeover.is_quiet and now >= self._back_by and soon < self._look_at

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
        self.showing.close()
        self.crew.close()
        if self.courier is not None:
            self.courier.close()
        if self.couriers is not None:
            self.couriers.close(*((0.0,) if self._leave_now else ()))
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
        if not self.ledger.held:
            stem = os.path.join(self.run_dir, self.id)
            remove([stem + INHERITED_SUFFIX, stem + POOL_SUFFIX])
        os.close(self._lock)

    # -- the loop -----------------------------------------------------------------------------------

    def _step(self) -> None:
        self.turned_at = now = time.monotonic()
        for descriptor, mask in self._poll.poll(max(0.0, self._next_moment() - now) * 1000 + 0.5):
            self._dispatch(descriptor, mask)
        self._obey_signals()
        now = time.monotonic()
        self.crew.look(now)
        if now >= self._beat_at:
            self._heartbeat(now)
        if now >= self.takeover.sweep_at:
            self._sweep(now)
        if now >= self.showing.look_at:
            self._show(now)
        if now >= self._forget_at:
            self._let_forget()
        if now >= self._drain_by:
            self._drain_by = FAR
            self.crew.stop_all(False)
        if not self.stopping:
            self.crew.relief = self.pace.relief(now)
        if not self.stopping or self.ledger.outlived:
            self.crew.staff(now)
        if self.ledger.waiting:
            self._place_waiting(now)
        if now >= self._retry_at and (now >= self._settle_moment() or self._should_look(now)):
            self._exchange(now)
        if self.courier is not None or self.couriers is not None:
            self._tend_couriers(now)

    def _next_moment(self) -> float:
        storage_at = min(self._settle_moment(), self._look_at, self._net_at)
        moments = [
            self.pace.stale_at if self.ledger.waiting else FAR,
            self.pace.rest_at if self.crew.relief else FAR,
            self._beat_at,
            self.takeover.sweep_at,
            max(self.showing.look_at, self._retry_at),
            max(storage_at, self._retry_at),
            self._drain_by,
            self._forget_at,
            self.crew.next_moment(hiring=not self.stopping or bool(self.ledger.outlived)),
        ]
        if self.courier is not None and (due := self.courier.next_deadline()) is not None:
            moments.append(due)
        if self.couriers is not None:
            moments.append(self.couriers.next_deadline())
        return min(moments)

    def _settle_moment(self) -> float:
        """When what has ended is to be stored: at once, or a little later if nobody waits for it."""
        if not self.ledger.unsettled:
            return FAR
        if self.ledger.waiting and self.crew.has_relief and not self.stopping:
            return self._linger_until
        return 0.0

    def _dispatch(self, descriptor: int, mask: int) -> None:
        if self.crew.dispatch(descriptor, mask):
            return
        if descriptor == self._wake:
            try:
                while os.read(self._wake, 4096):
                    pass
            except BlockingIOError:
                pass
        elif self._listener is not None and descriptor == self._listener.fileno():
            self._listener.drain()
            self._look_at = 0.0
            if self.couriers is not None:
                self.couriers.heard()
        elif self.couriers is not None and self.couriers.handle(descriptor, time.monotonic()):
            pass
        elif not self.takeover.hears(descriptor, self._poll) and self.courier is not None:
            self.courier.handle(descriptor, mask)

    def _tend_couriers(self, now: float) -> None:
        wanted: dict[int, int] = {}
        spared: set[int] = set()
        if self.courier is not None:
            self.courier.tick(now)
            wanted.update(self.courier.wants())
            if self.courier.pid is not None:
                spared.add(self.courier.pid)
        if self.couriers is not None:
            self.couriers.tick(now)
            wanted.update(self.couriers.wants())
            spared |= self.couriers.pids
        for descriptor in self._courier_polled - wanted.keys():
            try:
                self._poll.unregister(descriptor)
            except KeyError:
                pass
        for descriptor, mask in wanted.items():
            self._poll.register(descriptor, mask)
        self._courier_polled = set(wanted)
        self.crew.spared = spared

    # -- signals, stopping, restarting ----------------------------------------------------------------

    def _catch_signals(self) -> None:
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
            numbers.append(signal.SIGHUP)
        for number in numbers:
            signal.signal(number, lambda number, _frame: self._signals.append(number))

    def _reap(self) -> None:
        """Collect children that have ended: couriers, the keeper, workers whose keeper died."""
        if self.couriers is not None:
            self.couriers.bury_the_dead()
        trees.reap()

    def _obey_signals(self) -> None:
        while self._signals:
            number = self._signals.pop(0)
            if number == signal.SIGCHLD:
                self._reap()
            elif number == signal.SIGUSR1:
                self.stop(2)
            elif number == signal.SIGQUIT:
                self.stop(2)
                self.crew.stop_all(True)
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
            self.ledger.give_back_waiting()
            running = len(self.ledger.held) - len(self.ledger.unsettled)
            if running:
                self.log(f"stopping: {running} running job{'s' * (running != 1)} may finish; stop again to end them")
            if self.options.drain is not None:
                self._drain_by = time.monotonic() + self.options.drain
        elif level == 2:
            self.ledger.give_back_waiting()
            self.crew.stop_all(False)
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
            recipes_of(fresh)
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
            self._catch_signals()
            supervisor.tell(supervisor.READY)
            self.log(f"not restarted: {sys.executable}: {error.strerror}")

    # -- workers --------------------------------------------------------------------------------------

    def _hear(self, peer: Peer, head: list[Any], body: bytes) -> None:
        """What a worker says."""
        word = head[0]
        if word == words.DONE:
            reached("pool.done-read")
            self._take_result(peer, head, body)
        elif word == words.HI and peer.adopted:
            self._welcome(peer, head[4])
        elif word == words.HI:
            reached("pool.hi-read")
            self._look_at = 0.0
        elif word == words.STARTED and peer.claim is not None:
            remove(self.ledger.taken_up(peer.claim))
            if self.courier is not None:
                self.courier.send([Event("started", head[4], peer.claim.job)])

    def _take_result(self, peer: Peer, head: list[Any], body: bytes) -> None:
        _word, id, attempt, packed, verdict, delay, sizes = head[:7]
        claim = peer.claim
        if claim is not None:
            remove(self.ledger.taken_up(claim))
        if claim is None or peer.disowned or (claim.job.id, claim.job.attempts) != (id, attempt):
            self.crew.acknowledge(peer, id, attempt)
            if peer.disowned and claim is not None:
                self.ledger.forget(claim)
                peer.free()
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
        now = time.monotonic()
        self.pace.ended(now - peer.handed_at, now)
        peer.reported = True
        peer.kill_at = FAR
        if not self.ledger.unsettled:
            self._linger_until = now + LINGER
        self.ledger.keep([Unsettled(claim, settlement, peer, tuple(large))])

    def _welcome(self, peer: Peer, held: list[Any] | None) -> None:
        """An adopted worker has said what it holds; that is the only truth about it."""
        claim = self.takeover.orphans.pop(os.path.join(self.run_dir, f"{peer.id}.lock"), None)
        reached("takeover.hi-read")
        if claim is None:
            return
        if held != [claim.job.id, claim.job.attempts]:
            self.ledger.give_back(claim)
            return
        peer.claim = claim
        self._end_if_unwanted(peer, claim, False)

    def _mourn(self, peer: Peer, record: WorkerRecord | None) -> None:
        """A worker is dead and nothing of its tree lives: settle what it held."""
        claim = peer.claim
        if claim is not None and not peer.reported:
            run = outlived(claim, record, self.ledger.outlived.get(key_of(claim)))
            remove(self.ledger.taken_up(claim) if run is None else ())
            if run is not None:
                self.log(f"worker {peer.id} died with job {claim.job.id}: its run is taken up")
                self.ledger.take_up(claim, run._replace(disowned=peer.disowned))
                return
        if claim is not None and not peer.reported and not peer.disowned:
            entry = from_record(claim, record, self.limits, self.rng, swept=True)
            if not entry.settlement.released:
                self.log(f"worker {peer.id} died with job {claim.job.id}: {entry.settlement.reason}")
            self.ledger.keep([entry])
            return
        files = () if record is None else files_of(record)
        if peer.reported:  # its result is here; its files go once that is stored
            self.ledger.unsettled = [
                entry._replace(peer=None, remove=files) if entry.peer is peer else entry
                for entry in self.ledger.unsettled
            ]
            return
        remove(files)
        if claim is not None:
            self.ledger.forget(claim)

    # -- the exchange ---------------------------------------------------------------------------------

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

    def _exchange(self, now: float) -> None:
        """Store what ended, take what is next, and tell everybody concerned."""
        batch = self.ledger.unsettled
        room = self.crew.room(self.ledger.settling)
        want = 0 if self.stopping else self.ledger.want(room, self.pace.ahead)
        try:
            for entry in batch:
                self._keep_output(entry)
            settlements = tuple([entry.settlement for entry in batch])
            if self.routes:
                settlements = tuple([self._addressed(entry) for entry in batch])
            turn = Turn(self.id, settlements, want, self.ledger.ceilings(), lease=self.options.lease)
            reached("pool.before-exchange")
            began = time.monotonic()
            answer = self.storage.exchange(turn)
        except StorageError as error:
            self._later(now, error)
            return
        if self._retries:
            self.log("the storage answers again")
            self._retries = 0
        self.crew.renewed(began)
        self._looked = self._looked or (want > 0 and room > 0)
        if answer.claims:
            reached("pool.claimed")
        if batch:
            reached("pool.settled")
            self._settled(batch, answer)
            if self.routes and self.couriers is not None:
                self.couriers.told({d.target for settlement in settlements for d in settlement.deliveries})
        self.ledger.take(answer.claims)
        self.pace.claimed(len(answer.claims), now)
        self._hand_out()
        if self.ledger.waiting:
            reached("pool.ahead")
        self._acknowledge(batch, now)
        self._look_at = self._next_look(now, answer, want)
        self._net_at = now + LOOK_EVERY
        for id in answer.cancel:
            self._cancel(id)
        self.showing.hear(answer.watched)

    def _addressed(self, entry: Unsettled) -> Settlement:
        """The settlement with what the routes want told of it."""
        settlement = entry.settlement
        event = transitions.event_of(entry.claim, settlement, time.time_ns() // 1_000_000)
        if event is None:
            return settlement
        targets = targets_of(self.routes, event.kind, entry.claim.job.spec)
        return settlement._replace(deliveries=tuple([Delivery(target, event) for target in targets]))

    def _keep_output(self, entry: Unsettled) -> None:
        for stream, path in entry.large:
            if os.path.exists(path):  # else it was kept before the exchange that failed
                self.storage.keep_output(entry.claim.job, entry.claim.job.attempts, stream, path)
                reached("pool.output-kept")

    def _later(self, now: float, error: StorageError) -> None:
        """Keep what is to be stored and try again soon; the workers hold their results meanwhile.

        A storage that is damaged or gone does not come back: then this pool ends. Its workers finish what they have,
        and keep the results for the pool that takes over when it has been put right.
        """
        if isinstance(error, StorageInvalid):
            raise error
        if not self._retries:
            self.log(f"the storage cannot be used: {error}; trying again")
        pause = min(RETRY_LONGEST, RETRY_FIRST * 2 ** min(self._retries, 8))
        self._retries += 1
        self._retry_at = now + pause * (0.5 + self.rng.random())

    def _settled(self, batch: Sequence[Unsettled], answer: Exchange) -> None:
        """The exchange is committed."""
        for entry in batch:
            if entry.peer is not None:
                entry.peer.free()
            remove(entry.remove)
        for id in answer.unstored:
            self.log(f"a job that was to follow another was not stored: its id {id} is a number, or is taken")
        for id in answer.refused:
            self.log(f"job {id}: its result came too late and was refused; somebody else owns it now")
        applied = self.ledger.close(batch, answer.refused)
        for entry in applied:
            self._tell(entry)
        if self.courier is not None:
            at = time.time_ns() // 1_000_000
            events = [transitions.event_of(entry.claim, entry.settlement, at) for entry in applied]
            if told := [event for event in events if event is not None]:
                self.courier.send(told)

    def _tell(self, entry: Unsettled) -> None:
        """A line of the log for what ended otherwise than well."""
        settlement, job = entry.settlement, entry.claim.job
        if settlement.released:
            return
        if settlement.state is State.PENDING and settlement.delay:
            self._back_by = max(self._back_by, time.monotonic() + settlement.delay + 0.01)
        if settlement.state is not State.COMPLETED or self.options.verbose:
            then = f", next try in {settlement.delay:.3g} s" if settlement.delay else ""
            self.log(f"job {job.id} attempt {job.attempts} {settlement.state.value}: {settlement.reason}{then}")

    def _place_waiting(self, now: float) -> None:
        """Begin what was claimed ahead, where a place is free; give it back when it has waited for too long."""
        self._hand_out()
        if self.ledger.waiting and now >= self.pace.stale_at and not any(self.crew.free()):
            self.pace.falter()
            self.ledger.give_back_waiting()
            reached("pool.given-back")

    def _hand_out(self) -> None:
        """Give waiting claims to free workers."""
        waiting = self.ledger.waiting
        for peer in self.crew.free() if waiting else ():
            if not waiting:
                break
            claim = waiting.pop(0)
            settings = claim.job.settings
            run = self.ledger.outlived.get(key_of(claim))
            try:
                executor = self._recipe("executor", settings.executor)
                backoff = self._recipe("backoff", settings.backoff)
            except (ConfigError, PluginError) as error:
                now = time.time_ns() // 1_000_000
                kind = OutcomeKind.START_FAILED if run is None else OutcomeKind.LOST
                outcome = Outcome(kind, 126, now, now, str(error))
                remove(self.ledger.taken_up(claim))
                self.ledger.keep([Unsettled(claim, transitions.settle(claim, outcome))])
                continue
            self.crew.hand_over(peer, claim, executor, backoff, run)
            if run is not None:
                self._end_if_unwanted(peer, claim, run.disowned)

    def _end_if_unwanted(self, peer: Peer, claim: Claim, disowned: bool) -> None:
        """A run that is taken up may have been given away, cancelled or stopped meanwhile."""
        peer.disowned = disowned
        if claim.job.cancel and not disowned:
            self.crew.stop(peer, OutcomeKind.CANCELLED)
        elif disowned or self.stopping > 1:
            self.crew.stop(peer, OutcomeKind.INTERRUPTED)

    def _recipe(self, kind: str, name: str) -> list[Any]:
        recipe = self._recipes.get((kind, name))
        if recipe is None:
            make = self.app.executor_recipe if kind == "executor" else self.app.backoff_recipe
            recipe = self._recipes[kind, name] = list(make(name))
        return recipe

    def _acknowledge(self, batch: Sequence[Unsettled], now: float) -> None:
        """Let workers forget what is stored. One that is given its next job knows by that: while jobs are short, that
        is soon, and saves waking it twice."""
        for entry in batch:
            if entry.peer is not None and entry.peer.claim is None:
                entry.peer.unforgotten = entry.claim.job.id, entry.claim.job.attempts
        if self.pace.ahead and not self.stopping:
            self._forget_at = min(self._forget_at, now + FORGET)
        else:
            self._let_forget()

    def _let_forget(self) -> None:
        self._forget_at = FAR
        self.crew.let_forget()

    def _next_look(self, now: float, answer: Exchange, want: int) -> float:
        """When there may be more for us, as far as is known."""
        if self.stopping or self.ledger.left == 0 or not any(self.crew.free()):
            return FAR
        if answer.more or (want and len(answer.claims) == want):
            return 0.0
        if answer.next_due is None:
            return FAR
        return now + min(MINUTE, max(0.0, answer.next_due / 1000 - time.time()) + 0.001)

    # -- news from elsewhere --------------------------------------------------------------------------

    def _heartbeat(self, now: float) -> None:
        self._beat_at = now + min(self.options.heartbeat, self.options.lease / BEATS)
        began = time.monotonic()
        held = [Held(claim.job.id, claim.token) for claim in self.ledger.held.values()]
        try:
            pulse = self.storage.heartbeat(self.id, held, lease=self.options.lease)
        except StorageError as error:
            self._later(now, error)
            return
        reached("pool.beat")
        self.crew.renewed(began)
        self.crew.tell_renewed()
        for id in pulse.lost:
            self._disown(id)
        if not self.takeover.owns_up_to(pulse.found) and pulse.found:
            self.ledger.take(pulse.found)
            self.pace.claimed(len(pulse.found), now)
        for id in pulse.cancel:
            self._cancel(id)
        self.showing.hear(pulse.watched)

    def _show(self, now: float) -> None:
        """Show what watched jobs write; it is tried again when the storage is."""
        if now < self._retry_at:
            return
        try:
            self.showing.look(self.ledger.held)
        except StorageError as error:
            self._later(now, error)

    def _disown(self, id: str) -> None:
        """Somebody else owns this job now: end it here, and do not store what comes of it."""
        peer = self.crew.holder(id)
        if peer is None:
            self.ledger.lose(id)
        elif not peer.reported:
            self.log(f"job {id} is no longer ours: ending it")
            peer.disowned = True
            self.crew.stop(peer, OutcomeKind.INTERRUPTED)

    def _cancel(self, id: str) -> None:
        """Somebody asked for a job of ours to be cancelled."""
        claim = self.ledger.mark_cancelled(id)
        peer = self.crew.holder(id)
        if claim is None:
            return
        if peer is not None:
            peer.claim = claim
            if peer.stop is None:
                self.crew.stop(peer, OutcomeKind.CANCELLED)
            return
        for path, orphan in self.takeover.orphans.items():
            if orphan.job.id == id and not orphan.job.cancel:
                self.takeover.orphans[path] = claim
                record = read_worker(path)
                if record is not None and record.alive and here(record) and trees.is_same(record.pid, record.inode):
                    trees.send(record.pid, signal.SIGTERM)  # its worker interrupts the job, and it stays cancelled

    def _sweep(self, now: float) -> None:
        """Look after the other pools, and at the clock."""
        self._mind_the_clock(now)
        if self.options.log_file is not None:
            self.options.log_file.turn()
        self._reap()
        try:
            self.takeover.sweep(now, self._poll, self.crew.peers)
        except StorageError as error:
            self._later(now, error)
        self.crew.adopt(self.id, self.takeover.orphans)

    def _mind_the_clock(self, now: float) -> None:
        """The storage says by the wall clock what is due, and we wait by another: when it was set, look anew."""
        clock = time.time() - now
        jump, self._clock = clock - self._clock, clock
        if abs(jump) > CLOCK_SET:
            self.log(f"the clock has jumped by {jump:+.0f} s; looking again for what is due")
            self._look_at = 0.0
