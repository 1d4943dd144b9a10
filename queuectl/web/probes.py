"""What supervisors and monitoring ask: ``/healthz``, ``/readyz``, ``/metrics``."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from flask import Blueprint, Response, current_app, jsonify, request

from queuectl.api.errors import QueueCTLError
from queuectl.web.site import site

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from queuectl.web.site import Site

#: Whoever probes waits no longer. A storage that is away is asked for as long as its own patience lasts.
ANSWER_SECONDS = 2.0
OK = "ok"

blueprint = Blueprint("probes", __name__)


@blueprint.get("/metrics")
def metrics() -> ResponseReturnValue:
    """The whole queue for Prometheus; OpenMetrics for who asks for it."""
    body, content_type = site().exposition.text(request.headers.get("Accept", ""))
    return Response(body, content_type=content_type)


@blueprint.get("/healthz")
def healthz() -> ResponseReturnValue:
    """This process answers and, where it is a pool, its loop goes round."""
    healthy = current_app.extensions.get("queuectl.healthy")
    if healthy is not None and not healthy():
        return Response("the pool does not move\n", 503, mimetype="text/plain")
    return Response("ok\n", mimetype="text/plain")


@blueprint.get("/readyz")
def readyz() -> ResponseReturnValue:
    """The storage answers too; with ``?verbose`` which check says what."""
    checks = {"storage": site().readiness.ask()}
    ready = all(said == OK for said in checks.values())
    if "verbose" in request.args:
        return jsonify({"ready": ready, "checks": checks}), 200 if ready else 503
    return Response("ready\n" if ready else "not ready\n", 200 if ready else 503, mimetype="text/plain")


class Readiness:
    """Whether the storage answers.

    A thread of its own asks it, always over the same connection, and may wait for it longer than whoever probes.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._wanted = False
        self._closing = False
        self._answers = 0
        self._said = OK

    def ask(self) -> str:
        """``ok``, or what is wrong with it as far as that is known by now."""
        with self._changed:
            if self._thread is None and not self._closing:
                self._thread = threading.Thread(target=self._look, name="readiness", daemon=True)
                self._thread.start()
            before, self._wanted = self._answers, True
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._answers != before, ANSWER_SECONDS) and self._said == OK:
                return f"no answer within {ANSWER_SECONDS:g} s"
            return self._said

    def _look(self) -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._wanted or self._closing)
                    if self._closing:
                        return
                    self._wanted = False
                said = self._stat()
                with self._changed:
                    self._said, self._answers = said, self._answers + 1
                    self._changed.notify_all()
        finally:
            self._site.release()

    def _stat(self) -> str:
        try:
            self._site.storage.stat()
        except QueueCTLError as error:
            return str(error)
        return OK

    def close(self) -> None:
        """Ask no more. Idempotent."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(ANSWER_SECONDS)
