"""Who works: pools on every host, as the storage knows them, and the workers of this one."""

from __future__ import annotations

from collections import Counter
from socket import gethostname
from typing import TYPE_CHECKING, NamedTuple

from flask import Blueprint, abort, flash, redirect, render_template, url_for

from queuectl.api.model import State, Where
from queuectl.core.rundir import list_pools, list_workers
from queuectl.web.site import site
from queuectl.web.words import now_ms

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from queuectl.api.model import Pool
    from queuectl.api.storage import Storage
    from queuectl.core.rundir import PoolRecord, WorkerRecord

JOBS_MOST = 500

blueprint = Blueprint("workers", __name__)


class Row(NamedTuple):
    """A pool, with what this host knows of it."""

    pool: Pool
    here: PoolRecord | None
    alive: bool
    workers: list[WorkerRecord]
    heard: int | None  # ms since the lease was renewed; None: it is not of the usual length


@blueprint.get("/workers")
def index() -> str:
    app, now, host = site().app, now_ms(), gethostname()
    records = {record.id: record for record in list_pools(app.run_dir)}
    workers = list_workers(app.run_dir)
    rows = []
    for pool in app.storage.pools():
        here = records.get(pool.id) if pool.host == host else None
        alive = here.alive if here is not None else pool.lease_until > now
        heard = now - pool.lease_until + round(1000 * app.lease)
        ours = [w for w in workers if w.pool == pool.id]
        rows.append(Row(pool, here, alive, ours, heard if heard >= 0 else None))
    known = {row.pool.id for row in rows}
    left = [w for w in workers if w.pool not in known and w.alive]
    ids = [worker.job.id for worker in workers if worker.job]
    jobs = {job.id: job for job in app.storage.get(ids[:JOBS_MOST]) if job}
    return render_template(
        "workers.html",
        rows=rows,
        left=left,
        jobs=jobs,
        can_stop=site().stop_pool is not None,
        by_pool=by_pool(app.storage),
    )


def by_pool(storage: Storage) -> Counter[str]:
    """How many jobs each pool holds, of the first ones: of other hosts that is all that is known."""
    held = storage.find(Where(states=(State.PROCESSING,)), limit=JOBS_MOST).jobs
    return Counter(job.pool for job in held if job.pool is not None)


@blueprint.post("/workers/<pool>/drain")
def drain(pool: str) -> ResponseReturnValue:
    """Let a pool of this host end what it runs and take nothing more."""
    stop = site().stop_pool
    found = next((record for record in list_pools(site().app.run_dir) if record.id == pool and record.alive), None)
    if found is None or stop is None:
        abort(404, "There is no such pool on this host; one on another host is stopped there.")
    complaint = stop(found, None)
    if complaint:
        flash(f"{complaint}.", "warning")
    else:
        flash("The pool takes no more jobs, and ends when those that run have ended.", "ok")
    return redirect(url_for("workers.index"))
