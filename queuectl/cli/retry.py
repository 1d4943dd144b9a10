"""``queuectl retry``: runs ended jobs again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from queuectl.cli.render import emit_json, say, talks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queuectl.cli import Program


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID…")
@click.option("--note", default="", metavar="TEXT", help="Why; kept with the job.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of the jobs as they are now.")
@click.pass_obj
def command(program: Program, ids: tuple[str, ...], note: str, as_json: bool) -> None:
    """Run ended jobs again.

    \b
      queuectl retry 12
      queuectl retry $(queuectl list --state cancelled --ids)

    They run now and have all their tries before them; their history stays. A failed job that waits for its next try
    is tried at once.
    """
    found = program.queue.resolve_all(ids)
    program.queue.retry(*found, note=note)
    report(program, found, as_json)


def report(program: Program, ids: Sequence[str], as_json: bool) -> None:
    """Say that these are to run again."""
    if as_json:
        from queuectl.core.shapes import job_shape

        jobs = [job for at in range(0, len(ids), 1000) for job in program.app.storage.get(ids[at : at + 1000])]
        emit_json([job_shape(job) for job in jobs if job is not None])
    elif talks():
        say(f"job {ids[0]} is queued again" if len(ids) == 1 else f"{len(ids)} jobs are queued again")
