"""A lane: a worker's line to its pool, with a record and output files for one job.

A worker has one lane, and runs what comes on it. While jobs are short its pool opens further ones: then the next job
lies ready when one has ended, and the result of that one waits in its own lane until it is stored. What holds for a
lane held for a worker when it had no other: a claim is handed over when the lane's record has it, a result when its
settlement is committed, and a next pool adopts each lane by its named socket.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

from queuectl.api.model import Claim, OutcomeKind
from queuectl.core import wire
from queuectl.core.rundir import DECIDED, ENDED, SOCKET_SUFFIX, STARTED, JobRecord, WorkerRecord

from . import channel as words
from .attempt import Attempt
from .channel import Channel
from .output import Limits, Stream
from .points import reached
from .record import Record, own_identity
from .setup import is_ours
from .sockets import is_own_user, listen

if TYPE_CHECKING:
    from .worker import Worker

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")


class Offer(NamedTuple):
    """A claim that was handed over, and not begun."""

    claim: Claim
    executor: list[Any]
    backoff: list[Any]
    handed_at: float  # when, on the monotonic clock: what was handed over first begins first
    ident: str = ""  # of a run that goes on, since ``started_at``: it is to be taken up
    started_at: int = 0


class Lane:
    """One lane of one worker, from its first word to its last."""

    def __init__(self, worker: Worker, id: str, channel: Channel) -> None:
        self.worker = worker
        self.id = id
        self.channel = channel
        self.alone = False  # no pool to report to
        self.offer: Offer | None = None
        self.attempt: Attempt | None = None  # that runs
        self.job: JobRecord | None = None  # in hand: running, or ended and not yet acknowledged
        self._stops: list[tuple[OutcomeKind, bool]] = []  # of an offer that has to begin to be ended
        self._kept: list[bytes | None] = []
        self._large = (False, False)
        self._quit = False
        self._leased_at = time.monotonic()  # when its pool's lease was last renewed, as far as it was told
        self._suitor: Channel | None = None  # has connected, and not yet said what it wants
        setup = worker.setup
        identity = WorkerRecord(
            id, setup.pool, **own_identity(), started_at=now_millis(), path="", cgroup=worker.cgroup
        )
        limits = Limits(setup.limit, setup.head, setup.tail)
        stem = os.path.join(setup.run_dir, id)
        with ExitStack() as undo:
            # The socket is there before the record can be seen: who finds a record finds the way to its worker.
            self._door = listen(setup.run_dir, id + SOCKET_SUFFIX)
            undo.callback(self._shut_door)
            reached("worker.listening")
            self.record = Record(setup.run_dir, identity)
            undo.callback(self.record.remove)
            reached("worker.born")
            stdout = Stream(stem + ".out", limits)
            undo.callback(stdout.remove)
            self.streams = (stdout, Stream(stem + ".err", limits))
            undo.pop_all()
        worker.ears.listen(channel.fileno(), self._hear)
        worker.ears.listen(self._door.fileno(), self._answer_the_door)

    def greet(self) -> None:
        """The first word to its pool."""
        self.say(words.HI, self.id, os.getpid(), words.PROTOCOL, None)
        reached("worker.hi-sent")

    @property
    def is_over(self) -> bool:
        """Whether nothing is in hand, and nothing will come."""
        return self.job is None and self.offer is None and (self.alone or self._quit or self.worker.broken)

    @property
    def is_kept(self) -> bool:
        """Whether all that is left of it is a result for the next pool."""
        return self.alone and self.job is not None and self.attempt is None

    def close(self) -> None:
        """Let go; a result that nobody has taken stays in the record and the files."""
        ears = self.worker.ears
        if self.job is None:
            for stream in self.streams:
                stream.remove()
            self.record.remove()
        else:
            self._sync()
            reached("worker.result-kept")
        if self._suitor is not None:
            ears.forget(self._suitor.fileno())
            self._suitor.close()
        ears.forget(self._door.fileno())
        self._shut_door()
        if not self.alone:
            ears.forget(self.channel.fileno())
        self.channel.close()

    def _shut_door(self) -> None:
        self._door.close()
        try:
            os.unlink(os.path.join(self.worker.setup.run_dir, self.id + SOCKET_SUFFIX))
        except OSError:
            pass

    def _sync(self) -> None:
        for stream in self.streams:
            stream.sync()
        self.record.sync()

    # -- words ------------------------------------------------------------------------------------

    def say(self, *head: Any, body: bytes = b"") -> None:
        """Tell the pool; what does not fit its line is sent when there is room."""
        self.channel.send(*head, body=body)
        if self.channel.wants_write and not self.alone:
            self.worker.ears.expect(self.channel.fileno(), writable=True)

    def _hear(self) -> None:
        if self.channel.wants_write:
            self.channel.flush()
            if not self.channel.wants_write:
                self.worker.ears.expect(self.channel.fileno(), writable=False)
        for head, _body in self.channel.receive():
            self._obey(head)
        if self.channel.closed:
            self._be_alone()

    def _obey(self, head: list[Any]) -> None:
        word = head[0]
        if word == words.JOB:
            self._forget()
            self.renew(head[5])
            self.offer = Offer(wire.unpack_claim(head[1]), *head[2:5], *head[6:8])
        elif word == words.ACK:
            if self.job is not None and [self.job.id, self.job.attempt] == head[1:3]:
                reached("worker.ack-read")
                self._forget()
        elif word == words.LEASED:
            self.renew(head[1])
        elif word == words.QUIT:
            self._quit = True
            self.worker.looks_round = True
        elif word in (words.STOP, words.RETURN):
            self._stop(*head)

    def _stop(self, word: str, id: str, attempt: int, why: str = "", force: bool = False) -> None:
        """End an attempt, or give back what has not begun."""
        if self.offer is not None and (self.offer.claim.job.id, self.offer.claim.job.attempts) == (id, attempt):
            if word == words.STOP and self.offer.ident:
                self._stops.append((OutcomeKind(why), force))  # a run that goes on is taken up to be ended
            else:
                self.give_back()
        elif word == words.STOP and self.attempt is not None and self.attempt.is_of(id, attempt):
            self.attempt.stop(OutcomeKind(why), force)

    def give_back(self) -> None:
        """What was offered is not begun."""
        offer, self.offer = self.offer, None
        if offer is not None:
            self.say(words.RETURNED, offer.claim.job.id, offer.claim.job.attempts)
            reached("worker.returned")

    def _be_alone(self) -> None:
        """The pool is gone. What it offered and was not begun is not done."""
        self.alone = True
        self.offer = None
        self._stops.clear()
        self.worker.ears.forget(self.channel.fileno())
        self.worker.looks_round = True
        if self.is_kept:
            self._sync()

    def _forget(self) -> None:
        """The result in hand is stored: make ready for the next job."""
        if self.job is None:
            return
        # The record first: who opens a file to follow this job looks into it again, and from now on finds that the
        # job is gone; who opened before is seen by the reset, and keeps the file.
        self.record.clear()
        self.job = None
        for stream, large in zip(self.streams, self._large, strict=True):
            stream.given_away() if large else stream.reset()
        self.worker.looks_round |= self._quit or self.worker.broken
        reached("worker.files-reset")

    # -- adoption ---------------------------------------------------------------------------------

    def renew(self, moment: float) -> None:
        """Its pool's lease was renewed at a moment of the monotonic clock, which this host's processes share."""
        self._leased_at = min(moment, time.monotonic())

    @property
    def overstays_at(self) -> float:
        """When its job has to be ended, if nobody says before that the pool's lease was renewed: the pool is gone, cut
        off from the storage or stopped, and another host may be given the job."""
        alone = self.worker.setup.alone
        return float("inf") if alone is None else self._leased_at + alone

    @property
    def given_away_at(self) -> float:
        """When nothing of its job may be left."""
        setup = self.worker.setup
        return float("inf") if setup.alone is None else self._leased_at + 0.9 * setup.lease

    def _answer_the_door(self) -> None:
        """Let in who has connected: a new pool, or ours with a further lane. One at a time."""
        if self._suitor is None:
            try:
                sock, _address = self._door.accept()
            except OSError:
                return
            if not is_own_user(sock):
                sock.close()
                return
            self._suitor = Channel(sock)
            self.worker.ears.listen(self._suitor.fileno(), self._answer_the_door)
        suitor = self._suitor
        for head, _body in suitor.receive():
            if head[0] in (words.ADOPT, words.LANE):
                self.worker.ears.forget(suitor.fileno())
                self._suitor = None
                if head[0] == words.LANE:
                    self.worker.open_lane(head[1], suitor)
                else:
                    reached("worker.adopt-read")
                    self._move_to(suitor)
                return
        if suitor.closed:
            self.worker.ears.forget(suitor.fileno())
            suitor.close()
            self._suitor = None

    def _move_to(self, pool: Channel) -> None:
        """Serve another pool; the latest wins. The old line is dropped before the new one hears anything: what is
        unread in it is not done. Whoever is adopted runs old code, so it ends when its job is stored."""
        if not self.alone:
            self.worker.ears.forget(self.channel.fileno())
        self.channel.close()
        self.offer = None
        self._stops.clear()
        self.channel = pool
        self.alone, self._quit = False, True
        self.worker.looks_round = True
        self.worker.ears.listen(pool.fileno(), self._hear)
        held = None if self.job is None else [self.job.id, self.job.attempt]
        self.say(words.HI, self.id, os.getpid(), words.PROTOCOL, held)
        reached("worker.adopted")
        if self.job is not None and self.job.phase == DECIDED:
            self._report()

    # -- one job ----------------------------------------------------------------------------------

    def work(self, offer: Offer) -> None:
        """Run what was offered to its end and report it; a run that goes on is taken up."""
        self.offer = None
        job = offer.claim.job
        reached("worker.job-read")
        if self.worker.terminated:
            return  # it ends without having taken it: no record, no attempt
        started_at = offer.started_at or now_millis()
        self.job = JobRecord(
            job.id, job.seq, job.attempts, STARTED, started_at, offer.ident, outlives=bool(offer.ident)
        )
        self.record.write(self.job)
        reached("worker.started")
        # The record is written before this look: a pool that takes over either sees it, or died before the look and
        # then nothing starts here. So a claim without a record never ran.
        if self.channel.at_end():
            self.record.clear()
            self.job = None
            return
        attempt = self.attempt = Attempt(self, offer)
        stops, self._stops = self._stops, []
        outcome = attempt.run(offer.executor, stops)
        reached("worker.collected")
        packed = wire.pack_outcome(outcome)
        if self.worker.setup.hooks or not is_ours(offer.backoff[0]):
            # What is asked next may take this worker with it.
            self.note(self.job._replace(phase=ENDED, outcome=packed))
            reached("worker.ended")
        verdict, delay = self.worker.policies.decide(offer.claim, outcome, offer.backoff)
        self.note(self.job._replace(phase=DECIDED, outcome=packed, verdict=verdict, delay=delay))
        reached("worker.decided")
        attempt.forget()
        self._kept = attempt.kept
        self.attempt = None
        self._report()
        if self.alone:
            self._sync()
            self.worker.looks_round = True

    def note(self, job: JobRecord) -> None:
        """How far the job in hand has got. On a disk that cannot be written any more it is only told to the pool."""
        self.job = job
        try:
            self.record.write(job)
        except OSError as error:
            self.worker.log(f"job {job.id}: its record cannot be written: {error.strerror}")

    def _report(self) -> None:
        assert self.job is not None
        job, kept = self.job, self._kept
        self._large = (kept[0] is None, kept[1] is None)
        sizes = [-1 if data is None else len(data) for data in kept]
        body = b"".join(data for data in kept if data)
        self.say(words.DONE, job.id, job.attempt, job.outcome, job.verdict, job.delay, sizes, body=body)
        reached("worker.done-sent")


def now_millis() -> int:
    return time.time_ns() // 1_000_000
