"""``queuectl wait``: until jobs have ended."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from queuectl.api.model import WAITING, State
from queuectl.cli.render import emit_json, say, talks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queuectl.api.model import Job
    from queuectl.cli import Program
    from queuectl.core.jobqueue import Queue

PATIENCE = 1.0  # seconds after which somebody should be there to run what waits


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID…")
@click.option("--timeout", metavar="DURATION", help="Give up after so long (exit code 124).")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of the jobs as they ended.")
@click.pass_context
def command(ctx: click.Context, ids: tuple[str, ...], timeout: str | None, as_json: bool) -> None:
    """Wait until jobs have ended.

    \b
      id=$(queuectl enqueue -- make report) && queuectl wait "$id"
      queuectl wait @last --timeout 5m

    While no worker is there to run them this says so, once, and waits. Exit code 0: all completed; 1: one ended dead
    or cancelled; 124: timeout.
    """
    from queuectl.core.times import parse_duration

    program: Program = ctx.obj
    seconds = parse_duration(timeout, "--timeout") if timeout is not None else None
    ctx.exit(wait_for(program, program.queue.resolve_all(ids), seconds, as_json))


def wait_for(program: Program, ids: Sequence[str], seconds: float | None, as_json: bool) -> int:
    """Wait until these have ended and say how; the exit code."""
    if sys.stdout is not None:
        sys.stdout.flush()  # what was said so far is for whoever reads along
    jobs = program.queue.wait(*ids, timeout=seconds, look=Unserved(program.queue))
    if as_json:
        from queuectl.core.shapes import job_shape

        emit_json([job_shape(job) for job in jobs])
    for job in jobs if talks() else ():
        say(f"job {job.id} {job.state.value}" + (f" ({job.reason})" if job.reason else ""))
    return 0 if all(job.state is State.COMPLETED for job in jobs) else 1


class Unserved:
    """Says once, after a while, that nobody is there to run jobs that wait."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._at = time.monotonic() + PATIENCE

    def __call__(self, left: Sequence[Job]) -> None:
        if time.monotonic() < self._at:
            return
        self._at = float("inf")
        names = sorted({job.spec.queue for job in left if job.state in WAITING})
        if names := [name for name in names if not self._queue.is_served(name)]:
            say(f"no pool is alive that serves queue {', '.join(names)}; queuectl worker start runs what waits")
