"""The application: what one dashboard has in hand, and the pages put together."""

from __future__ import annotations

import gzip
import hashlib
import secrets
import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, current_app, g, make_response, render_template, request, url_for
from markupsafe import Markup
from werkzeug.exceptions import HTTPException

import queuectl
from queuectl.api.errors import QueueCTLError
from queuectl.core.jobqueue import Queue
from queuectl.core.plugins import guarded
from queuectl.web import words
from queuectl.web.gate import Gate, HostGate, wants_json
from queuectl.web.problems import problem_of, status_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from queuectl.api.providers import Panel
    from queuectl.api.storage import Storage
    from queuectl.core.app import App
    from queuectl.core.rundir import PoolRecord
    from queuectl.web.gate import Hosts

    StopPool: TypeAlias = Callable[[PoolRecord, str | None], str]

BODY_LARGEST = 1 << 20
COMPRESSED = ("text/", "application/json", "application/javascript", "application/problem+json", "image/svg+xml")
COMPRESS_FROM = 1024


class Site:
    """What the pages of one dashboard share. A storage belongs to one thread, so each thread opens its own."""

    def __init__(self, app: App, *, stop_pool: StopPool | None = None) -> None:
        from queuectl.web.batches import Batches
        from queuectl.web.exposition import Exposition
        from queuectl.web.live import Watcher
        from queuectl.web.past import Past
        from queuectl.web.probes import Readiness

        self.config = app.config
        self.plugins = app.plugins
        self.stop_pool = stop_pool
        self.past = Past()
        self.exposition = Exposition(self)
        self.readiness = Readiness(self)
        self.batches = Batches(self)
        self.watcher = Watcher(self, app.config.dashboard.streams)
        self._first = app
        self._local = threading.local()
        self._lock = threading.Lock()
        self._apps: list[App] = []
        self.panels: list[tuple[str, Panel]] = []

    @property
    def app(self) -> App:
        """The App of this thread."""
        app: App | None = getattr(self._local, "app", None)
        if app is None:
            app = self._local.app = self._first.sibling()
            with self._lock:
                self._apps.append(app)
        return app

    @property
    def storage(self) -> Storage:
        return self.app.storage

    def queue(self, actor: str) -> Queue:
        """The queue, for somebody whose name is kept with what they do."""
        return Queue(self.app, f"web:{actor}" if actor != "web" else actor)

    def release(self) -> None:
        """Close what this thread has opened, at its end."""
        app: App | None = getattr(self._local, "app", None)
        if app is not None:
            self._local.app = None
            with self._lock:
                ours = app in self._apps  # else close() has it
                if ours:
                    self._apps.remove(app)
            if ours:
                app.close()

    def warm(self) -> None:
        """Read what charts and figures need of the past, before somebody waits for it. A thread of its own."""
        from queuectl.web.pages.overview import RANGES

        try:
            for span, count in RANGES.values():
                if not self.watcher.closing:
                    self.past.slots(self.storage, words.now_ms(), span, count)
            if not self.watcher.closing:
                self.exposition.text("")
        except QueueCTLError:  # the pages will say it
            pass
        except Exception:
            if not self.watcher.closing:  # else its storage was closed under it
                raise
        finally:
            self.release()

    def close(self) -> None:
        """Close what every thread has opened; no request is served any more."""
        self.watcher.close()
        self.batches.close()
        self.readiness.close()
        with self._lock:
            apps, self._apps = self._apps, []
        for app in apps:
            app.close()


def site() -> Site:
    """The site that this request belongs to."""
    found: Site = current_app.extensions["queuectl.site"]
    return found


def queue() -> Queue:
    """The queue as whoever sent this request sees it."""
    return site().queue(g.visitor.name)


def create_site(
    app: App, hosts: Hosts, gate: Gate | None = None, *, stop_pool: StopPool | None = None
) -> tuple[Flask, Site]:
    """The dashboard over *app*, and what it holds, to be closed by who made it."""
    flask = Flask(__name__)
    flask.config.update(
        SECRET_KEY=secrets.token_bytes(32),
        SESSION_COOKIE_NAME="queuectl_said",
        SESSION_COOKIE_SAMESITE="Strict",
        MAX_CONTENT_LENGTH=BODY_LARGEST,
        MAX_FORM_MEMORY_SIZE=BODY_LARGEST,
    )
    flask.json.sort_keys = False  # type: ignore[attr-defined]
    gate = gate if gate is not None else Gate(None)
    made = Site(app, stop_pool=stop_pool)
    made.panels = app.plugins.panels(lambda: made.storage)
    flask.extensions["queuectl.site"] = made
    flask.extensions["queuectl.gate"] = gate
    flask.jinja_env.trim_blocks = flask.jinja_env.lstrip_blocks = True
    words.register(flask)
    gate.guard(flask)
    flask.after_request(_compress)
    flask.register_error_handler(HTTPException, _http_error)
    flask.register_error_handler(QueueCTLError, _our_error)
    flask.register_error_handler(Exception, _fault)
    flask.context_processor(lambda: _frame(made, gate))
    _register(flask, made)
    flask.wsgi_app = HostGate(flask.wsgi_app, hosts)  # type: ignore[method-assign]
    return flask, made


def _register(flask: Flask, made: Site) -> None:
    """Every page, and those of plugins."""
    from queuectl.web import api, door, live, probes
    from queuectl.web.pages import PAGES

    for blueprint in (*PAGES, api.blueprint, door.door, live.blueprint, probes.blueprint):
        flask.register_blueprint(blueprint)
    menu = []
    for plugin, blueprint in made.plugins.blueprints(lambda: made.storage):
        path = f"/x/{plugin}"
        try:
            guarded(
                f"plugin {plugin}: queuectl_blueprints",
                lambda b=blueprint, p=path, n=plugin: flask.register_blueprint(b, url_prefix=p, name=f"x-{n}.{b.name}"),  # type: ignore[misc]
            )
        except QueueCTLError as error:
            made.plugins.log(f"warning: {error}")
            continue
        rules = [rule.rule for rule in flask.url_map.iter_rules() if rule.endpoint.startswith(f"x-{plugin}.")]
        if f"{path}/" in rules:
            menu.append((plugin, f"{path}/"))
    flask.extensions["queuectl.menu"] = menu


# --- What every page has --------------------------------------------------------------------------


def _frame(made: Site, gate: Gate) -> dict[str, Any]:
    visitor = g.get("visitor")
    theme = request.cookies.get("queuectl_theme", "")
    return {
        "visitor": visitor,
        "may": visitor is not None and visitor.is_operator,
        "may_enqueue": made.config.dashboard.enqueue and visitor is not None and visitor.is_operator,
        "has_door": gate.tokens is not None,
        "csrf": Markup('<input type="hidden" name="csrf" value="{}">').format(gate.csrf()),
        "theme": theme if theme in ("light", "dark") else "",
        "here": request.full_path.rstrip("?"),
        "version": queuectl.__version__,
        "asset": asset,
        "menu": current_app.extensions.get("queuectl.menu", ()),
        "states": words.STATES,
        "now": words.now_ms(),
    }


def asset(name: str) -> str:
    """The address of a file in ``static``, which changes when the file does."""
    return url_for("static", filename=name, v=_hash(name))


@lru_cache(maxsize=64)
def _hash(name: str) -> str:
    return hashlib.sha256((Path(__file__).parent / "static" / name).read_bytes()).hexdigest()[:12]


def _compress(response: Response) -> Response:
    """Pages and files are text: a fifth of their length is enough."""
    if request.endpoint == "static":
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    if (
        response.status_code != 200
        or (response.is_streamed and request.endpoint != "static")
        or "gzip" not in request.headers.get("Accept-Encoding", "")
        or not (response.mimetype or "").startswith(COMPRESSED)
        or "Content-Encoding" in response.headers
    ):
        return response
    response.direct_passthrough = False
    data = response.get_data()
    if len(data) >= COMPRESS_FROM:
        response.set_data(gzip.compress(data, 5, mtime=0))
        response.headers["Content-Encoding"] = "gzip"
        response.headers.add("Vary", "Accept-Encoding")
    return response


# --- What goes wrong ------------------------------------------------------------------------------


def _http_error(error: HTTPException) -> Any:
    if error.code is None or error.code < 400:  # a redirect of the router
        return error
    response = _explain(error.code, error.name, error.description or error.name)
    for name, value in error.get_headers(request.environ):
        if name.lower() in ("allow", "retry-after"):
            response.headers[name] = value
    if error.code == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="queuectl"'
    return response


def _our_error(error: QueueCTLError) -> Response:
    code, title = status_of(error)
    response = _explain(code, title, str(error))
    if code == 503:
        response.headers["Retry-After"] = "2"
    return response


def _fault(error: Exception) -> Response:
    """A fault of ours: said in one line to who asked, with the trace to whoever runs the server."""
    import traceback

    site().plugins.log(f"a fault in the dashboard, at {request.method} {request.path}: {error!r}")
    traceback.print_exception(error)
    whose = _plugin_of(request.path)
    where = f"plugin {whose}" if whose else "QueueCTL"
    return _explain(
        500, f"A fault in {where}", f"Nothing you did: {where} has a fault here. The server's log has more."
    )


def _plugin_of(path: str) -> str:
    """The plugin whose page this is, or nothing."""
    parts = path.split("/")
    return parts[2] if len(parts) > 2 and parts[1] == "x" else ""


def _explain(code: int, title: str, detail: str) -> Response:
    if wants_json():
        return problem_of(code, title, detail)
    if request.headers.get("Accept", "").startswith("text/plain") or request.endpoint in ("probes.metrics",):
        return Response(f"{detail}\n", code, mimetype="text/plain")
    return make_response(render_template("error.html", code=code, title=title, detail=detail), code)
