"""The storage contract: a durable home for jobs.

A storage holds jobs, their order, the limits of queues and the leases of pools. It holds no policy: whether a failed
job is run again, and when, is decided by ``core.transitions`` and arrives as a :class:`~queuectl.api.model.Settlement`.
``queuectl.testing.storage`` turns every sentence below into a test.

Rules for all methods:

* Each is one atomic step: it takes effect entirely, or raises and changes nothing.
* Any process may call them; an instance belongs to one thread of one process and is not carried over a fork.
* ``now`` is milliseconds since the epoch. None means the storage's own clock, which is what production passes, since
  the clocks of hosts differ; tests pass a value.
* They raise ``StorageBusy`` for "try again soon", ``StorageFull`` when there is no space, another ``StorageError``
  for anything else. After an error whose cause is a lost connection the step may have been taken: repeating a
  settlement is harmless, and ``heartbeat`` returns claims whose reply was lost.
"""

from __future__ import annotations

import abc
import enum
from typing import TYPE_CHECKING, ClassVar

from .errors import NotSupported
from .model import State, Where

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .model import (
        Action,
        Change,
        Claim,
        Delivery,
        Exchange,
        Fault,
        Finding,
        Held,
        History,
        Job,
        NewJob,
        OutboxStat,
        Page,
        Pool,
        Pulse,
        QueueStat,
        Receipt,
        Route,
        Sample,
        Turn,
    )


class Ability(enum.Enum):
    """What a storage can do beyond the minimum. Core refuses by name what the chosen storage does not list."""

    MULTI_HOST = "multi_host"  # pools on several machines may share it
    LISTEN = "listen"  # listen() returns a Listener
    UNIQUE = "unique"  # unique_key is honoured
    TAGS = "tags"  # find() filters by tag
    OUTBOX = "outbox"  # deliveries are stored with the step that caused them
    MOVING = "moving"  # export() and load()
    BACKUP = "backup"  # backup()
    FAULTS = "faults"  # find() filters by fault, faults() groups
    LIVE = "live"  # what a running job writes can be seen from other hosts


class Listener(abc.ABC):
    """A wake-up line from the storage to one pool. It may lose a wake-up: whoever listens also looks now and then."""

    @abc.abstractmethod
    def fileno(self) -> int:
        """A descriptor that polls readable when there may be work, or news of a cancellation."""

    @abc.abstractmethod
    def drain(self) -> None:
        """Swallow what has arrived, so that fileno() is quiet again. Never blocks."""

    def close(self) -> None:
        """Release the descriptor. Idempotent."""


class Storage(abc.ABC):
    """A durable home for jobs. See the module's docstring for the rules that hold for every method."""

    abilities: ClassVar[frozenset[Ability]] = frozenset()
    #: The most jobs that ``enqueue`` stores as one atomic step; None: any number.
    batch: ClassVar[int | None] = None
    #: Random, made with the storage and kept for its life. What belongs to one storage is filed under it.
    identity: str
    #: The directory of ``run/`` and ``out/`` for this storage, or None: core then uses a folder named by ``identity``.
    home: str | None = None

    # -- getting work in --------------------------------------------------------------------------

    @abc.abstractmethod
    def enqueue(
        self, jobs: Sequence[NewJob], *, deliveries: Sequence[Route] = (), now: int | None = None
    ) -> Sequence[Receipt]:
        """Store all of *jobs* or none; the receipts come back in the same order.

        When this returns the jobs survive a crash of this process and of the machine, to the degree the storage was
        configured for. An issued id is a decimal number that was never given before. An ``id`` that exists already
        raises ``JobExists`` naming it, for the whole call. An id that was given may be given again when its job was
        deleted: tokens then begin at the highest that any deleted job of a given id had, so that nobody who still holds
        an old one can settle the new job. A job whose ``unique_key`` an unfinished job has is not
        stored: its receipt names that job. More than ``batch`` jobs are stored in chunks of ``batch``, in order.
        An ``enqueued`` event of each created job is stored in the same step for each target whose route, in
        *deliveries*, wants it (``targets_of``; ability OUTBOX).
        """

    # -- a pool's life ----------------------------------------------------------------------------

    @abc.abstractmethod
    def join(self, pool: Pool, *, lease: float, now: int | None = None) -> None:
        """Make *pool* known, with a lease of *lease* seconds. Joining again renews what is known of it."""

    @abc.abstractmethod
    def leave(self, pool: str) -> None:
        """Forget a pool that holds nothing. If it still holds claims it stays known, with its lease ended now."""

    @abc.abstractmethod
    def pools(self) -> Sequence[Pool]:
        """The pools that are known, whether or not their lease has run out."""

    @abc.abstractmethod
    def exchange(self, turn: Turn) -> Exchange:
        """Hand in what ended and take what is next, in one transaction.

        First each settlement is applied whose job is PROCESSING under that very token. A repeat of an applied
        settlement (same job, same token) is accepted and changes nothing. Any other is listed in ``refused``, and the
        rest is applied all the same. A job whose cancellation was asked for does not wait again: it becomes CANCELLED
        where the settlement says PENDING or FAILED.

        Jobs in ``then`` are stored with the settlement, ``deliveries`` with it, under new numbers whatever their ``id``
        says. A job in ``then`` whose id exists already, or is a number, is left out and its id is listed in
        ``unstored``; one whose ``unique_key`` is taken is left out like in ``enqueue``. Neither hinders its settlement,
        what else follows from it, or any other settlement.

        Then jobs that have become due are promoted, and up to ``want`` are claimed for the pool: by priority (high
        first), ``run_at``, insertion, among the queues of ``turn.queues`` that are not paused and have room under
        their limit. A claim raises ``attempts`` and ``token`` by one. Across queues insertion order may be
        approximated. The cost must not grow with jobs that are not due, paused or limited, nor with history.

        The pool's lease is renewed. A pool that is not known is made known under its id alone.
        """

    @abc.abstractmethod
    def heartbeat(self, pool: str, held: Sequence[Held], *, lease: float, now: int | None = None) -> Pulse:
        """Renew the lease of *pool* and tell it where its belief and the storage differ, in both directions."""

    @abc.abstractmethod
    def reap(
        self,
        pool: str,
        *,
        dead: Sequence[str] = (),
        alive: Sequence[str] = (),
        limit: int = 1000,
        lease: float = 60.0,
        now: int | None = None,
    ) -> Sequence[Claim]:
        """Adopt up to *limit* claims of other pools, under fresh tokens, and return them with ``attempts`` unchanged.

        A claim is adopted if its pool is named in *dead*, or if its pool's lease has run out (or is unknown) and it
        is not named in *alive*. The former owner's settlements are refused from then on. What becomes of the jobs is
        decided by the caller, not here. Those pools are forgotten once they hold nothing. The lease of *pool* itself
        is renewed, and its own claims are never adopted.
        """

    # -- waiting ----------------------------------------------------------------------------------

    def listen(self, name: str) -> Listener | None:
        """A wake-up line under *name* (a pool's id), or None where there is none: the caller then polls."""
        return None

    def changed(self) -> bool:
        """Whether somebody else may have changed something since this was last asked. Cheap, writes nothing.

        The net below a lost wake-up: who listens asks this now and then, and takes an exchange only if it is so.
        """
        return True

    # -- looking ----------------------------------------------------------------------------------

    @abc.abstractmethod
    def get(self, ids: Sequence[str]) -> Sequence[Job | None]:
        """The jobs, in the order asked; None for each that is unknown."""

    @abc.abstractmethod
    def find(self, where: Where = Where(), *, limit: int = 100, cursor: str | None = None) -> Page:
        """One page of jobs. The cost follows *limit*, not the size of the store.

        Without ``states``: newest enqueued first. With ``states``: state by state in the order given; finished ones
        newest ended first, PROCESSING newest claimed first, FAILED by when they are due, PENDING in the order they
        will run: ready ones by priority, ``run_at``, insertion, then those not yet due by ``run_at``, insertion.
        (Ready is what was due when it was stored or when a pool last looked.) With ``ids`` or ``tags``: newest
        enqueued first. With ``faults`` instead (ability FAULTS), newest dead first: what is not DEAD has none. A
        combination that no index serves (always ``text``) may look at a bounded number of rows per
        call and then return a short page, even an empty one, with a cursor.
        """

    def faults(self, *, limit: int = 100) -> Sequence[Fault]:
        """DEAD jobs grouped by their fault, up to *limit* groups, the largest first, then the one seen last.

        A fault is ``fault_of`` a job's command and the reason it died for, kept when it died: the cost may grow with
        the number of DEAD jobs, never with history. Ability FAULTS.
        """
        raise NotSupported("this storage cannot group dead jobs")

    def resolve(self, prefix: str) -> Sequence[str]:
        """Up to two ids given by users that start with *prefix*; two mean that it is ambiguous. None for "".

        The default looks at every job. A storage that can look among ids does so.
        """
        found: list[str] = []
        cursor: str | None = None
        while prefix and len(found) < 2:
            page = self.find(limit=1000, cursor=cursor)
            found += [job.id for job in page.jobs if job.spec.id is not None and job.id.startswith(prefix)]
            if (cursor := page.cursor) is None:
                break
        return sorted(found)[:2]

    @abc.abstractmethod
    def history(self, id: str) -> History:
        """The attempts and audits of a job; empty if it is unknown."""

    @abc.abstractmethod
    def stat(self, *, now: int | None = None) -> Sequence[QueueStat]:
        """Every queue that was ever used or set, sorted by name. Kept, not counted: cheap enough for each second."""

    @abc.abstractmethod
    def samples(self, since: int, until: int) -> Sequence[Sample]:
        """The kept histograms of the minutes from *since* to *until* (milliseconds), in order of minute.

        Minute 0 has what older minutes were summed up to (see ``prune``): nothing is ever lost from a sum over all.
        """

    def summed(self, since: int, until: int, width: int) -> Sequence[Sample]:
        """What ``samples`` has, added up over stretches of *width* minutes, for charts and counters of long times.

        Stretches are counted from the epoch, and each is filed under its first minute. The default adds up
        ``samples``; a storage that can add up by itself spares the reader a million rows of a busy week.
        """
        from collections import Counter

        from .model import Sample

        sums: Counter[tuple[int, str, str, int]] = Counter()
        for minute, queue, measure, bucket, n in self.samples(since, until):
            sums[minute // width * width, queue, measure, bucket] += n
        return [Sample(*key, n) for key, n in sorted(sums.items())]

    def sizes(self) -> Mapping[str, int]:
        """Bytes that this storage takes where it lies, by part; empty where it cannot tell. Cheap."""
        return {}

    # -- changing ---------------------------------------------------------------------------------

    @abc.abstractmethod
    def apply(
        self,
        action: Action,
        where: Where,
        *,
        actor: str = "",
        note: str = "",
        deliveries: Sequence[Route] = (),
        limit: int = 1000,
        now: int | None = None,
    ) -> Sequence[Change]:
        """Cancel, retry or delete up to *limit* matching jobs; what changed, one audit row each.

        CANCEL: waiting jobs become CANCELLED, for the ``reason`` "cancelled", or "cancelled by ACTOR" where there is
        one; PROCESSING ones are marked, and their pool hears of it. One that is marked already is left alone.
        RETRY: DEAD, CANCELLED, FAILED and COMPLETED jobs become PENDING, due now, with tries and losses 0 and no
        ``reason``; attempts and history stay. One whose ``unique_key`` another unfinished job has is left alone.
        DELETE: removes jobs that are not PROCESSING, with their history and output.
        Jobs to which the action does not apply are left alone, not listed, and do not count towards *limit*. With
        ``where.ids`` the changes come in the order given, with ``where.tags`` in that of ``find``, else in that of
        ``find`` with the states that the action applies to: CANCEL PROCESSING, PENDING, FAILED; RETRY DEAD, CANCELLED,
        FAILED, COMPLETED; DELETE COMPLETED, DEAD, CANCELLED, PENDING, FAILED. A ``cancelled`` or ``retried``
        event of each job that became so is stored as in ``enqueue``; a mark is not yet a cancellation.
        """

    @abc.abstractmethod
    def set_queue(
        self,
        name: str,
        *,
        paused: bool | None = None,
        reason: str = "",
        limit: int | None = -1,
        seed: bool = False,
        actor: str = "",
        now: int | None = None,
    ) -> None:
        """Pause or resume a queue, or limit how many of its jobs run at once, for all pools from the commit on.

        ``paused=None`` and ``limit=-1`` leave these as they are; ``limit=None`` lifts the limit. With *seed* nothing
        is changed if the queue is known to the storage already. A limit that is lowered ends no running job.
        """

    @abc.abstractmethod
    def prune(
        self, before: int, *, states: Sequence[State] | None = None, limit: int = 1000, now: int | None = None
    ) -> int:
        """Delete up to *limit* finished jobs that ended before *before*, oldest first; how many went.

        Call again until it returns less than *limit*: no call holds a lock for long. Histograms of minutes older than
        90 days may be summed up into minute 0.
        """

    # -- output -----------------------------------------------------------------------------------

    @abc.abstractmethod
    def put_output(self, job: Job, attempt: int, stream: str, offset: int, data: bytes) -> None:
        """Store a piece of a stream (``stdout`` or ``stderr``) that is too long for a settlement.

        Idempotent by offset. Called before the settlement, only by the holder of the job; and for an attempt that was
        loaded, with the job as this storage has it.
        """

    def keep_output(self, job: Job, attempt: int, stream: str, path: str) -> None:
        """Take over the file at *path* as a stream of this attempt. The default reads it in pieces and removes it."""
        import os

        with open(path, "rb") as file:
            offset = 0
            while data := file.read(1 << 18):
                self.put_output(job, attempt, stream, offset, data)
                offset += len(data)
        os.unlink(path)

    @abc.abstractmethod
    def read_output(self, id: str, attempt: int, stream: str, offset: int = 0, size: int = 1 << 16) -> bytes:
        """Up to *size* bytes of what was kept of an ended attempt's stream; empty at its end or if there is none."""

    @abc.abstractmethod
    def output_size(self, id: str, attempt: int, stream: str) -> int:
        """How many bytes ``read_output`` can give."""

    # -- output of running jobs, for other hosts (ability LIVE) -------------------------------------

    def watch(self, id: str, *, hold: float = 10.0, now: int | None = None) -> None:
        """Say that somebody wants to see what a running job writes, for *hold* seconds from now.

        Its pool hears of it at once by its Listener, and is told in each answer of ``exchange`` and ``heartbeat`` for
        as long. A job that is not PROCESSING is not watched.
        """

    def show_output(self, job: Job, attempt: int, stream: str, offset: int, data: bytes) -> None:
        """Lay out what a running attempt has written from *offset* of a stream on. By the holder, if it is watched.

        Pieces follow each other; after a gap what was before it is gone. At least the last 64 KiB can be seen, until
        the attempt has ended, or for a minute.
        """

    def shown_output(self, id: str, attempt: int, stream: str, offset: int = 0) -> tuple[int, bytes]:
        """What was laid out of a running attempt's stream from *offset* on: where it begins, and the bytes.

        It begins later than *offset* if what was there is gone.
        """
        return offset, b""

    # -- outbox (ability OUTBOX) --------------------------------------------------------------------

    def take_deliveries(
        self, *, targets: Sequence[str] | None = None, limit: int = 100, hold: float = 60.0, now: int | None = None
    ) -> Sequence[Delivery]:
        """Up to *limit* deliveries to these targets (None: to any), kept from others for *hold* seconds.

        A delivery is due when it is stored, and again when its hold ends or when ``postpone`` says. What has been due
        for longest comes first, then what was stored first. Each time it is taken adds one to its ``tries``.
        """
        return ()

    def delivered(self, ids: Sequence[int]) -> None:
        """Forget these deliveries, count them as delivered, and forget the ``error`` of their targets.

        Ids that are not there are ignored: somebody else was quicker.
        """

    def postpone(self, ids: Sequence[int], delay: float, *, error: str = "", now: int | None = None) -> None:
        """Let these deliveries be due *delay* seconds from now, whatever held them. Ids that are not there are ignored.

        *error* says why they failed, in a sentence that becomes their targets' ``error``. Without one they were taken
        but not tried: their ``tries`` falls by one again.
        """

    def drop_deliveries(self, before: int, *, limit: int = 1000) -> int:
        """Give up, of the *limit* deliveries that were stored first, those stored before *before*; how many.

        They are counted as ``dropped``. Call again until nothing goes: no call holds a lock for long.
        """
        return 0

    def outbox(self) -> Sequence[OutboxStat]:
        """Every target that anything was ever stored for, sorted by name. Kept, not counted."""
        return ()

    # -- moving house (abilities MOVING, BACKUP) ----------------------------------------------------

    def export(self, *, batch: int = 1000) -> Iterator[Sequence[tuple[Job, History]]]:
        """Every job that was there when this began, with its history, oldest first, in batches.

        Each batch is of one moment; nothing is held between them, so that work goes on. Meant for a store that no
        pool is using: a job that changes meanwhile is given as it is then.
        """
        raise NotSupported("this storage cannot export")

    def load(
        self,
        jobs: Sequence[tuple[Job, History]],
        *,
        outputs: Mapping[tuple[str, int, str], bytes] = {},
        now: int | None = None,
    ) -> int:
        """Insert exported jobs with ids, history, times and counts kept; how many were new. Repeating is harmless.

        *outputs* has streams of at most ``INLINE_OUTPUT`` bytes by (id, attempt, stream); longer ones are given to
        ``put_output`` afterwards. What was PROCESSING arrives as :func:`arriving` says. Numbers that are issued later
        are higher than all that were loaded. A job is left alone, and not counted, if there is one of that id, if its
        number is another job's, or if it is unfinished and another unfinished job has its ``unique_key``; one whose id
        a user gave takes another number instead. An attempt that is loaded counts in ``runs`` of its queue, but not
        in ``samples``.
        """
        raise NotSupported("this storage cannot load")

    def backup(self, path: str) -> None:
        """Write a consistent copy, with output, to *path*, which must not exist, while work goes on.

        The copy is what the storage was at one moment after the call. Claims wait for it no longer than for each other.
        ``Conflict`` if something is there. The copy appears whole, or not at all.
        """
        raise NotSupported("this storage cannot make a backup")

    # -- life -------------------------------------------------------------------------------------

    def check(self) -> Sequence[Finding]:
        """What an operator should know: integrity, counters, settings that lose data. May take a while."""
        return ()

    def close(self) -> None:
        """Release everything. Idempotent."""


def arriving(job: Job) -> Job:
    """A job as ``load`` stores it: nobody runs it where it arrives.

    An attempt that was running is given back, as if it had been released: no outcome of it will ever come. A job that
    was to be cancelled is.
    """
    if job.state is not State.PROCESSING:
        return job
    state, reason = (State.CANCELLED, "cancelled") if job.cancel else (State.PENDING, "")
    return job._replace(state=state, reason=reason, attempts=job.attempts - 1, pool=None, cancel=False)
