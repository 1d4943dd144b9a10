"""The dead letter queue: what failed for good, grouped by how it did."""

from __future__ import annotations

from flask import Blueprint, render_template

from queuectl.api.model import State
from queuectl.core.filters import faults
from queuectl.web import tails
from queuectl.web.site import site

GROUPS = 100

blueprint = Blueprint("dead", __name__)


@blueprint.get("/dlq")
def index() -> str:
    storage = site().storage
    groups, whole = faults(storage, GROUPS + 1)
    return render_template(
        "dead.html",
        groups=groups[:GROUPS],
        more=len(groups) > GROUPS,
        whole=whole,
        says=tails.failed(storage, [group.latest for group in groups[:GROUPS]]),
        total=sum(stat.counts.get(State.DEAD, 0) for stat in storage.stat()),
    )
