"""``queuectl cancel``: ends jobs for good, waiting or running."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from queuectl.api.errors import WrongState
from queuectl.api.model import State
from queuectl.cli.render import emit_json, say, talks

if TYPE_CHECKING:
    from queuectl.api.model import Job
    from queuectl.cli import Program
    from queuectl.core.jobqueue import Cancelled


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID…")
@click.option("--note", default="", metavar="TEXT", help="Why; kept with the job.")
@click.option("--no-wait", is_flag=True, help="Mark running jobs and return at once.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of the jobs as they are now.")
@click.pass_obj
def command(program: Program, ids: tuple[str, ...], note: str, no_wait: bool, as_json: bool) -> None:
    """Cancel jobs, waiting or running.

    \b
      queuectl cancel 12
      queuectl cancel nightly-backup --note 'disk is full'

    For a running job this returns when all its processes are gone; it is never retried. A job that ended by itself
    before it could be stopped stays what it ended as: then this says so, exit code 4.
    """
    queue = program.queue
    changes = queue.cancel(*queue.resolve_all(ids), note=note)
    jobs = [_settled(program, change, no_wait) for change in changes]
    if as_json:
        from queuectl.core.shapes import job_shape

        emit_json([job_shape(job) for job in jobs])
    for job in jobs:
        _say(job, no_wait)
    if late := [job for job in jobs if job.state not in (State.CANCELLED, State.PROCESSING)]:
        raise WrongState("; ".join(f"job {job.id} had ended by itself: it is {job.state.value}" for job in late))


def _settled(program: Program, change: Cancelled, no_wait: bool) -> Job:
    """The job once its processes are gone, or marked only where nobody is there to end them."""
    if change.now is not State.PROCESSING or no_wait:
        return program.queue.get(change.id)
    return program.queue.settled(change.id)


def _say(job: Job, no_wait: bool) -> None:
    if job.state is State.PROCESSING:
        who = "its pool ends it" if no_wait else "no pool is alive to end it: the next one does"
        say(f"job {job.id} is marked to be cancelled; {who}")
    elif job.state is State.CANCELLED and talks():
        say(f"job {job.id} cancelled")
