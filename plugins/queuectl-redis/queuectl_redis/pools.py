"""Pools: what they say of themselves, their leases, and what they inherit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from queuectl.api.model import Claim, Held, Pool, Pulse

from .rows import claim_of, text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .link import Link


def join(link: Link, pool: Pool, lease: float, now: int | None) -> None:
    said = pool._asdict()
    del said["id"], said["lease_until"]
    link.writes("join", pool.id, _ms(lease), json.dumps(said, separators=(",", ":")), now=now)


def pools(link: Link) -> list[Pool]:
    known = [_pool(*row) for row in link.step("pools")]
    return sorted(known, key=lambda pool: (pool.started_at, pool.id))


def _pool(id: bytes, lease: bytes, said: bytes) -> Pool:
    fields: dict[str, Any] = json.loads(said) if said else {"host": "", "pid": 0, "started_at": 0}
    fields = {name: value for name, value in fields.items() if name in Pool._fields}
    fields["queues"] = tuple(fields.get("queues", ()))
    return Pool(id=text_of(id), lease_until=int(lease), **fields)


def heartbeat(link: Link, pool: str, held: Sequence[Held], lease: float, now: int | None) -> Pulse:
    words = [word for each in held for word in each]
    lost, cancel, found, watched = link.writes("heartbeat", pool, _ms(lease), len(held), *words, now=now, patient=False)
    return Pulse(
        tuple([text_of(id) for id in lost]),
        tuple([text_of(id) for id in cancel]),
        tuple([claim_of(row) for row in found]),
        tuple([text_of(id) for id in watched]),
    )


def reap(
    link: Link, pool: str, dead: Sequence[str], alive: Sequence[str], limit: int, lease: float, now: int | None
) -> list[Claim]:
    rows = link.writes(
        "reap", pool, _ms(lease), max(0, limit), len(dead), *dead, len(alive), *alive, now=now, patient=False
    )
    return [claim_of(row) for row in rows]


def _ms(lease: float) -> int:
    return round(1000 * lease)
