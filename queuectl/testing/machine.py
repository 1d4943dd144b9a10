"""The state machine: random calls to a storage, each answer compared with that of the reference.

The subjects of the suite ask one thing each; this asks what nobody thought of. Several pools claim, settle (late,
twice, under old tokens), are adopted from and come back, people cancel, retry and delete, the clock jumps, and at any
moment a process may be replaced by another one. After every call the whole storage is compared with the reference, and
the promises that need no reference are checked for themselves. A failure is shrunk to the shortest calls that show it.

Where the contract leaves a choice the reference is led: it takes what the storage took, if that was allowed.

Needs hypothesis.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from queuectl.api.errors import QueueCTLError
from queuectl.api.model import (
    FINISHED,
    WAITING,
    Action,
    Claim,
    Delivery,
    Event,
    Exchange,
    Held,
    Job,
    NewJob,
    Outcome,
    OutcomeKind,
    Pool,
    Route,
    Settings,
    Settlement,
    State,
    Turn,
    Where,
)
from queuectl.api.storage import Ability, Storage
from queuectl.core import transitions
from queuectl.testing.memory import MemoryStorage, run_order

if TYPE_CHECKING:
    from queuectl.testing.subjects.subject import OpenStorage

NOW = 1_800_000_000_000
HOUR = 3_600_000
#: How far back the clock may be set, from the latest moment it ever showed.
SET_BACK = 20 * HOUR

POOLS = ("p1", "p2", "p3")
QUEUES = ("default", "a", "b")
TARGET = "mail"
#: Some events of some jobs are wanted by nobody, some twice by the same.
ROUTES = (Route(TARGET, events=("enqueued", "cancelled")), Route("hook", queues=("a",)), Route("hook", tags=("t1",)))


class Reference(MemoryStorage):
    """The reference, led: where the contract leaves a choice, it takes what the storage took."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[int] = []  # the numbers of the jobs that are about to be stored
        self.claimed: tuple[str, ...] = ()
        self.adopted: tuple[str, ...] = ()

    def _number(self) -> int:
        assert self.numbers, "the storage did not store a job that it had to"
        return self.numbers.pop(0)

    def _choose(self, turn: Turn) -> list[Job]:
        """What the storage claimed, after a look whether it might: ties between queues may fall either way."""
        line = super()._choose(turn)
        chosen = [self.job(id) for id in self.claimed]
        assert len(chosen) == len(set(self.claimed)), "a job was claimed twice in one turn"
        keys = [run_order(job)[:2] for job in chosen]
        assert keys == [run_order(job)[:2] for job in line[: len(chosen)]], f"claimed {chosen}, next were {line}"
        for name in {job.spec.queue for job in chosen}:
            most = self._shelf.queues[name].limit
            running = sum(job.state is State.PROCESSING and job.spec.queue == name for job in self._jobs())
            taken = [job for job in chosen if job.spec.queue == name]
            assert most is None or running + len(taken) <= most, f"more than {most} of {name} were claimed"
            ready = sorted(
                (job for job in self._jobs() if job.spec.queue == name and self.is_ready(job)), key=run_order
            )
            assert taken == ready[: len(taken)], f"{name}: claimed {taken}, in line stood {ready}"
        return chosen

    def _adoptable(self, jobs: list[Job]) -> list[Job]:
        """Any may be taken where not all are; those first that the storage took."""
        return sorted(jobs, key=lambda job: job.id not in self.adopted)

    def job(self, id: str) -> Job:
        job = self._find(id)
        assert job is not None, f"the storage told of a job {id} that it was never given, or that was deleted"
        return job

    def is_ready(self, job: Job) -> bool:
        return job.seq in self._shelf.ready

    def _jobs(self) -> list[Job]:
        return list(self._shelf.jobs.values())


# -- what is drawn --------------------------------------------------------------------------------


class Wish(NamedTuple):
    """A job to enqueue, in few words."""

    queue: str
    priority: int
    due_in: int | None
    key: str | None
    id: str | None
    tag: str | None
    retries: int

    def spec(self, now: int, abilities: frozenset[Ability]) -> NewJob:
        return NewJob(
            f"true {self.queue} {self.priority}",
            id=self.id,
            queue=self.queue,
            priority=self.priority,
            run_at=None if self.due_in is None else now + self.due_in,
            unique_key=self.key if Ability.UNIQUE in abilities else None,
            tags=(self.tag,) if self.tag and Ability.TAGS in abilities else (),
            env={"TAG": self.tag} if self.tag else {},
            settings=Settings(max_retries=self.retries).text(),
        )


class Ending(NamedTuple):
    """How one of the claims ends."""

    claim: int  # counted from the latest
    kind: str
    delay: float
    text: bytes | None
    then: Wish | None
    tell: bool


def often(usual: Any, *rare: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from((usual,) * (2 + len(rare)) + rare)


def seldom(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly None."""
    return st.one_of(st.none(), st.none(), st.none(), strategy)


WISHES = st.builds(
    Wish,
    queue=st.sampled_from(QUEUES),
    priority=often(0, 5, -1000),
    due_in=often(None, 0, 700, 90_000, -5000),
    key=often(None, "k1", "k2"),
    id=often(None, "x1", "x2", "x-3"),
    tag=often(None, "t1", "t2"),
    retries=st.sampled_from((0, 1, 3)),
)
ENDINGS = st.builds(
    Ending,
    claim=st.integers(0, 6),
    kind=st.sampled_from(
        (
            "completed",
            "failed",
            "failed",
            "core",
            "lost",
            "lost",
            "unseen",
            "dead",
            "interrupted",
            "cancelled",
            "released",
        )
    ),
    delay=st.sampled_from((0.0, 0.5, 60.0)),
    text=often(None, b"", b"\xff said"),
    then=st.none() | WISHES,
    tell=often(False, True),
)
TICKS = often(0, 1, 999, 1000, 59_000, 90_000, 30 * 24 * HOUR, -1, -7000, -HOUR)
CEILINGS = st.none() | st.dictionaries(st.sampled_from((*QUEUES, "nowhere")), st.sampled_from((None, 0, 1, 2)))
LEASES = st.sampled_from((60.0, 5.0))
LIMITS = often(1000, 0, 1, 2)
IDS = st.lists(st.sampled_from(("1", "2", "3", "5", "x1", "x2", "0", "nobody")), max_size=4).map(tuple)
STATES = st.lists(st.sampled_from(State), min_size=1, max_size=3, unique=True).map(tuple)


def where(given: Callable[[st.SearchStrategy[Any]], st.SearchStrategy[Any]]) -> st.SearchStrategy[Where]:
    """Filters, of which each is *given* or not."""
    return st.builds(
        Where,
        ids=given(IDS),
        queues=given(st.lists(st.sampled_from((*QUEUES, "nowhere")), max_size=2).map(tuple)),
        states=given(STATES),
        tags=given(st.sampled_from((("t1",), ("t1", "t2"), ()))),
        since=given(st.sampled_from((NOW - HOUR, NOW + 1000, NOW + 90_000))),
        text=given(st.sampled_from(("default", "nothing"))),
    )


def settlement_of(ending: Ending, claim: Claim, now: int, abilities: frozenset[Ability]) -> Settlement:
    """What core makes of an ending."""
    outcome = Outcome(OutcomeKind.EXITED, 3, now - 1500, now, "said", stdout_size=9)
    if ending.kind == "completed":
        made = transitions.settle(claim, outcome._replace(code=0))
    elif ending.kind == "failed":
        made = transitions.settle(claim, outcome, verdict="retry", delay=ending.delay, decided=True)
    elif ending.kind == "dead":
        made = transitions.settle(claim, outcome, verdict="dead", decided=True)
    elif ending.kind == "core":
        made = transitions.settle(claim, outcome._replace(kind=OutcomeKind.SIGNALLED, code=9))
    elif ending.kind == "released":
        made = transitions.release(claim)
    elif ending.kind == "unseen":
        made = transitions.settle(claim, outcome._replace(kind=OutcomeKind.LOST, code=None), swept=False)
    else:
        made = transitions.settle(claim, outcome._replace(kind=OutcomeKind(ending.kind), code=None))
    if not made.released:
        made = made._replace(stdout=ending.text)
    if ending.then is not None:
        made = made._replace(then=(ending.then.spec(now, abilities),))
    if ending.tell and Ability.OUTBOX in abilities:
        event = transitions.event_of(claim, made, now) or Event("released", now, claim.job)
        made = made._replace(deliveries=(Delivery(TARGET, event),))
    return made


_rule: Any = rule  # given its strategies as a mapping, of which it is not typed


def _another(method: Callable[..., None]) -> Any:
    """The same under another name: hypothesis makes one rule of a function."""

    def same(self: Any, **drawn: Any) -> None:
        method(self, **drawn)

    return same


# -- the machine ----------------------------------------------------------------------------------


class StorageMachine(RuleBasedStateMachine):
    """Random calls. A subclass says how an empty storage is made: ``new_storage``, as in :class:`ModelTests`."""

    new_storage: ClassVar[Callable[[], OpenStorage]]

    def __init__(self) -> None:
        super().__init__()
        self.open = type(self).new_storage()
        self.views = [self.open(), self.open()]
        self.abilities = self.views[0].abilities
        self.reference = Reference()
        self.now = self.latest = NOW
        self.calls = 0
        self.claims: list[tuple[str, Claim]] = []  # every claim that a pool was ever told of, oldest first
        self.held: dict[str, dict[str, Claim]] = {pool: {} for pool in POOLS}  # what each believes that it holds
        self.settlements: list[tuple[str, Settlement]] = []
        self.owners: dict[tuple[str, int], str] = {}  # (job, token) -> the pool that was told of it
        self.tokens: dict[int, int] = {}
        self.last_seq = 0
        self.running: Counter[str] = Counter()
        self.deliveries: list[tuple[int, int]] = []  # ids in the storage and in the reference

    def teardown(self) -> None:
        try:
            self.compare_all()
        finally:
            for view in self.views:
                view.close()

    # -- asking both ------------------------------------------------------------------------------

    def both(self, call: Callable[[Storage], Any], lead: Callable[[Any], None] | None = None) -> tuple[Any, Any]:
        """The storage's answer and the reference's. *lead* tells the reference what was chosen."""
        self.calls += 1
        answer = self._answer(call, self.views[self.calls % 2])
        self._learn_numbers()
        if lead is not None and not isinstance(answer, type):
            lead(answer)
        expected = self._answer(call, self.reference)
        assert not self.reference.numbers, f"the storage stored jobs that nobody gave it: {self.reference.numbers}"
        assert isinstance(answer, type) == isinstance(expected, type), (answer, expected)
        return answer, expected

    def allowed(self, where: Where) -> Where:
        """What a storage of these abilities may be asked for."""
        if Ability.TAGS not in self.abilities:
            where = where._replace(tags=None)
        return where if Ability.FAULTS in self.abilities else where._replace(faults=None)

    def same(self, call: Callable[[Storage], Any]) -> Any:
        answer, expected = self.both(call)
        assert answer == expected, (answer, expected)
        return answer

    @staticmethod
    def _answer(call: Callable[[Storage], Any], storage: Storage) -> Any:
        try:
            return call(storage)
        except QueueCTLError as error:
            assert str(error), "an error says what happened"
            return type(error)

    def _learn_numbers(self) -> None:
        """The numbers of what was just stored: storages may leave some out, none may give one twice."""
        fresh = []
        for job in self.views[self.calls % 2].find(limit=20).jobs:
            if job.seq <= self.last_seq:
                break
            fresh.append(job.seq)
        self.reference.numbers = fresh[::-1]
        self.last_seq = max(self.last_seq, *fresh) if fresh else self.last_seq

    # -- getting work in, and done ----------------------------------------------------------------

    @initialize(wishes=st.lists(WISHES, min_size=3, max_size=6))
    def start(self, wishes: Sequence[Wish]) -> None:
        self.enqueue([wish._replace(id=None, key=None) for wish in wishes], False)

    def enqueue(self, wishes: Sequence[Wish], tell: bool) -> None:
        jobs = [wish.spec(self.now, self.abilities) for wish in wishes]
        routes = ROUTES if tell and Ability.OUTBOX in self.abilities else ()
        self.same(lambda storage: _list(storage.enqueue(jobs, deliveries=routes, now=self.now)))

    def work(
        self,
        pool: str,
        endings: Sequence[Ending],
        want: int,
        queues: dict[str, int | None] | None,
        lease: float,
        lose: bool,
        tick: int,
    ) -> None:
        """A turn as pools take them. What the pool believes to hold ends, whatever the storage thinks of that.

        The reply may be lost: then the pool does not know what it holds, nor that its results are stored.
        """
        self.clock(tick)
        claims = list(self.held[pool].values())[::-1]
        chosen = {claims[e.claim % len(claims)].job.id: (e, claims[e.claim % len(claims)]) for e in endings if claims}
        made = [settlement_of(ending, claim, self.now, self.abilities) for ending, claim in chosen.values()]
        self._turn(pool, made, want, queues, lease=lease, lose=lose)

    # Each rule is as likely as any other: what is the rule in life stands here more than once.
    _ENQUEUE: ClassVar[dict[str, Any]] = {
        "wishes": st.lists(WISHES, min_size=1, max_size=4),
        "tell": often(False, True),
    }
    _WORK: ClassVar[dict[str, Any]] = {
        "pool": st.sampled_from(POOLS),
        "endings": st.lists(ENDINGS, max_size=4),
        "want": st.integers(0, 4),
        "queues": CEILINGS,
        "lease": LEASES,
        "lose": often(False, True),
        "tick": st.sampled_from((0, 1, 1000, 61_000)),
    }
    enqueue_1 = _rule(**_ENQUEUE)(_another(enqueue))
    enqueue_2 = _rule(**_ENQUEUE)(_another(enqueue))
    work_1 = _rule(**_WORK)(_another(work))
    work_2 = _rule(**_WORK)(_another(work))
    work_3 = _rule(**_WORK)(_another(work))
    work_4 = _rule(**_WORK)(_another(work))

    @precondition(lambda self: self.claims)
    @rule(ending=ENDINGS, which=st.integers(0, 30))
    def settle_late(self, ending: Ending, which: int) -> None:
        """Under any token that was ever given, by whom it was given to."""
        pool, claim = self.claims[-1 - which % len(self.claims)]
        self._turn(pool, [settlement_of(ending, claim, self.now, self.abilities)], 0, None)

    @precondition(lambda self: self.settlements)
    @rule(which=st.integers(0, 30), want=often(0, 2))
    def settle_again(self, which: int, want: int) -> None:
        """As a pool does whose reply was lost."""
        pool, settlement = self.settlements[-1 - which % len(self.settlements)]
        self._turn(pool, [settlement], want, None)

    def _turn(
        self,
        pool: str,
        settlements: Sequence[Settlement],
        want: int,
        queues: dict[str, int | None] | None,
        *,
        lease: float = 60.0,
        lose: bool = False,
    ) -> None:
        turn = Turn(pool, tuple(settlements), want, queues, lease, self.now)

        def lead(answer: Exchange) -> None:
            self.reference.claimed = tuple([claim.job.id for claim in answer.claims])

        was = {job.id: job for job in self.reference.find(limit=1000).jobs}
        answer, expected = self.both(lambda storage: storage.exchange(turn), lead)
        assert answer.claims == expected.claims and sorted(answer.refused) == sorted(expected.refused)
        assert sorted(answer.cancel) == sorted(expected.cancel), (answer.cancel, expected.cancel)
        assert answer.unstored == expected.unstored, (answer.unstored, expected.unstored)
        self._due(answer, turn)
        for settlement in settlements:
            before = was.get(settlement.id)
            if before is None or before.token != settlement.token:
                assert settlement.id in answer.refused or self._was_settled(settlement), "no token, no settlement"
            if not lose:
                self.held[pool].pop(settlement.id, None)
        self.settlements += [(pool, settlement) for settlement in settlements]
        self._told(pool, answer.claims, lose=lose)

    def _was_settled(self, settlement: Settlement) -> bool:
        return any(s.id == settlement.id and s.token == settlement.token for _, s in self.settlements)

    def _due(self, answer: Exchange, turn: Turn) -> None:
        """A pool that sleeps until ``next_due`` misses nothing that it could run."""
        if len(answer.claims) < turn.want and not answer.more:
            assert len(answer.claims) == len(self.reference.claimed)
        closed = {stat.name for stat in self.reference.stat(now=self.now) if stat.paused}
        waiting = [
            job for job in self.reference.find(limit=1000).jobs if job.state in WAITING and job.run_at > self.now
        ]
        served = [
            job.run_at
            for job in waiting
            if job.spec.queue not in closed and not self.reference.is_ready(job)
            and (turn.queues is None or job.spec.queue in turn.queues)
        ]  # fmt: skip
        if served:
            assert answer.next_due is not None and answer.next_due <= min(served), (answer.next_due, served)

    def _told(self, pool: str, claims: Sequence[Claim], *, lose: bool = False) -> None:
        """A pool is told of claims, or the reply is lost."""
        for claim in claims:
            owner = self.owners.setdefault((claim.job.id, claim.token), pool)
            assert owner == pool, f"{claim.job.id} is held under token {claim.token} by {owner} and {pool}"
            assert claim.job.state is State.PROCESSING and claim.job.pool == pool and claim.job.token == claim.token
            if not lose:
                self.held[pool][claim.job.id] = claim
                self.claims.append((pool, claim))

    @rule(pool=st.sampled_from(POOLS), come=st.booleans(), lease=LEASES, workers=st.integers(0, 3))
    def come_or_go(self, pool: str, come: bool, lease: float, workers: int) -> None:
        row = Pool(pool, "host", 7, NOW, ("a",), workers)
        self.same(lambda storage: storage.join(row, lease=lease, now=self.now) if come else storage.leave(pool))

    @rule(pool=st.sampled_from(POOLS), lease=LEASES)
    def heartbeat(self, pool: str, lease: float) -> None:
        held = [Held(claim.job.id, claim.token) for claim in self.held[pool].values()]
        answer, expected = self.both(lambda storage: storage.heartbeat(pool, held, lease=lease, now=self.now))
        for ours, theirs in zip(answer, expected, strict=True):
            assert sorted(ours) == sorted(theirs), (answer, expected)
        for id in answer.lost:
            del self.held[pool][id]
        self._told(pool, answer.found)

    @rule(
        pool=st.sampled_from(POOLS),
        dead=st.sets(st.sampled_from((*POOLS, "stranger"))),
        alive=st.sets(st.sampled_from(POOLS)),
        limit=LIMITS,
        lease=LEASES,
        tick=often(0, 61_000),
    )
    def reap(self, pool: str, dead: set[str], alive: set[str], limit: int, lease: float, tick: int) -> None:
        """Now and then a pool calls another one dead that is not, or itself."""
        self.clock(tick)

        def lead(answer: Sequence[Claim]) -> None:
            self.reference.adopted = tuple([claim.job.id for claim in answer])

        names, others = sorted(dead), sorted(alive)
        answer, expected = self.both(
            lambda storage: storage.reap(pool, dead=names, alive=others, limit=limit, lease=lease, now=self.now), lead
        )
        assert sorted(answer) == sorted(expected), (answer, expected)
        self._told(pool, answer)

    # -- what people do ---------------------------------------------------------------------------

    @rule(
        action=st.sampled_from(Action),
        where=where(seldom),
        limit=LIMITS,
        tell=often(False, True),
        actor=often("", "me"),
    )
    def apply(self, action: Action, where: Where, limit: int, tell: bool, actor: str) -> None:
        routes = ROUTES if tell and Ability.OUTBOX in self.abilities else ()
        where = self.allowed(where)
        given: dict[str, Any] = {"actor": actor, "note": "n", "deliveries": routes, "limit": limit, "now": self.now}
        for change in self.same(lambda storage: _list(storage.apply(action, where, **given))):
            assert change.was is not State.PROCESSING or change.now is State.PROCESSING, "it takes its pool to end it"

    @rule(
        action=st.sampled_from((Action.CANCEL, Action.RETRY, Action.DELETE)),
        which=st.integers(0, 9),
        tell=st.booleans(),
    )
    def apply_to_one(self, action: Action, which: int, tell: bool) -> None:
        if jobs := self.reference.find(limit=1000).jobs:
            self.apply(action, Where(ids=(jobs[which % len(jobs)].id,)), 1, tell, "me")

    @rule(which=st.integers(0, 9), tell=st.booleans())
    def cancel_a_running_one(self, which: int, tell: bool) -> None:
        if jobs := self.reference.find(Where(states=(State.PROCESSING,)), limit=1000).jobs:
            self.apply(Action.CANCEL, Where(ids=(jobs[which % len(jobs)].id,)), 1, tell, "me")

    @rule(
        name=st.sampled_from(QUEUES),
        paused=often(None, False, True),
        limit=often(-1, None, 0, 1, 2),
        seed=often(False, True),
    )
    def set_queue(self, name: str, paused: bool | None, limit: int | None, seed: bool) -> None:
        self.same(
            lambda storage: storage.set_queue(
                name, paused=paused, reason="r" if paused else "", limit=limit, seed=seed, now=self.now
            )
        )

    @rule(ago=st.sampled_from((-1, 0, 1000, 90_000)), states=seldom(STATES), limit=LIMITS)
    def prune(self, ago: int, states: Sequence[State] | None, limit: int) -> None:
        self.same(lambda storage: storage.prune(self.now - ago, states=states, limit=limit, now=self.now))

    # -- output, outbox ---------------------------------------------------------------------------

    @precondition(lambda self: any(self.held.values()))
    @rule(
        which=st.integers(0, 9),
        stream=st.sampled_from(("stdout", "stderr")),
        offset=often(0, 3),
        size=st.integers(0, 5),
        times=often(1, 2),
    )
    def put_output(self, which: int, stream: str, offset: int, size: int, times: int) -> None:
        """By the holder, as it is told to."""
        claims = [claim for held in self.held.values() for claim in held.values()]
        claim = claims[which % len(claims)]
        job = self.reference._find(claim.job.id)
        if job is not None and job.state is State.PROCESSING and job.token == claim.token:
            for _ in range(times):
                self.same(lambda storage: storage.put_output(job, job.attempts, stream, offset, b"abcde"[:size]))

    @rule(
        whom=often(None, (TARGET,), ("hook", "nobody")),
        limit=often(100, 0, 1),
        hold=st.sampled_from((0.0, 60.0)),
        done=st.integers(0, 3),
        late=st.integers(0, 2),
        error=often("", "answered 500"),
        old=seldom(st.sampled_from((0, 1000, 90_000))),
    )
    def send(
        self,
        whom: tuple[str, ...] | None,
        limit: int,
        hold: float,
        done: int,
        late: int,
        error: str,
        old: int | None,
    ) -> None:
        """Deliveries are taken; some are done, fail or are given up. Each storage has its own numbers for them."""
        answer, expected = self.both(
            lambda storage: storage.take_deliveries(targets=whom, limit=limit, hold=hold, now=self.now)
        )
        if Ability.OUTBOX not in self.abilities:
            return
        assert [d._replace(id=0) for d in answer] == [d._replace(id=0) for d in expected], (answer, expected)
        self.deliveries += zip([d.id for d in answer], [d.id for d in expected], strict=True)
        gone, self.deliveries = self.deliveries[:done], self.deliveries[done:]
        for storage, place in ((self.views[0], 0), (self.reference, 1)):
            storage.delivered([pair[place] for pair in gone])
            storage.postpone([pair[place] for pair in self.deliveries[:late]], 30.0, error=error, now=self.now)
        if old is not None:
            self.same(lambda storage: storage.drop_deliveries(self.now - old, limit=max(1, limit)))

    # -- time, death, looking ---------------------------------------------------------------------

    @rule(tick=TICKS)
    def clock(self, tick: int) -> None:
        """It may jump, forwards and backwards."""
        self.now = max(self.now + tick, self.latest - SET_BACK)
        self.latest = max(self.latest, self.now)

    @rule(which=st.integers(0, 1))
    def die(self, which: int) -> None:
        """A process ends between two calls; another one opens the storage."""
        identity = self.views[which].identity
        self.views[which].close()
        self.views[which] = self.open()
        assert self.views[which].identity == identity

    @rule(where=where(seldom) | where(lambda strategy: st.none() | strategy), limit=st.integers(1, 3))
    def find(self, where: Where, limit: int) -> None:
        """Page by page; a page may be short, together they are all."""
        where = self.allowed(where)
        self.same(lambda storage: _pages(storage, where, limit))

    # -- after every step -------------------------------------------------------------------------

    @invariant()
    def agrees(self) -> None:
        """Seen by another process than the one that acted, all is as in the reference."""
        other = self.views[(self.calls + 1) % 2]
        jobs = _pages(other, Where(), 1000)
        assert jobs == _pages(self.reference, Where(), 1000)
        stats = _list(other.stat(now=self.now))
        assert stats == _list(self.reference.stat(now=self.now))
        assert sorted(other.pools()) == sorted(self.reference.pools())
        self.keeps_promises(jobs, {stat.name: stat for stat in stats})

    def keeps_promises(self, jobs: Sequence[Job], stats: dict[str, Any]) -> None:
        """What holds without a reference."""
        assert len({job.id for job in jobs}) == len(jobs) == len({job.seq for job in jobs})
        keys = Counter(job.spec.unique_key for job in jobs if job.state not in FINISHED and job.spec.unique_key)
        assert not keys or max(keys.values()) == 1, f"two unfinished jobs have one key: {keys}"
        counted = Counter((job.spec.queue, job.state) for job in jobs)
        kept = {(name, state): n for name, stat in stats.items() for state, n in stat.counts.items() if n}
        assert kept == counted, f"kept {kept}, counted {counted}"
        for job in jobs:
            assert (job.state is State.PROCESSING) == (job.pool is not None)
            assert job.token >= self.tokens.get(job.seq, 0), f"the token of {job.id} went down"
            assert job.token >= job.attempts
            self.tokens[job.seq] = job.token
        running = Counter(job.spec.queue for job in jobs if job.state is State.PROCESSING)
        for name, n in running.items():
            limit = stats[name].limit
            assert limit is None or n <= max(limit, self.running[name]), f"{n} of {name} run, {limit} may"
        self.running = running

    def compare_all(self) -> None:
        """What is dear to compare, once at the end: histories, output, histograms, and what ``check`` says."""
        storage, reference = self.views[0], self.reference
        for job in reference.find(limit=1000).jobs:
            assert storage.history(job.id) == reference.history(job.id)
            for number in range(job.attempts + 1):
                for stream in ("stdout", "stderr"):
                    size = storage.output_size(job.id, number, stream)
                    said = storage.read_output(job.id, number, stream)
                    assert (size, said) == (len(said), reference.read_output(job.id, number, stream))
        if Ability.MOVING in self.abilities:
            assert _told(storage) == _told(reference)
        if Ability.FAULTS in self.abilities:
            groups = _list(storage.faults())
            assert groups == _list(reference.faults())
            for group in groups:
                where = Where(faults=(group.fault,))
                assert _pages(storage, where, 2) == _pages(reference, where, 2)
        if Ability.OUTBOX in self.abilities:
            assert _list(storage.outbox()) == _list(reference.outbox())
        first, last = NOW - SET_BACK, self.latest
        assert _list(storage.samples(first, last)) == _list(reference.samples(first, last))
        assert _list(storage.summed(first, last, 7)) == _list(reference.summed(first, last, 7))
        wrong = [finding for finding in storage.check() if finding.level == "error" or "wrong" in finding.text]
        assert wrong == []


def _list(answer: Sequence[Any]) -> list[Any]:
    return list(answer)


def _told(storage: Storage) -> list[Any]:
    """What is exported, whatever its lots."""
    return [pair for batch in storage.export() for pair in batch]


def _pages(storage: Storage, where: Where, limit: int) -> list[Job]:
    page = storage.find(where, limit=limit)
    jobs = list(page.jobs)
    while page.cursor is not None:
        assert len(page.jobs) <= limit
        page = storage.find(where, limit=limit, cursor=page.cursor)
        jobs += page.jobs
    return jobs


# -- as a part of the suite -----------------------------------------------------------------------


def run_machine(
    new_storage: Callable[[], OpenStorage], *, examples: int, steps: int, seeded: bool = True, shrink: bool = True
) -> None:
    """Run the machine so many times. *seeded*: the same runs each time; else others, and a failure prints its own."""
    machine = type("Machine", (StorageMachine,), {"new_storage": staticmethod(new_storage)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=seeded,
            database=None,
            deadline=None,
            print_blob=True,
            phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
