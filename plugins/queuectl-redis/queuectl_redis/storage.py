"""RedisStorage: the storage contract on a Redis server, for any number of hosts. Each method is one Lua script.

The steps are imported when first taken: ``enqueue`` is typed in loops and needs few of them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar

from queuectl.api.errors import BadInput, JobExists
from queuectl.api.model import Where
from queuectl.api.storage import Ability, Listener, Storage

from . import ABILITIES
from .rows import Batch, job_of, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from queuectl.api.model import (
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
        State,
        Turn,
    )

    from .link import Link

#: Rows that one script takes at most: it keeps everybody else waiting, for about 30 µs a row.
BATCH = 100
PIECE = 1 << 17  # bytes of output that one script takes


class RedisStorage(Storage):
    """Jobs in a Redis or Valkey server. *link* is the connection to it.

    Atomic are ``enqueue`` and ``load`` up to ``BATCH`` jobs, ``apply`` and ``prune`` up to ``BATCH`` changes: longer
    calls are taken in chunks, so that no script keeps the server from others for long.
    """

    abilities: ClassVar[frozenset[Ability]] = ABILITIES
    batch: ClassVar[int | None] = BATCH

    def __init__(self, link: Link) -> None:
        self._link = link
        self._version = b""
        link.open()
        self.identity = link.identity

    # -- getting work in --------------------------------------------------------------------------

    def enqueue(
        self, jobs: Sequence[NewJob], *, deliveries: Sequence[Route] = (), now: int | None = None
    ) -> Sequence[Receipt]:
        given = [job.id for job in jobs if job.id is not None]
        for id in given:
            if id.isdecimal() and id.isascii():
                raise BadInput(f"the id {id} is a number: only issued ids are, give it a letter")
        if len(set(given)) < len(given):
            twice = next(id for id in given if given.count(id) > 1)
            raise JobExists(f"a job with the id {twice} exists already")
        if len(given) and len(jobs) > BATCH:
            for id, job in zip(given, self.get(given), strict=True):
                if job is not None:
                    raise JobExists(f"a job with the id {id} exists already")
        receipts: list[Receipt] = []
        for start in range(0, len(jobs), BATCH):
            receipts += self._enqueue(jobs[start : start + BATCH], deliveries, now)
        return receipts

    def _enqueue(self, jobs: Sequence[NewJob], routes: Sequence[Route], now: int | None) -> Iterator[Receipt]:
        from queuectl.api.model import Receipt

        batch = Batch()
        words = [word for job in jobs for word in batch.words(job, routes)]
        answer = self._link.writes("enqueue", _mark(), *batch.head(), len(jobs), *words, now=now)
        if answer[:1] == [b"exists"]:
            raise JobExists(f"a job with the id {text_of(answer[1])} exists already")
        return (Receipt(text_of(id), made == b"1") for id, made in zip(answer[::2], answer[1::2], strict=True))

    # -- a pool's life ----------------------------------------------------------------------------

    def join(self, pool: Pool, *, lease: float, now: int | None = None) -> None:
        from .pools import join

        join(self._link, pool, lease, now)

    def leave(self, pool: str) -> None:
        self._link.writes("leave", pool, patient=False)

    def pools(self) -> Sequence[Pool]:
        from .pools import pools

        return pools(self._link)

    def exchange(self, turn: Turn) -> Exchange:
        from .exchange import exchange

        return exchange(self._link, turn)

    def heartbeat(self, pool: str, held: Sequence[Held], *, lease: float, now: int | None = None) -> Pulse:
        from .pools import heartbeat

        return heartbeat(self._link, pool, held, lease, now)

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
        from .pools import reap

        return reap(self._link, pool, dead, alive, limit, lease, now)

    # -- waiting ----------------------------------------------------------------------------------

    def listen(self, name: str) -> Listener | None:
        from .listener import WakeListener

        return WakeListener(self._link, name)

    def changed(self) -> bool:
        was, self._version = self._version, self._link.step("version", patient=False)
        return was != self._version

    # -- looking ----------------------------------------------------------------------------------

    def get(self, ids: Sequence[str]) -> Sequence[Job | None]:
        found: list[Job | None] = []
        for start in range(0, len(ids), BATCH):
            some = ids[start : start + BATCH]
            found += [None if row is None else job_of(row) for row in self._link.step("get", len(some), *some)]
        return found

    def find(self, where: Where = Where(), *, limit: int = 100, cursor: str | None = None) -> Page:
        from .searching import find

        return find(self._link, self.get, where, limit, cursor)

    def faults(self, *, limit: int = 100) -> Sequence[Fault]:
        from .looking import faults

        return faults(self._link, limit)

    def resolve(self, prefix: str) -> Sequence[str]:
        return [text_of(id) for id in self._link.step("resolve", prefix)] if prefix else []

    def history(self, id: str) -> History:
        from .looking import history

        return history(self._link, id)

    def stat(self, *, now: int | None = None) -> Sequence[QueueStat]:
        from .looking import stat

        return stat(self._link, now)

    def samples(self, since: int, until: int) -> Sequence[Sample]:
        from .looking import samples

        return samples(self._link, since, until)

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
        from .changing import apply

        return apply(
            self._link, self.get, action, where, actor=actor, note=note, routes=deliveries, limit=limit, now=now
        )

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
        from .changing import set_queue

        set_queue(self._link, name, paused=paused, reason=reason, limit=limit, seed=seed, actor=actor, now=now)

    def prune(
        self, before: int, *, states: Sequence[State] | None = None, limit: int = 1000, now: int | None = None
    ) -> int:
        from .changing import prune

        return prune(self._link, before, states, limit, now)

    # -- output -----------------------------------------------------------------------------------

    def put_output(self, job: Job, attempt: int, stream: str, offset: int, data: bytes) -> None:
        if data:
            self._link.writes("put_output", f"{job.seq:013}", attempt, stream, offset, data)

    def read_output(self, id: str, attempt: int, stream: str, offset: int = 0, size: int = 1 << 16) -> bytes:
        if size < 1:
            return b""
        data: bytes = self._link.step("read_output", id, attempt, stream, offset, size)
        return data

    def output_size(self, id: str, attempt: int, stream: str) -> int:
        return int(self._link.step("read_output", id, attempt, stream, 0, 0))

    # -- output of running jobs ---------------------------------------------------------------------

    def watch(self, id: str, *, hold: float = 10.0, now: int | None = None) -> None:
        self._link.step("watch", id, round(1000 * hold), now=now)

    def show_output(self, job: Job, attempt: int, stream: str, offset: int, data: bytes) -> None:
        for at in range(0, len(data), PIECE):
            piece = data[at : at + PIECE]
            self._link.step("show_output", f"{job.seq:013}", attempt, stream, offset + at, piece, patient=False)

    def shown_output(self, id: str, attempt: int, stream: str, offset: int = 0) -> tuple[int, bytes]:
        begin, data = self._link.step("shown_output", id, attempt, stream, offset)
        return begin, data

    # -- outbox -----------------------------------------------------------------------------------

    def take_deliveries(
        self, *, targets: Sequence[str] | None = None, limit: int = 100, hold: float = 60.0, now: int | None = None
    ) -> Sequence[Delivery]:
        from .outbox import take

        return take(self._link, targets, limit, hold, now)

    def delivered(self, ids: Sequence[int]) -> None:
        from .outbox import delivered

        delivered(self._link, ids)

    def postpone(self, ids: Sequence[int], delay: float, *, error: str = "", now: int | None = None) -> None:
        from .outbox import postpone

        postpone(self._link, ids, delay, error, now)

    def drop_deliveries(self, before: int, *, limit: int = 1000) -> int:
        from .outbox import drop

        return drop(self._link, before, limit)

    def outbox(self) -> Sequence[OutboxStat]:
        from .outbox import outbox

        return outbox(self._link)

    # -- moving house -----------------------------------------------------------------------------

    def export(self, *, batch: int = 1000) -> Iterator[Sequence[tuple[Job, History]]]:
        from .moving import export

        return export(self._link, min(batch, BATCH))

    def load(
        self,
        jobs: Sequence[tuple[Job, History]],
        *,
        outputs: Mapping[tuple[str, int, str], bytes] = {},
        now: int | None = None,
    ) -> int:
        from .moving import load

        return load(self._link, jobs, outputs, now)

    # -- life -------------------------------------------------------------------------------------

    def check(self) -> Sequence[Finding]:
        from .checking import check

        return check(self._link)

    def close(self) -> None:
        self._link.close()


def _mark() -> str:
    """What a step is known by that must not be taken twice."""
    return os.urandom(8).hex()


def open_storage(options: Mapping[str, Any]) -> RedisStorage:
    """The storage that a checked table ``[storage.redis]`` names."""
    from .address import parse
    from .link import Link

    address = parse(options.get("url", "redis://127.0.0.1:6379/0"))
    if (password := options.get("password")) is not None:
        address = address._replace(password=password)
    return RedisStorage(
        Link(
            address,
            options.get("prefix", "queuectl"),
            timeout=options.get("timeout", 5.0),
            patience=options.get("patience", 10.0),
            replicas=options.get("wait_replicas", 0),
            ca=options.get("ca"),
        )
    )
