"""The gate: what every request passes before anything else looks at it.

First the Host, so that no name that an attacker points at this machine is answered. Then who asks: anybody on
loopback, else who shows a token or has the cookie of a session. Then, for a change, where it comes from: only POST,
only from our own pages (``Sec-Fetch-Site`` or ``Origin``, and the token in the form), and JSON only with a bearer
token. At last the role. Every answer gets the headers that keep what a job printed from running in a browser.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from flask import Response, current_app, g, redirect, request, url_for
from werkzeug.exceptions import Forbidden, TooManyRequests, Unauthorized, UnsupportedMediaType

from queuectl.web.visitors import OPERATOR, VIEWER, Failures, Sessions, Tokens, Visitor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from flask import Flask
    from werkzeug.wrappers import Response as Answer

COOKIE = "queuectl_session"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
#: Answered to whoever asks: what a supervisor asks, the door itself, and files that are the same for everybody.
OPEN = frozenset({"probes.healthz", "probes.readyz", "door.login", "door.try_token", "static"})
#: Changes that concern nobody but who asks for them.
OWN = frozenset({"door.logout", "door.theme"})

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Hosts(NamedTuple):
    """The names that this server answers to."""

    names: frozenset[str]  # "localhost:8080", or "queue.example.org" for one that comes without a port
    port: int
    addresses: bool = False  # any literal address will do: no name can be pointed at one

    def allow(self, host: str) -> bool:
        host = host.lower()
        if host in self.names:
            return True
        return self.addresses and _is_address(host, self.port)


def hosts_of(bind: str, port: int, own: str, more: Iterable[str]) -> Hosts:
    """What a server bound to *bind* answers to; *own* is this host's name, *more* are configured."""
    names = {f"{name}:{port}" for name in ("localhost", "127.0.0.1", "[::1]")}
    if port in (80, 443):
        names |= {"localhost", "127.0.0.1", "[::1]"}
    loopback = is_loopback(bind)
    if not loopback:
        names |= {f"{own.lower()}:{port}", f"{bind.lower()}:{port}"}
    names |= {name.lower() for name in more}
    return Hosts(frozenset(names), port, addresses=not loopback)


def is_loopback(bind: str) -> bool:
    if bind.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(bind.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_address(host: str, port: int) -> bool:
    name, _, given = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    if not name:
        name, given = host, ""
    if given not in ("", str(port)) or (not given and port not in (80, 443)):
        return False
    try:
        ipaddress.ip_address(name[1:-1] if name.startswith("[") and name.endswith("]") else name)
    except ValueError:
        return False
    return True


class HostGate:
    """Refuses what does not call us by a name of ours, before any other code sees it."""

    def __init__(self, inner: WSGIApplication, hosts: Hosts) -> None:
        self._inner = inner
        self._hosts = hosts

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if self._hosts.allow(environ.get("HTTP_HOST", "")):
            return self._inner(environ, start_response)
        body = b"This server does not answer to that name. [dashboard] hosts in queuectl.toml lists further ones.\n"
        start_response(
            "421 Misdirected Request",
            [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body))), *HEADERS.items()],
        )
        return [body]


class Gate:
    """Who may do what."""

    def __init__(self, tokens: Tokens | None, *, read_only: bool = False) -> None:
        self.tokens = tokens
        self.read_only = read_only
        self.sessions = Sessions()
        self.failures = Failures()
        self._secret = secrets.token_bytes(32)

    def guard(self, app: Flask) -> None:
        """Stand before every request of *app*."""
        app.before_request(self._enter)
        app.after_request(self.seal)

    # -- coming in ---------------------------------------------------------------------------------

    def _enter(self) -> Answer | None:
        g.visitor = None
        open_to_all = request.endpoint in OPEN
        visitor = self._visitor()
        if visitor is None and not open_to_all:
            return self._ask_in()
        g.visitor = visitor
        if request.method not in SAFE:
            self._check_change()
            if request.endpoint not in OPEN | OWN and (visitor is None or not visitor.is_operator):
                raise Forbidden("this dashboard is read-only" if self.read_only else "a viewer cannot change anything")
        return None

    def _visitor(self) -> Visitor | None:
        """Who asks, or None."""
        found = self._known()
        if found is not None and self.read_only:
            return found._replace(role=VIEWER)
        return found

    def _known(self) -> Visitor | None:
        if self.tokens is None:
            return Visitor("web", OPERATOR)
        bearer = bearer_token()
        if bearer is not None:
            return self.check(bearer)
        return self.sessions.find(request.cookies.get(COOKIE, ""))

    def check(self, token: str) -> Visitor | None:
        """Who has this token; who guesses too often is not told any more."""
        assert self.tokens is not None
        address = request.remote_addr or ""
        if self.failures.too_many(address):
            raise TooManyRequests("too many wrong tokens from this address: wait a minute", retry_after=60)
        visitor = self.tokens.find(token)
        if visitor is None:
            self.failures.count(address)
        return visitor

    def _ask_in(self) -> Answer:
        if wants_json() or request.method not in SAFE or request.endpoint == "probes.metrics":
            raise Unauthorized("a token is needed: Authorization: Bearer TOKEN")
        return redirect(url_for("door.login", next=request.full_path.rstrip("?")))

    # -- changing ----------------------------------------------------------------------------------

    def _check_change(self) -> None:
        """Whether a request that changes something comes from one of our pages, or from a program that means it."""
        bearer = bearer_token() is not None
        site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
        if site is not None:
            if site != "same-origin" and not (site == "none" and bearer):
                raise Forbidden("this request comes from another site")
        elif origin is not None:
            if not self._is_ours(origin):
                raise Forbidden("this request comes from another site")
        elif not wants_json():
            raise Forbidden("this request does not say where it comes from")
        if wants_json():
            if self.tokens is not None and not bearer:
                raise Unauthorized("a change over the API needs Authorization: Bearer TOKEN")
            if request.mimetype != "application/json" and not (bearer and not request.content_length):
                raise UnsupportedMediaType("send JSON: Content-Type: application/json")
        elif not hmac.compare_digest(request.form.get("csrf", "").encode(), self.csrf().encode()):
            raise Forbidden("this form is out of date: go back, load the page again, and try once more")

    def _is_ours(self, origin: str) -> bool:
        """Whether an Origin is the one this page was served from. The scheme may be a proxy's."""
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and parts.netloc.lower() == request.host.lower()

    def csrf(self) -> str:
        """What a form of this visitor carries."""
        session = request.cookies.get(COOKIE, "") if self.tokens is not None else ""
        return hmac.new(self._secret, session.encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:40]

    # -- going out ---------------------------------------------------------------------------------

    @staticmethod
    def seal(response: Response) -> Response:
        """Put on every answer what keeps text of a job from running in a browser."""
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if request.endpoint != "static":
            response.headers["Cache-Control"] = "no-store"
        return response


def wants_json() -> bool:
    """Whether this request belongs to the API."""
    return request.path.startswith("/api/")


def bearer_token() -> str | None:
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else None


def gate() -> Gate:
    """The gate of the application that serves this request."""
    found: Gate = current_app.extensions["queuectl.gate"]
    return found
