"""Stand-ins for what is slow, random or far away, and makers of the records that tests need.

Nothing here is a mock: each fake keeps the whole contract of what it stands for, so that a test which passes with it
means something.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from queuectl.api.errors import StartFailed
from queuectl.api.executor import Executor, Handle, Run
from queuectl.api.model import Claim, Event, Job, NewJob, Outcome, OutcomeKind, Settings, State
from queuectl.api.notifier import Notifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

#: A moment for tests: 2026-01-01T00:00:00Z in milliseconds.
NEW_YEAR = 1_767_225_600_000

SUCCESS = Outcome(OutcomeKind.EXITED, 0)
FAILURE = Outcome(OutcomeKind.EXITED, 1)


# --- Records ---------------------------------------------------------------------------------


def make_job(command: str = "true", *, settings: Settings | None = None, **fields: Any) -> Job:
    """A stored job. *fields* are those of :class:`Job`, or of its spec: ``make_job(id="7", queue="mail", tries=2)``."""
    spec = {name: fields.pop(name) for name in NewJob._fields if name in fields and name not in Job._fields}
    if settings is not None:
        spec["settings"] = settings.text()
    made: dict[str, Any] = {
        "id": "1",
        "seq": 1,
        "spec": NewJob(command, **spec),
        "state": State.PENDING,
        "run_at": NEW_YEAR,
        "created_at": NEW_YEAR,
        "updated_at": NEW_YEAR,
    }
    return Job(**{**made, **fields})


def make_claim(command: str = "true", *, token: int = 1, **fields: Any) -> Claim:
    """A job that a pool has just claimed: PROCESSING, its first attempt unless *fields* say otherwise."""
    job = make_job(command, **{"state": State.PROCESSING, "attempts": 1, "pool": "pool", "token": token, **fields})
    return Claim(job, token)


def make_event(
    kind: str = "completed", *, at: int = NEW_YEAR, outcome: Outcome | None = SUCCESS, **fields: Any
) -> Event:
    """An event of a job that is made like :func:`make_job` makes it."""
    state = State(kind) if kind in {state.value for state in State} else State.PENDING
    return Event(kind, at, make_job(**{"state": state, "attempts": 1, "outcome": outcome, **fields}), outcome)


def make_run(
    command: str | Sequence[str],
    stdout: int,
    stderr: int | None = None,
    *,
    env: Mapping[str, str] | None = None,
    own_env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    options: Mapping[str, Any] | None = None,
    claim: Claim | None = None,
    log: Callable[[str], None] | None = None,
) -> Run:
    """Something for an executor to run: a text is a shell line, a sequence is an argv."""
    argv = None if isinstance(command, str) else tuple(command)
    shell = command if isinstance(command, str) else None
    own = dict(own_env or {})
    return Run(
        claim=claim or make_claim(shell if shell is not None else " ".join(argv or ()), argv=argv),
        argv=argv,
        shell=shell,
        env={**({"PATH": os.environ.get("PATH", os.defpath)} if env is None else env), **own},
        own_env=own,
        cwd=cwd,
        stdout=stdout,
        stderr=stdout if stderr is None else stderr,
        options=options or {},
        log=log or _nowhere,
    )


def _nowhere(_line: str) -> None:
    pass


# --- Time ------------------------------------------------------------------------------------


class FakeClock:
    """A clock that moves when it is told to: ``clock()`` are monotonic seconds, ``clock.ms`` wall milliseconds."""

    def __init__(self, start: float = 1000.0, ms: int = NEW_YEAR) -> None:
        self.now = start
        self._epoch = ms - round(start * 1000)

    def __call__(self) -> float:
        return self.now

    @property
    def ms(self) -> int:
        return self._epoch + round(self.now * 1000)

    def advance(self, seconds: float) -> float:
        """Let *seconds* pass; the new reading."""
        if seconds < 0:
            raise ValueError("a monotonic clock does not go back")
        self.now += seconds
        return self.now


# --- Executors -------------------------------------------------------------------------------


class FakeHandle(Handle):
    """A run that ends when :meth:`finish` is called, or when it is stopped."""

    def __init__(self, run: Run, *, deaf: bool = False) -> None:
        self.run = run
        self.ident = f"fake:{run.claim.job.id}.{run.claim.job.attempts}"
        self.stops: list[bool] = []  # the *force* of each stop
        self._deaf = deaf
        self._outcome: Outcome | None = None
        self._spent = False
        self._read, self._write = os.pipe()
        self._stdout = os.dup(run.stdout)
        self._stderr = os.dup(run.stderr)

    def finish(self, outcome: Outcome = SUCCESS, stdout: bytes = b"", stderr: bytes = b"") -> None:
        """End it by itself, having written this. The first end counts."""
        if self._outcome is not None:
            return
        _write_all(self._stdout, stdout)
        _write_all(self._stderr, stderr)
        self._outcome = outcome
        os.close(self._write)

    def fileno(self) -> int:
        return self._read

    def stop(self, force: bool = False) -> None:
        self.stops.append(force)
        if force:
            self.finish(Outcome(OutcomeKind.SIGNALLED, 9))
        elif not self._deaf:
            self.finish(Outcome(OutcomeKind.SIGNALLED, 15))

    def collect(self) -> Outcome | None:
        if self._outcome is not None and not self._spent:
            self._spent = True
            for fd in (self._read, self._stdout, self._stderr):
                os.close(fd)
        return self._outcome


class FakeExecutor(Executor):
    """Runs nothing: what becomes of each run is written in its script.

    *script* is used up in order: an ``Outcome`` ends a run at once, ``StartFailed`` is raised, None leaves it running
    until the test calls ``finish`` or ``stop``; "deaf" is one that only force can stop. When it is used up, runs
    succeed. ``handles`` are all that were started, the latest last.
    """

    def __init__(self, script: Iterable[Outcome | StartFailed | str | None] = ()) -> None:
        self.script = list(script)
        self.handles: list[FakeHandle] = []
        self.cleaned: list[str] = []
        self.closed = False

    def start(self, run: Run) -> FakeHandle:
        step = self.script.pop(0) if self.script else SUCCESS
        if isinstance(step, StartFailed):
            raise step
        handle = FakeHandle(run, deaf=step == "deaf")
        self.handles.append(handle)
        if isinstance(step, Outcome):
            handle.finish(step)
        return handle

    def clean(self, ident: str) -> bool:
        """End the run *ident*, as a worker's successor would have it ended."""
        self.cleaned.append(ident)
        running = [handle for handle in self.handles if handle.ident == ident and handle._outcome is None]
        for handle in running:
            handle.stop(force=True)
        return bool(running)

    def close(self) -> None:
        self.closed = True


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


# --- Notifiers -------------------------------------------------------------------------------


class EventRecorder(Notifier):
    """A notifier that remembers: ``batches`` as they came, ``events`` in one row, ``kinds`` of them."""

    def __init__(self, fault: BaseException | None = None) -> None:
        self.batches: list[tuple[Event, ...]] = []
        self.closed = False
        self._fault = fault

    def notify(self, events: Sequence[Event]) -> None:
        self.batches.append(tuple(events))
        if self._fault is not None:
            raise self._fault

    @property
    def events(self) -> list[Event]:
        return [event for batch in self.batches for event in batch]

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def close(self) -> None:
        self.closed = True
