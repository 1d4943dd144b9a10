"""The queue as a program calls it: ``from queuectl import Queue``. The command line uses nothing else.

    from queuectl import Queue

    with Queue.open() as queue:
        receipt = queue.enqueue("make report", priority=5, timeout="10m")
        job = queue.wait(receipt.id)[0]
        print(job.state, job.reason)

A list of words is run as it is, a text is a line for the shell. Options are those of the JSON form of ``queuectl
enqueue``; durations and times may be texts as there.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from queuectl.api.errors import BadInput, NotFound, WaitTimeout, WrongState
from queuectl.api.model import FINISHED, Action, Job, State, Where
from queuectl.core.specs import Frame, Maker, check_priority, check_queue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Self, Unpack

    from queuectl.api.model import History, NewJob, Pool, QueueStat, Receipt
    from queuectl.core.app import App
    from queuectl.core.filters import Filter

#: Seconds between looks at a job that is waited for, from the first to the longest.
LOOK_FIRST, LOOK_LONGEST = 0.01, 0.25


#: The most jobs that are removed in one step: others wait for no longer than that takes.
STEP = 100


class JobOptions(TypedDict, total=False):
    """Everything that may be asked of a job besides its command."""

    id: str  # letters, digits and . _ : - ; not all digits
    queue: str
    priority: int  # -1000 … 1000, high first
    run_at: str  # "2026-12-01T08:00:00Z", "tomorrow 8:00"
    delay: float | str  # seconds, or "1h30m"
    timeout: float | str  # for one attempt
    grace: float | str  # between the polite request to end and the kill
    max_retries: int
    executor: str
    executor_options: Mapping[str, Any]
    backoff: str
    backoff_options: Mapping[str, Any]
    unique: str  # at most one unfinished job per key
    env: Mapping[str, str]
    cwd: str
    tags: Sequence[str]


class Cancelled(NamedTuple):
    """What became of one job that was cancelled."""

    id: str
    was: State
    now: State  # PROCESSING: it is marked, and whoever runs it ends it


class Queue:
    """A durable queue of shell commands. Belongs to one thread of one process."""

    def __init__(self, app: App, actor: str | None = None) -> None:
        self.app = app
        self.actor = actor if actor is not None else user()  # who is said to have done what is done here
        self._seeded: set[str] = set()

    @classmethod
    def open(cls, config: str | None = None, db: str | None = None) -> Self:
        """Open the queue that ``queuectl --config CONFIG --db DB`` would use; with neither, the user's own.

        The storage is created when it is first used.
        """
        from queuectl.core.app import App

        return cls(App.open(config, db))

    def close(self) -> None:
        """Release everything. Idempotent."""
        self.app.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- getting work in -----------------------------------------------------------------------

    def enqueue(self, command: str | Sequence[str], **options: Unpack[JobOptions]) -> Receipt:
        """Store one job: a shell line, or a list of words that never meets a shell.

        When this returns the job is durable. ``receipt.created`` is false when an unfinished job has the same
        ``unique`` key: nothing was stored then, and ``receipt.id`` is that job.
        """
        asked: dict[str, Any] = {**options}
        asked["command" if isinstance(command, str) else "argv"] = command
        return self.enqueue_many([asked])[0]

    def enqueue_many(self, jobs: Iterable[Mapping[str, Any]]) -> Sequence[Receipt]:
        """Store jobs given as in the JSON form, all of them or none, up to the batch that the storage states.

        All are checked before the first is stored; the complaint about one that is wrong names its number.
        """
        maker = self.maker()
        made = []
        for number, asked in enumerate(jobs, 1):
            try:
                made.append(maker.job(asked))
            except BadInput as error:
                raise BadInput(f"job {number}: {error}" if number > 1 or len(made) else str(error)) from None
        return self.store(made)

    def maker(self, *, queue: str | None = None, priority: int | None = None) -> Maker:
        """What makes jobs out of descriptions, as the configuration and this process's surroundings have it."""
        config = self.app.config
        here = _here()
        jobs = config.jobs
        cwd = jobs.cwd if jobs.cwd is not None else here
        if queue is not None:
            check_queue(queue)
        if priority is not None:
            check_priority(priority)
        return Maker(
            Frame(
                settings=self.app.settings,
                now=time.time_ns() // 1_000_000,
                base=here,
                cwd=cwd,
                environment=captured(jobs.capture_env, os.environ),
                queue=queue if queue is not None else jobs.queue,
                priority=priority,
                priority_of=self._priority_of,
            )
        )

    def store(self, jobs: list[NewJob]) -> Sequence[Receipt]:
        """Store jobs made by :meth:`maker`, after plugins have prepared them."""
        if not jobs:
            return ()
        app = self.app
        if app.plugins.takes_part_in_enqueue():
            app.plugins.prepare(jobs)
        if app.config.queues:
            self._seed({job.queue for job in jobs})
        return app.storage.enqueue(jobs, deliveries=app.routes)

    def _seed(self, names: Iterable[str]) -> None:
        """The configured concurrency of queues that the storage is about to see for the first time."""
        for name in names:
            own = self.app.config.queues.get(name)
            if own is not None and own.concurrency is not None and name not in self._seeded:
                self.app.storage.set_queue(name, limit=own.concurrency, seed=True)
                self._seeded.add(name)

    def _priority_of(self, queue: str) -> int:
        config = self.app.config
        own = config.queues.get(queue)
        return own.priority if own is not None and own.priority is not None else config.jobs.priority

    # -- looking -------------------------------------------------------------------------------

    def get(self, id: str) -> Job:
        """The job as it is now. Raises ``NotFound``."""
        job = self.app.storage.get([id])[0]
        if job is None:
            raise NotFound(f"there is no job {id!r}")
        return job

    def find(
        self,
        *,
        states: Iterable[State | str] | None = None,
        queues: Iterable[str] | None = None,
        tags: Iterable[str] | None = None,
        since: int | None = None,
        text: str | None = None,
        limit: int | None = 100,
    ) -> Iterator[Job]:
        """Jobs that match all that is given, newest first; *limit* None: all of them. *since* is in ms."""
        where = Where(
            states=tuple(State(state) for state in states) if states is not None else None,
            queues=tuple(queues) if queues is not None else None,
            tags=tuple(tags) if tags is not None else None,
            since=since,
            text=text,
        )
        cursor: str | None = None
        left = limit
        while left is None or left > 0:
            page = self.app.storage.find(where, limit=min(left or 1000, 1000), cursor=cursor)
            yield from page.jobs
            if page.cursor is None:
                return
            cursor = page.cursor
            if left is not None:
                left -= len(page.jobs)

    def history(self, id: str) -> History:
        """The ended attempts of a job and what people did to it."""
        return self.app.storage.history(id)

    def stat(self) -> Sequence[QueueStat]:
        """Every queue: what is in it and how it is set. Cheap enough for each second."""
        return self.app.storage.stat()

    def resolve(self, selector: str) -> str:
        """The id that *selector* means: an id, a unique beginning of an id that a user gave, or ``@last``.

        Raises ``NotFound`` where it means none, or more than one.
        """
        storage = self.app.storage
        if selector == "@last":
            jobs = storage.find(limit=1).jobs
            if not jobs:
                raise NotFound("there are no jobs, so @last means none")
            return jobs[0].id
        if "\0" in selector or not selector or not selector.isprintable() or len(selector) > 128:
            raise NotFound(f"there is no job {selector[:130]!r}")
        if storage.get([selector])[0] is not None:
            return selector
        near = storage.resolve(selector) if not selector.isdigit() else ()
        if len(near) == 1:
            return near[0]
        if near:
            raise NotFound(f"{selector!r} could be {near[0]!r}, {near[1]!r} or more: give more of the id")
        raise NotFound(f"there is no job {selector!r}")

    def resolve_all(self, selectors: Iterable[str]) -> list[str]:
        """The ids that *selectors* mean, each once, in order. Nothing is done when one of them means none."""
        return list(dict.fromkeys(self.resolve(selector) for selector in selectors))

    # -- waiting -------------------------------------------------------------------------------

    def wait(
        self, *ids: str, timeout: float | None = None, look: Callable[[Sequence[Job]], None] | None = None
    ) -> list[Job]:
        """Wait until all of these jobs have ended, and return them in order.

        *look* is called again and again with those that have not. Raises ``NotFound`` for a job that is not there, or
        is deleted meanwhile, and ``WaitTimeout`` after *timeout* seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        ended: dict[str, Job] = {}
        pause = LOOK_FIRST
        while True:
            waiting = [id for id in dict.fromkeys(ids) if id not in ended]
            left: list[Job] = []
            for id, job in zip(waiting, self.app.storage.get(waiting), strict=True):
                if job is None:
                    raise NotFound(f"there is no job {id!r}")
                if job.state in FINISHED:
                    ended[id] = job
                else:
                    left.append(job)
            if not left:
                return [ended[id] for id in ids]
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeout(f"{len(left)} of {len(set(ids))} jobs had not ended after {timeout:g} s")
            if look is not None:
                look(left)
            pause = self._pause(pause, deadline)

    def settled(self, id: str) -> Job:
        """The job once it is no longer running, or as soon as no pool is alive that could end it."""
        pause = LOOK_FIRST
        while True:
            job = self.get(id)
            if job.state is not State.PROCESSING or not self.is_held(job):
                return job
            pause = self._pause(pause, None)

    def is_held(self, job: Job) -> bool:
        """Whether the pool that holds *job* is alive: by its lock on this host, else by its lease."""
        return any(pool.id == job.pool for pool in self._live_pools())

    def is_served(self, queue: str | None = None) -> bool:
        """Whether a pool is alive, here or on another host, that takes jobs of *queue* (None: of any)."""
        return any(queue is None or not pool.queues or queue in pool.queues for pool in self._live_pools())

    def _live_pools(self) -> Iterator[Pool]:
        from socket import gethostname

        from queuectl.core.rundir import list_pools

        here, now = gethostname(), time.time() * 1000
        known = self.app.storage.pools()
        locked = {pool.id for pool in list_pools(self.app.run_dir) if pool.alive} if known else set()
        return (pool for pool in known if (pool.id in locked if pool.host == here else pool.lease_until > now))

    def _pause(self, pause: float, deadline: float | None) -> float:
        left = pause if deadline is None else min(pause, deadline - time.monotonic())
        time.sleep(max(0.0, left))
        return min(pause * 1.5, LOOK_LONGEST)

    # -- changing ------------------------------------------------------------------------------

    def cancel(self, *ids: str, note: str = "") -> list[Cancelled]:
        """Cancel jobs: waiting ones at once; running ones are marked and end as soon as their pool hears of it.

        Raises ``NotFound`` before anything is done, and ``WrongState`` naming those that had ended already, after
        the others were cancelled.
        """
        changes = {change.id: change for change in self._apply(Action.CANCEL, ids, note)}
        rest = [id for id in ids if id not in changes]
        if rest:
            raise WrongState(self._why(rest, "cannot be cancelled"))
        return [Cancelled(c.id, c.was, c.now if c.now is not None else c.was) for c in (changes[id] for id in ids)]

    def retry(self, *ids: str, note: str = "") -> None:
        """Run ended (or failed) jobs again, now, with all their tries before them. Attempts and history stay."""
        changed = {change.id for change in self._apply(Action.RETRY, ids, note)}
        rest = [id for id in ids if id not in changed]
        if rest:
            raise WrongState(self._why(rest, "cannot be retried"))

    def retry_all(self, *, states: Sequence[State] = (State.DEAD,), queues: Sequence[str] | None = None) -> list[str]:
        """Run every job in one of these states again; their ids."""
        where = Where(states=tuple(states), queues=tuple(queues) if queues is not None else None)
        done: list[str] = []
        while changes := self.app.storage.apply(Action.RETRY, where, actor=self.actor, deliveries=self.app.routes):
            done.extend(change.id for change in changes)
        return done

    def sweep(self, action: Action, asked: Filter, *, size: int = STEP) -> Iterator[tuple[int, int]]:
        """Do *action* to every job that matches now, page by page; how many of each were looked at, and changed.

        Each job is met once, so that one which ends again meanwhile is not retried twice.
        """
        cursor: str | None = None
        while True:
            page = asked.page(self.app.storage, size, cursor)
            ids = tuple(job.id for job in page.jobs)
            changes = (
                self.app.storage.apply(
                    action, Where(ids=ids), actor=self.actor, deliveries=self.app.routes, limit=len(ids)
                )
                if ids
                else ()
            )
            yield len(ids), len(changes)
            cursor = page.cursor
            if cursor is None:
                return

    def delete(self, *ids: str, note: str = "") -> None:
        """Remove jobs with their history and output. Those that run are not, which raises ``WrongState``."""
        rest: list[str] = []
        for at in range(0, len(ids), STEP):
            step = ids[at : at + STEP]
            changed = {change.id for change in self._apply(Action.DELETE, step, note)}
            rest += [id for id in step if id not in changed]
        if rest:
            raise WrongState(self._why(rest, "cannot be deleted"))

    def must_not_run(self, *ids: str) -> None:
        """Raise ``WrongState`` if one of these jobs is running."""
        running = [job.id for job in self.app.storage.get(list(ids)) if job and job.state is State.PROCESSING]
        if running:
            raise WrongState(self._why(running, "cannot be deleted before it is cancelled"))

    def purge(self, *, states: Sequence[State] = (State.DEAD,), queues: Sequence[str] | None = None) -> Iterator[str]:
        """Remove every job in one of these states, a hundred in one step; yields their ids as they go."""
        where = Where(states=tuple(states), queues=tuple(queues) if queues is not None else None)
        while changes := self.app.storage.apply(Action.DELETE, where, actor=self.actor, limit=STEP):
            for change in changes:
                yield change.id

    def prune(self, before: int, states: Sequence[State] | None = None) -> int:
        """Remove finished jobs that ended before *before* (ms), a hundred in one step; how many."""
        gone = 0
        while True:
            step = self.app.storage.prune(before, states=states, limit=STEP)
            gone += step
            if step < STEP:
                return gone

    def ended_before(self, before: int, states: Sequence[State]) -> Iterator[str]:
        """The ids of what :meth:`prune` would remove, latest first."""
        return (job.id for job in self.find(states=states, limit=None) if job.updated_at < before)

    def pause(self, queue: str, reason: str = "") -> None:
        """Let no further job of *queue* start, on any host, until it is resumed. Running ones go on."""
        self.app.storage.set_queue(check_queue(queue), paused=True, reason=reason, actor=self.actor)

    def resume(self, queue: str) -> None:
        """Let jobs of *queue* start again."""
        self.app.storage.set_queue(check_queue(queue), paused=False, actor=self.actor)

    def limit(self, queue: str, running: int | None) -> None:
        """Let at most *running* jobs of *queue* run at once, over all pools; None: as many as there are workers."""
        if running is not None and not 1 <= running <= 1_000_000:
            raise BadInput(f"the concurrency of a queue must lie between 1 and 1000000, not {running}")
        self.app.storage.set_queue(check_queue(queue), limit=running, actor=self.actor)

    def _apply(self, action: Action, ids: Sequence[str], note: str) -> Sequence[Any]:
        known = self.app.storage.get(list(ids))
        for id, job in zip(ids, known, strict=True):
            if job is None:
                raise NotFound(f"there is no job {id!r}")
        return self.app.storage.apply(
            action,
            Where(ids=tuple(ids)),
            actor=self.actor,
            note=note,
            deliveries=self.app.routes,
            limit=max(1000, len(ids)),
        )

    def _why(self, ids: Sequence[str], what: str) -> str:
        said = []
        for id, job in zip(ids, self.app.storage.get(list(ids)), strict=True):
            said.append(f"job {id} {what}: it is {job.state.value}" if job is not None else f"job {id} is gone")
        return "; ".join(said[:5]) + (f"; and {len(said) - 5} more" if len(said) > 5 else "")


def user() -> str:
    """Who is doing this, for the audit: the user's name on this host."""
    name = os.environ.get("SUDO_USER") or os.environ.get("USER") or os.environ.get("LOGNAME")
    return name[:64] if name and name.isprintable() else f"uid {os.getuid()}" if hasattr(os, "getuid") else "somebody"


def captured(names: Sequence[str], environ: Mapping[str, str]) -> str:
    """The variables of *environ* that *names* allow (``LC_*`` for all that start so), as a JSON text.

    Values that are not UTF-8 are left out: no storage could keep them as text.
    """
    import json

    exact = {name for name in names if not name.endswith("*")}
    starts = tuple(name[:-1] for name in names if name.endswith("*"))
    kept = {
        name: value
        for name, value in environ.items()
        if (name in exact or (starts and name.startswith(starts)))
        and not name.startswith("QUEUECTL_")
        and _is_text(value)
    }
    return json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _here() -> str | None:
    """This process's folder; None if it was removed under it, or has a name that is no text."""
    try:
        here = os.getcwd()
    except OSError:
        return None
    return here if _is_text(here) else None
