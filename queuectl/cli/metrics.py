"""``queuectl metrics``: how much ran, how well, how long it waited and ran."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from queuectl.cli.render import emit_json, table, write

if TYPE_CHECKING:
    from queuectl.cli import Program


@click.command()
@click.option("--since", default="24h", show_default=True, metavar="WHEN", help="From when: 1h, 08:00, 2026-12-01 …")
@click.option("--queue", "-q", "queues", multiple=True, metavar="NAME", help="Only these queues.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def command(program: Program, since: str, queues: tuple[str, ...], as_json: bool) -> None:
    """Show totals, success rate, average and percentiles of waiting and running.

    \b
      queuectl metrics
      queuectl metrics --since 1h --queue mail
      queuectl metrics --json | jq .success_rate
    """
    from queuectl.cli.list import parse_since
    from queuectl.core.figures import figures

    start = parse_since(since)
    document = figures(program.app.storage, start, time.time_ns() // 1_000_000, queues or None)
    if as_json:
        emit_json(document)
    else:
        _print(document)


def _print(document: dict[str, Any]) -> None:
    table(["jobs", "now"], list(document["totals"].items()), right=(1,))
    write("\n")
    table([f"ended since {document['since']}", "attempts"], list(document["attempts"].items()), right=(1,))
    rate = document["success_rate"]
    write(f"\nsuccess rate      {'-' if rate is None else f'{100 * rate:.1f} %'}\n")
    average = document["avg_duration_sec"]
    write(f"average duration  {'-' if average is None else f'{average} s'}\n\n")
    columns = ("count", "avg", "p50", "p95", "p99", "max")
    rows = [(name, *(document[name][column] for column in columns)) for name in ("wait", "run")]
    table(["seconds", *columns], rows, right=range(1, 7))
    if any(document["outbox"].values()):
        write("\n")
        table(["told from the outbox", "events"], list(document["outbox"].items()), right=(1,))
