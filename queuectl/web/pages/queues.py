"""The queues: what is in them, how they are set, and how to set them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, flash, redirect, render_template, request, url_for

from queuectl.api.errors import BadInput
from queuectl.api.model import State
from queuectl.core.figures import RUNS, summary
from queuectl.core.specs import check_queue
from queuectl.web.charts import spark
from queuectl.web.pages.overview import RANGES, merged, rates
from queuectl.web.past import of_queue
from queuectl.web.site import queue, site
from queuectl.web.words import now_ms

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

blueprint = Blueprint("queues", __name__)
#: So many queues get a line and a percentile; further ones have their numbers alone.
DRAWN = 100


@blueprint.get("/queues")
def index() -> str:
    storage, now = site().storage, now_ms()
    stats = storage.stat()
    drawn = {}
    past = site().past.read(storage, now, *RANGES["24h"])
    for stat in stats[:DRAWN]:
        slots = of_queue(past, stat.name)
        run = summary(merged(slots, *RUNS))
        drawn[stat.name] = (spark([slot.count(*RUNS) for slot in slots]), run["p95"])
    return render_template("queues.html", stats=stats, drawn=drawn, rates=rates(storage, now), State=State)


@blueprint.post("/queues/<name>/pause")
def pause(name: str) -> ResponseReturnValue:
    reason = request.form.get("reason", "").strip()[:200]
    if reason and not reason.isprintable():
        raise BadInput("a reason is one line of text")
    queue().pause(check_queue(name), reason)
    flash(f"Queue {name} is paused: what runs goes on, nothing more starts.", "ok")
    return redirect(url_for("queues.index"))


@blueprint.post("/queues/<name>/resume")
def resume(name: str) -> ResponseReturnValue:
    queue().resume(check_queue(name))
    flash(f"Queue {name} is open again.", "ok")
    return redirect(url_for("queues.index"))


@blueprint.post("/queues/<name>/limit")
def limit(name: str) -> ResponseReturnValue:
    text = request.form.get("concurrency", "").strip().lower()
    if text and text != "none" and not (text.isascii() and text.isdigit() and len(text) < 10):
        raise BadInput(f"a limit is a whole number, or nothing for none, not {text[:40]!r}")
    running = int(text) if text and text != "none" else None
    queue().limit(check_queue(name), running)
    said = f"limited to {running} at once" if running is not None else "without a limit"
    flash(f"Queue {name} is {said}.", "ok")
    return redirect(url_for("queues.index"))
