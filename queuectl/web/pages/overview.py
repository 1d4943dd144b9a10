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
from queuectl.web.charts import throughput
from queuectl.web.site import site
from queuectl.web.words import now_ms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queuectl.api.model import QueueStat
    from queuectl.api.storage import Storage
    from queuectl.core.figures import Slot

HOUR = 3_600_000
#: name -> (span, slots)
RANGES = {"1h": (HOUR, 60), "24h": (24 * HOUR, 48), "7d": (168 * HOUR, 84)}
FAILURES_LOOKED_AT = 200

blueprint = Blueprint("overview", __name__)


@blueprint.get("/")
def show() -> str:
    storage = site().storage
    now = now_ms()
    chosen = chosen_range(request.args.get("range"))
    slots = site().past.slots(storage, now, *RANGES[chosen])
    stats = storage.stat()
    workers = [worker_shape(w) for w in list_workers(site().app.run_dir) if w.alive]
    return render_template(
        "overview.html",
        counts=counts_of(stats),
        stats=stats,
        oldest=oldest_due(stats),
        ranges=list(RANGES),
        chosen=chosen,
        chart=throughput(slots),
        wait=summary(merged(slots, "wait")),
        run=summary(merged(slots, *RUNS)),
        workers=workers,
        pools=[pool for pool in storage.pools() if pool.lease_until > now],
        upcoming=storage.find(Where(states=(State.PENDING,)), limit=6).jobs,
        failing=failing(storage),
        panels=_panels(),
    )


def chosen_range(name: str | None) -> str:
    return name if name in RANGES else "1h"


def oldest_due(stats: Sequence[QueueStat]) -> QueueStat | None:
    """The queue whose oldest due job is the oldest of all."""
    due = [stat for stat in stats if stat.oldest_due is not None]
    return min(due, key=lambda stat: stat.oldest_due or 0, default=None)


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


def failing(storage: Storage) -> list[Failing]:
    """What fails most among the latest jobs that failed or died: alike but for their numbers is the same."""
    found: dict[str, Failing] = {}
    for state in (State.DEAD, State.FAILED):
        for job in storage.find(Where(states=(state,)), limit=FAILURES_LOOKED_AT).jobs:
            fault = fault_of(job.spec.command, job.reason)
            known = found.get(fault, Failing(job.spec.command, job.reason, 0, job.id))
            found[fault] = known._replace(n=known.n + 1)
    return sorted(found.values(), key=lambda failing: -failing.n)[:5]


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
