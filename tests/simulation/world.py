"""A world of pools, workers and hosts without a single process: one seed is one history.

The storage is the reference, what becomes of an attempt is decided by ``core.transitions``, how much is claimed by the
pool's own ``wanted``. Pools and workers are small models of ``docs/decisions`` 0002: a scheduler lets one of them take
one step at a time, chosen by the seed, and between any two steps it may kill, stall or freeze, lose a reply, deliver a
result twice, or set the clock. What is judged is the journal of the attempts that ran, as it would stand outside.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from queuectl.api.model import (
    FINISHED,
    Action,
    Claim,
    Exchange,
    Held,
    Job,
    NewJob,
    Outcome,
    OutcomeKind,
    Pool,
    Settings,
    Settlement,
    State,
    Turn,
    Where,
)
from queuectl.core import transitions
from queuectl.testing.memory import MemoryStorage
from queuectl.work.ledger import wanted

START = 1_800_000_000_000
LEASE = 60.0
QUEUES = ("default", "limited")
#: The limit of the queue that has one.
LIMIT = 2


class Run(NamedTuple):
    """An attempt that really ran, as a journal outside would have it."""

    job: str
    attempt: int
    host: int
    began: int  # step of the world
    ended: int | None = None
    how: str = ""


class Worker:
    """What a worker's record says, and whether the process lives."""

    def __init__(self, host: Host, pool: SimPool) -> None:
        self.host, self.pool = host, pool
        self.alive = True
        self.claim: Claim | None = None
        self.phase = ""  # given (it has no record of it yet), started, ended
        self.outcome: Outcome | None = None
        self.stop: OutcomeKind | None = None
        self.disowned = False
        self.reported = False
        self.replaced = False  # it is dead, and another took its place
        self.run = -1  # its place in the journal

    def clear(self) -> None:
        self.claim, self.phase, self.outcome, self.stop, self.run = None, "", None, None, -1
        self.disowned = self.reported = False


class SimPool:
    """A pool, as far as it talks to the storage."""

    def __init__(self, id: str, host: Host) -> None:
        self.id, self.host = id, host
        self.alive = True
        self.stalled = 0  # steps of the world
        self.held: dict[str, Claim] = {}
        self.waiting: list[Claim] = []
        self.unsettled: list[tuple[Claim, Settlement, Worker | None]] = []
        self.sent: list[Settlement] = []  # may be delivered once more
        self.orphans: dict[str, tuple[Claim, Worker]] = {}
        self.renewed = 0  # the monotonic clock, when it last knew that its lease was renewed
        self.dead_seen: frozenset[str] = frozenset()
        # What it wrote down for whoever takes over from it, and whether it missed the reply when it inherited.
        self.own: set[tuple[str, int]] | None = None
        self.inherited: set[tuple[str, int]] = set()
        self.unheard = False

    def expect(self) -> None:
        held = {key(claim) for claim in self.held.values()}
        self.inherited &= held
        self.own = held - self.inherited

    def note(self, claims: Sequence[Claim]) -> None:
        self.own = None
        self.inherited.update(map(key, claims))

    def had_from_elsewhere(self, claim: Claim) -> bool:
        return key(claim) in self.inherited if self.own is None else key(claim) not in self.own


class Host:
    def __init__(self, number: int) -> None:
        self.number = number
        self.pools: list[SimPool] = []
        self.workers: list[Worker] = []
        self.heir: SimPool | None = None  # who has the lock of takeovers, until all is cleaned

    def may_take_over(self, pool: SimPool) -> bool:
        if self.heir is None or not self.heir.alive:
            self.heir = pool
        return self.heir is pool

    def living(self) -> list[SimPool]:
        return [pool for pool in self.pools if pool.alive]


class World:
    """One history. Raises AssertionError at the first thing that may not be."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.storage = MemoryStorage()
        self.wall, self.mono = START, 0
        self.now = 0  # steps
        self.hosts = [Host(number) for number in range(self.rng.choice((1, 1, 1, 2, 3)))]
        self.journal: list[Run] = []
        self.acknowledged: set[str] = set()
        self.deleted: set[str] = set()
        self.ended: dict[str, State] = {}  # terminal states that were seen, until somebody retries
        self.losses: Counter[str] = Counter()  # runs that a kill hit, by job
        self.tokens: dict[str, int] = {}
        self.jumps = len(self.hosts) == 1  # with several hosts the time is a server's
        self.faults = True
        self.count = 0
        self.story: list[str] = []  # what happened, for who lives a failure again
        self.storage.set_queue("limited", limit=LIMIT, now=self.wall)
        for host in self.hosts:
            self.new_pool(host)

    def tell(self, text: str) -> None:
        self.story.append(f"{self.now}: {text}")

    # -- the scheduler ----------------------------------------------------------------------------

    def live(self, steps: int) -> None:
        """So many steps with faults, then without, until everything has ended."""
        for _ in range(steps):
            self.step()
        self.faults = False
        self.wall = max(
            [self.wall, *[job.run_at for job in self.unfinished()]]
        )  # a clock that was set back is set right
        for host in self.hosts:
            if not host.living():
                self.new_pool(host)
        for _ in range(4000):
            if not self.unfinished() and all(run.ended is not None for run in self.journal):
                break
            self.step()
        assert not self.unfinished(), f"never ends: {self.unfinished()}"
        self.judge()

    def unfinished(self) -> list[Job]:
        return [job for job in self.jobs() if job.state not in FINISHED]

    def jobs(self) -> list[Job]:
        return list(self.storage._shelf.jobs.values())  # quicker than find()

    def step(self) -> None:
        self.now += 1
        dice = self.rng.random()
        if dice < 0.06:
            self.pass_time()
        elif dice < 0.10 and self.faults:
            self.enqueue()
        elif dice < 0.13 and self.faults:
            self.somebody_asks()
        elif dice < 0.19 and self.faults:
            self.fault()
        else:
            self.actor_step()
        self.look()

    def actor_step(self) -> None:
        pools = [pool for host in self.hosts for pool in host.living() if pool.stalled <= self.now]
        busy = [worker for host in self.hosts for worker in host.workers if worker.alive and worker.claim is not None]
        actor = self.rng.choice([*pools, *pools, *busy]) if pools or busy else None
        if isinstance(actor, SimPool):
            self.pool_step(actor)
        elif actor is not None:
            self.worker_step(actor)

    def pass_time(self) -> None:
        ms = self.rng.choice((1, 50, 700, 3000, 20_000))
        self.wall += ms
        self.mono += ms
        if self.jumps and self.faults and self.rng.random() < 0.1:
            self.wall += self.rng.choice((-3_600_000, 3_600_000, -10 * 86_400_000, 365 * 86_400_000))
        for host in self.hosts:  # who cannot renew its lease in time ends what it runs
            for worker in host.workers:
                if worker.alive and worker.phase == "started" and self.lapsed(worker.pool):
                    self.end_run(worker, Outcome(OutcomeKind.INTERRUPTED, started_at=self.wall, ended_at=self.wall))

    def lapsed(self, pool: SimPool) -> bool:
        """Whether another host may take it to be dead by now. On one host a lock tells, and no lease."""
        return len(self.hosts) > 1 and self.mono - pool.renewed > 1000 * LEASE * 0.8

    # -- what people and programs do --------------------------------------------------------------

    def enqueue(self) -> None:
        jobs = [
            NewJob(
                "true",
                queue=self.rng.choice(QUEUES),
                priority=self.rng.randrange(3),
                run_at=self.rng.choice((None, None, self.wall + 5000)),
                unique_key=self.rng.choice((None, None, "k")),
                settings=Settings(max_retries=self.rng.randrange(3)).text(),
            )
            for _ in range(self.rng.randrange(1, 4))
        ]
        for receipt in self.storage.enqueue(jobs, now=self.wall):
            self.acknowledged.add(receipt.id)

    def somebody_asks(self) -> None:
        jobs = self.storage.find(limit=1000).jobs
        if not jobs:
            return
        action = self.rng.choice((Action.CANCEL, Action.CANCEL, Action.RETRY, Action.DELETE))
        for change in self.storage.apply(action, Where(ids=(self.rng.choice(jobs).id,)), now=self.wall):
            if action is not Action.CANCEL:
                self.ended.pop(change.id, None)
            if change.now is None:
                self.deleted.add(change.id)

    def new_pool(self, host: Host) -> None:
        self.count += 1
        pool = SimPool(f"p{self.count}", host)
        pool.renewed = self.mono
        host.pools.append(pool)
        host.workers += [Worker(host, pool) for _ in range(self.rng.randrange(1, 4))]
        self.storage.join(Pool(pool.id, str(host.number), 1, self.wall), lease=LEASE, now=self.wall)

    # -- what goes wrong --------------------------------------------------------------------------

    def fault(self) -> None:
        host = self.rng.choice(self.hosts)
        pools = host.living()
        kind = self.rng.randrange(7)
        if kind == 0 and pools:
            pool = self.rng.choice(pools)
            pool.alive = False  # its workers live on
            self.tell(f"{pool.id} is killed")
        elif kind == 1 and host.workers:
            # Its keeper lives, and acts in a moment, though the pool may be stopped for longer than a lease.
            self.kill_worker(self.rng.choice(host.workers), keeper=len(self.hosts) > 1 or self.rng.random() < 0.5)
        elif kind == 2 and pools:
            self.rng.choice(pools).stalled = self.now + self.rng.choice((5, 50, 300))
        elif kind == 3 and self.rng.random() < 0.2:
            for pool in pools:
                pool.alive = False
            for worker in host.workers:
                self.kill_worker(worker, keeper=False)
        elif kind >= 4 and len(pools) < 3:
            self.new_pool(host)

    def kill_worker(self, worker: Worker, *, keeper: bool) -> None:
        """The tree of its job goes on until somebody ends it: the keeper, or its pool, or whoever takes over."""
        if keeper and worker.alive and worker.phase == "started":
            self.end_run(worker, None)
        worker.alive = False
        self.tell(f"a worker of {worker.pool.id} is killed with {names([worker.claim] if worker.claim else [])}")

    # -- a worker ---------------------------------------------------------------------------------

    def worker_step(self, worker: Worker) -> None:
        assert worker.claim is not None
        if worker.phase == "given" and not worker.pool.alive:
            worker.clear()  # it writes its record, sees that nobody waits for it any more, and runs nothing
        elif worker.phase == "given" and worker.disowned:
            forget(worker.pool, worker.claim)
            worker.clear()
        elif worker.phase == "given":
            if not self.lapsed(worker.pool):
                self.begin_run(worker)
        elif worker.phase == "started":
            code = self.rng.choice((0, 0, 0, 1))
            outcome = Outcome(worker.stop or OutcomeKind.EXITED, code, self.wall, self.wall)
            if worker.stop is not None or self.rng.random() < 0.4:
                self.end_run(worker, outcome)
        elif worker.pool.alive and worker.pool.stalled <= self.now and not worker.reported:
            self.report(worker)

    def begin_run(self, worker: Worker) -> None:
        """I3: nothing runs after it ended. I7: nothing runs twice at a time on one host."""
        claim = worker.claim
        assert claim is not None
        job, attempt = claim.job.id, claim.job.attempts
        assert all(r.attempt != attempt or r.job != job for r in self.journal), f"{job}.{attempt} ran twice"
        for number, run in enumerate(self.journal):
            if run.job == job and run.ended is None:
                # Another host may have adopted it, when pools and workers here had died and before a new pool looked.
                left = [w for w in worker.host.workers if w.run == number and not w.alive and not w.pool.alive]
                elsewhere = run.host != worker.host.number
                assert len(self.hosts) > 1 and (elsewhere or left), f"{job}.{attempt} overlaps {run}"
        if not worker.disowned and len(self.hosts) == 1:
            stored = self.storage.get([job])[0]
            assert stored is not None and stored.state is State.PROCESSING and stored.attempts == attempt
        self.tell(f"{worker.pool.id} runs {job}.{attempt} on host {worker.host.number}")
        worker.phase, worker.run = "started", len(self.journal)
        self.journal.append(Run(job, attempt, worker.host.number, self.now))

    def end_run(self, worker: Worker, outcome: Outcome | None) -> None:
        run = self.journal[worker.run]
        self.tell(f"{run.job}.{run.attempt} of {worker.pool.id} ends: {outcome.kind.value if outcome else 'lost'}")
        self.journal[worker.run] = self.journal[worker.run]._replace(
            ended=self.now, how=outcome.kind.value if outcome else "lost"
        )
        worker.phase, worker.outcome = "ended", outcome
        self.losses[run.job] += outcome is None

    def report(self, worker: Worker) -> None:
        pool, claim = worker.pool, worker.claim
        assert claim is not None and worker.outcome is not None
        if worker.disowned or not holds(pool, claim):
            forget(pool, claim)
            worker.clear()
            return
        worker.reported = True
        claim = pool.held[claim.job.id]
        pool.unsettled.append((claim, transitions.settle(claim, worker.outcome, rng=self.rng), worker))

    # -- a pool -----------------------------------------------------------------------------------

    def pool_step(self, pool: SimPool) -> None:
        self.bury(pool)
        dice = self.rng.random()
        if dice < 0.2 or self.lapsed(pool):
            self.heartbeat(pool)  # first, after a sleep: it may hold nothing any more
        elif dice < 0.8:
            self.exchange(pool)
        else:
            self.sweep(pool)
        if not pool.alive:
            return
        for worker in pool.host.workers:
            if worker.pool is pool and worker.alive and worker.claim is None and pool.waiting:
                worker.claim, worker.phase = pool.waiting.pop(0), "given"
        if pool.waiting and self.rng.random() < 0.2:
            self.give_back_waiting(pool)

    def give_back_waiting(self, pool: SimPool) -> None:
        """What was claimed ahead has found no worker in time."""
        self.tell(f"{pool.id} gives back {names(pool.waiting)}")
        pool.unsettled += [(claim, transitions.release(claim), None) for claim in pool.waiting]
        pool.waiting.clear()

    def bury(self, pool: SimPool) -> None:
        """A worker of ours that died: its tree is ended, then its attempt is lost. Its record stays until then."""
        for worker in list(pool.host.workers):
            if worker.pool is not pool or worker.alive:
                continue
            if not worker.replaced:
                worker.replaced = True
                pool.host.workers.append(Worker(pool.host, pool))
            if worker.reported:
                continue
            if worker.phase == "started":
                self.end_run(worker, None)
            if worker.claim is not None and not worker.disowned and holds(pool, worker.claim):
                self.inherit(pool, pool.held[worker.claim.job.id], worker)
            else:
                if worker.claim is not None:
                    forget(pool, worker.claim)
                pool.host.workers.remove(worker)

    def inherit(self, pool: SimPool, claim: Claim, worker: Worker) -> None:
        """What becomes of a claim whose worker is dead, by its record."""
        if worker.phase == "started":
            self.end_run(worker, None)
        if worker.phase == "given":
            settlement = transitions.release(claim)
        elif worker.outcome is not None:
            settlement = transitions.settle(claim, worker.outcome, rng=self.rng)
        else:
            settlement = transitions.settle(claim, Outcome(OutcomeKind.LOST), swept=True, rng=self.rng)
        worker.pool, worker.reported = pool, True
        pool.unsettled.append((claim, settlement, worker))

    def exchange(self, pool: SimPool) -> None:
        mine = [worker for worker in pool.host.workers if worker.pool is pool and worker.alive]
        free = sum(worker.claim is None for worker in mine)
        batch = list(pool.unsettled)
        settling = sum(worker is not None and worker.alive for _, _, worker in batch)
        again = [self.rng.choice(pool.sent)] if pool.sent and self.faults and self.rng.random() < 0.1 else []
        settlements = tuple([settlement for _, settlement, _ in batch])
        before = {s.id: self.storage.get([s.id])[0] for s in (*settlements, *again)}
        ahead = self.rng.choice((0, 0, 3)) if self.faults else 0
        want = wanted(free + settling + ahead, len(pool.waiting), None)
        turn = Turn(pool.id, (*again, *settlements), want, now=self.wall)
        answer = self.storage.exchange(turn)
        self.fences(turn, answer, before)
        done = [f"{s.id}/{s.token} {s.state.value}{' released' * s.released}" for s in turn.settlements]
        self.tell(f"{pool.id} settles {done} refused {answer.refused} claims {names(answer.claims)}")
        if self.faults and self.rng.random() < 0.08:
            self.tell(f"{pool.id} does not hear it")
            pool.alive = self.rng.random() < 0.5  # the reply is lost, or its reader
            return
        pool.renewed = self.mono
        pool.sent = [*pool.sent, *settlements][-20:]
        pool.unsettled.clear()
        for claim, _, worker in batch:
            forget(pool, claim)
            if worker is not None and worker.alive:
                worker.clear()
            elif worker is not None:
                pool.host.workers.remove(worker)  # the record, last
        for claim in answer.claims:
            pool.held[claim.job.id] = claim
        pool.waiting += answer.claims
        for id in answer.cancel:
            self.cancel(pool, id)

    def fences(self, turn: Turn, answer: Exchange, before: dict[str, Job | None]) -> None:
        """I6: under a token that no longer holds nothing is changed."""
        for settlement in turn.settlements:
            was = before[settlement.id]
            if was is not None and (was.state is not State.PROCESSING or was.token != settlement.token):
                now = self.storage.get([settlement.id])[0]
                claimed = settlement.id in [claim.job.id for claim in answer.claims]
                assert now == was or claimed or before_was_settled(turn, settlement), (settlement, was, now)

    def heartbeat(self, pool: SimPool) -> None:
        held = [Held(claim.job.id, claim.token) for claim in pool.held.values()]
        pulse = self.storage.heartbeat(pool.id, held, lease=LEASE, now=self.wall)
        self.tell(f"{pool.id} beats: lost {pulse.lost} found {names(pulse.found)} cancel {pulse.cancel}")
        if self.faults and self.rng.random() < 0.05:
            self.tell(f"{pool.id} does not hear it")
            return
        pool.renewed = self.mono
        for id in pulse.lost:
            self.disown(pool, id)
        if pool.unheard:
            pool.unheard = False
            pool.note(pulse.found)
            self.take_over(pool, pulse.found, same_host=False)
        else:
            for claim in pulse.found:
                pool.held[claim.job.id] = claim
                pool.waiting.append(claim)
        for id in pulse.cancel:
            self.cancel(pool, id)

    def holder(self, pool: SimPool, id: str) -> Worker | None:
        return next(
            (w for w in pool.host.workers if w.pool is pool and w.claim is not None and w.claim.job.id == id), None
        )

    def disown(self, pool: SimPool, id: str) -> None:
        worker = self.holder(pool, id)
        pool.waiting = [claim for claim in pool.waiting if claim.job.id != id]
        if worker is None or worker.reported:
            if worker is None:
                pool.held.pop(id, None)
            return
        worker.disowned, worker.stop = True, OutcomeKind.INTERRUPTED

    def cancel(self, pool: SimPool, id: str) -> None:
        if id not in pool.held:
            return
        claim = pool.held[id]
        pool.held[id] = claim = claim._replace(job=claim.job._replace(cancel=True))
        worker = self.holder(pool, id)
        if worker is not None:
            worker.stop = worker.stop or OutcomeKind.CANCELLED
        elif any(each.job.id == id for each in pool.waiting):
            pool.waiting = [each for each in pool.waiting if each.job.id != id]
            pool.unsettled.append((claim, transitions.release(claim), None))

    # -- taking over ------------------------------------------------------------------------------

    def sweep(self, pool: SimPool) -> None:
        """By locks on this host, by leases from others, as the pool does."""
        dead = sorted(other.id for other in pool.host.pools if not other.alive)
        living = [other.id for other in pool.host.living()]
        if dead and self.rng.random() < 0.7 and pool.host.may_take_over(pool):
            # What other hosts hold is spared, whatever their lease: that nothing here knows of it proves nothing.
            others = [known.id for known in self.storage.pools()]
            claims = self.storage.reap(
                pool.id,
                dead=dead,
                alive=[*living, *others],
                limit=self.rng.choice((1, 1000)),
                lease=LEASE,
                now=self.wall,
            )
            if self.unheard(pool, claims):
                return
            self.take_over(pool, claims, same_host=True)
            if not claims and not pool.unheard and not pool.unsettled:
                self.clean(pool)
                pool.host.heir = None
        elif not pool.unheard:
            pool.expect()
            claims = self.storage.reap(pool.id, alive=[*living, *dead], lease=LEASE, now=self.wall)
            if self.unheard(pool, claims):
                return
            pool.note(claims)
            self.take_over(pool, claims, same_host=False)

    def unheard(self, pool: SimPool, claims: Sequence[Claim]) -> bool:
        """Whether the reply of a takeover is lost, or who should read it."""
        if not self.faults or self.rng.random() >= 0.1:
            return False
        self.tell(f"{pool.id} does not hear that it has adopted {names(claims)}")
        pool.unheard, pool.alive = True, self.rng.random() < 0.5
        return True

    def take_over(self, pool: SimPool, claims: Sequence[Claim], *, same_host: bool) -> None:
        workers = {
            (w.claim.job.id, w.claim.job.attempts): w
            for w in pool.host.workers
            if w.claim is not None and w.pool is not pool and not w.pool.alive and w.phase != "given"
        }
        for claim in claims:
            self.tell(f"{pool.id} adopts {names([claim])}, same host: {same_host}")
            pool.held[claim.job.id] = claim
            worker = workers.get((claim.job.id, claim.job.attempts))
            if worker is None:
                lost = transitions.settle(claim, Outcome(OutcomeKind.LOST), swept=False, rng=self.rng)
                never_ran = same_host and not any(
                    other.had_from_elsewhere(claim) for other in pool.host.pools if not other.alive
                )
                pool.unsettled.append((claim, transitions.release(claim) if never_ran else lost, None))
                if not never_ran:
                    self.losses[claim.job.id] += 1
            elif worker.alive:
                worker.pool, worker.claim, worker.reported = pool, claim, False
                if claim.job.cancel:
                    worker.stop = OutcomeKind.CANCELLED
            else:
                self.inherit(pool, claim, worker)

    def clean(self, pool: SimPool) -> None:
        """What dead workers of dead pools left that another host has adopted long ago."""
        for worker in list(pool.host.workers):
            if not worker.alive and not worker.pool.alive:
                if worker.phase == "started":
                    self.end_run(worker, None)
                pool.host.workers.remove(worker)
        pool.host.pools = pool.host.living()

    # -- what must hold ---------------------------------------------------------------------------

    def look(self) -> None:
        """After every step: I2, I10, limits, tokens."""
        jobs = self.jobs()
        ids = {job.id for job in jobs}
        assert ids == self.acknowledged - self.deleted, "I1: a job is gone, or came from nowhere"
        counted = Counter((job.spec.queue, job.state) for job in jobs)
        assert counted["limited", State.PROCESSING] <= LIMIT
        for job in jobs:
            assert job.token >= self.tokens.get(job.id, 0), f"I6: the token of {job.id} went down"
            self.tokens[job.id] = job.token
            if job.id in self.ended:
                assert job.state is self.ended[job.id], f"I2: {job.id} was {self.ended[job.id]}, is {job.state}"
            elif job.state in FINISHED:
                self.ended[job.id] = job.state
                open_runs = [run for run in self.journal if run.job == job.id and run.ended is None]
                assert not open_runs or len(self.hosts) > 1, f"I3: {job.id} ended while {open_runs} ran"

    def judge(self) -> None:
        """At the end: I1, I3, I4, I5, by the journal."""
        orphans = [run for run in self.journal if run.ended is None]
        assert not orphans, f"I8: still running: {orphans}"
        runs: defaultdict[str, list[Run]] = defaultdict(list)
        for run in self.journal:
            runs[run.job].append(run)
        for job in self.storage.find(limit=10_000).jobs:
            history = self.storage.history(job.id)
            numbers = [attempt.number for attempt in history.attempts]
            assert numbers == list(range(1, job.attempts + 1)), f"I5: the attempts of {job.id} are {numbers}"
            ran = [run.attempt for run in runs[job.id]]
            assert len(ran) == len(set(ran)) and set(ran) <= set(numbers), f"I4: {job.id} ran as {ran} of {numbers}"
            extra = sum(a.outcome.kind is OutcomeKind.LOST for a in history.attempts)
            asked = len(history.audits)
            tries = sum(a.outcome.kind in transitions.COUNTED for a in history.attempts)
            assert tries <= (job.settings.max_retries + 1) * (1 + asked), f"I4: {job.id} was tried {tries} times"
            assert extra <= self.losses[job.id], f"I4: {job.id} was lost {extra} times, hit {self.losses[job.id]} times"
            if job.state is State.COMPLETED:
                last = history.attempts[-1].outcome
                assert (last.kind, last.code) == (OutcomeKind.EXITED, 0)
                assert job.attempts in ran, f"{job.id} completed by an attempt that nobody saw run"


def holds(pool: SimPool, claim: Claim) -> bool:
    """Under this token; it may hold the same job under a later one by now."""
    held = pool.held.get(claim.job.id)
    return held is not None and held.token == claim.token


def key(claim: Claim) -> tuple[str, int]:
    return claim.job.id, claim.job.attempts


def forget(pool: SimPool, claim: Claim) -> None:
    if holds(pool, claim):
        del pool.held[claim.job.id]


def names(claims: Sequence[Claim]) -> list[str]:
    return [f"{claim.job.id}.{claim.job.attempts}/{claim.token}" for claim in claims]


def before_was_settled(turn: Turn, settlement: Settlement) -> bool:
    """Whether another settlement of the same turn is that job's right one."""
    return any(other.id == settlement.id and other.token != settlement.token for other in turn.settlements)
