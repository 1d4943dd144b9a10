"""``queuectl dlq``: the jobs in state ``dead``, seen as a list to act on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from queuectl.api.errors import WrongState
from queuectl.api.model import State
from queuectl.cli.list import how_many
from queuectl.cli.removing import confirm, jobs, removing, report
from queuectl.cli.render import emit_json_array, say, table

if TYPE_CHECKING:
    from queuectl.api.model import Job
    from queuectl.cli import Program


@click.group()
def command() -> None:
    """See, retry and delete the jobs that failed for good.

    \b
      queuectl dlq list
      queuectl dlq show 12
      queuectl dlq retry --all
      queuectl dlq purge --queue mail
    """


@command.command("list")
@click.option("--queue", "-q", "queues", multiple=True, metavar="NAME", help="Only these queues.")
@click.option("--limit", "-n", type=click.IntRange(min=1), show_default="50", help="At most so many.")
@click.option("--all", "everything", is_flag=True, help="All of them, however many.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of jobs.")
@click.pass_obj
def list_(program: Program, queues: tuple[str, ...], limit: int | None, everything: bool, as_json: bool) -> None:
    """List dead jobs, the latest first.

    \b
      queuectl dlq list
      queuectl dlq list --queue mail --json
    """
    found = program.queue.find(states=[State.DEAD], queues=queues or None, limit=how_many(limit, everything))
    if as_json:
        from queuectl.core.shapes import job_shape

        emit_json_array(map(job_shape, found))
    else:
        _print(list(found))


def _print(jobs: list[Job]) -> None:
    from queuectl.core.times import local

    table(
        ["id", "queue", "attempts", "died", "why", "command"],
        [
            (job.id, job.spec.queue, job.attempts, local(job.updated_at)[:19], job.reason, job.spec.command)
            for job in jobs
        ],
        right=(2,),
        wide=5,
    )


@command.command("show")
@click.argument("id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def show(program: Program, id: str, as_json: bool) -> None:
    """Show one dead job with its attempts.

    \b
      queuectl dlq show 12
    """
    from queuectl.cli.show import show_job

    found = program.queue.resolve(id)
    _must_be_dead(program, [found])
    show_job(program, found, as_json)


@command.command("retry")
@click.argument("ids", nargs=-1, metavar="[ID…]")
@click.option("--all", "everything", is_flag=True, help="Every dead job.")
@click.option("--queue", "-q", "queues", multiple=True, metavar="NAME", help="With --all: only of these queues.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of the jobs as they are now.")
@click.pass_obj
def retry(program: Program, ids: tuple[str, ...], everything: bool, queues: tuple[str, ...], as_json: bool) -> None:
    """Run dead jobs again, now and with all their tries before them.

    \b
      queuectl dlq retry 12 nightly-backup
      queuectl dlq retry --all --queue mail
    """
    from queuectl.cli.retry import report as say_again

    if bool(ids) == everything:
        raise click.UsageError("say which jobs: ids, or --all")
    if queues and not everything:
        raise click.UsageError("--queue goes with --all")
    if everything:
        again = program.queue.retry_all(queues=queues or None)
    else:
        again = program.queue.resolve_all(ids)
        _must_be_dead(program, again)
        program.queue.retry(*again)
    if not again and not as_json:
        say("there was no dead job to retry")
    else:
        say_again(program, again, as_json)


@command.command("purge")
@click.option("--queue", "-q", "queues", multiple=True, metavar="NAME", help="Only of these queues.")
@removing
@click.pass_obj
def purge(program: Program, queues: tuple[str, ...], yes: bool, dry_run: bool, as_json: bool) -> None:
    """Delete every dead job, with history and output.

    \b
      queuectl dlq purge --dry-run
      queuectl dlq purge --queue mail --yes
    """
    queue = program.queue
    if dry_run:
        found = queue.find(states=[State.DEAD], queues=queues or None, limit=None)
        report((job.id for job in found), dry_run, as_json)
        return
    dead = sum(stat.counts.get(State.DEAD, 0) for stat in queue.stat() if not queues or stat.name in queues)
    if dead:
        where = f" of {', '.join(queues)}" if queues else ""
        confirm(f"delete {jobs(dead)} in the DLQ{where}, with history and output", yes)
    report(queue.purge(queues=queues or None), dry_run, as_json)


def _must_be_dead(program: Program, ids: list[str]) -> None:
    for id in ids:
        job = program.queue.get(id)
        if job.state is not State.DEAD:
            raise WrongState(f"job {id} is not in the DLQ: it is {job.state.value}")
