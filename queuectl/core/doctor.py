"""What an operator should know of the whole: configuration, plugins, storage, claims, records, space, clock.

Each finding has a level, a short word for what was looked at, and what to do about it. Nothing here raises for what it
finds: a broken configuration or database is a finding, and what depends on it is left out.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from socket import gethostname
from typing import TYPE_CHECKING, NamedTuple

from queuectl.api.errors import QueueCTLError
from queuectl.api.model import Finding, State, Where
from queuectl.core.rundir import list_pools, list_workers
from queuectl.core.times import span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from queuectl.api.model import Pool, QueueStat
    from queuectl.core.app import App
    from queuectl.core.rundir import PoolRecord, WorkerRecord

MIB = 1 << 20
SPACE_ERROR, SPACE_WARNING = 64 * MIB, 1024 * MIB
INODES = 1000
YEAR_2024 = 1_704_067_200_000
SLACK = 60_000  # ms that a clock may be set back without a word
START = "queuectl worker start takes over what it left"


class Scene(NamedTuple):
    """What most questions are about, looked at once."""

    app: App
    now: int
    here: str
    pools: dict[str, Pool]  # as the storage knows them
    records: list[PoolRecord]  # as this host does
    workers: list[WorkerRecord]
    stats: list[QueueStat]

    @property
    def alive(self) -> set[str]:
        """Pools of this host whose lock is held."""
        return {record.id for record in self.records if record.alive}

    def leased(self, id: str | None) -> bool:
        """Whether the storage says that a pool has a lease."""
        pool = self.pools.get(id) if id is not None else None
        return pool is not None and pool.lease_until > self.now

    def is_of_this_host(self, id: str | None) -> bool:
        pool = self.pools.get(id) if id is not None else None
        return pool is not None and pool.host == self.here


def examine(open_app: Callable[[], App]) -> Iterator[Finding]:
    """Everything there is to say, in the order in which one thing rests on another."""
    try:
        app = open_app()
    except QueueCTLError as error:
        yield Finding("error", str(error), "mend it; queuectl config path tells which files are read", "config")
        return
    yield from _config(app)
    yield from _plugins(app)
    try:
        storage = app.storage
    except QueueCTLError as error:
        yield Finding("error", str(error), "put that right, or restore a backup", "storage")
        return
    try:
        for finding in storage.check():
            yield finding if finding.id else finding._replace(id="storage")
        scene = look(app)
    except QueueCTLError as error:
        yield Finding("error", str(error), "put that right, or restore a backup", "storage")
        yield from _space(app)
        return
    yield from _claims(scene)
    yield from _records(scene)
    yield from _workers(scene)
    yield from _queues(scene)
    yield from _outbox(scene)
    yield from _space(app)
    yield from _clock(scene)


def look(app: App) -> Scene:
    return Scene(
        app,
        time.time_ns() // 1_000_000,
        gethostname(),
        {pool.id: pool for pool in app.storage.pools()},
        list_pools(app.run_dir),
        list_workers(app.run_dir),
        list(app.storage.stat()),
    )


# -- what was asked for -----------------------------------------------------------------------------


def _config(app: App) -> Iterator[Finding]:
    from queuectl.core.names import check_tables

    try:
        check_tables(app)
    except QueueCTLError as error:
        yield Finding("error", str(error), "mend it; queuectl config validate checks it again", "config")
        return
    files = [layer.path for layer in app.config.layers if layer.path and os.path.exists(layer.path)]
    yield Finding("ok", f"the configuration can be used ({', '.join(files) or 'all at its default'})", id="config")
    for note in app.config.notes:
        yield Finding("warning", note, "queuectl config validate", "config")


def _plugins(app: App) -> Iterator[Finding]:
    plugins = app.plugins.every()
    failed = [plugin for plugin in plugins if plugin.state == "failed"]
    for plugin in failed:
        yield Finding(
            "warning",
            f"plugin {plugin.name} ({plugin.origin}) cannot be used: {plugin.error}",
            f"queuectl plugins info {plugin.name}",
            "plugins",
        )
    for plugin in plugins:
        for notice in plugin.notices if plugin.active else ():
            text = f"plugin {plugin.name} ({plugin.origin}): {notice}"
            yield Finding("warning", text, "ask for a newer version of the plugin", "plugins")
    if not failed:
        active = sum(plugin.state == "active" for plugin in plugins)
        yield Finding("ok", f"{active} of {len(plugins)} plugins are active, none has failed", id="plugins")


# -- who does what ----------------------------------------------------------------------------------


def _claims(scene: Scene) -> Iterator[Finding]:
    """Claims of pools that are neither alive on this host nor have a lease: nobody works on them."""
    stuck: Counter[str | None] = Counter()
    cursor, held = None, 0
    while True:
        page = scene.app.storage.find(Where(states=(State.PROCESSING,)), limit=1000, cursor=cursor)
        for job in page.jobs:
            held += 1
            spared = scene.leased(job.pool) and not scene.is_of_this_host(job.pool)
            if job.pool not in scene.alive and not spared:
                stuck[job.pool] += 1
        if (cursor := page.cursor) is None:
            break
    for pool, n in sorted(stuck.items(), key=str):
        fresh = scene.leased(pool)  # it died a moment ago
        yield Finding(
            "warning" if fresh else "error",
            f"{_many(n, 'job is', 'jobs are')} held by pool {pool}, which is gone",
            START if not scene.alive else "the pool that runs here takes over within seconds; if not, restart it",
            "claims",
        )
    if not stuck:
        yield Finding("ok", f"{_many(held, 'job is', 'jobs are')} running, in pools that are there", id="claims")


def _records(scene: Scene) -> Iterator[Finding]:
    """What the dead have left in run/, and workers that outlived their pool."""
    orphans = 0
    for worker in scene.workers:
        if worker.pool in scene.alive:
            continue
        orphans += 1
        does = f" with job {worker.job.id}" if worker.job is not None else ""
        if worker.alive:
            text = f"worker {worker.id} (process {worker.pid}){does} has outlived its pool {worker.pool}"
        else:
            text = f"the record of worker {worker.id}{does} is left in {os.path.dirname(worker.path)}"
        yield Finding("warning", text, START, "records")
    for pool in scene.records:
        if not pool.alive:
            orphans += 1
            yield Finding("warning", f"the record of pool {pool.id} is left: {pool.path}", START, "records")
    if not orphans:
        yield Finding("ok", "nothing is left of dead pools and workers", id="records")


def _workers(scene: Scene) -> Iterator[Finding]:
    alive = sum(worker.alive for worker in scene.workers)
    elsewhere = sum(scene.leased(pool.id) and pool.host != scene.here for pool in scene.pools.values())
    due = sum(stat.ready for stat in scene.stats if not stat.paused)
    if due and not scene.alive and not elsewhere:
        yield Finding(
            "warning",
            f"{_many(due, 'job is', 'jobs are')} due, and nobody is there to run {'it' if due == 1 else 'them'}",
            "queuectl worker start",
            "workers",
        )
        return
    other = f", {_many(elsewhere, 'pool')} on other hosts" if elsewhere else ""
    yield Finding(
        "ok", f"{_many(alive, 'worker')} in {_many(len(scene.alive), 'pool')} on this host{other}", id="workers"
    )


def _queues(scene: Scene) -> Iterator[Finding]:
    waiting = (State.PENDING, State.FAILED)
    paused = [(stat, sum(stat.counts.get(state, 0) for state in waiting)) for stat in scene.stats if stat.paused]
    for stat, n in paused:
        why = f" ({stat.pause_reason})" if stat.pause_reason else ""
        yield Finding(
            "warning" if n else "ok",
            f"queue {stat.name} is paused{why}; {_many(n, 'job waits', 'jobs wait')} in it",
            f"queuectl queue resume {stat.name}" if n else "",
            "queues",
        )
    if not paused:
        yield Finding("ok", f"{_many(len(scene.stats), 'queue')}, none paused", id="queues")


def _outbox(scene: Scene) -> Iterator[Finding]:
    """What waits for notifiers: that it cannot be told, or that nobody will ever be."""
    stats, targets = scene.app.storage.outbox(), scene.app.config.targets
    for stat in stats:
        if not stat.waiting:
            continue
        waits = f"{_many(stat.waiting, 'event waits', 'events wait')} for notifier {stat.target}"
        if stat.target not in targets:
            yield Finding(
                "warning",
                f"{waits}, which no route names",
                f"name it in a route again, or they are dropped after {span(scene.app.config.outbox.keep)}",
                "outbox",
            )
        elif stat.error:
            since = span(max(0, scene.now - (stat.oldest_at or scene.now)) / 1000)
            yield Finding(
                "warning",
                f"{waits}, the oldest for {since}: {stat.error}",
                f"look at its receiver, or at [notifier.{stat.target}]; it is tried again by itself",
                "outbox",
            )
    dropped = {stat.target: stat.dropped for stat in stats if stat.dropped}
    for target, n in dropped.items():
        yield Finding(
            "warning",
            f"{_many(n, 'event', 'events')} for notifier {target} {'was' if n == 1 else 'were'} dropped so far, "
            f"because it could not be told in time",
            "look at its receiver; [outbox] keep says how long it is tried",
            "outbox",
        )
    if not dropped and not any(stat.waiting and (stat.error or stat.target not in targets) for stat in stats):
        waiting = sum(stat.waiting for stat in stats)
        yield Finding("ok", f"{_many(waiting, 'event waits', 'events wait')} to be told", id="outbox")


# -- what all of it rests on --------------------------------------------------------------------------


def _space(app: App) -> Iterator[Finding]:
    if not hasattr(os, "statvfs"):
        return
    home = app.home
    place = home if os.path.isdir(home) else os.path.dirname(home)
    found = os.statvfs(place)
    free = found.f_bavail * found.f_frsize
    advice = "make room, for one by queuectl prune --older-than 30d"
    if free < SPACE_ERROR:
        yield Finding(
            "error", f"{place} has {free // MIB} MiB left: what jobs do can soon not be stored", advice, "space"
        )
    elif free < SPACE_WARNING:
        yield Finding("warning", f"{place} has {free // MIB} MiB left", advice, "space")
    elif found.f_files and found.f_favail < INODES:
        yield Finding("warning", f"{place} has room for {found.f_favail} more files", advice, "space")
    else:
        yield Finding("ok", f"{place} has {free / MIB / 1024:.1f} GiB left", id="space")


def _clock(scene: Scene) -> Iterator[Finding]:
    newest = scene.app.storage.find(limit=1).jobs
    ahead = newest[0].created_at - scene.now if newest else 0
    if scene.now < YEAR_2024:
        yield Finding("error", "the clock of this host is years behind", "set it: timedatectl", "clock")
    elif ahead > SLACK:
        yield Finding(
            "warning",
            f"job {newest[0].id} was enqueued {span(ahead / 1000)} in the future: a clock is wrong, or was set back",
            "compare the clocks of the hosts: timedatectl",
            "clock",
        )
    else:
        yield Finding("ok", "the clock agrees with what is stored", id="clock")


def _many(n: int, one: str, more: str = "") -> str:
    return f"{n} {one if n == 1 else more or one + 's'}"
