"""What a takeover removes of dead pools, and what it must leave."""

from __future__ import annotations

import os
import random
import select
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from queuectl.api.errors import StorageError
from queuectl.api.model import Claim, NewJob, OutcomeKind, Turn
from queuectl.core.rundir import RUNNING, STARTED, JobRecord, PoolRecord, WorkerRecord, list_workers
from queuectl.testing.memory import MemoryStorage
from queuectl.work.ledger import Ledger
from queuectl.work.legacy import end_left
from queuectl.work.output import Limits
from queuectl.work.record import Record, create_pool_file, own_identity
from queuectl.work.takeover import Takeover

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def heir(run_dir: Path, storage: MemoryStorage | None = None) -> Takeover:
    storage = MemoryStorage() if storage is None else storage
    return Takeover(storage, str(run_dir), "heir", Limits(), random.Random(1), 60.0, Ledger())


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


@pytest.mark.parametrize("age", [0, 3600], ids=["the leader's own", "a later one of its number"])
def test_a_session_is_ended_only_if_the_leader_of_the_job_leads_it(tmp_path: Path, age: int) -> None:
    record = Record(str(tmp_path), WorkerRecord("worker", DEAD.id, **own_identity(), started_at=0, path=""))
    leader = subprocess.Popen(["env", "-i", "sleep", "600"], start_new_session=True)
    started = round(1000 * (time.time() - age))
    record.write(JobRecord("7", 7, 1, RUNNING, started, f"pid:{leader.pid}"))
    os.close(record._descriptor)
    (left,) = list_workers(str(tmp_path))

    assert end_left(left) == 0

    try:
        assert leader.wait(0.0 if age else 20) < 0
    except subprocess.TimeoutExpired:
        assert age
    finally:
        leader.kill()
        leader.wait()


class DeafStorage(MemoryStorage):
    """Takes every step, and loses the reply of a takeover."""

    def reap(self, *args: Any, **options: Any) -> Sequence[Claim]:
        super().reap(*args, **options)
        raise StorageError("the connection was lost")


def test_a_claim_that_was_inherited_unheard_is_not_run_but_lost(tmp_path: Path) -> None:
    """The storage says later that it is ours: it was not claimed but inherited, and may have run elsewhere."""
    storage = DeafStorage()
    storage.enqueue([NewJob("true")])
    storage.exchange(Turn("elsewhere", want=1, lease=0.0, now=1))
    takeover = heir(tmp_path, storage)
    with pytest.raises(StorageError):
        takeover.sweep(0.0, select.poll(), {})
    (found,) = storage.heartbeat("heir", [], lease=60.0).found

    assert takeover.owns_up_to([found])

    (entry,) = takeover.ledger.unsettled
    assert entry.settlement.outcome is not None and entry.settlement.outcome.kind is OutcomeKind.LOST
    assert not takeover.owns_up_to([]), "what is found from now on was claimed"
