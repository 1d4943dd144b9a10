"""``worker start --probe``: a pool answers for itself, without a dashboard."""

from __future__ import annotations

import os
import re
import signal
import urllib.error
import urllib.request

import pytest
from driver import Driver, until

from queuectl.api.errors import BadInput
from queuectl.web.probing import address_of


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


def test_an_address_that_cannot_be_had_is_refused_in_a_sentence(driver: Driver) -> None:
    for bad in ("7070", "host:", "host:x", ":7070", "host:99999"):
        with pytest.raises(BadInput):
            address_of(bad)
    assert address_of("[::1]:7070") == ("::1", 7070)
    done = driver.run("worker", "start", "--probe", "192.0.2.1:7070", code=None)
    assert done.returncode != 0 and "cannot listen" in done.stderr
