"""``worker start --probe``: a pool answers for itself, without a dashboard."""

from __future__ import annotations

import os
import re
import signal
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from driver import Driver, until

from queuectl.api.errors import BadInput
from queuectl.core.app import App
from queuectl.web.probing import Probe, address_of


def ask(address: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_pool_answers_probes_and_goes_on_working(driver: Driver) -> None:
    pool = driver.start("--count", "1", "--probe", "127.0.0.1:0")
    address = pool.await_line("probes at").rpartition(" ")[2]
    assert ask(address, "/healthz") == (200, "ok\n") and ask(address, "/readyz") == (200, "ready\n")
    id = driver.enqueue("echo hi")
    driver.await_state(id, "completed")
    until(
        lambda: re.search(r'finished_total\{outcome="completed",queue="default"\} 1', ask(address, "/metrics")[1]), "1"
    )
    assert ask(address, "/jobs")[0] == 404
    os.kill(pool.pid, signal.SIGUSR2)  # it executes itself anew, and answers again
    until(lambda: sum("probes at" in line for line in pool.lines()) == 2, "it answers again")
    again = [line for line in pool.lines() if "probes at" in line][-1].rpartition(" ")[2]
    assert ask(again, "/healthz")[0] == 200
    pool.signal(signal.SIGTERM)
    assert pool.end() == 0


def test_a_pool_whose_loop_stands_still_is_not_healthy(tmp_path: Path) -> None:
    """The probe's thread goes on answering: that alone would say nothing."""
    moves = [True]
    app = App.open(None, str(tmp_path / "queue.db"))
    probe = Probe(app, "127.0.0.1:0", lambda: moves[0])
    address = f"127.0.0.1:{probe.port}"
    assert ask(address, "/healthz") == (200, "ok\n")
    moves[0] = False
    assert ask(address, "/healthz") == (503, "the pool does not move\n")
    assert ask(address, "/readyz") == (200, "ready\n")
    probe.close()
    app.close()


def test_beyond_this_machine_figures_are_not_told(tmp_path: Path) -> None:
    """There are no tokens at a probe. Names that somebody points here are not answered there either."""
    app = App.open(None, str(tmp_path / "queue.db"))
    probe = Probe(app, "0.0.0.0:0", lambda: True)
    address = f"127.0.0.1:{probe.port}"
    assert [ask(address, path)[0] for path in ("/healthz", "/readyz", "/metrics")] == [200, 200, 403]
    asked = urllib.request.Request(f"http://{address}/healthz", headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(asked, timeout=10)
    refused.value.close()
    assert refused.value.code == 421
    probe.close()
    app.close()


def test_an_address_that_cannot_be_had_is_refused_in_a_sentence(driver: Driver) -> None:
    for bad in ("7070", "host:", "host:x", ":7070", "host:99999"):
        with pytest.raises(BadInput):
            address_of(bad)
    assert address_of("[::1]:7070") == ("::1", 7070)
    done = driver.run("worker", "start", "--probe", "192.0.2.1:7070", code=None)
    assert done.returncode != 0 and "cannot listen" in done.stderr
