"""What goes wrong, as RFC 9457 has it: ``application/problem+json``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Response, json

from queuectl.api import errors

if TYPE_CHECKING:
    from queuectl.api.errors import QueueCTLError

#: The first class that fits says the status.
STATUSES: tuple[tuple[type[QueueCTLError], int, str], ...] = (
    (errors.BadInput, 400, "Bad Request"),
    (errors.NotFound, 404, "Not Found"),
    (errors.Conflict, 409, "Conflict"),
    (errors.JobRejected, 422, "Refused By A Plugin"),
    (errors.NotSupported, 501, "Not Supported"),
    (errors.StorageFull, 507, "No Space Left"),
    (errors.StorageError, 503, "The Storage Is Away"),
)


def status_of(error: QueueCTLError) -> tuple[int, str]:
    """The HTTP status of an error of ours, and its name."""
    return next(((code, title) for kind, code, title in STATUSES if isinstance(error, kind)), (500, "A Fault"))


def problem_of(code: int, title: str, detail: str) -> Response:
    """A problem document."""
    body = {"type": "about:blank", "title": title, "status": code, "detail": detail}
    return Response(json.dumps(body), code, mimetype="application/problem+json")
