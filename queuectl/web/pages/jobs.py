"""The list of jobs: filtered by one line, in pages, and actions on some or on everything that matches."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for

from queuectl.api.errors import BadInput, JobRejected
from queuectl.api.model import Action, State, Where
from queuectl.core import filters
from queuectl.core.jobqueue import STEP
from queuectl.core.shapes import counts_of, why_waiting
from queuectl.web import tails
from queuectl.web.batches import Batch
from queuectl.web.door import inside
from queuectl.web.site import queue, site
from queuectl.web.words import now_ms, plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flask.typing import ResponseReturnValue

    from queuectl.api.model import Job, QueueStat
    from queuectl.core.filters import Filter

ROWS = 50
#: Counting stops here, or after so long: what no index serves is looked for among all jobs.
COUNT_MOST, COUNT_SECONDS = 2000, 0.05
COUNT_STEP = 300
ACTIONS = {"retry": Action.RETRY, "cancel": Action.CANCEL, "delete": Action.DELETE}
DONE = {Action.RETRY: "will run again", Action.CANCEL: "cancelled", Action.DELETE: "deleted"}
#: What an action applies to, where the filter does not say.
APPLIES = {
    Action.RETRY: (State.DEAD, State.CANCELLED, State.FAILED),
    Action.CANCEL: (State.PROCESSING, State.PENDING, State.FAILED),
    Action.DELETE: (State.COMPLETED, State.DEAD, State.CANCELLED, State.PENDING, State.FAILED),
}

blueprint = Blueprint("jobs", __name__)


@blueprint.get("/jobs")
def index() -> ResponseReturnValue:
    query = request.args.get("q", "").strip()
    problem, page, asked = "", None, filters.Filter()
    try:
        asked = filters.parse(query)
        page = asked.page(site().storage, ROWS, request.args.get("after"))
    except BadInput as error:
        problem = str(error)
    shown = asked.where.states or ()
    stats = site().storage.stat()
    return render_template(
        "jobs.html",
        query=query,
        problem=problem,
        page=page,
        asked=asked,
        after=request.args.get("after"),
        says=tails.failed(site().storage, page.jobs) if page else {},
        waits=waits(page.jobs, stats, now_ms()) if page else {},
        counts=counts_of(stats),
        queue_names=[stat.name for stat in stats[:50]],
        tab=shown[0].value if len(shown) == 1 else "",
        rest=without_state(query),
    ), (400 if problem else 200)


def waits(jobs: Sequence[Job], stats: Sequence[QueueStat], now: int) -> dict[str, str]:
    """Why those that are due do not run: of the others the list shows when they will be."""
    by_name = {stat.name: stat for stat in stats}
    found = {}
    for job in jobs:
        why = why_waiting(job, by_name.get(job.spec.queue), now)
        if why is not None and job.run_at <= now:
            found[job.id] = why.removeprefix("due: ")
    return found


def without_state(query: str) -> str:
    """The filter without its states, for the tabs."""
    return " ".join(word for word in query.split() if not word.startswith("state:"))


class Count(NamedTuple):
    """How many jobs something would concern; *more* where counting stopped."""

    n: int
    more: bool

    def __str__(self) -> str:
        if self.more and not self.n:
            return "all such jobs"  # nobody knows yet whether there are any
        return f"at least {plural(self.n, 'job')}" if self.more else plural(self.n, "job")


def count(asked: Filter) -> Count:
    """Kept where the storage keeps it, else counted as far as that takes no time."""
    where = asked.where
    if asked == filters.Filter(Where(states=where.states, queues=where.queues)):
        kept = [stat for stat in site().storage.stat() if where.queues is None or stat.name in where.queues]
        states = where.states or tuple(State)
        return Count(sum(stat.counts.get(state, 0) for stat in kept for state in states), False)
    n, until = 0, time.monotonic() + COUNT_SECONDS
    cursor: str | None = None
    while True:
        page = asked.page(site().storage, COUNT_STEP, cursor)
        n, cursor = n + len(page.jobs), page.cursor
        if cursor is None:
            return Count(n, False)
        if n >= COUNT_MOST or time.monotonic() > until:
            return Count(min(n, COUNT_MOST), True)


def asked_for(action: Action, query: str) -> Filter:
    """The filter of an action: of what it applies to, where the filter does not say."""
    asked = filters.parse(query)
    if asked.where.states is None:
        return asked._replace(where=asked.where._replace(states=APPLIES[action]))
    states = tuple(state for state in asked.where.states if state in APPLIES[action] or action is Action.RETRY)
    return asked._replace(where=asked.where._replace(states=states))


@blueprint.post("/bulk/ask")
def ask() -> ResponseReturnValue:
    """What an action would do, with the count, before anything is done."""
    action = _action()
    ids = request.form.getlist("job")[:1000]
    query = request.form.get("q", "")
    back = inside(request.form.get("next", ""))
    if request.form.get("scope") != "all":
        if not ids:
            flash("No job is selected: tick some, or act on everything that matches.", "warning")
            return redirect(back)
        return render_template(
            "ask.html", action=action.value, ids=ids, query="", count=Count(len(ids), False), back=back
        )
    asked = asked_for(action, query)
    return render_template(
        "ask.html",
        action=action.value,
        ids=[],
        query=query,
        count=count(asked),
        states=[state.value for state in asked.where.states or ()],
        back=back,
    )


@blueprint.post("/bulk/act")
def act() -> ResponseReturnValue:
    """Do it: at once to some, as a batch to everything that matches."""
    action = _action()
    back = inside(request.form.get("next", ""))
    ids = request.form.getlist("job")[:1000]
    if ids:
        done = sum(_apply(action, ids[at : at + STEP]) for at in range(0, len(ids), STEP))
        left = len(ids) - done
        rest = f"; {plural(left, 'was', 'were')} in no state for that" if left else ""
        flash(f"{plural(done, 'job')} {DONE[action]}{rest}.", "ok" if done else "warning")
        return redirect(back)
    query = request.form.get("q", "")
    if not query and request.form.get("scope") != "all":
        raise BadInput("nothing was selected")
    asked = asked_for(action, query)
    counted = count(asked)
    batch = Batch(action, query, counted.n, counted.more, queue().actor.removeprefix("web:"))
    site().batches.start(batch, asked)
    return redirect(url_for("jobs.batch", id=batch.id, next=back))


def _action() -> Action:
    name = request.form.get("action", "")
    if name not in ACTIONS:
        raise BadInput(f"there is no action {name[:40]!r}")
    return ACTIONS[name]


def _apply(action: Action, ids: list[str]) -> int:
    app = site().app
    return len(
        app.storage.apply(action, Where(ids=tuple(ids)), actor=queue().actor, deliveries=app.routes, limit=len(ids))
    )


@blueprint.get("/batches/<id>")
def batch(id: str) -> str:
    found = site().batches.get(id)
    if found is None:
        abort(404, "There is no such action on many jobs; the server may have been started anew since.")
    return render_template(
        "batch.html", batch=found, done_word=DONE[found.action], back=inside(request.args.get("next", ""))
    )


@blueprint.post("/batches/<id>/stop")
def stop_batch(id: str) -> ResponseReturnValue:
    found = site().batches.get(id)
    if found is not None:
        found.stopping = True
    return redirect(url_for("jobs.batch", id=id, next=inside(request.form.get("next", ""))))


# --- A new one ------------------------------------------------------------------------------------


FIELDS = ("command", "queue", "priority", "max_retries", "timeout", "delay", "cwd", "tags")


@blueprint.get("/new")
def new() -> str:
    _may_enqueue()
    values: dict[str, Any] = {}
    if "from" in request.args:
        values = form_of(queue().get(request.args["from"]))
    return render_template("new.html", values=values, problem="")


@blueprint.post("/new")
def create() -> ResponseReturnValue:
    _may_enqueue()
    values = {name: request.form.get(name, "").strip() for name in FIELDS}
    asked: dict[str, Any] = {name: value for name, value in values.items() if value}
    try:
        for name in ("priority", "max_retries"):
            if name in asked:
                asked[name] = _integer(name, asked[name])
        if "tags" in asked:
            asked["tags"] = [tag.strip() for tag in asked["tags"].split(",") if tag.strip()]
        [receipt] = queue().enqueue_many([asked])
    except (BadInput, JobRejected) as error:
        return render_template("new.html", values=values, problem=str(error)), 400
    return redirect(url_for("job.show", id=receipt.id))


def _integer(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadInput(f"{name} is a whole number, not {text[:40]!r}") from None


def _may_enqueue() -> None:
    if not site().config.dashboard.enqueue:
        abort(403, "Putting jobs in from a browser is off. [dashboard] enqueue = true in queuectl.toml allows it.")


def form_of(job: Job) -> dict[str, Any]:
    """A job as the form shows it."""
    spec, settings = job.spec, job.settings
    return {
        "command": spec.command,
        "queue": spec.queue,
        "priority": spec.priority or "",
        "max_retries": settings.max_retries,
        "timeout": settings.timeout or "",
        "cwd": spec.cwd or "",
        "tags": ", ".join(spec.tags),
    }
