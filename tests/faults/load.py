"""A mixed load on a storage, by processes that say what was acknowledged; and what must be true of it afterwards."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable
from typing import Any

from queuectl.api.model import Action, Held, Turn, Where
from queuectl.api.storage import Storage
from queuectl.testing.subjects.subject import completed, dead, failed, job, lost, read, released

Say = Callable[[object], None]


def work(storage: Storage, rng: random.Random, say: Say, going_on: Callable[[], bool]) -> None:
    """Enqueue, claim, settle, cancel, delete, look … as several programs would, each call told when it returned.

    What is about to be deleted is told before: afterwards it may be there or not.
    """
    pool = f"p{os.getpid()}.{rng.randrange(1000)}"
    claims: list[Any] = []
    mine: list[str] = []
    while going_on():
        kind = rng.randrange(12)
        if kind < 4:
            jobs = [
                job("x" * rng.choice((4, 900)), priority=rng.randrange(3)) for _ in range(rng.choice((1, 1, 5, 60)))
            ]
            ids = [receipt.id for receipt in storage.enqueue(jobs)]
            mine += ids
            say(["enqueued", ids])
        elif kind < 9:
            endings = [rng.choice((completed, completed, failed, lost, dead, released))(claim) for claim in claims]
            done = [e if e.released else e._replace(stdout=b"o" * rng.choice((0, 10, 5000))) for e in endings]
            answer = storage.exchange(Turn(pool, tuple(done), want=rng.choice((0, 1, 8))))
            claims = list(answer.claims)
            kept = [(s.id, s.token) for s in done if not s.released and s.id not in answer.refused]
            say(["settled", kept])
        elif kind == 9:
            held = [Held(claim.job.id, claim.token) for claim in claims]
            pulse = storage.heartbeat(pool, held, lease=60)
            claims = [claim for claim in claims if claim.job.id not in pulse.lost] + list(pulse.found)
            storage.stat()
        elif kind == 10 and mine:
            chosen = tuple(rng.sample(mine, min(3, len(mine))))
            storage.apply(Action.CANCEL, Where(ids=chosen))
            say(["deleting", chosen])
            storage.apply(Action.DELETE, Where(ids=chosen))
        else:
            storage.find(limit=20)
            claims += storage.reap(pool, limit=5, lease=60)


class Acknowledged:
    """What processes were told is stored."""

    def __init__(self) -> None:
        self.enqueued: set[str] = set()
        self.settled: set[tuple[str, int]] = set()
        self.deleting: set[str] = set()

    def hear(self, words: Iterable[Any]) -> None:
        for kind, what in words:
            if kind == "enqueued":
                self.enqueued.update(what)
            elif kind == "settled":
                self.settled.update([(id, token) for id, token in what])
            else:
                self.deleting.update(what)

    def check(self, storage: Storage) -> None:
        """All of it is there; the counts are right; the file is whole."""
        ids = sorted(self.enqueued - self.deleting)
        gone = [id for id, found in zip(ids, storage.get(ids), strict=True) if found is None]
        assert not gone, f"acknowledged and gone: {gone}"
        for id, token in self.settled:
            if id in ids:
                tokens = [attempt.token for attempt in storage.history(id).attempts]
                assert token in tokens, f"job {id} was settled under {token}, its attempts are {tokens}"
                assert read(storage, id).token >= token
        assert [finding for finding in storage.check() if finding.level != "ok"] == []
