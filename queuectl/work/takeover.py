"""Looks after the other pools: hears of their death, and inherits what they held.

A pool is alive while its lock is held, and nothing else counts; on other hosts its lease decides. One pool at a time
takes over on a host, and keeps the lock for that from the first claim to the last file, so that nobody removes what
another still reads. Workers that outlived their pool are *orphans* until they are adopted or end.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
from typing import TYPE_CHECKING

from queuectl.api import trees
from queuectl.core.rundir import (
    DRAFT,
    POOL_SUFFIX,
    RUNNING,
    STARTED,
    PoolRecord,
    WorkerRecord,
    dead_drafts,
    dead_keepers,
    list_lanes,
    list_pools,
    read_worker,
)

from .inheritance import Inheritance, inherited_by, path_of
from .legacy import end_left, files_of, from_record, here, outlived, remove, unborn_files
from .points import reached

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Sequence
    from random import Random

    from queuectl.api.model import Claim
    from queuectl.api.storage import Storage

    from .ledger import Ledger, Unsettled
    from .output import Limits
    from .poller import Poller

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")

TAKEOVER_LOCK = "takeover.lock"
SWEEP_EVERY = 1.0  # so often we look for dead pools and for orphans that have ended
AGAIN = 0.05  # while a takeover is under way, or a pool has just been seen dead
TAKE_OVER = 500  # claims in one step
INHERIT_EVERY = 15.0  # so often we look for leases that ran out with nobody of this host to know why


class Takeover:
    """One pool's eye on the others."""

    def __init__(
        self, storage: Storage, run_dir: str, pool: str, limits: Limits, rng: Random, lease: float, ledger: Ledger
    ) -> None:
        self.storage = storage
        self.run_dir = run_dir
        self.pool = pool
        self.limits = limits
        self.rng = rng
        self.lease = lease
        self.ledger = ledger
        #: Claims whose worker outlived its pool: settled when its lock is free. By path of the worker's record.
        self.orphans: dict[str, Claim] = {}
        self.sweep_at = 0.0
        self._inherit_at = 0.0
        self._inheritance = Inheritance(run_dir, pool, ledger)
        self._unheard = False  # claims may have been adopted, but the storage's answer was lost
        self._swept = False
        self._suspects: frozenset[str] = frozenset()
        self._watched: dict[int, str] = {}  # descriptors of the processes of other pools, to hear of their end
        self._ended: set[str] = set()  # records of dead workers whose trees we have ended
        self._lock = -1

    @property
    def is_quiet(self) -> bool:
        """Whether we have looked, and no dead pool has left anything."""
        return self._swept and not self._suspects

    def sweep(self, now: float, poll: Poller, adopted: Container[str]) -> None:
        """Look for dead pools and inherit what they held; settle orphans that have ended. StorageError: in a while.

        Workers that were *adopted* keep their files: one that has just died is still to be settled from its record.

        What dead workers left running is ended first, whoever will take over from their pools: this pool may be given
        a later attempt of the same job, and no two attempts overlap on one host.
        """
        self.sweep_at = now + SWEEP_EVERY
        self.ledger.keep(self._grown_up())
        records = [record for record in list_pools(self.run_dir) if record.id != self.pool]
        alive = [record for record in records if record.alive]
        dead = [record for record in records if not record.alive]
        self._watch(alive, poll)
        names = frozenset(record.id for record in dead)
        if now >= self._inherit_at:
            self._end_trees(None)
            remove(dead_drafts(self.run_dir))
            self._inherit_at = now + min(INHERIT_EVERY, self.lease / 2)
            self._inherit(records)
        if names - self._suspects:
            # A dying process closes its lock and its sockets one after the other: look twice before believing it.
            self.sweep_at = now + AGAIN
        elif dead:
            self._end_trees(names)
            self._take_over(alive, dead, now, adopted)
        self._suspects = names
        self._swept = True

    # -- hearing of a death ---------------------------------------------------------------------------

    def _watch(self, alive: Sequence[PoolRecord], poll: Poller) -> None:
        """Hear at once of the end of another pool of this host; the look once a second is the net below."""
        watched = set(self._watched.values())
        for record in alive:
            if record.id in watched or not record.inode or not here(record):
                continue
            descriptor = trees.open_pidfd(record.pid)
            if descriptor is None:
                continue
            if trees.pidfd_inode(descriptor) != record.inode:
                os.close(descriptor)
                continue
            self._watched[descriptor] = record.id
            poll.register(descriptor, select.POLLIN)
        living = {record.id for record in alive}
        for descriptor in [descriptor for descriptor, id in self._watched.items() if id not in living]:
            self._unwatch(descriptor, poll)

    def hears(self, descriptor: int, poll: Poller) -> bool:
        """Whether *descriptor*, which polled readable, tells of the end of another pool; if so it is looked for now."""
        if descriptor not in self._watched:
            return False
        self._unwatch(descriptor, poll)
        self.sweep_at = 0.0
        return True

    def _unwatch(self, descriptor: int, poll: Poller) -> None:
        del self._watched[descriptor]
        poll.unregister(descriptor)
        os.close(descriptor)

    # -- inheriting -----------------------------------------------------------------------------------

    def _inherit(self, known: Sequence[PoolRecord]) -> None:
        """Adopt the claims of pools that have no record here and whose lease has run out: another host's, or none's."""
        if self._unheard:
            return  # first comes what may be ours already
        alive = [*(record.id for record in known), self.pool]
        self._inheritance.expect()
        reached("takeover.inheriting")
        claims = self._reap(alive=alive)
        reached("takeover.inherited")
        self._inheritance.note(claims)
        self._sort(claims, never_ran=_nothing)

    def _reap(self, *, dead: Sequence[str] = (), alive: Sequence[str] = ()) -> Sequence[Claim]:
        before, self._unheard = self._unheard, True
        claims = self.storage.reap(self.pool, dead=dead, alive=alive, limit=TAKE_OVER, lease=self.lease)
        self._unheard = before
        return claims

    def owns_up_to(self, found: Sequence[Claim]) -> bool:
        """Whether claims that the storage says are ours, and we never heard of, may have been adopted: they are then.

        Only what was claimed, and not heard of, is certain never to have run.
        """
        if not self._unheard:
            return False
        self._unheard = False
        self._inheritance.note(found)
        self._sort(found, never_ran=_nothing)
        return True

    def _take_over(
        self, alive: Sequence[PoolRecord], dead: Sequence[PoolRecord], now: float, adopted: Container[str]
    ) -> None:
        """Adopt what dead pools of this host held; when all of it is stored, remove what they left."""
        if not self._acquire():
            return
        self.sweep_at = now + AGAIN
        reached("takeover.locked")
        # Other hosts' pools are spared here, whatever their lease: that no record of this host names their claims does
        # not prove that these never ran. ``_inherit`` takes them as lost.
        spared = {self.pool, *(record.id for record in alive), *(pool.id for pool in self.storage.pools())}
        elsewhere = inherited_by(self.run_dir, [record.id for record in dead])
        claims = self._reap(dead=[record.id for record in dead], alive=[*spared])
        reached("takeover.adopted")
        same_boot = all(here(record) for record in dead)
        self._sort(claims, never_ran=lambda claim: same_boot and not elsewhere(claim))
        reached("takeover.sorted")
        if not claims and not self.ledger.unsettled and not self.ledger.outlived and not self._unheard:
            reached("takeover.settled")
            self.clean(dead, adopted)
            reached("takeover.cleaned")
            self.release()

    def _sort(self, claims: Sequence[Claim], *, never_ran: Callable[[Claim], bool]) -> None:
        """Settle what can be settled of adopted claims; those whose worker still lives are orphans.

        *never_ran* tells of a claim that no record names what that proves: it is so if only pools of this host and
        this boot have held it.
        """
        self.ledger.hold(claims)
        workers = {
            (record.job.id, record.job.attempt): record
            for record in sorted(list_lanes(self.run_dir) if claims else (), key=_weight)
            if record.job is not None and record.pool != self.pool
        }
        for claim in claims:
            record = workers.get((claim.job.id, claim.job.attempts))
            if record is not None and record.alive:
                self.orphans[record.path] = claim
                continue
            if (run := outlived(claim, record)) is not None:
                self.ledger.take_up(claim, run)
                continue
            if record is not None:
                self._end_left(record)
                reached("takeover.tree-ended")
            swept = record is not None and record.swept
            entry = from_record(claim, record, self.limits, self.rng, swept=swept, never_ran=never_ran(claim))
            self.ledger.keep([entry])

    def cancel(self, claim: Claim) -> None:
        """Somebody asked for a job to be cancelled: if an orphan has it, that one interrupts it, and it stays so."""
        for path, orphan in self.orphans.items():
            if orphan.job.id == claim.job.id and not orphan.job.cancel:
                self.orphans[path] = claim
                record = read_worker(path)
                if record is None or record.job is None or record.job.phase not in (STARTED, RUNNING):
                    continue  # it has ended
                if record.alive and here(record) and trees.is_same(record.pid, record.inode):
                    trees.send(record.pid, signal.SIGTERM)

    def _grown_up(self) -> list[Unsettled]:
        """What became of orphans whose worker has ended since."""
        entries = []
        for path, claim in list(self.orphans.items()):
            record = read_worker(path)
            if record is not None and record.alive:
                continue
            del self.orphans[path]
            if (run := outlived(claim, record)) is not None:
                self.ledger.take_up(claim, run)
                continue
            if record is not None:
                self._end_left(record)
            swept = record is not None and record.swept
            entries.append(from_record(claim, record, self.limits, self.rng, swept=swept))
        return entries

    def _end_trees(self, pools: Container[str] | None) -> None:
        """End what the dead workers of *pools* (None: of all) have left, unless their keeper has done so."""
        for record in list_lanes(self.run_dir):
            if not record.alive and not record.swept and (pools is None or record.pool in pools):
                self._end_left(record)

    def _end_left(self, record: WorkerRecord) -> None:
        if record.path not in self._ended:
            end_left(record)
            self._ended.add(record.path)

    def clean(self, dead: Iterable[PoolRecord], adopted: Container[str]) -> None:
        """Remove the files of dead pools, and of their dead workers. When all is stored."""
        gone = {record.id for record in dead}
        for record in list_lanes(self.run_dir):
            if record.alive or record.pool not in gone or record.id in adopted or record.path in self.orphans:
                continue
            self._end_left(record)  # its job may be another host's by now, or settled; what it started is still ours
            if record.cgroup and here(record):
                trees.remove_cgroup(record.cgroup)
            remove(files_of(record))
        self._ended.clear()
        remove(dead_keepers(self.run_dir))
        reached("takeover.workers-cleaned")
        for pool in gone:
            stem = os.path.join(self.run_dir, pool)
            remove(unborn_files(self.run_dir, pool[:8]))
            inherited = path_of(self.run_dir, pool)
            remove([stem + ".wake", inherited + DRAFT, inherited, stem + POOL_SUFFIX])

    # -- one at a time --------------------------------------------------------------------------------

    def _acquire(self) -> bool:
        """Become the one that takes over on this host, if nobody is; hold it until ``release``."""
        if self._lock >= 0:
            return True
        path = os.path.join(self.run_dir, TAKEOVER_LOCK)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        return True

    def release(self) -> None:
        """Let others take over. Idempotent."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _weight(record: WorkerRecord) -> tuple[bool, bool]:
    """Of two workers that have one attempt in hand, the first died with it: what the other has comes later."""
    return record.alive, record.job is not None and record.job.outcome is not None


def _nothing(_claim: Claim) -> bool:
    """What proves nothing of any claim."""
    return False
