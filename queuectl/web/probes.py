"""What supervisors and monitoring ask: ``/healthz``, ``/readyz``, ``/metrics``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, Response, current_app, jsonify, request

from queuectl.api.errors import QueueCTLError
from queuectl.web.site import site

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

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
    checks = {"storage": "ok"}
    try:
        site().storage.stat()
    except QueueCTLError as error:
        checks["storage"] = str(error)
    ready = all(said == "ok" for said in checks.values())
    if "verbose" in request.args:
        return jsonify({"ready": ready, "checks": checks}), 200 if ready else 503
    return Response("ready\n" if ready else "not ready\n", 200 if ready else 503, mimetype="text/plain")
