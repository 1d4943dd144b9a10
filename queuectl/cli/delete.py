"""``queuectl delete``: removes jobs with all that is known of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from queuectl.cli.removing import confirm, jobs, removing, report

if TYPE_CHECKING:
    from queuectl.cli import Program


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID…")
@click.option("--note", default="", metavar="TEXT", help="Why; kept with the queue.")
@removing
@click.pass_obj
def command(program: Program, ids: tuple[str, ...], note: str, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Delete jobs with their history and output.

    \b
      queuectl delete 12
      queuectl delete --yes $(queuectl list --state cancelled --ids)

    A running job is not deleted: cancel it first. What is old goes by queuectl prune.
    """
    queue = program.queue
    found = queue.resolve_all(ids)
    queue.must_not_run(*found)
    if not dry_run:
        confirm(f"delete {jobs(len(found))} with history and output", yes)
        queue.delete(*found, note=note)
    report(found, dry_run, as_json)
