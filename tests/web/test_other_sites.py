"""Rules S-A and S-B in a real browser: what another site can do that is open beside the dashboard. Nothing."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from desk import Served

PAGE = """<!doctype html><title>another site</title>
<form id="form" method="post" action="{url}/jobs/{id}/cancel"><input name="csrf" value="guess"></form>
<form id="json" method="post" enctype="text/plain" action="{url}/api/v1/jobs/{id}/cancel">
<input name='{{"a":"' value='"}}'></form>
<iframe src="{url}/jobs/{id}"></iframe><img src="{url}/jobs/{id}">"""

#: What scripts of the other page try; each tells whether it read anything.
TRIES = {
    "read": "fetch(URL + '/api/v1/jobs').then(answer => answer.text())",
    "read with what the browser has": "fetch(URL + '/api/v1/jobs', {credentials: 'include'}).then(a => a.text())",
    "send JSON": "fetch(URL + '/api/v1/jobs/ID/cancel', {method: 'POST', body: '{}', "
    "headers: {'Content-Type': 'application/json'}}).then(answer => answer.text())",
    "send without asking": "fetch(URL + '/api/v1/jobs/ID/cancel', {method: 'POST', mode: 'no-cors', body: '{}'})"
    ".then(answer => answer.text())",
    "send a form": "fetch(URL + '/jobs/ID/cancel', {method: 'POST', mode: 'no-cors', "
    "body: new URLSearchParams({csrf: 'x'})}).then(answer => answer.text())",
    "listen": "new Promise((done, fail) => { const s = new EventSource(URL + '/events'); "
    "s.addEventListener('hello', () => done('heard')); s.onerror = fail; })",
    "send a beacon": "Promise.resolve("
    "navigator.sendBeacon(URL + '/jobs/ID/cancel', new URLSearchParams({csrf: 'x'})) && '')",
}


@pytest.fixture
def another_site(served: Served) -> Iterator[str]:
    """A page from another port of this machine: the same site for a browser, but another origin. Its address."""
    body: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body[0])

        def log_message(self, *_args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    body.append(PAGE.format(url=served.url, id="target").encode())
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_another_site_in_the_same_browser_reads_and_changes_nothing(
    served: Served, another_site: str, browser: Any
) -> None:
    from queuectl.api.model import NewJob, State

    def state() -> State:
        (job,) = served.app.storage.get(["target"])
        assert job is not None
        return job.state

    served.app.storage.enqueue([NewJob("echo secret words", id="target", run_at=4_000_000_000_000)])
    context = browser.new_context()
    context.new_page().goto(f"{served.url}/jobs/target")  # so the browser has whatever cookies there are
    page = context.new_page()
    page.goto(another_site)
    for what, script in TRIES.items():
        script = script.replace("URL", f"'{served.url}'", 1).replace("ID", "target")
        got = page.evaluate(f"{script}.catch(error => '')")
        assert not got, (what, got)
        assert state() is State.PENDING, what
    assert page.frames[1].url.startswith("chrome-error:"), "it is not to be framed"
    for form in ("form", "json"):
        page.goto(another_site)
        with page.expect_navigation():
            page.evaluate(f"document.getElementById('{form}').submit()")
        assert page.url.startswith(served.url) and state() is State.PENDING, form
    context.close()
