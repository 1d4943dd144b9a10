"""What the dashboard costs with a million finished and a hundred thousand dead jobs, and what its visitors cost others.

Pages are asked for in this process, through the whole application with its gate, as a browser that takes gzip would;
the first time of each is told beside, since the histograms of a week are then read. Then ``queuectl dashboard`` runs
as a process of its own: with sixteen open streams while jobs come in, and with five hundred clients that send their
requests a byte at a time or read nothing of the answer. At last a backlog is worked off beside such a crowd, and
beside a dashboard that nobody looks at.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import resource
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness import Report, Scratch, Spread, interleave, parser, ratio, scratch
from benchmarks.stores import opened, waiting, week
from queuectl.api.model import NewJob
from queuectl.core.app import App
from queuectl.web.gate import hosts_of
from queuectl.web.site import create_site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask.testing import FlaskClient

DONE, DEAD = 1_000_000, 100_000
MOST_MS, FIRST_KB = 100.0, 100.0
STREAMS, CROWD = 16, 500
#: A slow client sends its next byte after so long.
BYTE_SECONDS = 10.0
#: Jobs of a drain beside a crowd, and what of its speed has to be left.
DRAINED, LEFT = 3000, 0.95
HOST = "http://localhost:8765"
PAGES = {
    "overview": "/",
    "overview, 7 d": "/?range=7d",
    "jobs": "/jobs",
    "jobs, dead": "/jobs?q=state:dead",
    "jobs, queue and state": "/jobs?q=state:completed+queue:mail",
    "jobs, tag": "/jobs?q=tag:tag7",
    "jobs, text": "/jobs?q=feed/17",
    "jobs, text that nothing has": "/jobs?q=nothinghasit",
    "jobs, exit code": "/jobs?q=exit:1+state:dead",
    "job": "/jobs/{middle}",
    "queues": "/queues",
    "workers": "/workers",
    "DLQ": "/dlq",
    "metrics, 1 h": "/stats?range=1h",
    "metrics, 7 d": "/stats?range=7d",
    "system": "/system",
    "API: jobs": "/api/v1/jobs?limit=100",
    "API: DLQ": "/api/v1/dlq?limit=100",
    "API: job": "/api/v1/jobs/{middle}",
    "API: queues": "/api/v1/queues",
    "API: stat": "/api/v1/stat",
    "API: metrics, 24 h": "/api/v1/metrics",
    "API: metrics, 7 d": "/api/v1/metrics?since=7d",
    "Prometheus": "/metrics",
}
#: Filters of an action on everything that matches: what it would concern is counted before anything is asked.
COUNTED = {
    "queue and state": "queue:mail state:completed",
    "text that nothing has": "nothinghasit",
    "exit code": "exit:99",
}
#: What is asked for beside streams and crowds.
PLAIN = ("/", "/jobs", "/queues", "/dlq", "/stats?range=7d")
#: Pages that are loaded first, with all that they name.
LOADED = {"overview": "/", "metrics": "/stats?range=7d"}


def asked(client: FlaskClient, path: str) -> tuple[float, int]:
    """Milliseconds and bytes of one page."""
    begun = time.perf_counter()
    response = client.get(path, base_url=HOST, headers={"Accept-Encoding": "gzip"}, buffered=True)
    took = 1000 * (time.perf_counter() - begun)
    if response.status_code != 200:
        raise SystemExit(f"dashboard: {path} answered {response.status_code}")
    return took, len(response.data)


def counted(client: FlaskClient, query: str) -> float:
    """Milliseconds of a question before an action on everything that matches."""
    begun = time.perf_counter()
    body = {"action": "delete", "filter": query, "dry_run": True}
    response = client.post("/api/v1/bulk", base_url=HOST, json=body)
    took = 1000 * (time.perf_counter() - begun)
    if response.status_code != 200:
        raise SystemExit(f"dashboard: counting {query} answered {response.status_code}")
    return took


def pages(report: Report, database: Path, middle: int, rounds: int) -> None:
    """Every page and answer, and a first load."""
    app = App.open(None, str(database))
    flask, site = create_site(app, hosts_of("127.0.0.1", 8765, "here", ()))
    client = flask.test_client()
    try:
        for name, path in PAGES.items():
            path = path.format(middle=middle)
            first, _ = asked(client, path)
            times = [asked(client, path)[0] for _ in range(rounds)]
            report.say(f"{name}: first {first:.0f} ms")
            report.add(name, Spread.of(times), "ms", at_most=MOST_MS)
        for name, query in COUNTED.items():
            report.add(
                f"counting before an action: {name}",
                Spread.of([counted(client, query) for _ in range(rounds)]),
                "ms",
                at_most=MOST_MS,
            )
        for name, path in LOADED.items():
            page = client.get(path, base_url=HOST, buffered=True).text
            assets = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
            total = sum(asked(client, each)[1] for each in (path, *assets))
            report.add(f"first load of {name}, compressed", total / 1000, "KB", at_most=FIRST_KB)
    finally:
        site.close()
        app.close()


# --- A dashboard that is really served --------------------------------------------------------------


@contextlib.contextmanager
def dashboard(place: Scratch, database: Path) -> Iterator[int]:
    """``queuectl dashboard`` over a database, until the block ends; its port."""
    argv = [*place.queuectl()[:-2], "--db", str(database), "dashboard", "--port", "0"]
    log = place.path / "dashboard.log"
    with log.open("wb") as stderr:
        server = subprocess.Popen(argv, env=place.env, stdin=subprocess.DEVNULL, stderr=stderr)
    try:
        while not (found := re.search(r"dashboard at \S+:(\d+)/", log.read_text())):
            if server.poll() is not None:
                raise SystemExit(f"dashboard: it ended: {log.read_text()}")
            time.sleep(0.05)
        yield int(found[1])
    finally:
        server.terminate()
        server.wait()


def fetched(port: int, path: str) -> float:
    """Milliseconds until a plain page has come whole."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    begun = time.perf_counter()
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    took = 1000 * (time.perf_counter() - begun)
    connection.close()
    if answer.status != 200:
        raise SystemExit(f"dashboard: {path} answered {answer.status}")
    return took


@contextlib.contextmanager
def streams(port: int) -> Iterator[None]:
    """So many open streams as there may be."""
    held = []
    for _ in range(STREAMS):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/events")
        answer = connection.getresponse()
        if answer.status != 200:
            raise SystemExit(f"dashboard: a stream was refused with {answer.status}")
        answer.readline()
        held.append((connection, answer))
    try:
        yield
    finally:
        for connection, answer in held:
            answer.close()
            connection.close()


@contextlib.contextmanager
def arriving(database: Path) -> Iterator[None]:
    """A job every 50 ms meanwhile, so that streams have something to say."""
    over = threading.Event()

    def put() -> None:
        storage = opened(database.parent, database.stem)
        while not over.wait(0.05):
            storage.enqueue([NewJob("true", queue="arriving", run_at=4_000_000_000_000)])
        storage.close()

    thread = threading.Thread(target=put)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def crowd(port: int) -> Iterator[None]:
    """Nine of ten send a request a byte at a time, each every ten seconds; the others read nothing of a page."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit[1], 4096), limit[1]))
    request = b"GET /jobs HTTP/1.1\r\nHost: localhost:%d\r\n" % port
    over = threading.Event()
    clients = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(CROWD)]
    slow = [client for n, client in enumerate(clients) if n % 10]
    for n, client in enumerate(clients):
        client.sendall(request[:10] if n % 10 else request + b"\r\n")

    def trickle() -> None:
        at = 10
        while not over.is_set():
            for client in slow:
                client.sendall(request[at : at + 1] if at < len(request) else b"x")
                if over.wait(BYTE_SECONDS / len(slow)):
                    return
            at += 1

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for client in clients:
            client.close()


def beside(report: Report, place: Scratch, database: Path, rounds: int) -> None:
    """Plain pages from a server that has much else in hand."""
    with dashboard(place, database) as port:
        for path in PLAIN:  # what it reads once
            fetched(port, path)
        with streams(port), arriving(database):
            for path in PLAIN:
                times = [fetched(port, path) for _ in range(rounds)]
                report.add(f"{STREAMS} open streams: {path}", Spread.of(times), "ms", at_most=MOST_MS)
        with crowd(port):
            for path in PLAIN:
                times = [fetched(port, path) for _ in range(rounds)]
                report.add(f"{CROWD} slow clients: {path}", Spread.of(times), "ms", at_most=MOST_MS)


# --- What workers notice of it ----------------------------------------------------------------------


def drained(jobs: int, *, crowded: bool) -> float:
    """Jobs a second of two workers with a dashboard beside them."""
    with scratch() as place:
        storage = opened(place.db.parent, place.db.stem, "full")
        waiting(storage, jobs)
        storage.close()
        with dashboard(place, place.db) as port, crowd(port) if crowded else contextlib.nullcontext():
            fetched(port, "/")
            begun = time.perf_counter()
            argv = place.queuectl("worker", "start", "--count", "2", "--until-empty")
            subprocess.run(argv, env=place.env, stderr=subprocess.DEVNULL, check=True)
            return jobs / (time.perf_counter() - begun)


def main() -> int:
    """Exit with 1 if a bar was missed."""
    words = parser(__doc__ or "", rounds=9)
    words.add_argument("--database", type=Path, help="a database to keep: filled if it is not there")
    words.add_argument("--only", choices=("pages", "beside", "drain"), help="only this part")
    options = words.parse_args()
    done, dead = (20_000, 2_000) if options.quick else (DONE, DEAD)
    report = Report("dashboard", f"{done:,} finished and {dead:,} dead jobs", options)
    with scratch() as place:
        database = options.database.absolute() if options.database else place.db
        if options.only != "drain" and not database.exists():
            storage = opened(database.parent, database.stem)
            week(storage, done, dead)
            storage.close()
            report.say("seeded")
        if options.only in (None, "pages"):
            pages(report, database, done // 2, options.rounds)
        if options.only in (None, "beside"):
            beside(report, place, database, options.rounds)
    if options.only in (None, "drain"):
        jobs = 200 if options.quick else DRAINED
        cases = {"crowd": lambda: drained(jobs, crowded=True), "alone": lambda: drained(jobs, crowded=False)}
        speeds = interleave(cases, rounds=min(options.rounds, 5), report=report)
        report.add(
            f"a drain beside {CROWD} slow clients / beside none", ratio(speeds, "crowd", "alone"), "×", at_least=LEFT
        )
        for name, values in speeds.items():
            report.add(f"drain: {name}", Spread.of(values), "jobs/s")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
