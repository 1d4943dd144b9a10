"""The first page: everything at one glance."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from flask import Blueprint, render_template, request
from markupsafe import Markup

from queuectl.api.errors import QueueCTLError
from queuectl.api.model import State, Where, fault_of
from queuectl.core.figures import RUNS, summary
from queuectl.core.plugins import guarded
from queuectl.core.rundir import list_workers
from queuectl.core.shapes import counts_of, worker_shape
from queuectl.web import tails
from queuectl.web.charts import spark, throughput
from queuectl.web.past import of_queue
from queuectl.web.site import site
from queuectl.web.words import now_ms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queuectl.api.model import Job, Pool, QueueStat
    from queuectl.api.storage import Storage
    from queuectl.core.figures import Slot

HOUR = 3_600_000
#: name -> (span, slots)
RANGES = {"1h": (HOUR, 60), "24h": (24 * HOUR, 48), "7d": (168 * HOUR, 84)}
FAILURES_LOOKED_AT = 200
QUEUES_SHOWN, RUNNING_SHOWN, NEXT_SHOWN = 8, 6, 8
#: Those of paused queues are passed over, as far as this.
NEXT_LOOKED_AT = 50
#: So many queues have a line of their last hour.
SPARKS = 100
#: Minutes that a rate is of.
RATE_MINUTES = 5

blueprint = Blueprint("overview", __name__)


@blueprint.get("/")
def show() -> str:
    storage = site().storage
    now = now_ms()
    chosen = chosen_range(request.args.get("range"))
    slots = site().past.slots(storage, now, *RANGES[chosen])
    stats = storage.stat()
    run_dir = site().app.run_dir
    workers = [worker_shape(w) for w in list_workers(run_dir) if w.alive]
    pools = [pool for pool in storage.pools() if pool.lease_until > now]
    paused = {stat.name for stat in stats if stat.paused}
    hour = site().past.read(storage, now, *RANGES["1h"])
    waiting = storage.find(Where(states=(State.PENDING,)), limit=NEXT_LOOKED_AT).jobs
    return render_template(
        "overview.html",
        counts=counts_of(stats),
        stats=stats,
        busiest=sorted(stats, key=importance)[:QUEUES_SHOWN],
        rates=rates(storage, now),
        sparks={stat.name: spark([slot.count(*RUNS) for slot in of_queue(hour, stat.name)]) for stat in stats[:SPARKS]},
        unserved=unserved(stats, pools),
        running=tails.running(run_dir, storage.find(Where(states=(State.PROCESSING,)), limit=RUNNING_SHOWN).jobs),
        oldest=oldest_due(stats),
        ranges=list(RANGES),
        chosen=chosen,
        chart=throughput(slots),
        wait=summary(merged(slots, "wait")),
        run=summary(merged(slots, *RUNS)),
        workers=workers,
        pools=pools,
        State=State,
        upcoming=[job for job in waiting if job.spec.queue not in paused][:NEXT_SHOWN],
        held=sum(stat.counts.get(State.PENDING, 0) for stat in stats if stat.paused),
        failing=failing(storage),
        panels=_panels(),
    )


def chosen_range(name: str | None) -> str:
    return name if name in RANGES else "1h"


def oldest_due(stats: Sequence[QueueStat]) -> QueueStat | None:
    """The queue whose oldest due job is the oldest of all."""
    due = [stat for stat in stats if stat.oldest_due is not None]
    return min(due, key=lambda stat: stat.oldest_due or 0, default=None)


def importance(stat: QueueStat) -> tuple[int, int, str]:
    """What sorts queues so that those where something goes on come first."""
    waits = sum(stat.counts.get(state, 0) for state in (State.PENDING, State.PROCESSING, State.FAILED))
    return -waits, -stat.runs, stat.name


def unserved(stats: Sequence[QueueStat], pools: Sequence[Pool]) -> list[QueueStat]:
    """Queues that have due jobs, are open, and are looked at by no pool."""
    if not pools or any(not pool.queues for pool in pools):
        return []
    served = {name for pool in pools for name in pool.queues}
    return [stat for stat in stats if stat.ready and not stat.paused and stat.name not in served]


def rates(storage: Storage, now: int) -> dict[str, float]:
    """Attempts that ended by themselves in a minute, by queue: of the latest minutes that are over."""
    latest = list(site().past.read(storage, now, *RANGES["1h"]).values())[-1 - RATE_MINUTES : -1]
    found: Counter[str] = Counter()
    for measured in latest:
        for name, measures in measured.items():
            if name is not None:
                found[name] += sum(sum(measures.get(measure, {}).values()) for measure in RUNS)
    return {name: n / RATE_MINUTES for name, n in found.items()}


def merged(slots: Sequence[Slot], *measures: str) -> Counter[int]:
    """One histogram of several slots."""
    found: Counter[int] = Counter()
    for slot in slots:
        found.update(slot.of(*measures))
    return found


class Failing(NamedTuple):
    """A command that fails, as it was the last time, and how often among the latest."""

    command: str
    reason: str
    n: int
    id: str  # of the latest
    says: str = ""


def failing(storage: Storage) -> list[Failing]:
    """What fails most among the latest jobs that failed or died: alike but for their numbers is the same."""
    found: dict[str, Failing] = {}
    latest: dict[str, Job] = {}
    for state in (State.DEAD, State.FAILED):
        for job in storage.find(Where(states=(state,)), limit=FAILURES_LOOKED_AT).jobs:
            fault = fault_of(job.spec.command, job.reason)
            known = found.get(fault, Failing(job.spec.command, job.reason, 0, job.id))
            found[fault] = known._replace(n=known.n + 1)
            latest.setdefault(job.id, job)
    most = sorted(found.values(), key=lambda failing: -failing.n)[:5]
    says = tails.failed(storage, [latest[each.id] for each in most])
    return [each._replace(says=says.get(each.id, "")) for each in most]


def _panels() -> list[tuple[str, str, Markup | None, str]]:
    """The boxes of plugins: (plugin, title, content, or why there is none)."""
    shown: list[tuple[str, str, Markup | None, str]] = []
    for plugin, panel in site().panels:
        try:
            content = guarded(f"plugin {plugin}: panel {panel.title}", panel.render)
            shown.append((plugin, panel.title, Markup(content), ""))
        except QueueCTLError as error:
            site().plugins.log(f"warning: {error}")
            shown.append((plugin, panel.title, None, str(error)))
    return shown
