"""What each page of the dashboard costs the server with a million finished and a hundred thousand dead jobs.

Pages are asked for in this process, through the whole application with its gate, as a browser that takes gzip would;
the first time of each is told beside, since the histograms of a week are then read.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness import Report, Spread, parser, scratch
from benchmarks.stores import opened, week
from queuectl.core.app import App
from queuectl.web.gate import hosts_of
from queuectl.web.site import create_site

if TYPE_CHECKING:
    from flask.testing import FlaskClient

DONE, DEAD = 1_000_000, 100_000
MOST_MS, FIRST_KB = 100.0, 100.0
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
    "API: stat": "/api/v1/stat",
    "Prometheus": "/metrics",
}
FIRST_LOAD = ("/", "/static/app.css", "/static/live.js", "/static/vendor/htmx.min.js", "/static/icon.svg")


def asked(client: FlaskClient, path: str) -> tuple[float, int]:
    """Milliseconds and bytes of one page."""
    begun = time.perf_counter()
    response = client.get(path, base_url=HOST, headers={"Accept-Encoding": "gzip"}, buffered=True)
    took = 1000 * (time.perf_counter() - begun)
    if response.status_code != 200:
        raise SystemExit(f"dashboard: {path} answered {response.status_code}")
    return took, len(response.data)


def main() -> int:
    """Exit with 1 if a bar was missed."""
    words = parser(__doc__ or "", rounds=9)
    words.add_argument("--database", type=Path, help="a database to keep: filled if it is not there")
    options = words.parse_args()
    done, dead = (20_000, 2_000) if options.quick else (DONE, DEAD)
    report = Report("dashboard", f"{done:,} finished and {dead:,} dead jobs", options)
    with scratch() as place:
        database = options.database.absolute() if options.database else place.db
        if not database.exists():
            storage = opened(database.parent, database.stem)
            week(storage, done, dead)
            storage.close()
            report.say("seeded")
        app = App.open(None, str(database))
        flask, site = create_site(app, hosts_of("127.0.0.1", 8765, "here", ()))
        client = flask.test_client()
        try:
            for name, path in PAGES.items():
                path = path.format(middle=done // 2)
                first, _ = asked(client, path)
                times = [asked(client, path)[0] for _ in range(options.rounds)]
                report.say(f"{name}: first {first:.0f} ms")
                report.add(name, Spread.of(times), "ms", at_most=MOST_MS)
            total = sum(asked(client, path)[1] for path in FIRST_LOAD)
            report.add("first load, compressed", total / 1000, "KB", at_most=FIRST_KB)
        finally:
            site.close()
            app.close()
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
