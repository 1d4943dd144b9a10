"""``queuectl prune``: removes jobs that ended long ago."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from queuectl.api.model import FINISHED, State
from queuectl.cli.removing import confirm, jobs, removing, report
from queuectl.cli.render import emit_json, say, talks

if TYPE_CHECKING:
    from queuectl.cli import Program

DEFAULT = (State.COMPLETED, State.CANCELLED)


@click.command()
@click.option("--older-than", required=True, metavar="DURATION", help="Jobs that ended so long ago: 30d, 12h, 0 (all).")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(sorted(state.value for state in FINISHED)),
    help="Only these (default: completed and cancelled; the DLQ only if it is named).",
)
@removing
@click.pass_obj
def command(
    program: Program, older_than: str, states: tuple[str, ...], yes: bool, dry_run: bool, as_json: bool
) -> None:
    """Delete jobs that ended long ago, with their history and output.

    \b
      queuectl prune --older-than 30d
      queuectl prune --older-than 90d --state dead --dry-run
      queuectl prune --older-than 1w --yes

    In small steps, oldest first: workers do not wait for it. The figures of queuectl metrics stay.
    """
    from queuectl.core.times import iso, parse_duration

    before = time.time_ns() // 1_000_000 - round(1000 * parse_duration(older_than, "--older-than"))
    wanted = tuple(State(state) for state in states) or DEFAULT
    queue = program.queue
    if dry_run:
        report(queue.ended_before(before, wanted), dry_run, as_json)
        return
    confirm(f"delete all jobs that ended {' or '.join(wanted)} before {iso(before)}", yes)
    gone = queue.prune(before, wanted)
    if as_json:
        emit_json({"dry_run": False, "count": gone})
    elif talks():
        say(f"{jobs(gone)} deleted")
