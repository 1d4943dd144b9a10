"""A dashboard in this process, over a storage in a folder of its own."""

from __future__ import annotations

import re
import subprocess
import threading
from pathlib import Path
from typing import Any

from driver import Driver, until
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from queuectl.core.app import App
from queuectl.core.jobqueue import Queue
from queuectl.testing.subjects.subject import completed, dead, failed, hand_in, take
from queuectl.web.gate import Gate, hosts_of
from queuectl.web.server import Server
from queuectl.web.site import Site, create_site
from queuectl.web.visitors import Token, Tokens, Visitor, digest_of

OPERATOR, VIEWER = "o" * 40, "v" * 40
ORIGIN = "http://localhost:8765"


class Desk:
    """One dashboard, and somebody before it. With *tokens* it has a door."""

    def __init__(
        self, folder: Path, *, tokens: bool = False, read_only: bool = False, config: str = "", plugin: str = ""
    ) -> None:
        file = folder / "q.toml"
        if plugin:
            (folder / "shown_plugin.py").write_text(plugin, encoding="utf-8")
            config += '\n[plugins]\nfiles = ["shown_plugin.py"]\n'
        file.write_text(config, encoding="utf-8")
        self.folder = folder
        self.app = App.open(str(file), str(folder / "queue.db"))
        self.queue = Queue(self.app)
        self.gate = Gate(known_tokens() if tokens else None, read_only=read_only)
        flask, self.site = create_site(self.app, hosts_of("127.0.0.1", 8765, "here", ()), self.gate)
        flask.testing = True
        flask.config["PROPAGATE_EXCEPTIONS"] = False
        self.flask = flask
        self.client: FlaskClient = flask.test_client()

    def get(self, path: str, **more: Any) -> TestResponse:
        return self.client.get(path, base_url=ORIGIN, buffered=True, **more)

    def page(self, path: str) -> str:
        """The text of a page that has to be there."""
        response = self.get(path)
        assert response.status_code == 200, (path, response.status_code, response.text[-500:])
        return response.text

    def post(self, path: str, data: dict[str, Any] | None = None, **more: Any) -> TestResponse:
        """What the form of a page sends, from that page."""
        headers = {"Origin": ORIGIN, **more.pop("headers", {})}
        with self.flask.test_request_context(base_url=ORIGIN, headers=self._cookie()):
            csrf = self.gate.csrf()
        return self.client.post(path, base_url=ORIGIN, data={"csrf": csrf, **(data or {})}, headers=headers, **more)

    def _cookie(self) -> dict[str, str]:
        found = self.client.get_cookie("queuectl_session", domain="localhost")
        return {"Cookie": f"queuectl_session={found.value}"} if found else {}

    def api(self, method: str, path: str, body: Any = None, token: str | None = None, **more: Any) -> TestResponse:
        headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **more.pop("headers", {})}
        given = {"json": {} if body is None else body} if method == "POST" else {}
        return self.client.open(f"/api/v1{path}", method=method, base_url=ORIGIN, headers=headers, **given, **more)

    def enqueue(self, command: str = "true", **more: Any) -> str:
        return str(self.queue.enqueue(command, **more).id)

    def run(self, ending: str = "completed", n: int = 100, *, ago: int = 0) -> list[str]:
        """Let what waits end, as a pool would say it; the ids."""
        made = {"completed": completed, "dead": dead, "failed": failed}[ending]
        import time

        now = time.time_ns() // 1_000_000 - ago
        claims = take(self.app.storage, n, now=now)
        hand_in(self.app.storage, *[made(claim) for claim in claims], now=now)
        return [claim.job.id for claim in claims]

    def close(self) -> None:
        self.site.close()
        self.app.close()


def known_tokens() -> Tokens:
    return Tokens(
        [
            Token(Visitor("olga", "operator"), digest_of(OPERATOR)),
            Token(Visitor("vera", "viewer"), digest_of(VIEWER)),
        ]
    )


class Served:
    """A dashboard that is really served, from a thread of this process."""

    def __init__(self, app: App, **options: Any) -> None:
        self.app = app
        self.server = Server(app, options.pop("host", "127.0.0.1"), 0, say=print, **options)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()

    @property
    def site(self) -> Site:
        return self.server.site

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def url(self) -> str:
        return self.server.url.rstrip("/")

    def close(self) -> None:
        self.server.close()
        self.thread.join(10)
        self.app.close()


class Dashboard:
    """``queuectl dashboard`` in a process of its own."""

    def __init__(self, driver: Driver, *options: str) -> None:
        self.log = driver.folder / "dashboard.log"
        with self.log.open("wb") as stderr:
            self.popen = subprocess.Popen(
                driver.words("dashboard", "--port", "0", *options),
                env=driver.env,
                cwd=driver.folder,
                stdin=subprocess.DEVNULL,
                stderr=stderr,
            )
        self.url = until(self._address, "the dashboard says where it is").rstrip("/")

    def _address(self) -> str:
        assert self.popen.poll() is None, self.log.read_text()
        found = re.search(r"dashboard at (\S+)", self.log.read_text())
        return found[1] if found else ""

    def close(self, *, faults: int = 0) -> None:
        """End it. *faults*: how many pages had one, each of which leaves a trace in the log."""
        self.popen.terminate()
        code = self.popen.wait(20)
        said = self.log.read_text()
        assert code == 0 and said.count("Traceback") == faults, (code, said)


def text_of(html: str) -> str:
    """What a page says, without its tags."""
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())
