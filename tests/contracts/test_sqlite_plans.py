"""SQLite's planner does what was meant: one silent change of plan makes a claim a thousand times dearer.

Every statement that meets many rows names its index; here each plan is asked for, with data and statistics that would
tempt the planner elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from queuectl.builtin.sqlite import statements
from queuectl.builtin.sqlite.rows import ATTEMPT_COLUMNS, JOB_COLUMNS
from queuectl.builtin.sqlite.storage import SQLiteStorage
from queuectl.testing.subjects.subject import MINUTE, NOW, completed, failed, hand_in, job, put, take

LOOK = "seq, queue, state, created_at, instr(command, :text) > 0"

#: What a plan may do beside searching, statement by statement, and why.
ALLOWED = {
    "exchange.heads": ("SCAN open", "TEMP B-TREE FOR ORDER BY"),  # as many rows as there are open queues
    "exchange.next_due": ("SCAN job USING COVERING INDEX later",),  # LIMIT 1: its first row
    "exchange.queues": ("SCAN queue",),
    "enqueue.counters": ("SCAN meta",),  # one row
    "enqueue.advance": ("SCAN meta",),
    "pools.list": ("SCAN pool", "TEMP B-TREE FOR ORDER BY"),  # as many rows as there are pools
    "looking.held": ("SCAN job USING INDEX held", "TEMP B-TREE FOR ORDER BY"),  # as many rows as there are workers
    "looking.queues": ("SCAN queue",),
    "looking.due_since": ("SCAN (subquery", "TEMP B-TREE FOR GROUP BY"),  # at most 1,000 rows
    "looking.samples": ("TEMP B-TREE FOR LAST 3 TERMS",),  # one minute at a time
    "looking.summed": ("TEMP B-TREE FOR GROUP BY",),  # one stretch of time at a time
    "looking.faults": ("SCAN job USING COVERING INDEX faults", "TEMP B-TREE FOR ORDER BY"),  # the dead alone
    "changing.sum_samples": ("TEMP B-TREE FOR GROUP BY",),  # of the minutes that go
    "changing.keep_token": ("SCAN meta",),
    "changing.delete_tags": ("SCAN json_each",),
    "outbox.targets": ("SCAN target",),  # as many rows as there are targets
    "outbox.old": ("SCAN outbox", "SCAN (subquery"),  # a limited number, from the oldest
}

#: The index that each statement over jobs has to use.
INDEXED = {
    "enqueue.has_id": "job_id",
    "enqueue.has_key": "job_ukey",
    "exchange.by_id": "job_id",
    "exchange.promote": "later",
    "exchange.next_due": "later",
    "exchange.heads": "ready",
    "exchange.line": "ready",
    "exchange.cancelling": "cancelling",
    "pools.held": "held",
    "pools.next_holder": "held",
    "pools.adopt": "held",
    "looking.head": "ready",
    "looking.due_since": "later",
    "looking.newest_in": "lined",
    "looking.ready_in": "ready",
    "looking.later": "later",
    "looking.later_in": "later_in",
    "looking.retrying": "retrying",
    "looking.held": "held",
    "looking.ended": "ended",
    "looking.ended_in": "ended_in",
    "looking.faulted": "faults",
    "looking.faults": "faults",
    "looking.latest_of_fault": "faults",
    "looking.prefix": "job_id",
    "looking.audits": "audit_job",
    "changing.oldest": "ended",
    "changing.delete_audits": "audit_job",
    "outbox.due": "outbox_due",
    "outbox.first_due": "outbox_due",
    "outbox.oldest": "outbox_line",
}


def every_statement() -> Iterator[tuple[str, str]]:
    for file in sorted((Path(statements.FOLDER) / "sql").glob("*.sql")):
        if file.stem != "checking":  # looks at everything: it is its purpose
            for name, text in statements.load(file.stem).items():
                text = text.replace("{job}", JOB_COLUMNS).replace("{attempt}", ATTEMPT_COLUMNS)
                yield f"{file.stem}.{name}", text.replace("{look}", LOOK)


STATEMENTS = dict(every_statement())


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[apsw.Connection]:
    """A database with jobs in several states and statistics that have seen them."""
    path = str(tmp_path_factory.mktemp("plans") / "queue.db")
    storage = SQLiteStorage(path)
    put(storage, *[job(queue=f"q{n % 5}", priority=n % 3, id=f"job-{n}") for n in range(600)])
    put(storage, *[job(run_at=NOW + MINUTE) for _ in range(300)])
    for number, claim in enumerate(take(storage, 400)):
        hand_in(storage, completed(claim) if number % 2 else failed(claim))
    take(storage, 10)
    storage.close()
    connection = apsw.Connection(path)
    connection.execute("ANALYZE")
    yield connection
    connection.close()


def plan_of(connection: apsw.Connection, text: str) -> list[str]:
    names = set(re.findall(r":(\w+)", text))
    bindings: object = dict.fromkeys(names) if names else (None,) * text.count("?")
    return [str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", bindings)]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_statement_walks_or_sorts_what_grows(connection: apsw.Connection, name: str) -> None:
    allowed = ALLOWED.get(name, ())
    for step in plan_of(connection, STATEMENTS[name]):
        if "SCAN" in step or "TEMP B-TREE" in step:
            assert any(words in step for words in allowed), step


@pytest.mark.parametrize("name", INDEXED)
def test_the_index_that_was_meant_is_used(connection: apsw.Connection, name: str) -> None:
    plan = plan_of(connection, STATEMENTS[name])
    assert any(step.endswith(f"INDEX {INDEXED[name]}") or f"INDEX {INDEXED[name]} " in step for step in plan), plan


@pytest.mark.parametrize("name", [name for name in INDEXED if name != "enqueue.has_id"])
def test_a_statement_names_its_index(name: str) -> None:
    """Without its index it is an error, not a slow plan."""
    assert f"INDEXED BY {INDEXED[name]}" in STATEMENTS[name] or "audits" in name


def test_every_statement_over_jobs_searches_by_index_or_number(connection: apsw.Connection) -> None:
    """Whoever adds a statement says here which index it needs."""
    for name, text in STATEMENTS.items():
        if re.search(r"(FROM|UPDATE|JOIN) job\b", text) and name not in INDEXED:
            plan = plan_of(connection, text)
            assert all("INTEGER PRIMARY KEY" in step for step in plan if " job " in step), (name, plan)
