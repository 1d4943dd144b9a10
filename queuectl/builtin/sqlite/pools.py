"""Who holds what: leases, heartbeats, and taking over from the dead."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from queuectl.api.model import Claim, Held, Pool, Pulse

from . import statements
from .database import Nonsense
from .looking import job_at
from .rows import job_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .database import Database

_SQL = statements.load("pools")


def join(db: Database, pool: Pool, lease: float, now: int) -> None:
    until = now + round(1000 * lease)
    row = (pool.id, until, pool.host, pool.pid, pool.started_at, json.dumps(pool.queues), pool.workers, pool.version)
    with db.writing:
        db.execute(_SQL["join"], row)


def leave(db: Database, pool: str) -> None:
    with db.writing:
        holds = db.execute(_SQL["held"], (pool,)).fetchone()
        db.execute(_SQL["end_lease" if holds else "forget"], (pool,))


def pools(db: Database) -> list[Pool]:
    with db.reading:
        return [
            Pool(id, host, pid, started_at, tuple(json.loads(queues)), workers, lease_until, version)
            for id, host, pid, started_at, queues, workers, lease_until, version in db.execute(_SQL["list"])
        ]


def heartbeat(db: Database, pool: str, held: Sequence[Held], lease: float, now: int) -> Pulse:
    with db.writing:
        db.execute(_SQL["renew"], (pool, now + round(1000 * lease)))
        rows = {(job_id(seq, id), token): (seq, cancel) for seq, id, token, cancel in db.execute(_SQL["held"], (pool,))}
        believed = {(each.id, each.token) for each in held}
        lost = tuple([each.id for each in held if (each.id, each.token) not in rows])
        cancel = tuple([key[0] for key, (_, cancel) in rows.items() if cancel])
        found = [job_at(db, seq) for key, (seq, _) in rows.items() if key not in believed]
    return Pulse(lost, cancel, tuple([Claim(job, job.token) for job in found]))


def reap(
    db: Database, pool: str, dead: Sequence[str], alive: Sequence[str], limit: int, lease: float, now: int
) -> list[Claim]:
    """Adopt what dead pools hold. One that still holds something, because of *limit*, stays known."""
    with db.writing:
        db.execute(_SQL["renew"], (pool, now + round(1000 * lease)))
        leases = {known.id: known.lease_until for known in _known(db)}
        gone = [
            other
            for other in {*leases, *_holders(db), *dead}
            if other != pool and (other in dead or (other not in alive and leases.get(other, 0) <= now))
        ]
        seqs: list[int] = []
        for other in sorted(gone):
            seqs += [seq for (seq,) in db.execute(_SQL["adopt"], (pool, other, limit - len(seqs)))]
            if not db.execute(_SQL["held"], (other,)).fetchone():
                db.execute(_SQL["forget"], (other,))
        jobs = [job_at(db, seq) for seq in seqs]
    return [Claim(job, job.token) for job in jobs]


def _known(db: Database) -> Iterator[Pool]:
    for id, *_, lease_until, _ in db.execute(_SQL["list"]):
        yield Pool(id, "", 0, 0, lease_until=lease_until)


def _holders(db: Database) -> Iterator[str]:
    pool = ""
    while row := db.execute(_SQL["next_holder"], (pool,)).fetchone():
        if row[0] <= pool:
            raise Nonsense("an index goes round in circles")
        pool = row[0]
        yield pool
