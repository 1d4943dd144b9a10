"""``queuectl list``: jobs, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from queuectl.api.model import State
from queuectl.cli.render import emit_json_array, is_terminal, say, table, write
from queuectl.core import filters

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from queuectl.api.model import Job
    from queuectl.cli import Program


@click.command()
@click.argument("words", nargs=-1, metavar="[FILTER…]")
@click.option("--state", "-s", "states", multiple=True, metavar="STATE", help="Only these states (dlq means dead).")
@click.option("--queue", "-q", "queues", multiple=True, metavar="NAME", help="Only these queues.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Only jobs with one of these tags.")
@click.option("--since", metavar="WHEN", help="Only jobs enqueued since: 2h, 08:00, 2026-12-01 …")
@click.option("--grep", "text", metavar="TEXT", help="Only jobs whose command has TEXT in it.")
@click.option("--limit", "-n", type=click.IntRange(min=1), show_default="50", help="At most so many.")
@click.option("--all", "everything", is_flag=True, help="All of them, however many.")
@click.option("--ids", is_flag=True, help="Print ids alone.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of jobs.")
@click.pass_obj
def command(
    program: Program,
    words: tuple[str, ...],
    states: tuple[str, ...],
    queues: tuple[str, ...],
    tags: tuple[str, ...],
    since: str | None,
    text: str | None,
    limit: int | None,
    everything: bool,
    ids: bool,
    as_json: bool,
) -> None:
    """Show jobs, newest first.

    \b
      queuectl list
      queuectl list --state failed --state dead --since 2h
      queuectl list --queue mail --tag nightly --all --json
      queuectl list state:dead exit:137 since:2h rsync
      queuectl retry $(queuectl list --state cancelled --ids)

    FILTER is the language of the dashboard's box: state: queue: tag: id: exit: since:, and text that the command has.

    With --state, state by state: ended jobs by when they ended, waiting ones in the order they will run.
    """
    if ids and as_json:
        raise click.UsageError("--ids and --json exclude each other: the objects of --json have the ids in them")
    most = how_many(limit, everything)
    asked = filters.parse(" ".join(words))
    where = asked.where
    asked = asked._replace(
        where=where._replace(
            states=tuple(filters.states(states)) if states else where.states,
            queues=queues or where.queues,
            tags=tags or where.tags,
            since=parse_since(since) if since else where.since,
            text=text or where.text,
        )
    )
    found = asked.all(program.app.storage, most, min(most or 1000, 1000))
    if as_json:
        from queuectl.core.shapes import job_shape

        emit_json_array(map(job_shape, found))
    elif ids:
        for job in found:
            write(f"{job.id}\n")
    else:
        jobs = list(found)
        show_jobs(jobs)
        if len(jobs) == most and is_terminal():
            say(f"the first {most}; --limit N or --all shows more")


def how_many(limit: int | None, everything: bool) -> int | None:
    """How many jobs to list at most; None: all of them."""
    if everything and limit is not None:
        raise click.UsageError("--all and --limit exclude each other")
    return None if everything else limit or 50


def show_jobs(jobs: Sequence[Job]) -> None:
    """Jobs as a table."""
    table(
        ["id", "state", "queue", "prio", "tries", "enqueued", "why", "command"],
        list(_rows(jobs)),
        right=(3, 4),
        wide=7,
    )


def _rows(jobs: Iterable[Job]) -> Iterable[tuple[str | int, ...]]:
    import time

    from queuectl.core.times import local

    now = time.time() * 1000
    for job in jobs:
        why = job.reason
        if job.state in (State.PENDING, State.FAILED) and job.run_at > now:
            why = f"{why}; due {local(job.run_at)}" if why else f"due {local(job.run_at)}"
        tries = f"{job.tries}/{job.settings.max_retries + 1}"
        enqueued = local(job.created_at)[:19]
        yield job.id, job.state.value, job.spec.queue, job.spec.priority, tries, enqueued, why or "-", job.spec.command


def parse_since(text: str) -> int:
    """Milliseconds since the epoch: a moment, or a duration that goes back from now."""
    return filters.since(text, what="--since")
