"""``worker start --probe`` and the dashboard where the storage can go away: what a supervisor is told meanwhile."""

from __future__ import annotations

import re
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis_hosts import Host, until
from redis_servers import Server


@pytest.fixture
def own_server() -> Iterator[Server]:
    server = Server("redis", "--appendonly", "yes", "--appendfsync", "always").start()
    yield server
    server.close()


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
