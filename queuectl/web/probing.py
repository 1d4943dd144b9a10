"""The probes of a pool that has no dashboard beside it: ``worker start --probe``. A thread of the pool's process."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, request
from waitress.server import create_server  # type: ignore[import-untyped]
from werkzeug.exceptions import Forbidden

from queuectl.api.errors import BadInput, QueueCTLError, SystemRefused
from queuectl.web import probes
from queuectl.web.gate import Gate, HostGate, hosts_of, is_loopback
from queuectl.web.problems import status_of
from queuectl.web.site import Site

if TYPE_CHECKING:
    from collections.abc import Callable

    from queuectl.core.app import App


class Probe:
    """Answers ``/healthz``, ``/readyz`` and, on loopback, ``/metrics`` until it is closed."""

    def __init__(self, app: App, address: str, healthy: Callable[[], bool]) -> None:
        from socket import gethostname

        host, port = address_of(address)
        flask = Flask(__name__)
        self.site = Site(app)
        flask.extensions["queuectl.site"] = self.site
        flask.extensions["queuectl.healthy"] = healthy
        flask.register_blueprint(probes.blueprint)
        flask.register_error_handler(QueueCTLError, _told)
        flask.after_request(Gate.seal)
        if not is_loopback(host):
            flask.before_request(_no_figures)
        try:
            self._server: Any = create_server(
                flask, host=host, port=port, threads=2, ident="queuectl", asyncore_use_poll=True, channel_timeout=20,
                connection_limit=100,
            )  # fmt: skip
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise SystemRefused(f"--probe: cannot listen at {address}: {why}") from error
        self.port = int(self._server.effective_port)
        flask.wsgi_app = HostGate(flask.wsgi_app, hosts_of(host, self.port, gethostname(), ()))  # type: ignore[method-assign]
        self._thread = threading.Thread(target=self._server.run, name="probe", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.close()
        self._thread.join(5)
        self.site.close()


def _told(error: QueueCTLError) -> Response:
    """In a sentence, as the dashboard does."""
    return Response(f"{error}\n", status_of(error)[0], mimetype="text/plain")


def _no_figures() -> None:
    if request.endpoint == "probes.metrics":
        raise Forbidden("figures are told on this machine alone; a dashboard with tokens tells them to others")


def address_of(text: str) -> tuple[str, int]:
    """``127.0.0.1:7070`` or ``[::1]:7070`` as host and port."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise BadInput(f"--probe takes HOST:PORT like 127.0.0.1:7070, not {text!r}")
    return host.strip("[]"), int(port)
