"""The words: what a job, an attempt, an outcome and an event are.

Everything here is an immutable record. NamedTuples, because the ``enqueue`` command pays for each class it imports and
twelve dataclasses cost ten times as much. Moments are integers of milliseconds since the epoch (UTC) and end in
``_at``; spans are floats of seconds unless the name ends in ``_ms``. New fields may be added at the end of a record in
any release, always with a default.
"""

from __future__ import annotations

import json
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PRIORITY_LOWEST, PRIORITY_HIGHEST = -1000, 1000
RUN_AT_LATEST = 4_102_444_800_000  # 2100-01-01: a storage may rely on run_at fitting 42 bits
INLINE_OUTPUT = 64 * 1024  # bytes of a stream that ride on a settlement; longer ones go by ``keep_output``


# --- States ----------------------------------------------------------------------------------


class State(StrEnum):
    """Where a job is. Why a waiting job does not run (scheduled, paused, limited) is a reason, not a state."""

    PENDING = "pending"  # waits for its run_at and for a worker
    PROCESSING = "processing"  # claimed by a pool
    COMPLETED = "completed"
    FAILED = "failed"  # an attempt failed; another is due at run_at
    DEAD = "dead"  # in the dead letter queue
    CANCELLED = "cancelled"


WAITING = frozenset({State.PENDING, State.FAILED})
FINISHED = frozenset({State.COMPLETED, State.DEAD, State.CANCELLED})

#: The edges of the state machine. Storages enforce them; ``core.transitions`` and ``apply`` choose among them.
EDGES: Mapping[State, frozenset[State]] = {
    State.PENDING: frozenset({State.PROCESSING, State.CANCELLED}),
    State.FAILED: frozenset({State.PROCESSING, State.CANCELLED, State.PENDING}),
    State.PROCESSING: frozenset({State.COMPLETED, State.FAILED, State.DEAD, State.CANCELLED, State.PENDING}),
    State.COMPLETED: frozenset({State.PENDING}),
    State.DEAD: frozenset({State.PENDING}),
    State.CANCELLED: frozenset({State.PENDING}),
}


# --- Jobs ------------------------------------------------------------------------------------


class Settings(NamedTuple):
    """How a job is run and retried. Fixed when it is enqueued; later configuration concerns later jobs.

    A storage keeps this as one opaque text (see :meth:`text`), usually shared by many jobs.
    """

    max_retries: int = 3  # so up to max_retries + 1 tries
    timeout: float | None = None  # seconds an attempt may take; None: no limit
    grace: float = 10.0  # seconds between the polite request to end and the kill
    executor: str = "subprocess"  # name of an instance, as in [executor.NAME]
    executor_options: Mapping[str, Any] = {}  # what this job asks of it; only what its ``job_options`` allow
    backoff: str = "exponential"
    backoff_options: Mapping[str, Any] = {}

    def text(self) -> str:
        """As JSON, without what is at its default: equal settings give equal texts."""
        default = Settings._field_defaults
        return json.dumps(
            {k: v for k, v in self._asdict().items() if v != default[k]}, sort_keys=True, separators=(",", ":")
        )

    @staticmethod
    def parse(text: str) -> Settings:
        """The settings of a stored text. Unknown keys, from a newer version, are ignored."""
        return _parse_settings(text)


@lru_cache(maxsize=1024)
def _parse_settings(text: str) -> Settings:
    data = json.loads(text) if text else {}
    return Settings(**{k: v for k, v in data.items() if k in Settings._fields})


class NewJob(NamedTuple):
    """What is asked for: a command and everything that goes with it. ``queuectl_prepare`` may replace it.

    ``command`` is what people read, and the shell line to run when ``argv`` is None. With ``argv`` no shell is
    involved and ``command`` is its quoted form.
    """

    command: str
    argv: tuple[str, ...] | None = None
    id: str | None = None  # None: the storage issues a short decimal number
    queue: str = "default"
    priority: int = 0  # PRIORITY_LOWEST … PRIORITY_HIGHEST, high first
    run_at: int | None = None  # None: now
    unique_key: str | None = None  # at most one unfinished job per key
    tags: tuple[str, ...] = ()
    cwd: str | None = None  # None: the worker's
    env: Mapping[str, str] = {}  # the job's own variables
    settings: str = "{}"  # Settings.text()
    environment: str = "{}"  # JSON object of the variables captured at enqueue, usually shared by many jobs


class OutcomeKind(StrEnum):
    """How an attempt ended."""

    EXITED = "exited"  # by itself; code is its exit status
    SIGNALLED = "signalled"  # by a signal that was not ours; code is the signal's number
    TIMEOUT = "timeout"  # ended by us after its timeout
    START_FAILED = "start_failed"  # never ran; code is 126 or 127, as a shell would say
    LOST = "lost"  # the worker or the host died with it
    INTERRUPTED = "interrupted"  # ended by us for a stop, a deploy or a lost lease
    CANCELLED = "cancelled"  # ended by us because somebody cancelled the job


class Outcome(NamedTuple):
    """How one attempt ended, as the worker saw it. Times are the worker's clock."""

    kind: OutcomeKind
    code: int | None = None
    started_at: int = 0
    ended_at: int = 0
    detail: str = ""  # one sentence for people; never a traceback
    stdout_size: int = 0  # bytes the job wrote, whether or not all were kept
    stderr_size: int = 0
    left: int = 0  # processes that could not be ended

    @property
    def exit_code(self) -> int | None:
        """What a shell would report: 128 + n for signal n, 124 for a timeout, None where nothing ran to an end."""
        if self.kind is OutcomeKind.EXITED or self.kind is OutcomeKind.START_FAILED:
            return self.code
        if self.kind is OutcomeKind.SIGNALLED:
            return 128 + (self.code or 0)
        return 124 if self.kind is OutcomeKind.TIMEOUT else None

    @property
    def duration(self) -> float:
        """Seconds from start to end; never negative, whatever the clock did."""
        return max(0, self.ended_at - self.started_at) / 1000


class Job(NamedTuple):
    """A stored job as it is now."""

    id: str
    seq: int  # insertion number, never reused; names the files of its output
    spec: NewJob  # as stored: spec.id and spec.run_at are what was asked for
    state: State
    run_at: int
    created_at: int
    updated_at: int  # last change of state: claimed at, while processing; ended at, when finished
    attempts: int = 0  # attempts so far; while processing, the number of the running one
    tries: int = 0  # attempts that count towards max_retries
    losses: int = 0  # attempts lost in a row
    token: int = 0  # the fence: rises with every claim and every adoption, and never fits a later job of the same id
    pool: str | None = None  # who holds it, while processing
    cancel: bool = False  # somebody asked for the running attempt to be cancelled
    reason: str = ""  # why it is in this state, for people: "exit 3", "timeout after 5 s", "poison" …
    outcome: Outcome | None = None  # of the latest attempt that ended

    @property
    def settings(self) -> Settings:
        return Settings.parse(self.spec.settings)


class Claim(NamedTuple):
    """A job that a pool holds, and the token it holds it under. ``job.attempts`` is the attempt to run."""

    job: Job
    token: int


class Held(NamedTuple):
    """What a pool believes it holds."""

    id: str
    token: int


class Receipt(NamedTuple):
    """The answer to one enqueued job, in the order asked."""

    id: str
    created: bool  # False: unique_key matched; ``id`` is the unfinished job that has it


class Attempt(NamedTuple):
    """One ended execution, kept for the life of the job."""

    number: int
    token: int
    pool: str
    state: State  # what the job became by it
    outcome: Outcome
    run_at: int | None = None  # when the next attempt was due, for a job that became waiting


class Audit(NamedTuple):
    """One thing somebody did to a job."""

    at: int
    action: str
    actor: str
    note: str


class History(NamedTuple):
    """Everything that happened to a job: its attempts, oldest first, and what people did."""

    attempts: tuple[Attempt, ...] = ()
    audits: tuple[Audit, ...] = ()


# --- What pools and storages say to each other -----------------------------------------------


#: The kinds of event. A later version may add some.
EVENT_KINDS = ("enqueued", "started", "completed", "failed", "dead", "cancelled", "lost", "interrupted", "retried")


class Event(NamedTuple):
    """Something that happened to a job, told after it was stored.

    ``kind`` is one of ``EVENT_KINDS``. ``enqueued``, ``retried``, and ``cancelled`` of a job that was not running are
    told from the outbox only, since they may happen where no pool is. ``started`` is told live only, and of an attempt
    that is over at once not at all: its end says when it began. ``job`` is the job as the event left it.

    An outbox may keep it as one opaque text (see :meth:`text`), usually shared by several deliveries.
    """

    kind: str
    at: int
    job: Job
    outcome: Outcome | None = None
    delivery: str = ""  # from the outbox: the same each time it is told to that notifier; empty when it is told live

    def text(self) -> str:
        """As JSON, without ``delivery``, which is the outbox's to say."""
        job = self.job._asdict() | {"spec": self.job.spec._asdict(), "outcome": _plain(self.job.outcome)}
        fields = {"kind": self.kind, "at": self.at, "job": job, "outcome": _plain(self.outcome)}
        return json.dumps(fields, separators=(",", ":"), default=dict)

    @staticmethod
    def parse(text: str | bytes) -> Event:
        """The event of a stored text. Unknown keys, from a newer version, are ignored."""
        data = json.loads(text)
        job, spec = data["job"], data["job"]["spec"]
        spec["argv"] = None if spec["argv"] is None else tuple(spec["argv"])
        spec["tags"] = tuple(spec["tags"])
        job |= {
            "spec": NewJob(**_known(NewJob, spec)),
            "state": State(job["state"]),
            "outcome": _parsed(job["outcome"]),
        }
        return Event(data["kind"], data["at"], Job(**_known(Job, job)), _parsed(data["outcome"]))


def _plain(outcome: Outcome | None) -> dict[str, Any] | None:
    return None if outcome is None else outcome._asdict()


def _parsed(outcome: dict[str, Any] | None) -> Outcome | None:
    if outcome is None:
        return None
    return Outcome(**_known(Outcome, outcome) | {"kind": OutcomeKind(outcome["kind"])})


def _known(record: type[NewJob | Job | Outcome], fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name in record._fields}


class Route(NamedTuple):
    """Which events are kept for one durable notifier. An empty tuple does not restrict; those given must all hold."""

    target: str  # name of the notifier's instance
    events: tuple[str, ...] = ()  # kinds
    queues: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()  # any of them

    def wants(self, kind: str, spec: NewJob) -> bool:
        """Whether an event of this kind is to be told, of a job that was asked for like this."""
        return (
            (not self.events or kind in self.events)
            and (not self.queues or spec.queue in self.queues)
            and (not self.tags or any(tag in self.tags for tag in spec.tags))
        )


def targets_of(routes: Iterable[Route], kind: str, spec: NewJob) -> list[str]:
    """Whom an event is kept for, each once, in the order of the routes."""
    return list(dict.fromkeys([route.target for route in routes if route.wants(kind, spec)]))


class Delivery(NamedTuple):
    """An event on its way to a durable notifier: a row of the outbox."""

    target: str  # name of the notifier's instance
    event: Event
    id: int = 0  # given by the storage, like the rest
    at: int = 0  # when it was stored
    tries: int = 0  # how often it was taken to be told, this time included


class OutboxStat(NamedTuple):
    """What waits for one target, and what became of the rest."""

    target: str
    waiting: int = 0
    oldest_at: int | None = None  # when the one that was stored first was stored, of those that wait
    due_at: int | None = None  # when the first of them may be taken
    delivered: int = 0  # ever
    dropped: int = 0  # ever: nobody could be told in time
    error: str = ""  # why the last delivery failed; empty once one has arrived since
    error_at: int | None = None


class Settlement(NamedTuple):
    """What becomes of one claimed job. Built by ``core.transitions``; never by hand.

    ``state`` is a finished one, or PENDING or FAILED for a job that will be run again, ``delay`` seconds from the
    storage's now. With ``released`` the attempt never started: its number is given back, no attempt is recorded and
    the job keeps its ``run_at``, and so its place; ``state`` is then PENDING, FAILED or CANCELLED.
    """

    id: str
    token: int
    state: State
    outcome: Outcome | None = None  # None only with ``released``
    delay: float | None = None
    tries: int = 0  # the job's new values
    losses: int = 0
    reason: str = ""
    released: bool = False
    stdout: bytes | None = None  # at most INLINE_OUTPUT; None: none, or what ``keep_output``, ``put_output`` kept
    stderr: bytes | None = None
    then: tuple[NewJob, ...] = ()  # stored in the same step, if the settlement is applied
    deliveries: tuple[Delivery, ...] = ()  # likewise


class Turn(NamedTuple):
    """One exchange of a pool with the storage: what ended, and how much more is wanted."""

    pool: str
    settlements: tuple[Settlement, ...] = ()
    want: int = 0
    queues: Mapping[str, int | None] | None = None  # None: any; else only these, each at most so many in this turn
    lease: float = 60.0  # seconds the pool's lease is renewed for
    now: int | None = None  # None: the storage's clock


class Exchange(NamedTuple):
    """The storage's answer to a turn."""

    claims: tuple[Claim, ...] = ()
    refused: tuple[str, ...] = ()  # settlements whose token no longer holds; nothing was changed for them
    next_due: int | None = None  # a hint: when the earliest job that is not yet due becomes so
    more: bool = False  # fewer came than were wanted, but there is more: call again at once
    cancel: tuple[str, ...] = ()  # the pool's own jobs that somebody asked to cancel (see ``heartbeat``)
    unstored: tuple[str, ...] = ()  # ids of jobs in ``then`` that were left out, because they cannot be given
    watched: tuple[str, ...] = ()  # the pool's own jobs that somebody on another host watches (see ``watch``)


class Pulse(NamedTuple):
    """News for a pool that renews its lease."""

    lost: tuple[str, ...] = ()  # in ``held``, but no longer the pool's: stop them, do not settle them
    cancel: tuple[str, ...] = ()  # the pool's, and somebody asked for them to be cancelled
    found: tuple[Claim, ...] = ()  # the pool's, but not in ``held``: a reply was lost; run them
    watched: tuple[str, ...] = ()  # the pool's, and somebody on another host watches them (see ``watch``)


class Pool(NamedTuple):
    """One ``worker start``, as the storage and other hosts see it."""

    id: str
    host: str
    pid: int
    started_at: int
    queues: tuple[str, ...] = ()  # empty: all
    workers: int = 0
    lease_until: int = 0
    version: str = ""


# --- Looking ---------------------------------------------------------------------------------


class Where(NamedTuple):
    """Which jobs. Fields that are None do not restrict; those given must all hold."""

    ids: tuple[str, ...] | None = None
    queues: tuple[str, ...] | None = None
    states: tuple[State, ...] | None = None
    tags: tuple[str, ...] | None = None  # any of them
    since: int | None = None  # created at or after
    text: str | None = None  # substring of the command
    faults: tuple[str, ...] | None = None  # DEAD, with one of these fingerprints (ability FAULTS)


class Page(NamedTuple):
    """Some jobs, and where to go on."""

    jobs: tuple[Job, ...]
    cursor: str | None = None  # opaque; None: that was the last page


class QueueStat(NamedTuple):
    """A queue: what is in it and how it is set."""

    name: str
    counts: Mapping[State, int]
    ready: int = 0  # due now, whether or not the queue is open
    oldest_due: int | None = None  # run_at of the job at the head of what is due
    paused: bool = False
    pause_reason: str = ""
    limit: int | None = None  # most jobs running at once; None: no limit
    runs: int = 0  # attempts that ended, ever
    run_ms: int = 0  # their total duration


class Sample(NamedTuple):
    """How many in one minute fell into one bucket of a duration histogram.

    ``measure`` is ``wait`` (from due to claimed) or the kind of event that ended an attempt (``completed``,
    ``failed``, ``dead``, ``cancelled``, ``lost``, ``interrupted``); the bucket is then of the attempt's duration.
    Or it is ``enqueued``: how many jobs were stored, all in bucket 0.
    """

    minute: int  # minutes since the epoch
    queue: str
    measure: str
    bucket: int  # see ``bucket_of``
    n: int


def bucket_of(ms: int) -> int:
    """The histogram bucket of a duration: exact below 8 ms, then four buckets to each doubling (within 25 %)."""
    if ms < 8:
        return max(0, ms)
    octave = ms.bit_length() - 3
    return 4 * octave + (ms >> octave)


def bucket_bounds(bucket: int) -> tuple[int, int]:
    """The shortest and the longest duration (ms) in a bucket."""
    if bucket < 8:
        return bucket, bucket
    octave, part = divmod(bucket - 4, 4)
    return (4 + part) << octave, ((5 + part) << octave) - 1


class Fault(NamedTuple):
    """Dead jobs that failed alike: the same command but for its numbers, and the same end."""

    fault: str  # the fingerprint, see ``fault_of``
    n: int
    first_at: int  # when the first and the last of them died
    last_at: int
    latest: Job


def fault_of(command: str, reason: str) -> str:
    """The fingerprint of a dead job: of its command with every number folded, and of how it ended.

    Storages keep it with a job that dies. A number in the end itself counts (``exit 1`` is not ``exit 2``), one in its
    detail does not.
    """
    from hashlib import sha256  # only a job that dies pays for it
    from re import sub

    end, colon, detail = reason.partition(":")
    text = f"{sub('[0-9]+', '#', command)}\0{end}{colon}{sub('[0-9]+', '#', detail)}"
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class Action(StrEnum):
    """What somebody may do to jobs that exist."""

    CANCEL = "cancel"
    RETRY = "retry"
    DELETE = "delete"


class Change(NamedTuple):
    """What ``apply`` did to one job."""

    id: str
    was: State
    now: State | None  # None: deleted. PROCESSING after CANCEL: marked, and its worker will end it


class Finding(NamedTuple):
    """One thing that ``check`` has to say."""

    level: str  # "ok", "warning" or "error"
    text: str
    advice: str = ""  # what to do about it
    id: str = ""  # a short word for what was looked at, the same whatever was found: "integrity", "counts" …
