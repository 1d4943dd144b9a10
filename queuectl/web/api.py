"""The queue for programs: ``/api/v1``, in the shapes that ``--json`` prints. What it answers is in ``openapi``."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, jsonify, request, url_for

from queuectl.api.errors import BadInput, JobExists, NotFound
from queuectl.api.model import Action, State
from queuectl.core import filters, outputs
from queuectl.core.figures import figures
from queuectl.core.rundir import list_workers
from queuectl.core.shapes import (
    average_of,
    counts_of,
    detail_shape,
    job_shape,
    outbox_shape,
    queue_shape,
    why_waiting,
    worker_shape,
)
from queuectl.core.specs import check_queue, parse_json
from queuectl.web.batches import Batch
from queuectl.web.live import Held, hung_up
from queuectl.web.openapi import document
from queuectl.web.pages.jobs import asked_for, count
from queuectl.web.problems import problem_of
from queuectl.web.site import queue, site
from queuectl.web.words import now_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from flask.typing import ResponseReturnValue

    from queuectl.api.model import Job, Receipt
    from queuectl.core.jobqueue import Queue

LIMIT, LIMIT_MOST = 100, 1000
PIECE_MOST = 8 << 20  # bytes of output that one answer has

blueprint = Blueprint("api", __name__, url_prefix="/api/v1")


@blueprint.get("/openapi.json")
def openapi() -> ResponseReturnValue:
    return jsonify(document(request.script_root))


# --- Jobs -----------------------------------------------------------------------------------------


@blueprint.get("/jobs")
def list_jobs() -> ResponseReturnValue:
    """A page of jobs; the next one is in the header Link."""
    return _page(filters.parse(request.args.get("filter", "")))


@blueprint.get("/dlq")
def list_dead() -> ResponseReturnValue:
    asked = filters.parse(request.args.get("filter", ""))
    return _page(asked._replace(where=asked.where._replace(states=(State.DEAD,))))


def _page(asked: filters.Filter) -> ResponseReturnValue:
    limit = _number("limit", LIMIT, 1, LIMIT_MOST)
    page = asked.page(site().storage, limit, request.args.get("cursor"))
    response = jsonify([job_shape(job) for job in page.jobs])
    if page.cursor is not None:
        arguments: dict[str, Any] = {**request.args.to_dict(), "cursor": page.cursor}
        response.headers["Link"] = f'<{url_for(request.endpoint or "api.list_jobs", **arguments)}>; rel="next"'
    return response


@blueprint.post("/jobs")
def enqueue() -> ResponseReturnValue:
    """One job as an object, or several as an array: all of them or none."""
    if not site().config.dashboard.enqueue:
        return problem_of(403, "Forbidden", "putting jobs in over HTTP is off: [dashboard] enqueue = true allows it")
    asked = _body()
    jobs = asked if isinstance(asked, list) else [asked]
    if not jobs or not all(isinstance(job, dict) for job in jobs):
        raise BadInput("a job is an object, and several are an array of objects")
    key = request.headers.get("Idempotency-Key")
    receipts = queue().enqueue_many(jobs) if key is None else _once(key, jobs)
    shapes = [{"id": receipt.id, "created": receipt.created} for receipt in receipts]
    code = 201 if any(receipt.created for receipt in receipts) else 200
    return jsonify(shapes if isinstance(asked, list) else shapes[0]), code


def _once(key: str, jobs: list[dict[str, Any]]) -> Sequence[Receipt]:
    """Store jobs under ids made of *key*, so that a repeat finds them, in whatever process and however late."""
    from queuectl.api.model import Receipt

    if not 1 <= len(key) <= 256:
        raise BadInput("an Idempotency-Key has 1 to 256 characters")
    stem = hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:24]
    named = [{"id": f"key-{stem}-{n}", **job} for n, job in enumerate(jobs, 1)]
    try:
        return queue().enqueue_many(named)
    except JobExists:
        found = site().storage.get([str(job["id"]) for job in named])
        commands = [job.spec.command if job else None for job in found]
        maker = queue().maker()
        if commands != [maker.job(job).command for job in named]:
            raise JobExists("this Idempotency-Key was used for other jobs") from None
        return [Receipt(str(job["id"]), False) for job in named]


@blueprint.get("/jobs/<id>")
def show_job(id: str) -> ResponseReturnValue:
    found = queue()
    job = found.get(id)
    stat = next((stat for stat in found.stat() if stat.name == job.spec.queue), None)
    return jsonify(detail_shape(job, found.history(id), why_waiting(job, stat, now_ms())))


@blueprint.post("/jobs/<id>/cancel")
def cancel(id: str) -> ResponseReturnValue:
    queue().cancel(id, note=_note())
    return jsonify(job_shape(queue().get(id)))


@blueprint.post("/jobs/<id>/retry")
def retry(id: str) -> ResponseReturnValue:
    queue().retry(id, note=_note())
    return jsonify(job_shape(queue().get(id)))


@blueprint.post("/jobs/<id>/delete")
def delete(id: str) -> ResponseReturnValue:
    queue().delete(id, note=_note())
    return jsonify({"id": id, "deleted": True})


def _note() -> str:
    body = _fields({"note": str})
    return str(body.get("note", ""))[:200]


# --- On everything that matches -------------------------------------------------------------------


@blueprint.post("/bulk")
def bulk() -> ResponseReturnValue:
    """An action on everything that a filter matches: counted first, and then done in a batch of its own."""
    body = _fields({"action": str, "filter": str, "dry_run": bool}, needed=("action", "filter"))
    try:
        action = Action(body["action"])
    except ValueError:
        raise BadInput("an action is retry, cancel or delete") from None
    asked = asked_for(action, body["filter"])
    counted = count(asked)
    if body.get("dry_run"):
        return jsonify({"id": None, **_counted(counted.n, counted.more)})
    batch = Batch(action, body["filter"], counted.n, counted.more, queue().actor.removeprefix("web:"))
    site().batches.start(batch, asked)
    response = jsonify({"id": batch.id, **_counted(counted.n, counted.more)})
    response.headers["Location"] = url_for("api.show_bulk", id=batch.id)
    return response, 202


def _counted(n: int, more: bool) -> dict[str, Any]:
    return {"matched": n, "at_least": more}


@blueprint.get("/bulk/<id>")
def show_bulk(id: str) -> ResponseReturnValue:
    batch = site().batches.get(id)
    if batch is None:
        raise NotFound("there is no such action on many jobs")
    return jsonify(
        {
            "id": batch.id,
            "action": batch.action.value,
            "filter": batch.query,
            "state": batch.state,
            **_counted(batch.expected, batch.more),
            "looked_at": batch.looked,
            "changed": batch.changed,
            "error": batch.error or None,
        }
    )


# --- Output ---------------------------------------------------------------------------------------

_RANGE = re.compile(r"bytes=(\d{1,15})?-(\d{1,15})?", re.ASCII)


@blueprint.get("/jobs/<id>/output/<int:attempt>/<any(stdout, stderr):stream>")
def output(id: str, attempt: int, stream: str) -> ResponseReturnValue:
    """What an attempt wrote: whole, a range of it, or (``follow=true``) as it is written."""
    found = queue()
    job = found.get(id)
    if request.args.get("follow") in ("true", "1"):
        if not 1 <= attempt <= job.attempts + 1 or attempt >= 1 << 20:
            raise NotFound(f"job {id} has had {job.attempts} attempts")
        return _following(id, attempt, stream)
    if not 1 <= attempt <= job.attempts:
        raise NotFound(f"job {id} has had {job.attempts} attempts, not {attempt}")
    live = outputs.Live.open(found.app.run_dir, job) if _runs(job, attempt) else None
    try:
        return _bytes(id, attempt, stream, live)
    finally:
        if live is not None:
            live.close()


def _runs(job: Job, attempt: int) -> bool:
    return job.state is State.PROCESSING and job.attempts == attempt


def _bytes(id: str, attempt: int, stream: str, live: outputs.Live | None) -> Response:
    storage = site().storage
    size = live.size(stream) if live is not None else storage.output_size(id, attempt, stream)
    start, end, code = 0, min(size, PIECE_MOST), 200
    if (match := _RANGE.fullmatch(request.headers.get("Range", ""))) and match.group(1, 2) != (None, None):
        first, last = match.group(1, 2)
        start = int(first) if first is not None else max(0, size - int(last or 0))
        end = size if first is None or last is None else min(size, int(last) + 1)
        if start >= size or end <= start:
            response = problem_of(416, "Range Not Satisfiable", f"there are {size} bytes")
            response.headers["Content-Range"] = f"bytes */{size}"
            return response
        end, code = min(end, start + PIECE_MOST), 206
    if live is not None:
        data = live.read_at(stream, start, end - start)
    else:
        data = b"".join(_pieces(id, attempt, stream, start, end))
    response = Response(data, code, mimetype="text/plain")
    response.headers["Accept-Ranges"] = "bytes"
    if code == 206 or end < size:
        response.status_code = 206
        response.headers["Content-Range"] = f"bytes {start}-{start + len(data) - 1}/{size}"
    return response


def _pieces(id: str, attempt: int, stream: str, start: int, end: int) -> Iterator[bytes]:
    while start < end and (piece := site().storage.read_output(id, attempt, stream, start, min(1 << 18, end - start))):
        start += len(piece)
        yield piece


def _following(id: str, attempt: int, stream: str) -> Response:
    watcher = site().watcher
    if not watcher.enter():
        response = problem_of(503, "Service Unavailable", "all live views are taken; ask again soon")
        response.headers["Retry-After"] = "5"
        return response
    gone = hung_up()
    pieces = _followed(queue(), id, attempt, stream, lambda: watcher.closing or gone())
    response = Response(Held(pieces, watcher.leave), mimetype="text/plain")
    response.headers["X-Accel-Buffering"] = "no"
    return response


class _Left(Exception):
    """Nobody listens any more."""


def _followed(found: Queue, id: str, attempt: int, stream: str, over: Callable[[], bool]) -> Iterator[bytes]:
    """What an attempt writes, until it has ended, is deleted, or nobody listens, however quiet it is."""

    def stay(_job: Job) -> None:
        if over():
            raise _Left

    try:
        for _, piece in outputs.follow(found, id, attempt, [stream], None, stay):
            yield piece
    except (_Left, NotFound):
        return


# --- Queues, workers, figures ---------------------------------------------------------------------


@blueprint.get("/queues")
def list_queues() -> ResponseReturnValue:
    return jsonify([queue_shape(stat) for stat in queue().stat()])


@blueprint.get("/queues/<name>")
def show_queue(name: str) -> ResponseReturnValue:
    return jsonify(_queue_now(name))


@blueprint.post("/queues/<name>/pause")
def pause(name: str) -> ResponseReturnValue:
    reason = str(_fields({"reason": str}).get("reason", ""))
    if (reason and not reason.isprintable()) or len(reason) > 200:
        raise BadInput("a reason is one line of at most 200 characters")
    queue().pause(name, reason)
    return jsonify(_queue_now(name))


@blueprint.post("/queues/<name>/resume")
def resume(name: str) -> ResponseReturnValue:
    _fields({})
    queue().resume(name)
    return jsonify(_queue_now(name))


@blueprint.post("/queues/<name>/limit")
def limit(name: str) -> ResponseReturnValue:
    running = _fields({"concurrency": int}, needed=("concurrency",), nullable=("concurrency",))["concurrency"]
    queue().limit(name, running)
    return jsonify(_queue_now(name))


def _queue_now(name: str) -> dict[str, Any]:
    check_queue(name)
    for stat in queue().stat():
        if stat.name == name:
            return queue_shape(stat)
    raise NotFound(f"there is no queue {name!r}")


@blueprint.get("/workers")
def workers() -> ResponseReturnValue:
    return jsonify(_workers())


def _workers() -> list[dict[str, Any]]:
    return [worker_shape(record) for record in list_workers(site().app.run_dir) if record.alive]


@blueprint.get("/stat")
def stat() -> ResponseReturnValue:
    stats = queue().stat()
    return jsonify(
        {
            "counts": counts_of(stats),
            "avg_duration_sec": average_of(stats),
            "queues": [queue_shape(stat) for stat in stats],
            "workers": _workers(),
            "outbox": [outbox_shape(stat) for stat in site().storage.outbox()],
        }
    )


@blueprint.get("/metrics")
def metrics() -> ResponseReturnValue:
    now = now_ms()
    since = filters.since(request.args.get("since", "24h"), now)
    queues = request.args.getlist("queue") or None
    storage = site().storage
    return jsonify(figures(storage, since, now, queues, site().past.since(storage, now, since, queues)))


# --- What comes in --------------------------------------------------------------------------------


def _number(name: str, default: int, low: int, high: int) -> int:
    text = request.args.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10) or not low <= int(text) <= high:
        raise BadInput(f"{name} is a number from {low} to {high}, not {text[:40]!r}")
    return int(text)


def _body() -> Any:
    try:
        return parse_json(request.get_data().decode())
    except UnicodeDecodeError:
        raise BadInput("the body is not UTF-8") from None


def _fields(known: dict[str, type], *, needed: tuple[str, ...] = (), nullable: tuple[str, ...] = ()) -> dict[str, Any]:
    """The object in the body, with these keys and no others; an empty body is an empty object."""
    body = _body() if request.content_length else {}
    if not isinstance(body, dict):
        raise BadInput("the body is a JSON object")
    for name, value in body.items():
        if name not in known:
            raise BadInput(f"there is no key {name[:40]!r} (it takes {', '.join(known) or 'none'})")
        if value is None and name in nullable:
            continue
        if not isinstance(value, known[name]) or (known[name] is int and isinstance(value, bool)):
            raise BadInput(f"{name}: expected {known[name].__name__}")
    for name in needed:
        if name not in body:
            raise BadInput(f"{name} is missing")
    return body
