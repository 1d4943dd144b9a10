"""What a dead worker has left: read from its record, ended, and turned into a result.

A claim whose worker's record names it was handed over; one that no record names never ran, because a worker writes its
record first and then looks whether its pool still lives. A tree is ended *before* its attempt is called lost, so no two
attempts overlap on one host. Everything here may be repeated: files are removed last, when what they say is stored.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from queuectl.api import trees
from queuectl.api.model import Claim, Outcome, OutcomeKind
from queuectl.core import transitions, wire
from queuectl.core.rundir import (
    DECIDED,
    DRAFT,
    ENDED,
    RUNNING,
    SOCKET_SUFFIX,
    STARTED,
    WORKER_SUFFIX,
    JobRecord,
    PoolRecord,
    WorkerRecord,
)

from .ledger import Outlived, Unsettled
from .output import Limits, finish

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")

STREAMS = ("stdout", "stderr")
#: So many workers may die with one run that outlives them, then its attempt is lost.
DEATHS = 3
#: A leader was spawned no earlier and no later than so many seconds after its record says that the job was started.
CLOCK_ERROR, SPAWNED_BY = 2.0, 60.0


def from_record(
    claim: Claim, record: WorkerRecord | None, limits: Limits, rng: Random, *, swept: bool, never_ran: bool = True
) -> Unsettled:
    """What becomes of a claim whose worker is dead and whose tree has been ended.

    *record* is the dead worker's; None if no worker has a record of the claim. *swept*: somebody saw the worker die.
    Without *never_ran* a missing record proves nothing, and the claim counts as lost.
    """
    remove = files_of(record) if record is not None else ()
    job = record.job if record is not None else None
    if record is None or job is None or (job.id, job.attempt) != (claim.job.id, claim.job.attempts):
        if never_ran:
            return Unsettled(claim, transitions.release(claim), remove=remove)
        lost = transitions.settle(claim, Outcome(OutcomeKind.LOST), swept=False, rng=rng)
        return Unsettled(claim, lost, remove=remove)
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
    return Unsettled(claim, settlement, None, large, remove)


def outlived(claim: Claim, record: WorkerRecord | None, before: Outlived | None = None) -> Outlived | None:
    """The run of a claim whose worker is dead, if it goes on without one. *before* is what was known of it already."""
    job = record.job if record is not None else None
    deaths = 1 if before is None else before.deaths + 1
    if record is None or job is None or (job.id, job.attempt) != (claim.job.id, claim.job.attempts):
        found = before
    elif job.outlives and job.phase in (STARTED, RUNNING):
        files = () if before is None else before.files
        found = Outlived(job.ident, job.started_at, (*files, *files_of(record)))
    else:
        return None
    return None if found is None or deaths > DEATHS else found._replace(deaths=deaths)


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
            size, data = finish(descriptor, os.fstat(descriptor).st_size, limits)
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
    return files_at(record.path)


def files_at(path: str) -> tuple[str, ...]:
    """The files of a worker by the path of its record, the record last."""
    stem = path.removesuffix(WORKER_SUFFIX)
    return (stem + SOCKET_SUFFIX, stem + ".out", stem + ".err", path)


def unborn_files(run_dir: str, prefix: str) -> list[str]:
    """Files of workers whose names begin so, and who died (or are about to end) before they had a record."""
    found = []
    for name in os.listdir(run_dir):
        stem, _, suffix = name.partition(".")
        draft = f"{WORKER_SUFFIX[1:]}{DRAFT}"
        if name.startswith(prefix) and suffix in ("sock", draft):
            path = os.path.join(run_dir, stem)
            if not os.path.exists(path + WORKER_SUFFIX):
                found.append(f"{path}.{suffix}")
    return found


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
    cleared its environment *and* changed its session *and* lost worker, keeper and pool at one instant cannot be seen;
    in the first milliseconds of a run, which its worker's record does not name yet, the session tells nothing either.
    """
    if record.job is None or record.job.outlives or not here(record):
        return 0
    if record.cgroup:
        trees.end_cgroup(record.cgroup)
    left = trees.end_marked(record.mark, _sessions(record.job))
    if record.cgroup:
        trees.remove_cgroup(record.cgroup)
    return left


def _sessions(job: JobRecord) -> tuple[int, ...]:
    """The session of a job's leader, unless a later process leads one under the same number."""
    kind, _, pid = job.ident.partition(":")
    if kind != "pid" or not pid.isdigit():
        return ()
    born = trees.started_at(int(pid))
    if born is not None and not job.started_at - 1000 * CLOCK_ERROR < 1000 * born < job.started_at + 1000 * SPAWNED_BY:
        return ()
    return (int(pid),)
