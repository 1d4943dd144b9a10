"""Streams: what they say, how many there are, and that they leave pages and workers alone."""

from __future__ import annotations

import http.client
import json
import socket
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from desk import Dashboard, Served
from driver import Driver, until

from queuectl.api.model import Action, NewJob, Where
from queuectl.testing.subjects.subject import completed, hand_in, take
from queuectl.web.words import now_ms


class Stream:
    """One open stream of events."""

    def __init__(self, served: Served, path: str = "/events") -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
        self.connection.request("GET", path)
        self.answer = self.connection.getresponse()

    def read_until(self, text: str) -> str:
        got = ""
        while text not in got:
            line = self.answer.readline().decode()
            assert line, f"it ended without {text!r}: {got}"
            got += line
        return got

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


def status_of(served: Served, path: str) -> tuple[int, float]:
    """The status of a plain page, and how long it took in seconds."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    begun = time.monotonic()
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, time.monotonic() - begun


def test_a_stream_says_that_something_has_changed_and_not_what(served: Served) -> None:
    stream = Stream(served)
    stream.read_until("event: hello")
    until(lambda: served.site.watcher._thread is not None, "somebody looks")
    time.sleep(0.3)  # the first look is where changes are counted from
    served.app.storage.enqueue([NewJob("secret words")])
    said = stream.read_until('["jobs"]')
    assert "event: change" in said and "secret" not in said
    stream.close()


def test_sixteen_open_streams_leave_pages_alone_and_the_next_is_told_to_poll(served: Served) -> None:
    streams = [Stream(served) for _ in range(16)]
    for stream in streams:
        assert stream.answer.status == 200
        stream.read_until("event: hello")
    assert served.site.watcher.open == 16
    status_of(served, "/")
    times = sorted(status_of(served, path)[1] for path in ("/", "/jobs", "/queues", "/workers", "/stats") * 4)
    assert times[len(times) // 2] < 0.1, times
    status, _ = status_of(served, "/events")
    assert status == 503
    for stream in streams:
        stream.close()
    until(lambda: served.site.watcher.open == 0, "who hung up has left")
    again = Stream(served)
    again.read_until("event: hello")
    again.close()


def test_nobody_looks_at_the_storage_without_a_stream(served: Served) -> None:
    stream = Stream(served)
    stream.read_until("event: hello")
    stream.close()
    until(lambda: served.site.watcher._thread is None, "the last has left, so nobody looks")


def test_five_hundred_slow_clients_hold_nobody_up(served: Served) -> None:
    """Clients that send half a request, or read nothing, cost a socket and no thread."""
    slow: list[Any] = []
    try:
        for n in range(500):
            client = socket.create_connection(("127.0.0.1", served.port), 10)
            slow.append(client)
            client.sendall(b"GET /jobs HTTP/1.1\r\nHost: localhost" + (b"" if n % 2 else b":%d\r\n" % served.port))
        times = sorted(status_of(served, "/")[1] for _ in range(10))
        assert times[5] < 0.2, times
    finally:
        for client in slow:
            client.close()


def test_workers_go_on_beside_five_hundred_slow_clients(driver: Driver, dashboard: Dashboard) -> None:
    """Real ones, with every job done once; and pages of the dashboard are answered meanwhile."""
    host, _, port = dashboard.url.removeprefix("http://").partition(":")
    slow = [socket.create_connection((host, int(port)), 10) for _ in range(500)]
    for n, client in enumerate(slow):
        client.sendall(b"GET /jobs HTTP/1.1\r\nHost: localhost" + (b"" if n % 2 else b":%d\r\n" % int(port)))
    driver.start("--count", "2")
    journal = driver.folder / "journal"
    lines = "".join(json.dumps({"command": f"echo {n} >> {journal}"}) + "\n" for n in range(100))
    driver.run("enqueue", "--file", "-", input=lines)

    def is_done() -> bool:
        with urllib.request.urlopen(f"{dashboard.url}/api/v1/stat", timeout=20) as answer:
            return bool(json.load(answer)["counts"]["completed"] == 100)

    until(is_done, "all jobs are done, and the dashboard says so")
    assert sorted(map(int, journal.read_text().split())) == list(range(100))
    for client in slow:
        client.close()


def test_who_hangs_up_gives_its_place_back_however_quiet_the_job_is(served: Served) -> None:
    """For pages and for programs: else sixteen that left would be all there ever are."""
    served.app.storage.enqueue([NewJob("sleep", id="quiet")])
    take(served.app.storage, now=now_ms())
    paths = ("/events", "/jobs/quiet/follow", "/api/v1/jobs/quiet/output/1/stdout?follow=true")
    clients = [asked(served, paths[n % 3]) for n in range(16)]
    until(lambda: served.site.watcher.open == 16, "all of them are served")
    assert status_of(served, paths[2])[0] == 503
    for client in clients:
        client.close()
    until(lambda: served.site.watcher.open == 0, "who hung up has left")


def asked(served: Served, path: str) -> http.client.HTTPConnection:
    """A request whose answer nobody reads. Of a job that says nothing there is none, not even its headers."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    connection.request("GET", path)
    return connection


def test_a_followed_job_that_is_deleted_ends_its_stream(served: Served) -> None:
    served.app.storage.enqueue([NewJob("x", id="soon", run_at=now_ms() + 3_600_000)])
    clients = [
        asked(served, path) for path in ("/api/v1/jobs/soon/output/1/stdout?follow=1", "/jobs/soon/follow?attempt=1")
    ]
    until(lambda: served.site.watcher.open == 2, "both are served")
    served.app.storage.apply(Action.DELETE, Where(ids=("soon",)), actor="t")
    for client, end in zip(clients, (b"", b"event: end\ndata: {}\n\n"), strict=True):
        with client.getresponse() as answer:
            assert answer.read().endswith(end)
        client.close()


def test_a_log_stream_goes_on_where_it_was(served: Served) -> None:
    served.app.storage.enqueue([NewJob("x", id="log")])
    (claim,) = take(served.app.storage, now=now_ms())
    hand_in(served.app.storage, completed(claim, stdout=b"one\ntwo\n", stderr=b"err\n"), now=now_ms())
    said = Stream(served, "/jobs/log/follow?attempt=1&stdout=4&stderr=0").read_until("event: end")
    assert '"two\\n"' in said and "one" not in said and '"err\\n"' in said and "id: 8-4" in said
    for bad in ("stdout=x", "stdout=-1", "stdout=" + "9" * 30):
        assert status_of(served, f"/jobs/log/follow?{bad}")[0] == 400
    assert status_of(served, "/jobs/nobody/follow")[0] == 404


def test_a_log_of_another_host_is_what_its_pool_shows(tmp_path: Path) -> None:
    """Where the storage can pass it on: whoever reads asks the pool to show it, and goes on behind what is gone."""
    from queuectl.testing.memory import MemoryStorage
    from queuectl.testing.subjects.subject import NOW, put_one, take_one
    from queuectl.web.live import Tail

    storage = MemoryStorage()
    id = put_one(storage, now=NOW)
    claim = take_one(storage)
    app = SimpleNamespace(storage=storage, run_dir=str(tmp_path))
    queue: Any = SimpleNamespace(app=app, get=lambda id: storage.get([id])[0])
    tail = Tail(queue, id, 1, {"stdout": 0, "stderr": 0})
    assert not list(tail.read()) and not tail.over
    assert storage.heartbeat("pool", (), lease=60).watched == (id,)
    storage.show_output(claim.job, 1, "stdout", 500, b"from far away\n")
    assert list(tail.read()) == [("stdout", b"from far away\n")]
    assert tail.offsets == {"stdout": 514, "stderr": 0} and not list(tail.read())
