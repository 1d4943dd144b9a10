"""One job: what it is, what happened to it, and what it wrote."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from flask import Blueprint, Response, flash, redirect, render_template, request, url_for

from queuectl.api.errors import NotFound, WrongState
from queuectl.api.model import FINISHED, State, fault_of
from queuectl.core.outputs import PIECE, STREAMS, Live, stored
from queuectl.core.shapes import masked, why_waiting
from queuectl.web.site import queue, site
from queuectl.web.words import now_ms, output_text, rough

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask.typing import ResponseReturnValue

    from queuectl.api.model import History, Job

SHOWN = 64 * 1024
#: A line of output begins somewhere in so many bytes, or is cut.
LINE_LOOK = 4096

blueprint = Blueprint("job", __name__)


class Window(NamedTuple):
    """What a page shows of a stream."""

    name: str
    text: str
    start: int  # offset of the first byte shown
    end: int  # where following goes on
    size: int
    earlier: int | None  # where an earlier window starts


class Span(NamedTuple):
    """One stretch of a job's life, as a bar: shares of the whole in percent."""

    kind: str
    x: float
    width: float
    title: str
    number: int | None  # of the attempt


@blueprint.get("/jobs/<id>")
def show(id: str) -> str:
    found = queue()
    job, history = found.get(id), found.history(id)
    now = now_ms()
    stat = next((stat for stat in found.stat() if stat.name == job.spec.queue), None)
    attempt = _attempt(job)
    running = job.state is State.PROCESSING and attempt == job.attempts
    windows = _windows(job, attempt, running) if attempt else []
    return render_template(
        "job.html",
        job=job,
        history=history,
        settings=job.settings,
        waits=why_waiting(job, stat, now),
        env=masked(job.spec.env),
        attempt=attempt,
        running=running,
        windows=windows,
        life=timeline(job, history, now),
        waited=waits_of(life_of(job, history, now)),
        stretches=stretches(job, history, now),
        fault=fault_of(job.spec.command, job.reason) if job.state is State.DEAD else "",
        cli=cli_of(job),
        finished=job.state in FINISHED,
    )


def _attempt(job: Job) -> int:
    """The attempt that is shown: the one asked for, else the latest."""
    asked = request.args.get("attempt", type=int)
    if asked is None:
        return job.attempts
    if not 1 <= asked <= job.attempts:
        raise NotFound(f"job {job.id} has had {job.attempts} attempts, not {asked}")
    return asked


def _windows(job: Job, attempt: int, running: bool) -> list[Window]:
    live = Live.open(site().app.run_dir, job) if running else None
    try:
        return [_window(job, attempt, stream, live) for stream in STREAMS]
    finally:
        if live is not None:
            live.close()


def _window(job: Job, attempt: int, stream: str, live: Live | None) -> Window:
    storage = site().storage
    size = live.size(stream) if live is not None else storage.output_size(job.id, attempt, stream)
    asked = request.args.get(stream, type=int)
    start = max(0, size - SHOWN) if asked is None else max(0, min(asked, size))
    wanted = min(SHOWN, size - start)
    if live is not None:
        data = live.read_at(stream, start, wanted)
    else:
        data = b"".join(_exactly(job.id, attempt, stream, start, wanted))
    begin = data.find(b"\n", 0, LINE_LOOK) + 1 if start else 0
    earlier = max(0, start - SHOWN) if start else None
    return Window(stream, output_text(data[begin:]), start + begin, start + len(data), size, earlier)


def _exactly(id: str, attempt: int, stream: str, offset: int, size: int) -> Iterator[bytes]:
    while size > 0:
        piece = site().storage.read_output(id, attempt, stream, offset, min(size, PIECE))
        if not piece:
            return
        offset += len(piece)
        size -= len(piece)
        yield piece


@blueprint.get("/jobs/<id>/output/<int:attempt>/<any(stdout, stderr):stream>")
def raw(id: str, attempt: int, stream: str) -> Response:
    """A stream as it was kept, to be saved."""
    found = queue()
    job = found.get(id)
    if not 1 <= attempt <= job.attempts:
        raise NotFound(f"job {id} has had {job.attempts} attempts, not {attempt}")
    live = Live.open(found.app.run_dir, job) if job.state is State.PROCESSING and attempt == job.attempts else None
    body = _live_pieces(live, stream) if live is not None else stored(site().storage, id, attempt, stream)
    response = Response(body, mimetype="text/plain")
    name = f"{job.seq}.{attempt}.{stream}.txt"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _live_pieces(live: Live, stream: str) -> Iterator[bytes]:
    try:
        yield from live.fresh(stream)
    finally:
        live.close()


@blueprint.post("/jobs/<id>/<any(cancel, retry, delete):action>")
def act(id: str, action: str) -> ResponseReturnValue:
    found = queue()
    try:
        if action == "cancel":
            [done] = found.cancel(id)
            flash("It is being cancelled." if done.now is State.PROCESSING else "It is cancelled.", "ok")
        elif action == "retry":
            found.retry(id)
            flash("It will run again.", "ok")
        else:
            found.delete(id)
            flash(f"Job {id} is deleted.", "ok")
            return redirect(url_for("jobs.index"))
    except WrongState as error:
        flash(f"{error}.", "warning")
    return redirect(url_for("job.show", id=id))


class Stretch(NamedTuple):
    """Part of a job's life."""

    kind: str  # wait, or what an attempt made of the job
    start: int
    end: int
    said: str
    number: int | None = None  # of the attempt


def life_of(job: Job, history: History, now: int) -> list[Stretch]:
    """From enqueued to now, or to its end: waits and attempts."""
    found: list[Stretch] = []
    at = job.created_at
    for attempt in history.attempts:
        outcome = attempt.outcome
        if not outcome.started_at:
            continue
        found.append(Stretch("wait", at, outcome.started_at, "waited"))
        said = outcome.detail or outcome.kind.value
        kind = attempt.state.value if attempt.state is not State.PENDING else "lost"
        found.append(
            Stretch(kind, outcome.started_at, outcome.ended_at, f"attempt {attempt.number}: {said}", attempt.number)
        )
        at = outcome.ended_at
    if job.state is State.PROCESSING:
        found.append(Stretch("wait", at, job.updated_at, "waited"))
        found.append(Stretch("processing", job.updated_at, now, f"attempt {job.attempts}: runs", job.attempts))
    elif job.state not in FINISHED:
        found.append(Stretch("wait", at, now, "waits"))
    return found


def waits_of(life: list[Stretch]) -> dict[int, float]:
    """How many seconds went by before each attempt."""
    return {
        attempt.number: max(0, wait.end - wait.start) / 1000
        for wait, attempt in pairwise(life)
        if attempt.number is not None and wait.kind == "wait"
    }


def timeline(job: Job, history: History, now: int) -> list[Span]:
    """A job's life as a bar."""
    found = life_of(job, history, now)
    if not found:
        return []
    return _shares(found, found[0].start, max(found[-1].end, found[0].start + 1))


def stretches(job: Job, history: History, now: int) -> list[tuple[str, int]]:
    """How long it was what in all, in milliseconds."""
    sums: dict[str, int] = {}
    for stretch in life_of(job, history, now):
        sums[stretch.kind] = sums.get(stretch.kind, 0) + max(0, stretch.end - stretch.start)
    return list(sums.items())


def _shares(spans: list[Stretch], begin: int, end: int) -> list[Span]:
    """As shares of the whole; what is short is still wide enough to be seen."""
    widths = [max(0.0, (stop - start) / (end - begin)) for _, start, stop, *_ in spans]
    widths = [max(width, 0.012) if kind != "wait" else width for width, (kind, *_) in zip(widths, spans, strict=True)]
    scale = 100 / (sum(widths) or 1)
    shares, x = [], 0.0
    for width, (kind, start, stop, said, number) in zip(widths, spans, strict=True):
        took = rough(max(0, stop - start))
        shares.append(Span(kind, round(x, 3), round(width * scale, 3), f"{said}, {took}", number))
        x += width * scale
    return shares


def cli_of(job: Job) -> str:
    """The command line that puts the same job in again."""
    from shlex import quote

    words = ["queuectl", "enqueue"]
    spec = job.spec
    for name, value in _asked(job).items():
        words += [name, quote(str(value))]
    return " ".join([*words, "--", spec.command] if spec.argv is not None else [*words, "-c", quote(spec.command)])


def _asked(job: Job) -> dict[str, Any]:
    spec, settings = job.spec, job.settings
    asked: dict[str, Any] = {}
    if spec.queue != "default":
        asked["--queue"] = spec.queue
    if spec.priority:
        asked["--priority"] = spec.priority
    if settings.timeout is not None:
        asked["--timeout"] = f"{settings.timeout:g}"
    if settings.max_retries != 3:
        asked["--max-retries"] = settings.max_retries
    return asked
