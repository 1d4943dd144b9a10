"""SQLiteStorage: the storage contract on one file. Each method is one step of one module here.

The steps are imported when first taken: ``enqueue`` is typed in loops and needs few of them.
"""

from __future__ import annotations

import sys
import time
from os.path import exists
from typing import TYPE_CHECKING, ClassVar

from queuectl.api.model import Where
from queuectl.api.storage import Ability, Listener, Storage

from . import BUSY_SECONDS
from .database import Database

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


class SQLiteStorage(Storage):
    """Jobs in one file, for any number of processes on one machine.

    *durability* is ``full`` (what was accepted survives a power cut) or ``normal`` (only the end of a process).
    The folder of *path* must exist; the file is made if need be.
    """

    abilities: ClassVar[frozenset[Ability]] = frozenset(
        {Ability.MOVING, Ability.BACKUP, Ability.LISTEN, Ability.UNIQUE, Ability.TAGS, Ability.OUTBOX, Ability.FAULTS}
    )

    def __init__(
        self, path: str, durability: str = "full", *, busy_seconds: float = BUSY_SECONDS, vfs: str | None = None
    ) -> None:
        self._db = Database(path, durability, busy_seconds=busy_seconds, vfs=vfs)
        self.path = self._db.path
        self.home = self._db.home
        self.identity = self._db.identity

    # -- getting work in --------------------------------------------------------------------------

    def enqueue(
        self, jobs: Sequence[NewJob], *, deliveries: Sequence[Route] = (), now: int | None = None
    ) -> Sequence[Receipt]:
        from .enqueueing import enqueue

        receipts = enqueue(self._db, jobs, deliveries, _clock(now))
        self._wake()
        return receipts

    # -- a pool's life ----------------------------------------------------------------------------

    def join(self, pool: Pool, *, lease: float, now: int | None = None) -> None:
        from .pools import join

        join(self._db, pool, lease, _clock(now))

    def leave(self, pool: str) -> None:
        from .pools import leave

        leave(self._db, pool)

    def pools(self) -> Sequence[Pool]:
        from .pools import pools

        return pools(self._db)

    def exchange(self, turn: Turn) -> Exchange:
        from .exchange import exchange

        done = exchange(self._db, turn, _clock(turn.now))
        if done.news:
            self._wake(turn.pool)
        return done.exchange

    def heartbeat(self, pool: str, held: Sequence[Held], *, lease: float, now: int | None = None) -> Pulse:
        from .pools import heartbeat

        return heartbeat(self._db, pool, held, lease, _clock(now))

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

        return reap(self._db, pool, dead, alive, limit, lease, _clock(now))

    # -- waiting ----------------------------------------------------------------------------------

    def listen(self, name: str) -> Listener | None:
        if sys.platform != "win32":
            from .listener import WakeListener

            return WakeListener(self._db.home, name)
        return None

    def changed(self) -> bool:
        from .looking import changed

        return changed(self._db)

    def _wake(self, *but: str) -> None:
        run = self._db.home + "/run"
        if sys.platform != "win32" and exists(run):  # else nobody has listened yet
            from .listener import wake

            wake(run, but)

    # -- looking ----------------------------------------------------------------------------------

    def get(self, ids: Sequence[str]) -> Sequence[Job | None]:
        from .looking import get

        return get(self._db, ids)

    def find(self, where: Where = Where(), *, limit: int = 100, cursor: str | None = None) -> Page:
        from .looking import find

        return find(self._db, where, limit, cursor)

    def faults(self, *, limit: int = 100) -> Sequence[Fault]:
        from .looking import faults

        return faults(self._db, limit)

    def resolve(self, prefix: str) -> Sequence[str]:
        from .looking import resolve

        return resolve(self._db, prefix)

    def history(self, id: str) -> History:
        from .looking import history

        return history(self._db, id)

    def stat(self, *, now: int | None = None) -> Sequence[QueueStat]:
        from .looking import stat

        return stat(self._db, _clock(now))

    def samples(self, since: int, until: int) -> Sequence[Sample]:
        from .looking import samples

        return samples(self._db, since, until)

    def summed(self, since: int, until: int, width: int) -> Sequence[Sample]:
        from .looking import summed

        return summed(self._db, since, until, width)

    def sizes(self) -> Mapping[str, int]:
        from .looking import sizes

        return sizes(self.path)

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

        applied = apply(
            self._db, action, where, actor=actor, note=note, routes=deliveries, limit=limit, now=_clock(now)
        )
        self._remove(applied.gone)
        if applied.changes:
            self._wake()
        return applied.changes

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

        if set_queue(
            self._db, name, paused=paused, reason=reason, limit=limit, seed=seed, actor=actor, now=_clock(now)
        ):
            self._wake()

    def prune(
        self, before: int, *, states: Sequence[State] | None = None, limit: int = 1000, now: int | None = None
    ) -> int:
        from .changing import prune

        gone = prune(self._db, before, states, limit, _clock(now))
        self._remove(gone)
        return len(gone)

    def _remove(self, gone: Sequence[tuple[int, int]]) -> None:
        if gone:
            from .output import remove

            remove(self._db, gone)

    # -- output -----------------------------------------------------------------------------------

    def put_output(self, job: Job, attempt: int, stream: str, offset: int, data: bytes) -> None:
        from .output import put

        put(self._db, job.seq, attempt, stream, offset, data)

    def keep_output(self, job: Job, attempt: int, stream: str, path: str) -> None:
        from .output import keep

        if not keep(self._db, job.seq, attempt, stream, path):
            super().keep_output(job, attempt, stream, path)

    def read_output(self, id: str, attempt: int, stream: str, offset: int = 0, size: int = 1 << 16) -> bytes:
        from .output import read

        return read(self._db, id, attempt, stream, offset, size)

    def output_size(self, id: str, attempt: int, stream: str) -> int:
        from .output import size

        return size(self._db, id, attempt, stream)

    # -- outbox -----------------------------------------------------------------------------------

    def take_deliveries(
        self, *, targets: Sequence[str] | None = None, limit: int = 100, hold: float = 60.0, now: int | None = None
    ) -> Sequence[Delivery]:
        from .outbox import take

        return take(self._db, targets, limit, hold, _clock(now))

    def delivered(self, ids: Sequence[int]) -> None:
        from .outbox import delivered

        delivered(self._db, ids)

    def postpone(self, ids: Sequence[int], delay: float, *, error: str = "", now: int | None = None) -> None:
        from .outbox import postpone

        postpone(self._db, ids, delay, error, _clock(now))

    def drop_deliveries(self, before: int, *, limit: int = 1000) -> int:
        from .outbox import drop

        return drop(self._db, before, limit)

    def outbox(self) -> Sequence[OutboxStat]:
        from .outbox import stats

        return stats(self._db)

    # -- moving house -----------------------------------------------------------------------------

    def export(self, *, batch: int = 1000) -> Iterator[Sequence[tuple[Job, History]]]:
        from .moving import export

        return export(self._db, batch)

    def load(
        self,
        jobs: Sequence[tuple[Job, History]],
        *,
        outputs: Mapping[tuple[str, int, str], bytes] = {},
        now: int | None = None,
    ) -> int:
        from .moving import load

        new = load(self._db, jobs, outputs, _clock(now))
        if new:
            self._wake()
        return new

    def backup(self, path: str) -> None:
        from .backup import backup

        backup(self._db, path)

    # -- life -------------------------------------------------------------------------------------

    def check(self) -> Sequence[Finding]:
        from .checking import check

        return check(self._db)

    def close(self) -> None:
        self._db.close()


def _clock(now: int | None) -> int:
    return time.time_ns() // 1_000_000 if now is None else now
