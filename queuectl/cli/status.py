"""``queuectl status``: everything at one glance."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from queuectl.api.errors import BadInput
from queuectl.cli.render import emit_json, is_terminal, table, write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queuectl.cli import Program
    from queuectl.core.app import App

ROWS = ("pending", "processing", "completed", "failed", "dead", "cancelled", "dlq")


@click.command()
@click.option("--watch", is_flag=False, flag_value="2", metavar="[SECONDS]", help="Show it again and again.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def command(program: Program, watch: str | None, as_json: bool) -> None:
    """Show jobs by state, queues, workers, the oldest job that is due, and what waits for notifiers.

    \b
      queuectl status
      queuectl status --watch
      queuectl status --json | jq .counts.pending
    """
    if watch is None:
        show(look(program), as_json)
        return
    try:
        pause = float(watch)
    except ValueError:
        pause = -1.0
    if not 0.1 <= pause <= 86400:
        raise BadInput(f"--watch takes seconds, from 0.1 to 86400, not {watch!r}")
    while True:
        document = look(program)
        if is_terminal() and not as_json:
            write("\x1b[H\x1b[2J")
        show(document, as_json)
        flush()
        time.sleep(pause)


def flush() -> None:
    """Hand what was written to whoever reads it."""
    import sys

    if sys.stdout is not None:
        sys.stdout.flush()


def look(program: Program) -> dict[str, Any]:
    """What ``status --json`` prints."""
    from queuectl.core.shapes import average_of, counts_of, outbox_shape, queue_shape

    stats = program.queue.stat()
    return {
        "counts": counts_of(stats),
        "avg_duration_sec": average_of(stats),
        "queues": [queue_shape(stat) for stat in stats],
        "workers": workers_of(program.app),
        "outbox": [outbox_shape(stat) for stat in program.app.storage.outbox()],
    }


def workers_of(app: App) -> list[dict[str, Any]]:
    """The workers that live on this host."""
    from queuectl.core.rundir import list_workers
    from queuectl.core.shapes import worker_shape

    return [worker_shape(record) for record in list_workers(app.run_dir) if record.alive]


def show(document: dict[str, Any], as_json: bool) -> None:
    """The document, or what people see of it."""
    if as_json:
        emit_json(document)
        return
    counts: dict[str, Any] = dict(document["counts"])
    average = document["avg_duration_sec"]
    rows: list[tuple[str, Any]] = [(name, counts[name]) for name in ROWS]
    rows.append(("avg_duration_sec", average if average is not None else "-"))
    table(["state", "jobs"], rows, right=(1,))
    if document["queues"]:
        write("\n")
        _queues(document["queues"])
    write("\n")
    workers = document["workers"]
    if workers:
        table(
            ["worker", "pid", "state", "job"],
            [(w["id"], w["pid"], w["state"], w["job"]) for w in workers],
            right=(1,),
        )
    else:
        write("workers: none running on this host\n")
    due = [(queue["oldest_due"], queue["name"]) for queue in document["queues"] if queue["oldest_due"]]
    if due:
        oldest, queue = min(due)
        write(f"oldest due: {oldest} in {queue}\n")
    if document["outbox"]:
        write("\n")
        _outbox(document["outbox"])


def _outbox(outbox: Sequence[dict[str, Any]]) -> None:
    table(
        ["notifier", "waiting", "since", "delivered", "dropped", "last error"],
        [(o["notifier"], o["waiting"], o["oldest_at"], o["delivered"], o["dropped"], o["error"]) for o in outbox],
        right=(1, 3, 4),
    )


def _queues(queues: Sequence[dict[str, Any]]) -> None:
    table(
        ["queue", "pending", "ready", "processing", "failed", "dead", "concurrency", "set"],
        [
            (q["name"], q["pending"], q["ready"], q["processing"], q["failed"], q["dead"], q["concurrency"], paused(q))
            for q in queues
        ],
        right=(1, 2, 3, 4, 5, 6),
    )


def paused(queue: dict[str, Any]) -> str:
    """``open``, or ``paused`` with its reason."""
    if not queue["paused"]:
        return "open"
    return f"paused: {queue['pause_reason']}" if queue["pause_reason"] else "paused"
