"""The running of one claim in a worker: its start, its clocks, its end.

What a plugin may do wrong here (raise, hang, answer rubbish, exit) costs at most this worker.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from queuectl.api import trees
from queuectl.api.errors import StartFailed
from queuectl.api.executor import Executor, Handle, Run
from queuectl.api.model import Outcome, OutcomeKind
from queuectl.core.rundir import RUNNING

from . import channel as words
from .points import reached
from .policies import base_environment, captured, sentence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .lane import Lane, Offer

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")

#: A run that is over by then is not named in the record: whoever ends what a dead worker left knows it by its mark. Nor
#: is anything heard before, but signals and its end.
NAME_AFTER = 0.005
#: How often the size of the output is looked at: quickly while it grows, seldom while it does not.
TRIM_FIRST, TRIM_BUSY, TRIM_IDLE = 0.25, 0.05, 2.0


class Attempt:
    """From the spawn to the outcome. With an ``ident`` in the *offer* it runs already, and is taken up."""

    def __init__(self, lane: Lane, offer: Offer) -> None:
        self.lane = lane
        self.worker = lane.worker
        self.claim = offer.claim
        self.ident = offer.ident  # of a run that goes on
        self._handle: Handle | None = None
        self.settings = offer.claim.job.settings
        self.why: OutcomeKind | None = None  # why we asked for the end
        self.kept: list[bytes | None] = [b"", b""]
        self._kill_at: float | None = None
        now = time.monotonic()
        ago = time.time_ns() // 1_000_000 - offer.started_at if offer.started_at else 0
        self._started = now - max(0, ago) / 1000
        self._told = False
        self._trim_every = TRIM_FIRST
        self._trim_at = now + TRIM_FIRST
        self._name_at = float("inf")
        self._size = 0

    def is_of(self, id: str, attempt: int) -> bool:
        return (self.claim.job.id, self.claim.job.attempts) == (id, attempt)

    def run(self, recipe: list[Any], stops: Sequence[tuple[OutcomeKind, bool]] = ()) -> Outcome:
        """See it to its end. *stops* were asked for before it could begin."""
        assert self.lane.job is not None
        started_at = self.lane.job.started_at
        handle = None
        try:
            handle = self._start(recipe)
            for stop in stops if handle is not None else ():
                self.stop(*stop)
            outcome = self._follow(handle) if handle is not None else Outcome(OutcomeKind.LOST)
        except StartFailed as error:
            outcome = Outcome(OutcomeKind.START_FAILED, error.code, detail=str(error))
        except (Exception, SystemExit) as error:  # whatever an executor does, and wants to leave, is an outcome
            kind = OutcomeKind.LOST if self.ident else OutcomeKind.START_FAILED
            outcome = Outcome(kind, 126, detail=f"the executor failed: {sentence(error)}")
            self.worker.log(f"job {self.claim.job.id}: {outcome.detail}")
            outcome = outcome._replace(left=self._abandon(handle))
        if self.why is not None:
            outcome = outcome._replace(kind=self.why, detail=self._detail())
        sizes = []
        for index, stream in enumerate(self.lane.streams):
            size, self.kept[index] = stream.finish()
            sizes.append(size)
        ended_at = started_at + round(1000 * (time.monotonic() - self._started))
        if outcome.left:
            self.worker.broken = self.worker.looks_round = True
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
        return "ended by the worker's own signal" if self.worker.terminated else ""

    def _start(self, recipe: list[Any]) -> Handle | None:
        """Begin it, or take it up; None if there was nothing to take up."""
        worker, lane, job = self.worker, self.lane, self.claim.job
        own = worker.policies.environment(self.claim, lane.id)
        descriptors = [stream.open_for_job() for stream in lane.streams]
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
            executor = worker.policies.executor(recipe)
            handle = self._handle = self._take_up(executor, run) if self.ident else self._begin(executor, run)
        except StartFailed as error:
            os.write(descriptors[1], f"queuectl: {error}\n".encode(errors="backslashreplace"))
            raise
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        if handle is None:
            return None
        assert lane.job is not None
        reached("worker.spawned")
        lane.job = lane.job._replace(phase=RUNNING, ident=handle.ident)
        self._name_at = time.monotonic() + NAME_AFTER
        return handle

    def _begin(self, executor: Executor, run: Run) -> Handle:
        """Start it; a run that will outlive this worker is named in the record first."""
        ident = executor.ident(run)
        if ident:
            lane = self.lane
            assert lane.job is not None
            lane.job = lane.job._replace(ident=ident, outlives=True)
            lane.record.write(lane.job)
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
                self.worker.log(f"the executor failed to forget a run: {sentence(error)}")

    def _follow(self, handle: Handle) -> Outcome:
        """Wait for the end, minding the clocks and what the pool says."""
        worker = self.worker
        timeout = self.settings.timeout
        deadline = self._started + timeout if timeout is not None else None
        descriptor = handle.fileno()
        worker.ears.hear()  # what the pool has said: while a job runs, not between two
        ears = worker.quiet  # a job that is over at once is waited for, and nothing else
        ears.listen(descriptor, _nothing)
        try:
            while True:
                moments = [self._name_at, self._trim_at, deadline, self._kill_at]
                if self.why is None:
                    moments.append(self.lane.overstays_at)
                ears.wait(min([moment for moment in moments if moment is not None]) - time.monotonic())
                outcome = handle.collect()
                if outcome is not None:
                    return outcome
                now = time.monotonic()
                if now >= self._name_at:
                    self._name_run()
                    ears.forget(descriptor)
                    ears = worker.ears
                    ears.listen(descriptor, _nothing)
                if deadline is not None and now >= deadline:
                    deadline = None
                    self.stop(OutcomeKind.TIMEOUT, False)
                self._mind(handle, now)
        finally:
            ears.forget(descriptor)

    def _mind(self, handle: Handle, now: float) -> None:
        """What may have become due while it runs."""
        if self.worker.terminated and self.why is None:
            self.stop(OutcomeKind.INTERRUPTED, False)
        if now > self.lane.overstays_at:
            self._end_in_time()
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = now + 1.0  # and again, should something have slipped through
            handle.stop(force=True)
        if now >= self._trim_at:
            self._look(now)

    def _name_run(self) -> None:
        """Name the run in the record, once it is clear that it does not end at once."""
        assert self.lane.job is not None
        self._name_at = float("inf")
        self.lane.note(self.lane.job)
        reached("worker.running")

    def _end_in_time(self) -> None:
        """End the job before another host can be given it, whatever grace it has."""
        if self.why is None:
            self.worker.log(f"job {self.claim.job.id}: the storage was not reached in time, so it is ended here")
            self.stop(OutcomeKind.INTERRUPTED, False)
        if self._kill_at is not None:
            self._kill_at = min(self._kill_at, max(time.monotonic(), self.lane.given_away_at))

    def stop(self, why: OutcomeKind, force: bool) -> None:
        """Ask for the end; the first reason is the one that counts."""
        handle = self._handle
        if handle is None:
            return  # it has not begun, or could not
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
        lane = self.lane
        if not self._told:
            self._told = True
            job = lane.job
            assert job is not None
            lane.say(words.STARTED, job.id, job.attempt, job.ident, job.started_at)
        size = sum(stream.trim() for stream in lane.streams)
        grown = size - self._size
        self._size = size
        if grown > self.worker.setup.limit // 4:
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
                self.worker.log(f"the executor failed to stop a job: {sentence(error)}")
        return trees.end_children()


def _nothing() -> None:
    """What to do when a run may have ended: the loop that follows it looks."""
