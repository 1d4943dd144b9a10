"""``queuectl queue``: the named lines of jobs and how they are set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from queuectl.api.errors import BadInput
from queuectl.cli.render import emit_json, say, table, talks

if TYPE_CHECKING:
    from queuectl.cli import Program


@click.group()
def command() -> None:
    """List, pause, resume and limit queues. What is set here holds for all pools and hosts, from now on.

    \b
      queuectl queue list
      queuectl queue pause mail --reason 'server is down'
      queuectl queue set video --concurrency 2
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of queues.")
@click.pass_obj
def list_(program: Program, as_json: bool) -> None:
    """List every queue that was ever used or set.

    \b
      queuectl queue list
    """
    from queuectl.cli.status import paused
    from queuectl.core.shapes import queue_shape

    shapes = [queue_shape(stat) for stat in program.queue.stat()]
    if as_json:
        emit_json(shapes)
        return
    states = ("pending", "ready", "processing", "completed", "failed", "dead", "cancelled", "concurrency")
    rows = [(q["name"], *(q[name] for name in states), paused(q)) for q in shapes]
    table(["queue", *states, "set"], rows, right=range(1, 9))


@command.command("pause")
@click.argument("name", metavar="NAME")
@click.option("--reason", default="", metavar="TEXT", help="Why; shown wherever the queue is.")
@click.option("--json", "as_json", is_flag=True, help="Print the queue as it is now.")
@click.pass_obj
def pause(program: Program, name: str, reason: str, as_json: bool) -> None:
    """Let no further job of a queue start. Running ones go on.

    \b
      queuectl queue pause mail --reason 'server is down'
    """
    _say_if_new(program, name)
    program.queue.pause(name, reason)
    _report(program, name, "paused", as_json)


@command.command("resume")
@click.argument("name", metavar="NAME")
@click.option("--json", "as_json", is_flag=True, help="Print the queue as it is now.")
@click.pass_obj
def resume(program: Program, name: str, as_json: bool) -> None:
    """Let jobs of a queue start again.

    \b
      queuectl queue resume mail
    """
    _say_if_new(program, name)
    program.queue.resume(name)
    _report(program, name, "open", as_json)


@command.command("set")
@click.argument("name", metavar="NAME")
@click.option("--concurrency", required=True, metavar="N|none", help="Most jobs running at once, over all pools.")
@click.option("--json", "as_json", is_flag=True, help="Print the queue as it is now.")
@click.pass_obj
def set_(program: Program, name: str, concurrency: str, as_json: bool) -> None:
    """Limit how many jobs of a queue run at once. A lower limit ends no running job.

    \b
      queuectl queue set video --concurrency 2
      queuectl queue set video --concurrency none
    """
    if concurrency.lower() == "none":
        limit = None
    elif concurrency.isascii() and concurrency.isdigit() and len(concurrency) < 10:
        limit = int(concurrency)
    else:
        raise BadInput(f"--concurrency takes a whole number below a thousand million, or none; not {concurrency!r}")
    _say_if_new(program, name)
    program.queue.limit(name, limit)
    _report(program, name, f"limited to {limit} at once" if limit is not None else "without a limit", as_json)


def _say_if_new(program: Program, name: str) -> None:
    """A queue may be set before its first job, but more often a new name is a slip."""
    if talks() and all(stat.name != name for stat in program.queue.stat()):
        say(f"queue {name} is new: no job was ever in it")


def _report(program: Program, name: str, what: str, as_json: bool) -> None:
    if as_json:
        from queuectl.core.shapes import queue_shape

        emit_json(next(queue_shape(stat) for stat in program.queue.stat() if stat.name == name))
    elif talks():
        say(f"queue {name} is {what}")
