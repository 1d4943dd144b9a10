"""No page, and no answer of the API, walks through what grows: with a million jobs it reads as much as with a few.

Every route that the application has is asked for, so a new page is looked at without anybody thinking of it. What
SQLite is asked meanwhile is listened to: the plan of each statement, and how many steps its machine took.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import apsw
from desk import Desk

from queuectl.api.model import Attempt, History, Job, NewJob, Outcome, OutcomeKind, Settings, State, fault_of
from queuectl.builtin.sqlite.looking import LOOK

MINUTE = 60_000
QUEUES = ("mail", "images", "feeds")
#: What a plan may walk: as many rows as there are queues, pools, workers or tables; of the dead, the index that groups
#: them.
WALKED = (
    "SCAN queue",
    "SCAN meta",
    "SCAN pool",
    "SCAN sqlite_master",
    "SCAN target",
    "SCAN (subquery",
    "SCAN CONSTANT ROW",
    "SCAN job USING INDEX held",
    "SCAN job USING COVERING INDEX faults",
)
#: What the parts of an address are filled with. A route with another part fails the test: say here what it is.
FILLED = {
    "id": "7",
    "name": "mail",
    "attempt": "1",
    "stream": "stdout",
    "action": "retry",
    "pool": "p",
    "filename": "app.css",
}
FILTERS = (
    "",
    "state:dead",
    "state:completed queue:mail",
    "state:pending",
    "state:failed",
    "state:dead,completed",
    "queue:mail",
    "queue:mail,feeds state:dead",
    "tag:t3",
    "tag:t3 state:dead",
    "id:7",
    "exit:1 state:dead",
    "since:1h",
    "since:1h state:dead",
    "fault:{fault}",
    "feed/17",
    "nothing has this",
    "queue:mail nothing-has-this",
    "state:dead nothing-has-this",
)


#: Text is looked for among so many jobs; each takes about twelve steps.
TEXT, STEPS_OF_TEXT = re.compile(r"feed/17|nothing"), 14 * LOOK
#: What reads on: the dead are counted by their index, in groups.
GROWS = {"/dlq"}


def filled(desk: Desk, jobs: int) -> Desk:
    """So many finished jobs, one a minute, one in ten of them dead; and a few that wait, run and failed."""
    now = time.time_ns() // 1_000_000
    settings = Settings(max_retries=0).text()
    lot = []
    for n in range(1, jobs + 1):
        at, state = now - (jobs - n) * MINUTE, State.DEAD if n % 10 == 0 else State.COMPLETED
        spec = NewJob(
            f"fetch http://localhost/feed/{n}", queue=QUEUES[n % 3], settings=settings, tags=("t3",) * (n % 5 == 0)
        )
        outcome = Outcome(OutcomeKind.EXITED, int(state is State.DEAD), at - 50, at)
        reason = "exit 1" if state is State.DEAD else "exit 0"
        job = Job(str(n), n, spec, state, at - 60, at - 60, at, 1, 1, 0, 1, reason=reason, outcome=outcome)
        lot.append((job, History((Attempt(1, 1, "pool", state, outcome),), ())))
    desk.app.storage.load(lot)
    for n in range(30):
        desk.enqueue(f"now {n}", queue="mail")
    desk.run("failed", 5)
    desk.run("completed", 5)
    for n in range(20):
        desk.enqueue(f"later {n}", queue="feeds", run_at="tomorrow 8:00")
    return desk


def addresses(desk: Desk) -> dict[str, list[str]]:
    """Everything that can be asked for by GET, by its rule; lists with every kind of filter, and further on."""
    found: dict[str, list[str]] = {}
    fault = fault_of("fetch http://localhost/feed/10", "exit 1")
    filters = [quote(text.format(fault=fault)) for text in FILTERS]
    for rule in desk.flask.url_map.iter_rules():
        if "GET" not in (rule.methods or ()) or rule.endpoint in ("live.events", "live.follow", "static"):
            continue
        path = re.sub(r"<(?:[^:<>]+:)?(\w+)>", lambda part: FILLED[part[1]], rule.rule)
        found[rule.rule] = [path]
        if rule.rule == "/jobs":
            found[rule.rule] += [f"{path}?q={text}" for text in filters]
        elif rule.rule in ("/api/v1/jobs", "/api/v1/dlq"):
            found[rule.rule] += [f"{path}?filter={text}" for text in filters]
        elif rule.rule in ("/", "/stats"):
            found[rule.rule] += [f"{path}?range={span}" for span in ("1h", "24h", "7d")]
    return found


def onward(desk: Desk, path: str) -> Iterator[tuple[str, int]]:
    """What a path answers, and the page after it."""
    response = desk.get(path)
    yield path, response.status_code
    link = re.search(
        r'rel="next" href="([^"]+)"|<([^>]+)>; rel="next"', response.headers.get("Link", "") or response.text
    )
    if link:
        following = (link[1] or link[2]).replace("&amp;", "&")
        yield following, desk.get(following).status_code


@contextmanager
def listened_to(hear: Callable[[apsw.Connection], None]) -> Iterator[None]:
    """Let *hear* have every connection that is opened meanwhile, in whatever thread."""
    apsw.connection_hooks.append(hear)
    try:
        yield
    finally:
        apsw.connection_hooks.remove(hear)


def read_everything(desk: Desk) -> None:
    """Every address, and what is read before something is done to everything that matches."""
    for paths in addresses(desk).values():
        for path in paths:
            for asked, code in onward(desk, path):
                assert code == 200 or (code, asked) in ABSENT, (asked, code)
    for text in FILTERS:
        query = text.format(fault=fault_of("fetch http://localhost/feed/10", "exit 1"))
        assert desk.post("/bulk/ask", {"action": "retry", "q": query, "scope": "all"}).status_code == 200
        counted = desk.api("POST", "/bulk", {"action": "retry", "filter": query, "dry_run": True})
        assert counted.status_code == 200


#: Of this there is none: what is answered is that.
ABSENT = {(404, "/batches/7"), (404, "/api/v1/bulk/7"), (302, "/login"), (403, "/new")}


def test_no_page_has_a_plan_that_walks_through_jobs_attempts_or_events(tmp_path: Path) -> None:
    heard: set[str] = set()

    def hear(connection: apsw.Connection) -> None:
        def asked_for(_cursor: apsw.Cursor, sql: str, _bindings: apsw.Bindings | None) -> bool:
            heard.add(sql)
            return True

        connection.exec_trace = asked_for

    with listened_to(hear):
        desk = filled(Desk(tmp_path), 300)
        heard.clear()
        read_everything(desk)
    desk.close()
    connection = apsw.Connection(str(tmp_path / "queue.db"))
    connection.execute("ANALYZE")
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    asked = {sql for sql in heard if re.match(r"\s*(SELECT|UPDATE|DELETE|INSERT|WITH)", sql, re.I)}
    assert len(asked) > 30, "it was not listened to"
    walks = {
        (step, sql)
        for sql in asked
        for step in plan_of(connection, sql)
        if "SCAN" in step and not any(step.startswith(walked) for walked in WALKED)
    }
    connection.close()
    assert not walks, walks


def test_no_page_reads_more_when_there_are_more_jobs(tmp_path: Path) -> None:
    """Steps of SQLite's machine: with four times as many jobs as many for each address; for text a bounded number."""
    small, large = (steps_of(tmp_path / str(jobs), jobs) for jobs in (4000, 16_000))
    assert set(small) == set(large) and sum(small.values()) > 10_000
    most = {path: STEPS_OF_TEXT if TEXT.search(path) else round(1.2 * n + 200) for path, n in small.items()}
    grown = [(path, n, large[path]) for path, n in small.items() if large[path] > most[path] and path not in GROWS]
    assert not grown, grown


def steps_of(folder: Path, jobs: int) -> Counter[str]:
    """How many steps SQLite took for each address, the second time that it was asked for."""
    folder.mkdir()
    took: Counter[str] = Counter()
    now = [""]

    def hear(connection: apsw.Connection) -> None:
        def ended(event: dict[str, Any]) -> None:
            took[now[0]] += event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"]

        connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, ended)

    with listened_to(hear):
        desk = filled(Desk(folder), jobs)
        for paths in addresses(desk).values():
            for path in paths:
                desk.get(path)
                now[0] = path
                desk.get(path)
                now[0] = ""
        desk.close()
    del took[""]
    return took


def plan_of(connection: apsw.Connection, sql: str) -> list[str]:
    names = set(re.findall(r":(\w+)", sql))
    bindings: Any = dict.fromkeys(names) if names else (None,) * sql.count("?")
    return [str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", bindings)]
