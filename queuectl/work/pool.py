"""The pool: one ``worker start``. It talks to the storage, hands jobs to its workers and stores what they report.

One process, one thread, one loop over one ``poll``. Nothing in it waits for a worker, a plugin or a dead process: what
takes time is a state with a deadline. One exchange with the storage settles and claims for all workers at once. A claim
is handed over when the worker's record has it, a result when its settlement is committed; until then the other side
keeps it.

Here are its life and its loop. Each of its parts has a file of that name, and the moments at which the loop is to come
to it:

- the *ledger* has the books, the *pace* decides how far ahead of its workers the pool works;
- the *crew* has the workers and their keeper; the *handover* gives them claims, their *reports* become results;
- the *exchanges* with the storage settle and claim; the *lookout* knows when to ask, an *outage* when to ask again,
  the *news* are what the storage has to say of what is held;
- *takeover* has an eye on other pools; *showing* and *telling* are for those who watch.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from queuectl import __version__
from queuectl.api import trees
from queuectl.api.errors import StorageError
from queuectl.api.model import Pool as PoolRow
from queuectl.api.model import State
from queuectl.core import transitions
from queuectl.core.rundir import POOL_SUFFIX, PoolRecord

from . import supervisor
from .crew import Crew
from .exchanges import Exchanges
from .handover import Handover
from .inheritance import SUFFIX as INHERITED_SUFFIX
from .ledger import END, FINISH, LEAVE, Ledger
from .legacy import remove
from .lookout import Lookout
from .news import News
from .outage import Outage
from .output import Limits
from .pace import Pace
from .peer import FAR
from .points import reached
from .poller import Polls
from .record import create_pool_file, new_id, own_identity
from .reports import Reports
from .restart import restart
from .setup import make_setup
from .showing import Showing
from .signals import Signals
from .takeover import Takeover
from .telling import Telling

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from queuectl.core.app import App

    from .courier import CourierLink
    from .couriers import Couriers
    from .keeperlink import KeeperLink
    from .logfile import LogFile

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")


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
        self.id = new_id()
        self.turned_at = time.monotonic()  # when its loop last went round: a probe looks from another thread
        self._drain_by = FAR  # when running jobs are ended, once a stop was asked for
        self._poll = poll = Polls()

        storage, run_dir, lease, output = app.storage, app.run_dir, options.lease, app.config.output
        limits = Limits(output.limit, output.head, output.tail)
        rng = random.Random(os.urandom(8))
        self.signals = Signals(poll)
        self.ledger = ledger = Ledger(options.queues, options.max_jobs)
        self.pace = pace = Pace(options.workers)
        self.outage = outage = Outage(log, rng)
        self.lookout = lookout = Lookout(storage, outage, log)
        self.telling = telling = Telling(app.routes, courier, couriers, poll)
        self.showing = showing = Showing(storage, run_dir)
        self.takeover = takeover = Takeover(storage, run_dir, self.id, limits, rng, lease, ledger)
        reports = Reports(
            run_dir, limits, rng, log,
            ledger=ledger, pace=pace, lookout=lookout, takeover=takeover, telling=telling,
        )  # fmt: skip
        self.crew = crew = Crew(
            make_setup(app, self.id, limits, lease), options.workers, lease, poll.crew,
            hear=reports.hear, mourn=reports.mourn, spared=telling.pids, log=log, keeper=keeper,
        )  # fmt: skip
        self.handover = handover = Handover(app, ledger, crew, pace)
        self.news = news = News(
            self.id, storage, lease, options.heartbeat, log,
            ledger=ledger, crew=crew, pace=pace, takeover=takeover, showing=showing, outage=outage,
        )  # fmt: skip
        self.exchanges = Exchanges(
            self.id, storage, lease, log, verbose=options.verbose,
            ledger=ledger, crew=crew, pace=pace, lookout=lookout, outage=outage, handover=handover, news=news,
            telling=telling,
        )  # fmt: skip

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
        self.signals.catch()
        trees.become_subreaper()
        row = self._make_known()
        self.crew.staff(time.monotonic())  # workers get ready while the storage is joined
        self.app.storage.join(row, lease=self.options.lease)
        reached("pool.joined")
        for name, queue in self.app.config.queues.items():
            if queue.concurrency is not None:
                self.app.storage.set_queue(name, limit=queue.concurrency, seed=True)
        self.lookout.listen(self.id, self._poll)
        self.telling.start()

    def _make_known(self) -> PoolRow:
        """Make this pool known on this host by a locked file; the row that makes it known in the storage."""
        started, host = time.time_ns() // 1_000_000, socket.gethostname()
        queues, workers = tuple(self.options.queues or ()), self.options.workers
        record = PoolRecord(
            self.id, **own_identity(), started_at=started, path="", host=host, queues=queues, workers=workers,
            version=__version__,
        )  # fmt: skip
        self._lock = create_pool_file(self.app.run_dir, record)
        return PoolRow(self.id, host, os.getpid(), started, queues, workers, version=__version__)

    def _is_finished(self) -> bool:
        if self.ledger.stopping >= LEAVE:
            return True
        if not self.ledger.is_empty:
            return False
        if self.ledger.stopping or self.ledger.is_used_up:
            return True
        return self.options.until_empty and self._is_idle() and self._nothing_due()

    def _is_idle(self) -> bool:
        """Whether we have looked everywhere, and nothing is about to be due: what another pool lost may come back."""
        now = time.monotonic()
        soon = now + transitions.LOST_JITTER
        looked = self.exchanges.looked and self.takeover.is_quiet
        return looked and now >= self.exchanges.back_by and soon < self.lookout.look_at

    def _nothing_due(self) -> bool:
        """Whether in the open queues that this pool serves nothing is due and no retry is to come."""
        try:
            stats = self.app.storage.stat()
        except StorageError:
            return False
        serves = self.options.queues
        return not any(
            stat.ready or stat.counts.get(State.FAILED, 0)
            for stat in stats
            if not stat.paused and (serves is None or stat.name in serves)
        )

    def _close(self) -> None:
        at_once = self.ledger.stopping >= LEAVE
        self.showing.close()
        self.crew.close()
        self.telling.close(at_once=at_once)
        try:
            if not at_once:
                reached("pool.leaving")
                self.app.storage.leave(self.id)
                reached("pool.left")
        except StorageError as error:
            self.log(f"cannot take leave of the storage: {error}")
        self.lookout.close()
        self.takeover.release()
        if not self.ledger.held:
            stem = os.path.join(self.app.run_dir, self.id)
            remove([stem + INHERITED_SUFFIX, stem + POOL_SUFFIX])
        os.close(self._lock)

    # -- the loop -----------------------------------------------------------------------------------

    def _step(self) -> None:
        self.turned_at = now = time.monotonic()
        until, crew = self._next_moment(), True
        if now < self.pace.linger_until and self.exchanges.lingers:
            until, crew = min(until, self.pace.linger_until), False
        for descriptor, mask in self._poll.wait(until - now, crew=crew):
            if not self.crew.dispatch(descriptor, mask):
                self._dispatch(descriptor, mask)
        if self.signals.pending:
            self._obey_signals()
        now = time.monotonic()
        if now >= self.crew.look_at:
            self.crew.look(now)
        if now >= self.news.beat_at:
            self.news.beat(now)
        if now >= self.takeover.sweep_at:
            self._sweep(now)
        if now >= self.showing.look_at:
            self._show(now)
        if now >= self.exchanges.forget_at:
            self.exchanges.let_forget()
        if now >= self._drain_by:
            self._drain_by = FAR
            self.crew.end_jobs(False)
        if not self.ledger.stopping:
            self.crew.want_lanes(self.pace.lanes(now))
        if not self.ledger.stopping or self.ledger.outlived:
            self.crew.staff(now)
        if self.ledger.waiting:
            self.handover.place_waiting()
        if now >= self.pace.stale_at:
            self.handover.mind_the_stale(now)
        if now >= self.outage.retry_at and (now >= self.exchanges.settle_at() or self.lookout.should_look(now)):
            self.exchanges.make(now)
        self.telling.tend(now)

    def _next_moment(self) -> float:
        storage_at = min(self.exchanges.settle_at(), self.lookout.look_at, self.lookout.net_at, self.showing.look_at)
        return min(
            max(storage_at, self.outage.retry_at),
            self.pace.stale_at,
            self.pace.rest_at if self.crew.lanes > 1 else FAR,
            self.news.beat_at,
            self.takeover.sweep_at,
            self._drain_by,
            self.exchanges.forget_at,
            self.crew.next_moment(hiring=not self.ledger.stopping or bool(self.ledger.outlived)),
            self.telling.next_moment(),
        )

    def _dispatch(self, descriptor: int, mask: int) -> None:
        """What poll said of a descriptor that is none of the crew's."""
        if self.signals.hears(descriptor):
            return
        if self.lookout.hears(descriptor):
            self.telling.woken()
        elif not self.takeover.hears(descriptor, self._poll):
            self.telling.handle(descriptor, mask)

    def _show(self, now: float) -> None:
        """Show what watched jobs write; it is tried again when the storage is."""
        if now < self.outage.retry_at:
            return
        try:
            self.showing.look(self.ledger.held)
        except StorageError as error:
            self.outage.begin(now, error)

    def _sweep(self, now: float) -> None:
        """Once a second: look after the other pools, the clock, the log, and children that nobody waits for."""
        self.lookout.mind_the_clock(now)
        if self.options.log_file is not None:
            self.options.log_file.turn()
        self._reap()
        try:
            self.takeover.sweep(now, self._poll, self.crew.peers)
        except StorageError as error:
            self.outage.begin(now, error)
        self.crew.adopt(self.id, self.takeover.orphans)

    def _reap(self) -> None:
        """Collect children that have ended: couriers, the keeper, workers whose keeper died."""
        self.telling.bury_the_dead()
        trees.reap()

    # -- stopping -----------------------------------------------------------------------------------

    def _obey_signals(self) -> None:
        pending = self.signals.pending
        while pending:
            number = pending.pop(0)
            if number == signal.SIGCHLD:
                self._reap()
            elif number == signal.SIGUSR1:
                self.stop(END)
            elif number == signal.SIGQUIT:
                self.stop(END)
                self.crew.end_jobs(True)
            elif number != signal.SIGUSR2:
                self.stop(self.ledger.stopping + 1)
            elif not self.ledger.stopping:
                restart(self.app, self.signals, self.telling, self.log)

    def stop(self, level: int) -> None:
        """FINISH: take no more jobs and let the running ones end. END: end them politely. LEAVE: go at once."""
        if level <= self.ledger.stopping:
            return
        self.ledger.stopping = level
        supervisor.tell(supervisor.STOPPING)
        if level == FINISH:
            self.ledger.give_back_waiting()
            self.crew.withdraw()
            running = len(self.ledger.held) - len(self.ledger.unsettled)
            if running:
                self.log(f"stopping: {running} running job{'s' * (running != 1)} may finish; stop again to end them")
            if self.options.drain is not None:
                self._drain_by = time.monotonic() + self.options.drain
        elif level == END:
            self.ledger.give_back_waiting()
            self.crew.end_jobs(False)
