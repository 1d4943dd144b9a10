"""``queuectl list``: jobs, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from queuectl.api.errors import BadInput
from queuectl.api.model import State
from queuectl.cli.lazy import did_you_mean
from queuectl.cli.render import emit_json_array, is_terminal, say, table, write

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from queuectl.api.model import Job
    from queuectl.cli import Program


@click.command()
@click.option("--state", "-s", "states", multiple=True, metavar="STATE", help="Only these states (dlq means dead).")
@click.option("--queue", "-q", "queues", multiple=True, metavar="NAME", help="Only these queues.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Only jobs with one of these tags.")
@click.option("--since", metavar="WHEN", help="Only jobs enqueued since: 2h, 08:00, 2026-12-01 …")
@click.option("--grep", "text", metavar="TEXT", help="Only jobs whose command has TEXT in it.")
@click.option("--limit", "-n", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many.")
@click.option("--all", "everything", is_flag=True, help="All of them, however many.")
@click.option("--ids", is_flag=True, help="Print ids alone.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of jobs.")
@click.pass_obj
def command(
    program: Program,
    states: tuple[str, ...],
    queues: tuple[str, ...],
    tags: tuple[str, ...],
    since: str | None,
    text: str | None,
    limit: int,
    everything: bool,
    ids: bool,
    as_json: bool,
) -> None:
    """Show jobs, newest first.

    \b
      queuectl list
      queuectl list --state failed --state dead --since 2h
      queuectl list --queue mail --tag nightly --all --json
      queuectl retry $(queuectl list --state cancelled --ids)

    With --state, state by state: ended jobs by when they ended, waiting ones in the order they will run.
    """
    found = program.queue.find(
        states=parse_states(states) if states else None,
        queues=queues or None,
        tags=tags or None,
        since=parse_since(since) if since else None,
        text=text or None,
        limit=None if everything else limit,
    )
    if as_json:
        from queuectl.core.shapes import job_shape

        emit_json_array(map(job_shape, found))
    elif ids:
        for job in found:
            write(f"{job.id}\n")
    else:
        jobs = list(found)
        show_jobs(jobs)
        if len(jobs) == limit and not everything and is_terminal():
            say(f"the first {limit}; --limit N or --all shows more")


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


def parse_states(names: Iterable[str]) -> list[State]:
    """The states that people name; ``dlq`` is the list of the dead, ``running`` and ``canceled`` are understood."""
    known = {state.value: state for state in State}
    known |= {"dlq": State.DEAD, "running": State.PROCESSING, "canceled": State.CANCELLED}
    found = []
    for name in names:
        for part in name.lower().split(","):
            if part not in known:
                near = did_you_mean(part, list(known))
                raise BadInput(f"there is no state {part!r}{near or ': there are ' + ', '.join(State)}")
            found.append(known[part])
    return list(dict.fromkeys(found))


def parse_since(text: str) -> int:
    """Milliseconds since the epoch: a moment, or a duration that goes back from now."""
    import time

    from queuectl.core.times import parse_duration, parse_when

    now = time.time_ns() // 1_000_000
    try:
        return now - round(1000 * parse_duration(text, "--since"))
    except BadInput:
        moment = parse_when(text, now, "--since")
    return moment - 86_400_000 if moment > now and "-" not in text and "to" not in text else moment
