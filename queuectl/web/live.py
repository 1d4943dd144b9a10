"""News for open tabs: what has changed, never how; a tab then fetches its page again.

One thread looks at the storage a few times a second for all streams together, and only while there is one. A job's
output is a stream of its own, from a byte offset on, so that a tab that lost its connection goes on where it was. Each
stream holds a thread of the server, so their number is limited; a tab that gets none asks every few seconds instead.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, json, request

from queuectl.api.errors import BadInput, NotFound, QueueCTLError
from queuectl.api.model import FINISHED, State
from queuectl.api.storage import Ability
from queuectl.core.outputs import PIECE, STREAMS, WATCH_EVERY, WATCHED, Live
from queuectl.core.rundir import list_workers
from queuectl.web.site import queue, site
from queuectl.web.words import output_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from queuectl.core.jobqueue import Queue
    from queuectl.core.rundir import WorkerRecord
    from queuectl.web.site import Site

LOOK_SECONDS = 0.25
ALIVE_SECONDS = 15.0
#: A stream waits no longer for the first look.
FIRST_LOOK_SECONDS = 5.0
LOG_SECONDS = 0.1
#: That jobs have written something is told so seldom: what follows a log has a stream of its own.
OUTPUT_SECONDS = 1.0
#: Of one stream's output, at most so many bytes a second.
LOG_MOST = 1 << 18

blueprint = Blueprint("live", __name__)


class Watcher:
    """Looks at the storage for all open streams, and counts them."""

    def __init__(self, site: Site, most: int) -> None:
        self._site = site
        self._most = most
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._looking = False  # what happens from now on is noticed
        self._numbers: dict[str, int] = {"jobs": 0, "workers": 0, "output": 0}
        self._closing = False
        self.open = 0

    def enter(self) -> bool:
        """Take one of the places for streams; False: there is none."""
        with self._changed:
            if self.open >= self._most or self._closing:
                return False
            self.open += 1
            return True

    def leave(self) -> None:
        with self._changed:
            self.open -= 1
            self._changed.notify_all()

    def numbers(self) -> dict[str, int]:
        """How often each topic has changed. When this returns, somebody looks; a storage that is away may have to be
        waited for, and is told to have changed when it is back.
        """
        with self._changed:
            if self._thread is None and not self._closing:
                self._thread = threading.Thread(target=self._look, name="watcher", daemon=True)
                self._thread.start()
            self._changed.wait_for(lambda: self._looking or self._closing, FIRST_LOOK_SECONDS)
            return dict(self._numbers)

    def wait(self, seen: dict[str, int], seconds: float) -> dict[str, int]:
        """The numbers, as soon as they are others than *seen*, or after so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._numbers != seen or self._closing, seconds)
            return dict(self._numbers)

    @property
    def closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """End every stream. Idempotent."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(5)

    def _look(self) -> None:
        try:
            workers: Any = None
            sizes: list[int] | None = None
            told = 0.0
            while True:
                with self._changed:
                    if not self.open or self._closing:
                        self._thread = None
                        self._looking = False
                        return
                try:
                    app = self._site.app
                    jobs = app.storage.changed() and self._looking
                    records = list_workers(app.run_dir)
                    now = [(w.id, w.alive, w.job and (w.job.id, w.job.attempt)) for w in records]
                except QueueCTLError:  # the pages say what it is
                    jobs, now, records = True, workers, []
                wrote = False
                if time.monotonic() - told > OUTPUT_SECONDS and (written := _written(records)) != sizes:
                    wrote, sizes, told = sizes is not None, written, time.monotonic()
                self._tell(jobs=jobs, workers=now != workers and workers is not None, output=wrote)
                workers = now
                if not self._looking:
                    with self._changed:
                        self._looking = True
                        self._changed.notify_all()
                time.sleep(LOOK_SECONDS)
        finally:
            self._site.release()

    def _tell(self, **topics: bool) -> None:
        if any(topics.values()):
            with self._changed:
                for topic, changed in topics.items():
                    self._numbers[topic] += changed
                self._changed.notify_all()


def _written(workers: Iterable[WorkerRecord]) -> list[int]:
    """How much the jobs of this host have written so far, as its workers' files tell."""
    found = []
    for worker in workers:
        for stream in STREAMS if worker.alive and worker.job else ():
            try:
                found.append(os.stat(worker.output_path(stream)).st_size)
            except OSError:  # it has just gone
                found.append(0)
    return found


def stream(events: Iterator[str]) -> Response:
    """A response of events; the place it takes is given back when it ends, however it does."""
    watcher = site().watcher
    if not watcher.enter():
        events.close()  # type: ignore[attr-defined]
        return Response("All live views are taken; ask again now and then.\n", 503, {"Retry-After": "5"})
    response = Response(Held(events, watcher.leave), mimetype="text/event-stream")
    response.headers["X-Accel-Buffering"] = "no"
    response.headers["Cache-Control"] = "no-store"
    return response


class Held:
    """An iterator that gives its place back once, when it is at its end or closed, even if it never began."""

    def __init__(self, events: Iterator[str] | Iterator[bytes], leave: Callable[[], None]) -> None:
        self._events = events
        self._leave: Callable[[], None] | None = leave

    def __iter__(self) -> Iterator[bytes]:
        try:
            for event in self._events:
                yield event.encode() if isinstance(event, str) else event
        finally:
            self.close()

    def close(self) -> None:
        leave, self._leave = self._leave, None
        if leave is not None:
            self._events.close()  # type: ignore[union-attr]
            leave()


@blueprint.get("/events")
def events() -> Response:
    """What has changed, by topic."""
    return stream(_news(site().watcher, hung_up()))


def _news(watcher: Watcher, gone: Callable[[], bool]) -> Iterator[str]:
    seen = watcher.numbers()
    yield "retry: 2000\nevent: hello\ndata: {}\n\n"
    said = time.monotonic()
    while not watcher.closing and not gone():
        numbers = watcher.wait(seen, 1.0)
        topics = [topic for topic, n in numbers.items() if n != seen[topic]]
        seen = numbers
        if topics:
            yield f"event: change\ndata: {json.dumps(topics)}\n\n"
            said = time.monotonic()
            time.sleep(LOOK_SECONDS)  # what changes many times a second is told a few times
        elif time.monotonic() - said > ALIVE_SECONDS:
            yield ": alive\n\n"
            said = time.monotonic()


def hung_up() -> Callable[[], bool]:
    """Whether whoever listens has hung up, where the server can tell."""
    asked: Callable[[], bool] = request.environ.get("waitress.client_disconnected", lambda: False)
    return asked


# --- A job's output -------------------------------------------------------------------------------


@blueprint.get("/jobs/<id>/follow")
def follow(id: str) -> Response:
    """What the running attempt of a job writes, from byte offsets on."""
    found = queue()
    job = found.get(id)
    offsets = _offsets()
    attempt = request.args.get("attempt", type=int) or job.attempts
    return stream(_output(found, id, attempt, offsets, site().watcher, hung_up()))


def _offsets() -> dict[str, int]:
    """Where to go on: as the last event that arrived says, else as the page says."""
    last = request.headers.get("Last-Event-ID", "")
    texts = last.split("-") if last else [request.args.get(stream, "0") for stream in STREAMS]
    if len(texts) != len(STREAMS) or not all(text.isascii() and text.isdigit() and len(text) < 16 for text in texts):
        raise BadInput("the place to go on from is not one")
    return {stream: int(text) for stream, text in zip(STREAMS, texts, strict=True)}


def _output(
    found: Queue, id: str, attempt: int, offsets: dict[str, int], watcher: Watcher, gone: Callable[[], bool]
) -> Iterator[str]:
    tail = Tail(found, id, attempt, offsets)
    said = time.monotonic()
    try:
        yield "retry: 1000\n\n"
        while not watcher.closing and not gone():
            begun = time.monotonic()
            wrote = 0
            for stream, data in tail.read():
                wrote += len(data)
                yield tail.event(stream, data)
            if tail.over and not wrote:
                yield "event: end\ndata: {}\n\n"
                return
            if wrote:
                said = begun
            elif begun - said > ALIVE_SECONDS:
                said = begun
                yield ": alive\n\n"
            time.sleep(max(LOG_SECONDS, wrote / LOG_MOST - (time.monotonic() - begun)))
    except NotFound:
        yield "event: end\ndata: {}\n\n"
    finally:
        tail.close()


class Tail:
    """The end of an attempt's output: in its worker's files here, shown by its pool elsewhere, or kept."""

    def __init__(self, found: Queue, id: str, attempt: int, offsets: dict[str, int]) -> None:
        self._queue = found
        self._id = id
        self._attempt = attempt
        self._live: Live | None = None
        self._watched_at = -WATCH_EVERY
        self.offsets = offsets
        self.over = False

    def read(self) -> Iterator[tuple[str, bytes]]:
        """What is new, at most a piece of each stream."""
        job = self._queue.get(self._id)
        running = job.state is State.PROCESSING and job.attempts == self._attempt
        if running and self._live is None:
            self._live = Live.open(self._queue.app.run_dir, job)
        for stream in STREAMS:
            offset = self.offsets[stream]
            if running:
                data = self._live.read_at(stream, offset, PIECE) if self._live is not None else self._shown(stream)
            else:
                data = self._queue.app.storage.read_output(self._id, self._attempt, stream, offset, PIECE)
            if data:
                self.offsets[stream] += len(data)
                yield stream, data
        self.over = not running and (job.attempts >= self._attempt or job.state in FINISHED)

    def _shown(self, stream: str) -> bytes:
        """What its pool on another host shows, if the storage can pass it on; it is asked again before it forgets."""
        storage = self._queue.app.storage
        if Ability.LIVE not in storage.abilities:
            return b""
        if time.monotonic() - self._watched_at >= WATCH_EVERY:
            self._watched_at = time.monotonic()
            storage.watch(self._id, hold=WATCHED)
        self.offsets[stream], data = storage.shown_output(self._id, self._attempt, stream, self.offsets[stream])
        return data

    def event(self, stream: str, data: bytes) -> str:
        id = "-".join(str(self.offsets[stream]) for stream in STREAMS)
        return f"id: {id}\nevent: output\ndata: {json.dumps({'stream': stream, 'text': output_text(data)})}\n\n"

    def close(self) -> None:
        if self._live is not None:
            self._live.close()
