"""What a dead worker or a dead pool has left: read from the records, ended, and turned into settlements.

A pool is alive while its lock is held, and nothing else counts. A claim whose worker's record names it was handed over;
one that no record names never ran, because a worker writes its record first and then looks whether its pool still
lives. A tree is ended *before* its attempt is called lost, so no two attempts overlap on one host. Everything here may
be repeated: files are removed last, when what they say is stored.
"""

from __future__ import annotations

import fcntl
import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from queuectl.api import trees
from queuectl.api.model import Claim, Outcome, OutcomeKind, Settlement
from queuectl.core import transitions, wire
from queuectl.core.rundir import (
    DECIDED,
    ENDED,
    POOL_SUFFIX,
    PoolRecord,
    WorkerRecord,
    dead_keepers,
    list_pools,
    list_workers,
    read_worker,
)

from .output import Limits, finish
from .points import reached

if TYPE_CHECKING:
    from collections.abc import Container, Iterable
    from random import Random

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")

TAKEOVER_LOCK = "takeover.lock"
STREAMS = ("stdout", "stderr")


class Legacy(NamedTuple):
    """What is to be stored of a claim whose worker is dead, and what can be removed when it is."""

    settlement: Settlement
    large: tuple[tuple[str, str], ...] = ()  # streams that are to be kept as files, with their paths
    remove: tuple[str, ...] = ()


def from_record(
    claim: Claim, record: WorkerRecord | None, limits: Limits, rng: Random, *, swept: bool, same_boot: bool = True
) -> Legacy:
    """What becomes of a claim whose worker is dead and whose tree has been ended.

    *record* is the dead worker's; None if no worker has a record of the claim. *swept*: somebody saw the worker die.
    Without *same_boot* a missing record proves nothing, and the claim counts as lost.
    """
    remove = files_of(record) if record is not None else ()
    job = record.job if record is not None else None
    if record is None or job is None or (job.id, job.attempt) != (claim.job.id, claim.job.attempts):
        if same_boot:
            return Legacy(transitions.release(claim), remove=remove)
        return Legacy(transitions.settle(claim, Outcome(OutcomeKind.LOST), swept=False, rng=rng), remove=remove)
    outcome = wire.unpack_outcome(job.outcome) if job.phase in (ENDED, DECIDED) else None
    # What has an outcome was cut to its limits by the worker; and if its pool died after giving it to the storage, the
    # file is no longer here.
    kept, sizes, large = _outputs(record, limits if outcome is None else None)
    if outcome is None:
        now = _mtime(record.path)
        outcome = Outcome(OutcomeKind.LOST, started_at=job.started_at, ended_at=max(now, job.started_at))
        outcome = outcome._replace(stdout_size=sizes[0], stderr_size=sizes[1])
    settlement = transitions.settle(
        claim,
        outcome,
        verdict=job.verdict,
        delay=job.delay,
        decided=job.phase == DECIDED,
        swept=swept,
        rng=rng,
        stdout=kept[0],
        stderr=kept[1],
    )
    return Legacy(settlement, large, remove)


def _outputs(
    record: WorkerRecord, limits: Limits | None
) -> tuple[list[bytes | None], list[int], tuple[tuple[str, str], ...]]:
    """The kept bytes and sizes of a dead worker's two streams, and which are too long for a settlement.

    A stream whose file is gone has been given to the storage already, or the job removed it.
    """
    kept: list[bytes | None] = []
    sizes: list[int] = []
    large: list[tuple[str, str]] = []
    for stream in STREAMS:
        path = record.output_path(stream)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            kept.append(None)
            sizes.append(0)
            continue
        try:
            size, data = finish(descriptor, limits)
        finally:
            os.close(descriptor)
        kept.append(data)
        sizes.append(size)
        if data is None:
            large.append((stream, path))
    return kept, sizes, tuple(large)


def _mtime(path: str) -> int:
    try:
        return int(os.stat(path).st_mtime * 1000)
    except OSError:
        return 0


def files_of(record: WorkerRecord) -> tuple[str, ...]:
    """The files of a dead worker, the record last."""
    return (record.socket_path, record.output_path("stdout"), record.output_path("stderr"), record.path)


def remove(paths: Iterable[str]) -> None:
    for path in paths:
        try:
            os.unlink(path)
        except OSError:
            pass


def here(record: WorkerRecord | PoolRecord) -> bool:
    """Whether a record is of this boot and this pid namespace, so that its pids mean something."""
    return record.boot == trees.boot_id() and record.namespace == trees.pid_namespace()


def end_left(record: WorkerRecord) -> int:
    """End what a dead worker's job has left, with neither keeper nor parent to do it; how many processes remain.

    By control group where the worker had one, else by session of its leader and by the mark in the environment. What
    cleared its environment *and* changed its session *and* lost worker, keeper and pool at one instant cannot be seen.
    """
    if record.job is None or not here(record):
        return 0
    if record.cgroup:
        trees.end_cgroup(record.cgroup)
    kind, _, pid = record.job.ident.partition(":")
    sessions = (int(pid),) if kind == "pid" and pid.isdigit() else ()
    left = trees.end_marked(record.mark, sessions)
    if record.cgroup:
        trees.remove_cgroup(record.cgroup)
    return left


class Takeover:
    """Looks for dead pools on this host and inherits what they held. One pool at a time does so."""

    def __init__(self, run_dir: str, pool: str, limits: Limits, rng: Random) -> None:
        self.run_dir = run_dir
        self.pool = pool
        self.limits = limits
        self.rng = rng
        self._lock = -1
        #: Claims whose worker outlived its pool: settled when its lock is free. By path of the worker's record.
        self.orphans: dict[str, Claim] = {}
        self._ended: set[str] = set()  # records of dead workers whose trees we have ended

    def others(self) -> tuple[list[PoolRecord], list[PoolRecord]]:
        """The other pools that have a record here: those that are alive, and those that are dead."""
        records = [record for record in list_pools(self.run_dir) if record.id != self.pool]
        return [r for r in records if r.alive], [r for r in records if not r.alive]

    def acquire(self) -> bool:
        """Become the one that takes over, if nobody is; hold it until ``release``."""
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
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def sort(self, claims: Iterable[Claim], *, same_boot: bool) -> list[Legacy]:
        """What becomes of adopted claims now; those whose worker still lives are remembered as orphans.

        *same_boot*: their pool was one of this host and this boot, so that a claim without a record never ran.
        """
        workers = {
            (record.job.id, record.job.attempt): record
            for record in list_workers(self.run_dir)
            if record.job is not None and record.pool != self.pool
        }
        legacies = []
        for claim in claims:
            record = workers.get((claim.job.id, claim.job.attempts))
            if record is not None and record.alive:
                self.orphans[record.path] = claim
                continue
            if record is not None:
                self._end_left(record)
                reached("takeover.tree-ended")
            swept = record is not None and record.swept
            legacies.append(from_record(claim, record, self.limits, self.rng, swept=swept, same_boot=same_boot))
        return legacies

    def grown_up(self) -> list[Legacy]:
        """What becomes of orphans whose worker has ended since."""
        legacies = []
        for path, claim in list(self.orphans.items()):
            record = read_worker(path)
            if record is not None and record.alive:
                continue
            del self.orphans[path]
            if record is not None:
                self._end_left(record)
            swept = record is not None and record.swept
            legacies.append(from_record(claim, record, self.limits, self.rng, swept=swept))
        return legacies

    def _end_left(self, record: WorkerRecord) -> None:
        end_left(record)
        self._ended.add(record.path)

    def clean(self, dead: Iterable[PoolRecord], adopted: Container[str]) -> None:
        """Remove the files of dead pools, and of their dead workers that held nothing. Call when all is stored.

        Workers that were *adopted* are spared: one that has just died is still to be settled from its record.
        """
        gone = {record.id for record in dead}
        for record in list_workers(self.run_dir):
            if record.alive or record.id in adopted or record.path in self.orphans:
                continue
            if record.pool in gone:
                if record.job is not None and record.path not in self._ended:
                    end_left(
                        record
                    )  # another host has adopted its job, or it is settled: what it started is still ours
                if record.cgroup and here(record):
                    trees.remove_cgroup(record.cgroup)
                remove(files_of(record))
        self._ended.clear()
        remove(dead_keepers(self.run_dir))
        reached("takeover.workers-cleaned")
        for pool in gone:
            remove([os.path.join(self.run_dir, pool + ".wake"), os.path.join(self.run_dir, pool + POOL_SUFFIX)])
