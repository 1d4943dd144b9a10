"""MemoryStorage: the storage contract in its shortest form, obviously right, in no way quick.

It is the reference: what another storage does is compared with it. It also serves tests that need a storage and no
file. ``MemoryStorage(other)`` is a second view of the same jobs, as another process would have one.
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from queuectl.api.errors import BadInput, JobExists
from queuectl.api.model import (
    EDGES,
    FINISHED,
    WAITING,
    Action,
    Attempt,
    Audit,
    Change,
    Claim,
    Delivery,
    Event,
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
    Settlement,
    State,
    Turn,
    Where,
    bucket_of,
    fault_of,
    targets_of,
)
from queuectl.api.storage import Ability, Listener, Storage, arriving

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

#: The states that an action applies to, in the order they are looked for.
_APPLIES = {
    Action.CANCEL: (State.PROCESSING, State.PENDING, State.FAILED),
    Action.RETRY: (State.DEAD, State.CANCELLED, State.FAILED, State.COMPLETED),
    Action.DELETE: (State.COMPLETED, State.DEAD, State.CANCELLED, State.PENDING, State.FAILED),
}
_EVENTS = {Action.CANCEL: "cancelled", Action.RETRY: "retried"}


class _Queue(NamedTuple):
    paused: bool = False
    reason: str = ""
    limit: int | None = None
    runs: int = 0
    run_ms: int = 0


class _Shelf:
    """What is stored, apart from who looks at it."""

    def __init__(self) -> None:
        self.identity = os.urandom(8).hex()
        self.next_seq = 1
        self.token_floor = 0  # the highest token of a deleted job whose id may be given again
        self.jobs: dict[int, Job] = {}
        self.ready: set[int] = set()  # waiting jobs that were due when last looked at
        self.attempts: defaultdict[int, list[Attempt]] = defaultdict(list)
        self.audits: defaultdict[int, list[Audit]] = defaultdict(list)
        self.released: set[tuple[int, int]] = set()  # (seq, token) of claims given back unused
        self.outputs: dict[tuple[int, int, str], bytearray] = {}
        self.shown: dict[tuple[int, int, str], tuple[int, bytes]] = {}  # where it begins, and the bytes
        self.watched: dict[int, int] = {}  # seq -> until when
        self.queues: dict[str, _Queue] = {}
        self.pools: dict[str, Pool] = {}
        self.samples: Counter[tuple[int, str, str, int]] = Counter()
        self.outbox: dict[int, tuple[Delivery, int]] = {}  # id -> delivery, due at
        self.targets: dict[str, OutboxStat] = {}
        self.next_delivery = 1
        self.listeners: list[_LineListener] = []
        self.changes = 0


class _LineListener(Listener):
    def __init__(self, shelf: _Shelf) -> None:
        self._shelf = shelf
        self._here, self._there = socket.socketpair()
        self._here.setblocking(False)
        self._there.setblocking(False)
        shelf.listeners.append(self)

    def fileno(self) -> int:
        return self._here.fileno()

    def wake(self) -> None:
        try:
            self._there.send(b".")
        except BlockingIOError:
            pass

    def drain(self) -> None:
        try:
            while self._here.recv(4096):
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        if self in self._shelf.listeners:
            self._shelf.listeners.remove(self)
            self._here.close()
            self._there.close()


class MemoryStorage(Storage):
    """A storage that lives as long as its process. See the module's docstring."""

    abilities: ClassVar[frozenset[Ability]] = frozenset(Ability) - {Ability.MULTI_HOST, Ability.BACKUP}

    def __init__(self, other: MemoryStorage | None = None) -> None:
        self._shelf: _Shelf = _Shelf() if other is None else other._shelf
        self._seen = -1
        self.identity = self._shelf.identity

    # -- getting work in --------------------------------------------------------------------------

    def enqueue(
        self, jobs: Sequence[NewJob], *, deliveries: Sequence[Route] = (), now: int | None = None
    ) -> Sequence[Receipt]:
        now = _clock(now)
        given = [job.id for job in jobs if job.id is not None]
        for id in given:
            if _is_number(id):
                raise BadInput(f"the id {id} is a number: only issued ids are, give it a letter")
            if given.count(id) > 1 or self._find(id):
                raise JobExists(f"a job with the id {id} exists already")
        receipts = [self._store(job, deliveries, now) for job in jobs]
        self._wake()
        return receipts

    def _store(self, spec: NewJob, routes: Sequence[Route], now: int) -> Receipt:
        if (holder := self._holder(spec.unique_key)) is not None:
            return Receipt(holder.id, False)
        shelf, seq = self._shelf, self._number()
        run_at = now if spec.run_at is None else spec.run_at
        token = 0 if spec.id is None else shelf.token_floor
        job = Job(spec.id or str(seq), seq, spec, State.PENDING, run_at, now, now, token=token)
        self._put(job, now)
        shelf.queues.setdefault(spec.queue, _Queue())
        shelf.samples[now // 60_000, spec.queue, "enqueued", 0] += 1
        self._tell(routes, Event("enqueued", now, job), now)
        return Receipt(job.id, True)

    def _number(self) -> int:
        """A number that was never given before."""
        self._shelf.next_seq += 1
        return self._shelf.next_seq - 1

    def _holder(self, key: str | None) -> Job | None:
        """The unfinished job that has a unique key."""
        unfinished = (job for job in self._shelf.jobs.values() if job.state not in FINISHED)
        return next((job for job in unfinished if key is not None and job.spec.unique_key == key), None)

    def _put(self, job: Job, now: int) -> None:
        """Store a job as it is now, on the side of the ready line where it belongs."""
        self._shelf.jobs[job.seq] = job
        self._shelf.ready.discard(job.seq)
        if job.state in WAITING and job.run_at <= now:
            self._shelf.ready.add(job.seq)
        self._shelf.changes += 1

    def _find(self, id: str) -> Job | None:
        return next((job for job in self._shelf.jobs.values() if job.id == id), None)

    def _tell(self, routes: Sequence[Route], event: Event, now: int) -> None:
        targets = targets_of(routes, event.kind, event.job.spec)
        self._deliver([Delivery(target, event) for target in targets], now)

    def _deliver(self, deliveries: Iterable[Delivery], now: int) -> None:
        for delivery in deliveries:
            id = self._shelf.next_delivery
            self._shelf.next_delivery += 1
            self._shelf.outbox[id] = (delivery._replace(id=id, at=now, tries=0), now)
            self._shelf.targets.setdefault(delivery.target, OutboxStat(delivery.target))

    # -- a pool's life ----------------------------------------------------------------------------

    def join(self, pool: Pool, *, lease: float, now: int | None = None) -> None:
        self._shelf.pools[pool.id] = pool._replace(lease_until=_clock(now) + round(1000 * lease))

    def leave(self, pool: str) -> None:
        if self._held(pool):
            self._shelf.pools[pool] = self._shelf.pools[pool]._replace(lease_until=0)
        else:
            self._shelf.pools.pop(pool, None)

    def pools(self) -> Sequence[Pool]:
        return sorted(self._shelf.pools.values(), key=lambda pool: (pool.started_at, pool.id))

    def _renew(self, pool: str, lease: float, now: int) -> None:
        known = self._shelf.pools.get(pool, Pool(pool, "", 0, 0))
        self._shelf.pools[pool] = known._replace(lease_until=now + round(1000 * lease))

    def _held(self, pool: str) -> list[Job]:
        return [job for job in self._shelf.jobs.values() if job.pool == pool]

    def exchange(self, turn: Turn) -> Exchange:
        now = _clock(turn.now)
        unstored: list[str] = []
        refused = tuple(each.id for each in turn.settlements if not self._settle(each, unstored, now))
        later = []
        for job in self._shelf.jobs.values():
            if job.state in WAITING and job.seq not in self._shelf.ready:
                if job.run_at <= now:
                    self._shelf.ready.add(job.seq)
                else:
                    later.append(job.run_at)
        claims = tuple(self._claim(job, turn.pool, now) for job in self._choose(turn))
        self._renew(turn.pool, turn.lease, now)
        cancel = tuple(job.id for job in self._held(turn.pool) if job.cancel)
        if turn.settlements or claims:
            self._wake()
        watched = self._watched(turn.pool, now)
        return Exchange(claims, refused, min(later, default=None), False, cancel, tuple(unstored), watched)

    def _settle(self, settlement: Settlement, unstored: list[str], now: int) -> bool:
        shelf, job = self._shelf, self._find(settlement.id)
        if job is None:
            return False
        token, state, reason = settlement.token, settlement.state, settlement.reason
        if job.state is not State.PROCESSING or job.token != token:
            applied_before = any(attempt.token == token for attempt in shelf.attempts[job.seq])
            return applied_before or (job.seq, token) in shelf.released
        assert state in EDGES[State.PROCESSING] and job.pool is not None
        if job.cancel and state in WAITING:
            state, reason = State.CANCELLED, "cancelled"
        changed = job._replace(
            state=state,
            updated_at=now,
            tries=settlement.tries,
            losses=settlement.losses,
            reason=reason,
            pool=None,
            cancel=False,
        )
        if settlement.released:
            changed = changed._replace(attempts=job.attempts - 1)
            shelf.released.add((job.seq, token))
        elif settlement.outcome is not None:
            outcome, next_at = settlement.outcome, None
            if state in WAITING:
                next_at = now + round(1000 * (settlement.delay or 0))
                changed = changed._replace(run_at=next_at)
            changed = changed._replace(outcome=outcome)
            shelf.attempts[job.seq].append(Attempt(job.attempts, token, job.pool, state, outcome, next_at))
            for stream, data in (("stdout", settlement.stdout), ("stderr", settlement.stderr)):
                if data is not None:
                    shelf.outputs[job.seq, job.attempts, stream] = bytearray(data)
            ms = max(0, outcome.ended_at - outcome.started_at)
            queue = shelf.queues[job.spec.queue]
            shelf.queues[job.spec.queue] = queue._replace(runs=queue.runs + 1, run_ms=queue.run_ms + ms)
            measure = outcome.kind.value if state is State.PENDING else state.value
            shelf.samples[now // 60_000, job.spec.queue, measure, bucket_of(ms)] += 1
        self._put(changed, now)
        for spec in settlement.then:
            if spec.id is not None and (_is_number(spec.id) or self._find(spec.id)):
                unstored.append(spec.id)
            else:
                self._store(spec, (), now)
        self._deliver(settlement.deliveries, now)
        return True

    def _choose(self, turn: Turn) -> list[Job]:
        """What is next, in run order, with room for it."""
        jobs = self._shelf.jobs
        running = Counter(job.spec.queue for job in jobs.values() if job.state is State.PROCESSING)
        taken: Counter[str] = Counter()
        chosen: list[Job] = []
        for job in sorted((jobs[seq] for seq in self._shelf.ready), key=run_order):
            name = job.spec.queue
            queue = self._shelf.queues[name]
            most = None if turn.queues is None else turn.queues.get(name, 0)
            if (
                len(chosen) < turn.want
                and not queue.paused
                and (queue.limit is None or running[name] + taken[name] < queue.limit)
                and (most is None or taken[name] < most)
            ):
                taken[name] += 1
                chosen.append(job)
        return chosen

    def _claim(self, job: Job, pool: str, now: int) -> Claim:
        self._shelf.samples[now // 60_000, job.spec.queue, "wait", bucket_of(max(0, now - job.run_at))] += 1
        claimed = job._replace(
            state=State.PROCESSING, updated_at=now, attempts=job.attempts + 1, token=job.token + 1, pool=pool
        )
        self._put(claimed, now)
        return Claim(claimed, claimed.token)

    def heartbeat(self, pool: str, held: Sequence[Held], *, lease: float, now: int | None = None) -> Pulse:
        now = _clock(now)
        self._renew(pool, lease, now)
        ours = {(job.id, job.token): job for job in self._held(pool)}
        believed = {(each.id, each.token) for each in held}
        return Pulse(
            tuple(each.id for each in held if (each.id, each.token) not in ours),
            tuple(job.id for job in ours.values() if job.cancel),
            tuple(Claim(job, job.token) for key, job in ours.items() if key not in believed),
            self._watched(pool, now),
        )

    def _watched(self, pool: str, now: int) -> tuple[str, ...]:
        return tuple(job.id for job in self._held(pool) if self._shelf.watched.get(job.seq, 0) > now)

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
        now = _clock(now)
        self._renew(pool, lease, now)
        shelf = self._shelf
        holders = {job.pool for job in shelf.jobs.values() if job.pool is not None}
        leases = {known.id: known.lease_until for known in shelf.pools.values()}
        gone = [
            other
            for other in sorted({*leases, *holders, *dead} - {pool})
            if other in dead or (other not in alive and leases.get(other, 0) <= now)
        ]
        claims = []
        for job in self._adoptable([job for other in gone for job in self._held(other)])[:limit]:
            adopted = job._replace(pool=pool, token=job.token + 1)
            self._put(adopted, now)
            claims.append(Claim(adopted, adopted.token))
        for other in gone:
            if not self._held(other):
                shelf.pools.pop(other, None)
        return claims

    def _adoptable(self, jobs: list[Job]) -> list[Job]:
        """In which order they are adopted."""
        return jobs

    # -- waiting ----------------------------------------------------------------------------------

    def listen(self, name: str) -> Listener | None:
        return _LineListener(self._shelf)

    def changed(self) -> bool:
        seen, self._seen = self._seen, self._shelf.changes
        return seen != self._seen

    def _wake(self) -> None:
        self._shelf.changes += 1
        for listener in self._shelf.listeners:
            listener.wake()

    # -- looking ----------------------------------------------------------------------------------

    def get(self, ids: Sequence[str]) -> Sequence[Job | None]:
        return [self._find(id) for id in ids]

    def find(self, where: Where = Where(), *, limit: int = 100, cursor: str | None = None) -> Page:
        after = [] if cursor is None else _parse(cursor)
        keyed = sorted((self._place(job, where), job) for job in self._shelf.jobs.values() if _matches(job, where))
        rest = [(key, job) for key, job in keyed if list(key) > after]
        page = rest[: max(1, limit)]
        onward = ",".join(map(str, page[-1][0])) if len(rest) > len(page) else None
        return Page(tuple(job for _, job in page), onward)

    def _place(self, job: Job, where: Where) -> tuple[int, ...]:
        """Where a job stands in the order of find()."""
        if where.ids is not None or where.tags is not None:
            return (-job.seq,)
        if where.faults is not None:
            return (-job.updated_at, -job.seq)
        if where.states is None:
            return (-job.seq,)
        group = where.states.index(job.state)
        if job.state is State.FAILED:
            return (group, job.run_at, job.seq)
        if job.state is not State.PENDING:
            return (group, -job.updated_at, -job.seq)
        if job.seq in self._shelf.ready:
            return (group, 0, *run_order(job))
        return (group, 1, job.run_at, job.seq)

    def faults(self, *, limit: int = 100) -> Sequence[Fault]:
        groups: defaultdict[str, list[Job]] = defaultdict(list)
        for job in sorted(self._shelf.jobs.values(), key=lambda job: (job.updated_at, job.seq)):
            if job.state is State.DEAD:
                groups[_fault(job)].append(job)
        found = [Fault(f, len(jobs), jobs[0].updated_at, jobs[-1].updated_at, jobs[-1]) for f, jobs in groups.items()]
        return sorted(found, key=lambda fault: (-fault.n, -fault.last_at, fault.fault))[:limit]

    def resolve(self, prefix: str) -> Sequence[str]:
        given = sorted(job.id for job in self._shelf.jobs.values() if job.spec.id is not None)
        return [id for id in given if prefix and id.startswith(prefix)][:2]

    def history(self, id: str) -> History:
        if (job := self._find(id)) is None:
            return History()
        return History(tuple(self._shelf.attempts[job.seq]), tuple(self._shelf.audits[job.seq]))

    def stat(self, *, now: int | None = None) -> Sequence[QueueStat]:
        now = _clock(now)
        return [self._stat(name, queue, now) for name, queue in sorted(self._shelf.queues.items())]

    def _stat(self, name: str, queue: _Queue, now: int) -> QueueStat:
        jobs = [job for job in self._shelf.jobs.values() if job.spec.queue == name]
        ready = [job for job in jobs if job.seq in self._shelf.ready]
        risen = [job for job in jobs if job.state in WAITING and job not in ready and job.run_at <= now]
        head = min(ready, key=run_order, default=None) or min(risen, key=lambda job: job.run_at, default=None)
        return QueueStat(
            name,
            {state: sum(job.state is state for job in jobs) for state in State},
            len(ready) + len(risen),
            None if head is None else head.run_at,
            queue.paused,
            queue.reason,
            queue.limit,
            queue.runs,
            queue.run_ms,
        )

    def samples(self, since: int, until: int) -> Sequence[Sample]:
        first, last = since // 60_000, until // 60_000
        kept = sorted(self._shelf.samples.items())
        return [
            Sample(minute, queue, measure, bucket, n)
            for (minute, queue, measure, bucket), n in kept
            if first <= minute <= last
        ]

    # -- changing ---------------------------------------------------------------------------------

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
        now = _clock(now)
        changes: list[Change] = []
        if where.ids is None:
            where = where._replace(
                states=tuple(s for s in _APPLIES[action] if where.states is None or s in where.states)
            )
            matching = [job for job in self._shelf.jobs.values() if _matches(job, where)]
            jobs = sorted(matching, key=lambda job: self._place(job, where))
        else:
            found = [self._find(id) for id in dict.fromkeys(where.ids)]
            jobs = [job for job in found if job is not None and _matches(job, where)]
        for job in jobs:
            if len(changes) < limit and job.state in _APPLIES[action] and self._act(action, job, actor, now):
                after = self._shelf.jobs.get(job.seq)
                changes.append(Change(job.id, job.state, after and after.state))
                if after is not None:
                    self._shelf.audits[job.seq].append(Audit(now, action.value, actor, note))
                if after is not None and after.state is not State.PROCESSING:
                    self._tell(deliveries, Event(_EVENTS[action], now, after), now)
        if changes:
            self._wake()
        return changes

    def _act(self, action: Action, job: Job, actor: str, now: int) -> bool:
        """One job, in a state that the action applies to; False if it is left alone all the same."""
        if action is Action.DELETE:
            self._delete(job)
        elif action is Action.RETRY:
            if job.state in FINISHED and self._holder(job.spec.unique_key):
                return False
            fresh = job._replace(state=State.PENDING, run_at=now, updated_at=now, tries=0, losses=0, reason="")
            self._put(fresh, now)
        elif job.state is not State.PROCESSING:
            reason = f"cancelled by {actor}" if actor else "cancelled"
            self._put(job._replace(state=State.CANCELLED, updated_at=now, reason=reason), now)
        elif job.cancel:
            return False
        else:
            self._put(job._replace(cancel=True), now)
        return True

    def _delete(self, job: Job) -> None:
        shelf = self._shelf
        if job.spec.id is not None:
            shelf.token_floor = max(shelf.token_floor, job.token)
        del shelf.jobs[job.seq]
        shelf.ready.discard(job.seq)
        shelf.attempts.pop(job.seq, None)
        shelf.audits.pop(job.seq, None)
        shelf.watched.pop(job.seq, None)
        shelf.released -= {each for each in shelf.released if each[0] == job.seq}
        for kept in (shelf.outputs, shelf.shown):
            for key in [key for key in kept if key[0] == job.seq]:
                del kept[key]

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
        if seed and name in self._shelf.queues:
            return
        queue = self._shelf.queues.get(name, _Queue())
        if paused is not None:
            queue = queue._replace(paused=paused, reason=reason if paused else "")
        if limit != -1:
            queue = queue._replace(limit=limit)
        self._shelf.queues[name] = queue
        self._wake()

    def prune(
        self, before: int, *, states: Sequence[State] | None = None, limit: int = 1000, now: int | None = None
    ) -> int:
        wanted = FINISHED if states is None else FINISHED.intersection(states)
        ended = [job for job in self._shelf.jobs.values() if job.state in wanted and job.updated_at < before]
        gone = sorted(ended, key=lambda job: (job.updated_at, job.seq))[:limit]
        for job in gone:
            self._delete(job)
        return len(gone)

    # -- output -----------------------------------------------------------------------------------

    def put_output(self, job: Job, attempt: int, stream: str, offset: int, data: bytes) -> None:
        kept = self._shelf.outputs.setdefault((job.seq, attempt, stream), bytearray())
        if data:
            kept.extend(bytes(max(0, offset - len(kept))))
        kept[offset : offset + len(data)] = data

    def read_output(self, id: str, attempt: int, stream: str, offset: int = 0, size: int = 1 << 16) -> bytes:
        return bytes(self._output(id, attempt, stream)[offset : offset + size])

    def output_size(self, id: str, attempt: int, stream: str) -> int:
        return len(self._output(id, attempt, stream))

    def _output(self, id: str, attempt: int, stream: str) -> bytearray:
        job = self._find(id)
        if job is None or all(ended.number != attempt for ended in self._shelf.attempts[job.seq]):
            return bytearray()
        return self._shelf.outputs.get((job.seq, attempt, stream), bytearray())

    def watch(self, id: str, *, hold: float = 10.0, now: int | None = None) -> None:
        job = self._find(id)
        if job is not None and job.state is State.PROCESSING:
            self._shelf.watched[job.seq] = _clock(now) + round(1000 * hold)
            self._wake()

    def show_output(self, job: Job, attempt: int, stream: str, offset: int, data: bytes) -> None:
        begin, shown = self._shelf.shown.get((job.seq, attempt, stream), (offset, b""))
        if begin + len(shown) != offset:
            begin, shown = offset, b""
        self._shelf.shown[job.seq, attempt, stream] = begin, shown + data

    def shown_output(self, id: str, attempt: int, stream: str, offset: int = 0) -> tuple[int, bytes]:
        job = self._find(id)
        if job is None or job.state is not State.PROCESSING or job.attempts != attempt:
            return offset, b""
        begin, shown = self._shelf.shown.get((job.seq, attempt, stream), (offset, b""))
        return max(begin, offset), shown[max(0, offset - begin) :]

    # -- outbox -----------------------------------------------------------------------------------

    def take_deliveries(
        self, *, targets: Sequence[str] | None = None, limit: int = 100, hold: float = 60.0, now: int | None = None
    ) -> Sequence[Delivery]:
        now = _clock(now)
        due = sorted(
            (due, id)
            for id, (delivery, due) in self._shelf.outbox.items()
            if due <= now and (targets is None or delivery.target in targets)
        )
        return [self._take(id, now + round(1000 * hold)) for _, id in due[:limit]]

    def _take(self, id: int, until: int) -> Delivery:
        delivery, _ = self._shelf.outbox[id]
        taken = delivery._replace(tries=delivery.tries + 1)
        self._shelf.outbox[id] = (taken, until)
        return taken

    def delivered(self, ids: Sequence[int]) -> None:
        for id in ids:
            if id in self._shelf.outbox:
                delivery, _ = self._shelf.outbox.pop(id)
                stat = self._shelf.targets[delivery.target]
                self._shelf.targets[delivery.target] = stat._replace(
                    delivered=stat.delivered + 1, error="", error_at=None
                )

    def postpone(self, ids: Sequence[int], delay: float, *, error: str = "", now: int | None = None) -> None:
        now = _clock(now)
        for id in ids:
            if id in self._shelf.outbox:
                delivery, _ = self._shelf.outbox[id]
                if error:
                    stat = self._shelf.targets[delivery.target]
                    self._shelf.targets[delivery.target] = stat._replace(error=error, error_at=now)
                else:
                    delivery = delivery._replace(tries=max(0, delivery.tries - 1))
                self._shelf.outbox[id] = (delivery, now + round(1000 * delay))

    def drop_deliveries(self, before: int, *, limit: int = 1000) -> int:
        gone = [id for id in sorted(self._shelf.outbox)[:limit] if self._shelf.outbox[id][0].at < before]
        for id in gone:
            delivery, _ = self._shelf.outbox.pop(id)
            stat = self._shelf.targets[delivery.target]
            self._shelf.targets[delivery.target] = stat._replace(dropped=stat.dropped + 1)
        return len(gone)

    def outbox(self) -> Sequence[OutboxStat]:
        return [self._outbox_of(stat) for _, stat in sorted(self._shelf.targets.items())]

    def _outbox_of(self, stat: OutboxStat) -> OutboxStat:
        waiting = [(id, delivery, due) for id, (delivery, due) in self._shelf.outbox.items()]
        waiting = [each for each in waiting if each[1].target == stat.target]
        first = min(waiting, default=None)
        return stat._replace(
            waiting=len(waiting),
            oldest_at=None if first is None else first[1].at,
            due_at=min((due for _, _, due in waiting), default=None),
        )

    # -- moving house -----------------------------------------------------------------------------

    def export(self, *, batch: int = 1000) -> Iterator[Sequence[tuple[Job, History]]]:
        jobs = sorted(self._shelf.jobs.values(), key=lambda job: job.seq)
        for start in range(0, len(jobs), batch):
            yield [(job, self.history(job.id)) for job in jobs[start : start + batch]]

    def load(
        self,
        jobs: Sequence[tuple[Job, History]],
        *,
        outputs: Mapping[tuple[str, int, str], bytes] = {},
        now: int | None = None,
    ) -> int:
        shelf, now = self._shelf, _clock(now)
        numbers = [job.seq if job.spec.id is not None else int(job.id) for job, _ in jobs]
        shelf.next_seq = max([shelf.next_seq, *[number + 1 for number in numbers]])
        new = 0
        for (job, history), number in zip(jobs, numbers, strict=True):
            key = job.spec.unique_key if job.state not in FINISHED else None
            if self._find(job.id) or self._holder(key) or (job.spec.id is None and number in shelf.jobs):
                continue
            if number in shelf.jobs:
                number, shelf.next_seq = shelf.next_seq, shelf.next_seq + 1
            new += 1
            token = job.token if job.spec.id is None else max(job.token, shelf.token_floor)
            self._put(arriving(job)._replace(seq=number, token=token), now)
            shelf.attempts[number] = list(history.attempts)
            shelf.audits[number] = list(history.audits)
            queue = shelf.queues.get(job.spec.queue, _Queue())
            ms = sum(max(0, ended.outcome.ended_at - ended.outcome.started_at) for ended in history.attempts)
            shelf.queues[job.spec.queue] = queue._replace(
                runs=queue.runs + len(history.attempts), run_ms=queue.run_ms + ms
            )
            for ended in history.attempts:
                for stream in ("stdout", "stderr"):
                    if data := outputs.get((job.id, ended.number, stream)):
                        shelf.outputs[number, ended.number, stream] = bytearray(data)
        self._wake()
        return new

    # -- life -------------------------------------------------------------------------------------

    def check(self) -> Sequence[Finding]:
        return [
            Finding("warning", "jobs are kept in memory only", "they are gone when this process ends", "durability")
        ]


def _clock(now: int | None) -> int:
    return time.time_ns() // 1_000_000 if now is None else now


def _is_number(id: str) -> bool:
    return id.isdecimal() and id.isascii()


def run_order(job: Job) -> tuple[int, int, int]:
    return (-job.spec.priority, job.run_at, job.seq)


def _matches(job: Job, where: Where) -> bool:
    return (
        (where.ids is None or job.id in where.ids)
        and (where.queues is None or job.spec.queue in where.queues)
        and (where.states is None or job.state in where.states)
        and (where.tags is None or bool(set(where.tags) & set(job.spec.tags)))
        and (where.since is None or job.created_at >= where.since)
        and (where.text is None or where.text in job.spec.command)
        and (where.faults is None or (job.state is State.DEAD and _fault(job) in where.faults))
    )


def _fault(job: Job) -> str:
    return fault_of(job.spec.command, job.reason)


def _parse(cursor: str) -> list[int]:
    try:
        return [int(part) for part in cursor.split(",")]
    except ValueError as error:
        raise BadInput(f"{cursor[:40]!r} is not a cursor of this list") from error
