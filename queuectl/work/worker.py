"""A worker: runs one job at a time, knows its job and nothing of the storage.

Forked by the keeper, it takes jobs from its pool over a channel, runs each through an executor, and keeps the result in
its record and output files until the pool says that it is stored. It outlives its pool: a next one may
adopt it by its named socket while its job runs; with nobody to report to at the end, it makes the result durable and
ends, and the next pool settles from the record.

What a plugin may do wrong here (raise, hang, answer rubbish, exit) costs at most this worker: before any plugin is
asked about an ended attempt, the outcome is in the record.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import socket
import sys
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from queuectl.api import trees
from queuectl.api.errors import StartFailed
from queuectl.api.executor import Executor, Handle, Run
from queuectl.api.model import Claim, Outcome, OutcomeKind
from queuectl.core import transitions, wire
from queuectl.core.patience import impatient
from queuectl.core.rundir import DECIDED, ENDED, RUNNING, STARTED, JobRecord, WorkerRecord, run_mark

from . import channel as words
from .channel import Channel
from .output import Limits, Stream
from .points import reached
from .record import Record, own_identity, quiet_pipe
from .setup import Setup, is_ours
from .sockets import is_own_user, listen
from .supervisor import VARIABLES as SUPERVISOR

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from queuectl.api.backoff import Backoff
    from queuectl.core.plugins import Plugins

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")

#: A run that is over by then is not named in the record: whoever ends what a dead worker left knows it by its mark.
NOTE_AFTER = 0.005
#: How often the size of the output is looked at: quickly while it grows, seldom while it does not.
TRIM_FIRST, TRIM_BUSY, TRIM_IDLE = 0.25, 0.05, 2.0


class Worker:
    """One worker process, from its fork to its end."""

    def __init__(self, setup: Setup, id: str, sock: socket.socket) -> None:
        self.setup = setup
        self.id = id
        self.channel = Channel(sock)
        self._alone = False  # no pool to report to
        self._leased_at = time.monotonic()  # when its pool's lease was last renewed, as far as it was told
        self._terminated = False
        self._quit = False
        self._inbox: list[list[Any]] = []  # heard, and not yet obeyed
        self._job: JobRecord | None = None  # in hand: running, or ended and not yet acknowledged
        self._large = (False, False)
        self._kept: list[bytes | None] = []
        self._broken = False  # something of a job could not be ended: this worker takes no other
        self._policies = Policies(setup, self.log)
        self._wake = _signal_pipe(self._on_signal)
        cgroup = trees.enter_cgroup(setup.cgroup, f"queuectl-{id}") if setup.cgroup else None
        identity = WorkerRecord(
            id,
            setup.pool,
            **own_identity(),
            started_at=_now(),
            path="",
            cgroup=cgroup,
        )
        self.cgroup = cgroup
        # The socket is there before the record can be seen: who finds a record finds the way to its worker.
        self._door = listen(setup.run_dir, f"{id}.sock")
        reached("worker.listening")
        self._knocked = False
        self._suitor: Channel | None = None  # has connected, and not yet said what it wants
        self.record = Record(setup.run_dir, identity)
        reached("worker.born")
        limits = Limits(setup.limit, setup.head, setup.tail)
        stem = os.path.join(setup.run_dir, id)
        self.streams = (Stream(stem + ".out", limits), Stream(stem + ".err", limits))
        self._poll = select.poll()
        self._poll.register(self._wake, select.POLLIN)
        self._poll.register(self.channel.fileno(), select.POLLIN)
        self._poll.register(self._door.fileno(), select.POLLIN)

    def log(self, line: str) -> None:
        try:
            os.write(2, f"worker {self.id}: {line}\n".encode(errors="backslashreplace"))
        except OSError:
            pass

    def _on_signal(self, number: int, _frame: object) -> None:
        if number == signal.SIGTERM:
            self._terminated = True

    # -- the loop -----------------------------------------------------------------------------

    def run(self) -> None:
        """Serve the pool until there is nothing left to do for it."""
        self.channel.send(words.HI, self.id, os.getpid(), words.PROTOCOL, None)
        reached("worker.hi-sent")
        while not (self._terminated or (self._job is None and (self._alone or self._quit or self._broken))):
            self._wait(None)
            self._hear()
            while self._inbox:
                self._obey(self._inbox.pop(0))
            if self._alone and self._job is not None:
                break  # the result stays in the record and the files
        self._end()

    def _obey(self, head: list[Any]) -> None:
        word = head[0]
        if word == words.JOB:
            self._forget()
            self.renew(head[4])
            self._take(wire.unpack_claim(head[1]), head[2], head[3], *head[5:7])
        elif word == words.ACK:
            if self._job is not None and [self._job.id, self._job.attempt] == head[1:3]:
                reached("worker.ack-read")
                self._forget()
        elif word == words.QUIT:
            self._quit = True
        elif word == words.LEASED:
            self.renew(head[1])

    def _hear(self) -> None:
        """Put what the pool has said into the inbox, and let a new pool in."""
        if self._knocked:
            self._knocked = False
            self._answer_the_door()
        if self._alone:
            return
        self._inbox += [head for head, _body in self.channel.receive()]
        if self.channel.closed:
            self._alone = True
            self._poll.unregister(self.channel.fileno())

    # -- adoption -----------------------------------------------------------------------------

    def renew(self, moment: float) -> None:
        """Its pool's lease was renewed at a moment of the monotonic clock, which this host's processes share."""
        self._leased_at = min(moment, time.monotonic())

    @property
    def overstays_at(self) -> float:
        """When its job has to be ended, if nobody says before that the pool's lease was renewed: the pool is gone, cut
        off from the storage or stopped, and another host may be given the job."""
        return float("inf") if self.setup.alone is None else self._leased_at + self.setup.alone

    @property
    def given_away_at(self) -> float:
        """When nothing of its job may be left."""
        return float("inf") if self.setup.alone is None else self._leased_at + 0.9 * self.setup.lease

    def _answer_the_door(self) -> None:
        """Let a new pool in, if one has connected. The latest wins; one suitor at a time."""
        if self._suitor is None:
            try:
                sock, _address = self._door.accept()
            except OSError:
                return
            if not is_own_user(sock):
                sock.close()
                return
            self._suitor = Channel(sock)
            self._poll.register(self._suitor.fileno(), select.POLLIN)
        for head, _body in self._suitor.receive():
            if head[0] == words.ADOPT:
                reached("worker.adopt-read")
                self._move_to(self._suitor)
                return
        if self._suitor.closed:
            self._poll.unregister(self._suitor.fileno())
            self._suitor.close()
            self._suitor = None

    def _move_to(self, pool: Channel) -> None:
        """Serve another pool. The old line is dropped before the new one hears anything: what is unread in it is not
        done. Whoever is adopted runs old code, so it ends when its job is stored."""
        if not self._alone:
            self._poll.unregister(self.channel.fileno())
        self.channel.close()
        self._inbox.clear()
        self.channel, self._suitor = pool, None
        self._alone, self._quit = False, True
        held = None if self._job is None else [self._job.id, self._job.attempt]
        pool.send(words.HI, self.id, os.getpid(), words.PROTOCOL, held)
        reached("worker.adopted")
        if self._job is not None and self._job.phase == DECIDED:
            self._report(self._kept)

    def _wait(self, timeout: float | None) -> None:
        """Until something arrives, a signal comes, or *timeout* seconds have passed."""
        if not self._alone and self.channel.wants_write:
            self._poll.modify(self.channel.fileno(), select.POLLIN | select.POLLOUT)
        for descriptor, _mask in self._poll.poll(None if timeout is None else max(0, timeout) * 1000 + 1):
            if descriptor == self._wake:
                _drain(descriptor)
            elif descriptor == self._door.fileno() or (self._suitor and descriptor == self._suitor.fileno()):
                self._knocked = True
        if not self._alone and self.channel.wants_write:
            self.channel.flush()
            if not self.channel.wants_write:
                self._poll.modify(self.channel.fileno(), select.POLLIN)

    def _forget(self) -> None:
        """The result in hand is stored: make ready for the next job."""
        if self._job is None:
            return
        # The record first: who opens a file to follow this job looks into it again, and from now on finds that the
        # job is gone; who opened before is seen by the reset, and keeps the file.
        self.record.clear()
        self._job = None
        for stream, large in zip(self.streams, self._large, strict=True):
            stream.given_away() if large else stream.reset()
        reached("worker.files-reset")

    def _end(self) -> None:
        self._policies.close()
        if self._job is None:
            for stream in self.streams:
                stream.remove()
            self.record.remove()
        else:
            for stream in self.streams:
                stream.sync()
            self.record.sync()
            reached("worker.result-kept")
        self._door.close()
        try:
            os.unlink(os.path.join(self.setup.run_dir, f"{self.id}.sock"))
        except OSError:
            pass
        if self.cgroup is not None:
            trees.leave_cgroup(self.cgroup)

    # -- one job --------------------------------------------------------------------------------

    def _take(
        self, claim: Claim, executor: list[Any], backoff: list[Any], ident: str = "", started_at: int = 0
    ) -> None:
        """Run a claim to its end and report it. With *ident* it runs already, since *started_at*: take it up."""
        job = claim.job
        reached("worker.job-read")
        if self._terminated:
            return  # it ends without having taken it: no record, no attempt
        self._job = JobRecord(job.id, job.seq, job.attempts, STARTED, started_at or _now(), ident, outlives=bool(ident))
        self.record.write(self._job)
        reached("worker.started")
        # The record is written before this look: a pool that takes over either sees it, or died before the look and
        # then nothing starts here. So a claim without a record never ran.
        if self.channel.at_end():
            self.record.clear()
            self._job = None
            return
        attempt = _Attempt(self, claim, ident, started_at)
        outcome = attempt.run(executor)
        reached("worker.collected")
        packed = wire.pack_outcome(outcome)
        if self.setup.hooks or not is_ours(backoff[0]):
            self._note(
                self._job._replace(phase=ENDED, outcome=packed)
            )  # what is asked next may take this worker with it
            reached("worker.ended")
        verdict, delay = self._policies.decide(claim, outcome, backoff)
        self._job = self._job._replace(phase=DECIDED, outcome=packed, verdict=verdict, delay=delay)
        self._note(self._job)
        reached("worker.decided")
        attempt.forget()
        self._kept = attempt.kept
        self._report(attempt.kept)

    def _note(self, job: JobRecord) -> None:
        """How far the job in hand has got. On a disk that cannot be written any more it is only told to the pool."""
        try:
            self.record.write(job)
        except OSError as error:
            self.log(f"job {job.id}: its record cannot be written: {error.strerror}")

    def _report(self, kept: list[bytes | None]) -> None:
        assert self._job is not None
        job = self._job
        self._large = (kept[0] is None, kept[1] is None)
        sizes = [-1 if data is None else len(data) for data in kept]
        body = b"".join(data for data in kept if data)
        self.channel.send(words.DONE, job.id, job.attempt, job.outcome, job.verdict, job.delay, sizes, body=body)
        reached("worker.done-sent")


class _Attempt:
    """The running of one claim: spawn, clocks, stops, end."""

    def __init__(self, worker: Worker, claim: Claim, ident: str = "", started_at: int = 0) -> None:
        self.worker = worker
        self.claim = claim
        self.ident = ident  # of a run that goes on, since *started_at*
        self._handle: Handle | None = None
        self.settings = claim.job.settings
        self.why: OutcomeKind | None = None  # why we asked for the end
        self.kept: list[bytes | None] = [b"", b""]
        self._kill_at: float | None = None
        now = time.monotonic()
        self._started = now - max(0, _now() - started_at) / 1000 if started_at else now
        self._told = False
        self._trim_every = TRIM_FIRST
        self._trim_at = now + TRIM_FIRST
        self._note_at = now + NOTE_AFTER
        self._size = 0

    def run(self, recipe: list[Any]) -> Outcome:
        assert self.worker._job is not None
        started_at = self.worker._job.started_at
        handle = None
        try:
            handle = self._start(recipe)
            outcome = self._follow(handle) if handle is not None else Outcome(OutcomeKind.LOST)
        except StartFailed as error:
            outcome = Outcome(OutcomeKind.START_FAILED, error.code, detail=str(error))
        except (Exception, SystemExit) as error:  # whatever an executor does, and wants to leave, is an outcome
            kind = OutcomeKind.LOST if self.ident else OutcomeKind.START_FAILED
            outcome = Outcome(kind, 126, detail=f"the executor failed: {_sentence(error)}")
            self.worker.log(f"job {self.claim.job.id}: {outcome.detail}")
            outcome = outcome._replace(left=self._abandon(handle))
        if self.why is not None:
            outcome = outcome._replace(kind=self.why, detail=self._detail())
        sizes = []
        for index, stream in enumerate(self.worker.streams):
            size, self.kept[index] = stream.finish()
            sizes.append(size)
        ended_at = started_at + round(1000 * (time.monotonic() - self._started))
        if outcome.left:
            self.worker._broken = True
            self.worker.log(f"job {self.claim.job.id}: {outcome.left} of its processes could not be ended")
        return outcome._replace(
            started_at=outcome.started_at or started_at,
            ended_at=outcome.ended_at or ended_at,
            stdout_size=sizes[0],
            stderr_size=sizes[1],
        )

    def _detail(self) -> str:
        if self.why is OutcomeKind.TIMEOUT:
            return f"after {self.settings.timeout:g} s"
        return "ended by the worker's own signal" if self.worker._terminated else ""

    def _start(self, recipe: list[Any]) -> Handle | None:
        """Begin it, or take it up; None if there was nothing to take up."""
        worker, job = self.worker, self.claim.job
        own = worker._policies.environment(self.claim, worker.id)
        descriptors = [stream.open_for_job() for stream in worker.streams]
        try:
            run = Run(
                self.claim,
                job.spec.argv,
                None if job.spec.argv is not None else job.spec.command,
                {**base_environment(tuple(worker.setup.hidden)), **captured(job.spec.environment), **own},
                own,
                job.spec.cwd,
                descriptors[0],
                descriptors[1],
                self.settings.executor_options,
                worker.log,
            )
            executor = worker._policies.executor(recipe)
            handle = self._handle = self._take_up(executor, run) if self.ident else self._begin(executor, run)
        except StartFailed as error:
            os.write(descriptors[1], f"queuectl: {error}\n".encode(errors="backslashreplace"))
            raise
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        if handle is None:
            return None
        assert worker._job is not None
        reached("worker.spawned")
        worker._job = worker._job._replace(phase=RUNNING, ident=handle.ident)
        return handle

    def _begin(self, executor: Executor, run: Run) -> Handle:
        """Start it; a run that will outlive this worker is named in the record first."""
        ident = executor.ident(run)
        if ident:
            worker = self.worker
            assert worker._job is not None
            worker._job = worker._job._replace(ident=ident, outlives=True)
            worker.record.write(worker._job)
            reached("worker.named")
        return executor.start(run)

    def _take_up(self, executor: Executor, run: Run) -> Handle | None:
        """Go on with a run whose worker died. What cannot be followed is ended, so that no two attempts overlap."""
        handle = executor.attach(self.ident, run)
        if handle is None and executor.clean(self.ident):
            self.worker.log(f"job {self.claim.job.id}: {self.ident} could not be taken up, and was ended")
        return handle

    def forget(self) -> None:
        """The outcome is recorded: the executor need not keep anything of the run."""
        if self._handle is not None:
            try:
                self._handle.forget()
            except Exception as error:
                self.worker.log(f"the executor failed to forget a run: {_sentence(error)}")

    def _follow(self, handle: Handle) -> Outcome:
        """Wait for the end, minding the clocks and what the pool says."""
        worker = self.worker
        timeout = self.settings.timeout
        deadline = self._started + timeout if timeout is not None else None
        descriptor = handle.fileno()
        worker._poll.register(descriptor, select.POLLIN)
        try:
            while True:
                while worker._inbox:
                    self._obey(worker._inbox.pop(0), handle)
                moments = [self._note_at, self._trim_at, deadline, self._kill_at]
                if self.why is None:
                    moments.append(worker.overstays_at)
                worker._wait(min(moment for moment in moments if moment is not None) - time.monotonic())
                outcome = handle.collect()
                if outcome is not None:
                    return outcome
                worker._hear()
                now = time.monotonic()
                if now >= self._note_at:
                    self._note_leader()
                if worker._terminated and self.why is None:
                    self._stop(handle, OutcomeKind.INTERRUPTED, False)
                if now > worker.overstays_at:
                    self._end_in_time(handle)
                if deadline is not None and now >= deadline:
                    deadline = None
                    self._stop(handle, OutcomeKind.TIMEOUT, False)
                if self._kill_at is not None and now >= self._kill_at:
                    self._kill_at = now + 1.0  # and again, should something have slipped through
                    handle.stop(force=True)
                if now >= self._trim_at:
                    self._look(now)
        finally:
            worker._poll.unregister(descriptor)

    def _note_leader(self) -> None:
        """Name the run in the record, once it is clear that it does not end at once."""
        assert self.worker._job is not None
        self._note_at = float("inf")
        self.worker._note(self.worker._job)
        reached("worker.running")

    def _obey(self, head: list[Any], handle: Handle) -> None:
        job = self.claim.job
        if head[0] == words.STOP and head[1:3] == [job.id, job.attempts]:
            self._stop(handle, OutcomeKind(head[3]), head[4])
        elif head[0] == words.QUIT:
            self.worker._quit = True
        elif head[0] == words.LEASED:
            self.worker.renew(head[1])

    def _end_in_time(self, handle: Handle) -> None:
        """End the job before another host can be given it, whatever grace it has."""
        if self.why is None:
            self.worker.log(f"job {self.claim.job.id}: the storage was not reached in time, so it is ended here")
            self._stop(handle, OutcomeKind.INTERRUPTED, False)
        if self._kill_at is not None:
            self._kill_at = min(self._kill_at, max(time.monotonic(), self.worker.given_away_at))

    def _stop(self, handle: Handle, why: OutcomeKind, force: bool) -> None:
        """Ask for the end; the first reason is the one that counts."""
        if self.why is None:
            self.why = why
            self._kill_at = time.monotonic() + self.settings.grace
            if not force and self.settings.grace > 0:
                handle.stop(False)
        if force or self.settings.grace <= 0:
            self._kill_at = time.monotonic() + 1.0
            handle.stop(True)

    def _look(self, now: float) -> None:
        """Tell the pool that the job runs, keep its output within bounds, and choose when to look again."""
        worker = self.worker
        if not self._told:
            self._told = True
            job = worker._job
            assert job is not None
            worker.channel.send(words.STARTED, job.id, job.attempt, job.ident, job.started_at)
        size = sum(stream.trim() for stream in worker.streams)
        grown = size - self._size
        self._size = size
        if grown > worker.setup.limit // 4:
            self._trim_every = TRIM_BUSY
        elif grown:
            self._trim_every = TRIM_FIRST
        else:
            self._trim_every = min(self._trim_every * 2, TRIM_IDLE)
        self._trim_at = now + self._trim_every

    def _abandon(self, handle: Handle | None) -> int:
        """End what a failing executor may have left."""
        if handle is not None:
            try:
                handle.stop(force=True)
            except Exception as error:
                self.worker.log(f"the executor failed to stop a job: {_sentence(error)}")
        return trees.end_children()


# --- What others decide about an attempt -----------------------------------------------------------


class Policies:
    """Executor, backoff and the hooks about attempts: built-in ones directly, a plugin's when first needed."""

    def __init__(self, setup: Setup, log: Callable[[str], None]) -> None:
        self._setup = setup
        self._log = log
        self._opened: dict[str, Any] = {}
        self._plugins: Plugins | None = None
        self._ready = False
        self._rng = random.Random(os.urandom(8))

    def executor(self, recipe: list[Any]) -> Executor:
        opened: Executor = self._open("executor", recipe)
        return opened

    def decide(self, claim: Claim, outcome: Outcome, backoff: list[Any]) -> tuple[str | None, float | None]:
        """Verdict and delay for an attempt; (None, None) where there is nothing to decide."""
        if outcome.kind not in transitions.COUNTED:
            return None, None
        job = claim.job
        verdict = self._verdict(claim, outcome) or transitions.verdict_of(outcome)
        if verdict != "retry" or not transitions.may_retry(job):
            return verdict, None
        failed = job._replace(tries=job.tries + 1, outcome=outcome)
        try:
            policy: Backoff = self._open("backoff", backoff)
            delay = self._guarded(lambda: policy.delay(failed, outcome, self._rng))
            if delay is None:
                return verdict, None
            if not isinstance(delay, int | float) or not 0 <= delay < 1e9:
                raise ValueError(f"it answered {delay!r}")
            return verdict, float(delay)
        except Exception as error:
            self._log(f"backoff {job.settings.backoff!r} failed, the built-in rule is used: {_sentence(error)}")
            return verdict, transitions.default_delay(failed)

    def environment(self, claim: Claim, worker: str) -> dict[str, str]:
        """What the job, the plugins and core itself give, in rising precedence."""
        job = claim.job
        own = dict(job.spec.env)
        if (plugins := self._hooks()) is not None:
            try:
                own.update(self._guarded(lambda: plugins.environment(claim)) or {})
            except Exception as error:
                self._log(f"the environment hook failed: {_sentence(error)}")
        own = {name: value for name, value in own.items() if not name.startswith("QUEUECTL_")}
        if job.spec.cwd is not None:
            own["PWD"] = job.spec.cwd
        own["QUEUECTL_JOB_ID"] = job.id
        own["QUEUECTL_ATTEMPT"] = str(job.attempts)
        own["QUEUECTL_TRY"] = str(job.tries + 1)
        own["QUEUECTL_MAX_TRIES"] = str(job.settings.max_retries + 1)
        own["QUEUECTL_QUEUE"] = job.spec.queue
        name, _, value = run_mark(worker, job.id, job.attempts).partition("=")
        own[name] = value
        return own

    def _verdict(self, claim: Claim, outcome: Outcome) -> str | None:
        plugins = self._hooks()
        if plugins is None:
            return None
        try:
            answer: str | None = self._guarded(lambda: plugins.verdict(claim.job, outcome))
        except Exception as error:
            self._log(f"the verdict hook failed, the built-in rule is used: {_sentence(error)}")
            return None
        if answer is not None and answer not in transitions.VERDICTS:
            self._log(f"a verdict hook answered {answer!r}, the built-in rule is used")
            return None
        return answer

    def _open(self, kind: str, recipe: list[Any]) -> Any:
        key = f"{kind} {recipe}"
        opened = self._opened.get(key)
        if opened is None:
            from queuectl.core.plugins import Recipe, open_recipe

            parsed = Recipe(*recipe)
            if not is_ours(parsed.module):
                self._prepare()
            opened = self._opened[key] = open_recipe(parsed, kind, self._setup.home, self._log)
        return opened

    def _hooks(self) -> Plugins | None:
        """The plugins that have a say about attempts, loaded at the first job; None if there are none."""
        if self._setup.hooks and self._plugins is None:
            self._prepare()
            from queuectl.core.app import App

            self._plugins = App.reopen(self._setup.arguments).plugins
            self._plugins.around = self._guarded  # each by itself: one that hangs does not use up the others' time
        return self._plugins

    def _prepare(self) -> None:
        """Before the first import of foreign code: the site folder's .pth files, which editable installs use."""
        if not self._ready:
            self._ready = True
            import site

            site.main()

    def _guarded(self, call: Callable[[], Any]) -> Any:
        """Call a plugin, giving up when it takes too long. SystemExit is a fault like any other."""
        if not self._setup.hooks and self._plugins is None and not self._ready:
            return call()
        try:
            return impatient(call)
        except SystemExit as error:
            raise RuntimeError("it called exit") from error

    def close(self) -> None:
        for opened in self._opened.values():
            close = getattr(opened, "close", None)
            if close is not None:
                try:
                    close()
                except Exception as error:
                    self._log(f"closing failed: {_sentence(error)}")
        if self._plugins is not None:
            try:
                self._guarded(self._plugins.shutdown)
            except Exception as error:
                self._log(f"the shutdown hook failed: {_sentence(error)}")


# --- Small things -----------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def base_environment(hidden: tuple[str, ...]) -> Mapping[str, str]:
    """The worker's own environment, without what is ours, what is secret and what our supervisor said to us."""
    hidden = (*hidden, *SUPERVISOR)
    return {
        name: value for name, value in os.environ.items() if not name.startswith("QUEUECTL_") and name not in hidden
    }


@lru_cache(maxsize=64)
def captured(text: str) -> Mapping[str, str]:
    """The variables that were captured when the job was enqueued."""
    data: dict[str, str] = json.loads(text) if text else {}
    return data


def _now() -> int:
    return time.time_ns() // 1_000_000


def _sentence(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def _signal_pipe(handler: Callable[[int, object], None]) -> int:
    """Signals of a worker: TERM ends it and its job, INT and HUP are the terminal's and none of its business."""
    read, write = quiet_pipe()
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return read


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 4096):
            pass
    except BlockingIOError:
        pass


def main(setup: Setup, id: str, sock: socket.socket) -> int:
    """The life of a worker, in the process that the keeper has just forked. Its exit status."""
    os.setsid()
    trees.become_subreaper()
    os.umask(0o077)
    try:
        worker = Worker(setup, id, sock)
    except OSError as error:
        os.write(2, f"worker {id}: cannot start: {error}\n".encode())
        return 1
    try:
        worker.run()
    except BaseException as error:
        if os.environ.get("QUEUECTL_DEBUG"):
            sys.excepthook(*sys.exc_info())
        worker.log(f"ended by a fault: {_sentence(error)}")
        return 70
    return 0
