"""What a takeover removes of dead pools, and what it must leave."""

from __future__ import annotations

import os
import random
import subprocess
from typing import TYPE_CHECKING

from queuectl.core.rundir import STARTED, JobRecord, PoolRecord, WorkerRecord, list_workers
from queuectl.testing.memory import MemoryStorage
from queuectl.work.ledger import Ledger
from queuectl.work.output import Limits
from queuectl.work.record import Record, create_pool_file, own_identity
from queuectl.work.takeover import Takeover

if TYPE_CHECKING:
    from pathlib import Path


def heir(run_dir: Path) -> Takeover:
    return Takeover(MemoryStorage(), str(run_dir), "heir", Limits(), random.Random(1), 60.0, Ledger())


DEAD = PoolRecord("dead", **own_identity(), started_at=0, path="", host="here", queues=(), workers=1, version="0")


def test_the_record_of_an_adopted_worker_that_has_just_died_is_left_to_be_settled_from(tmp_path: Path) -> None:
    os.close(create_pool_file(str(tmp_path), DEAD))
    for id in ("adopted", "forgotten"):
        record = Record(str(tmp_path), WorkerRecord(id, DEAD.id, **own_identity(), started_at=0, path="", cgroup=None))
        os.close(record._descriptor)  # as when it dies
    takeover = heir(tmp_path)

    takeover.clean([DEAD], {"adopted": "a peer of the heir"})

    assert [worker.id for worker in list_workers(str(tmp_path))] == ["adopted"]


def test_what_a_job_left_that_another_host_adopted_is_ended(tmp_path: Path) -> None:
    """No claim leads here any more, and no record will: who removes it ends what it tells of."""
    os.close(create_pool_file(str(tmp_path), DEAD))
    identity = WorkerRecord("worker", DEAD.id, **own_identity(), started_at=0, path="", cgroup=None)
    record = Record(str(tmp_path), identity)
    job = JobRecord("7", 7, 1, STARTED)
    record.write(job)
    os.close(record._descriptor)
    name, _, value = identity._replace(job=job).mark.partition("=")
    left = subprocess.Popen(["sleep", "600"], env={**os.environ, name: value}, start_new_session=True)

    heir(tmp_path).clean([DEAD], {})

    assert left.wait(20) < 0
    assert list_workers(str(tmp_path)) == []
