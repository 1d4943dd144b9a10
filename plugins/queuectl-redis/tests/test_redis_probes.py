"""The dashboard and the probes over Redis: every page is there; and what is told while the server is away."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis_hosts import Host, until
from redis_servers import Server


@pytest.fixture
def here(own_server: Server, tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path / "here", own_server.url, more="patience = 4\n")
    yield host
    host.close()


def ask(address: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=25) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_pool_whose_storage_is_away_is_healthy_and_not_ready(own_server: Server, here: Host) -> None:
    """It lives and waits: it is not to be killed for that, and gets no further traffic. All by itself it is back."""
    here.start("--count", "1", "--probe", "127.0.0.1:0")
    found = until(lambda: re.search(r"probes at (\S+)\n", here.log()), "it says where it answers probes")
    address = found[1]
    assert [ask(address, path)[0] for path in ("/healthz", "/readyz", "/metrics")] == [200] * 3
    before = ask(address, "/metrics")[1]
    own_server.stop(signal.SIGKILL)
    begun = time.monotonic()
    assert ask(address, "/readyz") == (503, "not ready\n")
    assert time.monotonic() - begun < 3.5, "whoever probes does not wait as long as a command"
    code, said = ask(address, "/metrics")
    assert code == 503 and "cannot be reached" in said and len(said.splitlines()) == 1
    assert "cannot be reached" in ask(address, "/readyz?verbose")[1]
    assert ask(address, "/healthz") == (200, "ok\n")
    own_server.start()
    until(lambda: ask(address, "/readyz")[0] == 200, "it is ready again")
    here.await_state(here.enqueue("true"), "completed")
    after = ask(address, "/metrics")[1]
    assert 'finished_total{outcome="completed",queue="default"} 1' in after and before != after
    assert "Traceback" not in here.log()


FILTERS = ("", "state:dead", "queue:default", "tag:t", "id:1", "exit:3", "since:1h", "exit", "nothing")


@pytest.fixture
def dashboard(here: Host) -> Iterator[str]:
    """``queuectl dashboard`` over the same storage; its address."""
    log = here.folder / "dashboard.log"
    with log.open("wb") as stderr:
        server = subprocess.Popen(here.words("dashboard", "--port", "0"), env=here.env, cwd=here.folder, stderr=stderr)
    found = until(lambda: re.search(r"dashboard at http://(\S+)/", log.read_text()), "it says where it is")
    yield found[1]
    server.terminate()
    server.wait(20)
    assert "Traceback" not in log.read_text()


def test_every_page_and_answer_is_there_over_redis(here: Host, dashboard: str) -> None:
    """All that it shows it has from the contract. Pages are found by their links, answers by their description."""
    for n in range(3):
        here.enqueue(f"echo out; exit {n * 3}", max_retries=0, tags=["t"])
    here.run("worker", "start", "--until-empty", code=1)
    described = json.loads(ask(dashboard, "/api/v1/openapi.json")[1])["paths"]
    filled = {"id": "2", "name": "default", "attempt": "1", "stream": "stdout"}
    wanted = [
        f"/api/v1{path.format(**filled)}" for path in described if "get" in described[path] and "bulk" not in path
    ]
    wanted += ["/", "/metrics", "/readyz", *(f"/jobs?q={text}" for text in FILTERS)]
    wanted += [f"/api/v1/jobs?filter={text}" for text in FILTERS]
    seen: dict[str, int] = {}
    while wanted:
        path = wanted.pop().partition("#")[0]
        if path not in seen:
            seen[path], text = ask(dashboard, path)
            links = re.findall(r'(?:href|src)="(/[^"]*)"', text) if text.startswith("<!doctype") else ()
            wanted += [link.replace("&amp;", "&") for link in links]
    assert not {path: code for path, code in seen.items() if code != 200} and len(seen) > 60
    assert {"/queues", "/workers", "/dlq", "/system", "/jobs/3", "/jobs/3/output/1/stdout"} <= set(seen)
    body = json.dumps({"action": "retry", "filter": "state:dead exit:3"}).encode()
    asked = urllib.request.Request(f"http://{dashboard}/api/v1/bulk", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=20) as answer:
        begun = json.load(answer)["id"]
    until(lambda: json.loads(ask(dashboard, f"/api/v1/bulk/{begun}")[1])["changed"] == 1, "one is retried")
    assert here.state("2") == "pending"
