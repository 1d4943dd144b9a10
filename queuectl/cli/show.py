"""``queuectl show``: one job and everything that happened to it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from queuectl.cli.render import emit_json, safe_line, table, write

if TYPE_CHECKING:
    from queuectl.api.model import History, Job
    from queuectl.cli import Program


@click.command()
@click.argument("id", metavar="ID")
@click.option("--reveal", is_flag=True, help="Show values of variables whose names sound like secrets.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def command(program: Program, id: str, reveal: bool, as_json: bool) -> None:
    """Show one job: how it is set, why it is where it is, its attempts, what people did to it.

    \b
      queuectl show 12
      queuectl show @last
      queuectl show nightly-backup --json
    """
    show_job(program, program.queue.resolve(id), as_json, reveal)


def show_job(program: Program, id: str, as_json: bool, reveal: bool = False) -> None:
    """The job of this very id, as JSON or for people."""
    from queuectl.core.shapes import detail_shape, why_waiting

    queue = program.queue
    job, history = queue.get(id), queue.history(id)
    stat = next((stat for stat in queue.stat() if stat.name == job.spec.queue), None)
    waits = why_waiting(job, stat, time.time_ns() // 1_000_000)
    if as_json:
        shape = detail_shape(job, history, waits)
        emit_json(shape | {"env": dict(job.spec.env)} if reveal else shape)
    else:
        _print(job, history, waits, reveal)


def _print(job: Job, history: History, waits: str | None, reveal: bool) -> None:
    for name, value in _facts(job, waits, reveal):
        if value not in (None, "", ()):
            write(f"{name:<12} {safe_line(str(value))}\n")
    if history.attempts:
        write("\n")
        table(
            ["attempt", "ended as", "exit", "duration", "started", "became"],
            [_attempt_row(attempt) for attempt in history.attempts],
            right=(0, 2, 3),
        )
    if history.audits:
        from queuectl.core.times import local

        write("\n")
        table(
            ["when", "event", "by", "note"],
            [(local(audit.at), audit.action, audit.actor, audit.note) for audit in history.audits],
        )


def _facts(job: Job, waits: str | None, reveal: bool) -> list[tuple[str, Any]]:
    from queuectl.core.shapes import masked
    from queuectl.core.times import local, span

    spec, settings = job.spec, job.settings
    env = spec.env if reveal else masked(spec.env)
    state = f"{job.state.value} ({job.reason})" if job.reason else job.state.value
    return [
        ("job", job.id),
        ("command", spec.command),
        ("state", f"{state}, cancel asked for" if job.cancel else state),
        ("waits", waits),
        ("queue", spec.queue),
        ("priority", spec.priority),
        ("attempts", f"{job.attempts} (tries: {job.tries} of {settings.max_retries + 1})"),
        ("enqueued", local(job.created_at)),
        ("run at", local(job.run_at)),
        ("changed", local(job.updated_at)),
        ("timeout", span(settings.timeout) if settings.timeout is not None else None),
        ("executor", settings.executor),
        ("backoff", settings.backoff),
        ("cwd", spec.cwd),
        ("env", " ".join(f"{name}={value}" for name, value in env.items())),
        ("tags", ", ".join(spec.tags)),
        ("unique", spec.unique_key),
        ("held by", job.pool),
    ]


def _attempt_row(attempt: Any) -> tuple[Any, ...]:
    from queuectl.core.times import local, span

    outcome = attempt.outcome
    ended = outcome.kind.value.replace("_", " ")
    return (
        attempt.number,
        f"{ended}: {outcome.detail}" if outcome.detail else ended,
        outcome.exit_code,
        span(outcome.duration),
        local(outcome.started_at) if outcome.started_at else None,
        attempt.state.value,
    )
