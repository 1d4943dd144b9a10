"""``queuectl import``: takes in what ``queuectl export`` wrote."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from queuectl.api.errors import BadInput, Conflict
from queuectl.cli.render import emit_json, say, talks

if TYPE_CHECKING:
    from typing import BinaryIO

    from queuectl.cli import Program
    from queuectl.core.moving import Arrival

LONGEST = 64 << 20  # bytes of a line; one has a job with its history, or a piece of output


@click.command("import")
@click.argument("file", metavar="FILE")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object: jobs, new, left_out.")
@click.pass_obj
def command(program: Program, file: str, as_json: bool) -> None:
    """Take in what export wrote; - reads stdin.

    \b
      queuectl import jobs.ndjson
      zstd -dc jobs.ndjson.zst | queuectl import -

    Jobs keep their ids, times, history and output; later ones get higher numbers than any of them. What was running
    when it was exported is pending again. Waiting jobs run as soon as a worker is there. Importing again, after
    whatever went wrong, adds what is missing and nothing twice. A job whose id is another job's is left out: that is
    said, exit code 4.
    """
    arrival = _from_file(program, file)
    if as_json:
        emit_json({"jobs": arrival.jobs, "new": arrival.new, "left_out": arrival.conflicts})
    elif talks():
        say(f"{arrival.jobs} jobs, {arrival.new} of them new")
    if arrival.conflicts:
        n = len(arrival.conflicts)
        raise Conflict(
            f"{n} of {arrival.jobs} jobs were left out, as another job has their id, number or unique key: "
            + ", ".join(arrival.conflicts[:5])
            + (" …" if n > 5 else "")
        )


def _from_file(program: Program, file: str) -> Arrival:
    if file == "-":
        if sys.stdin is None:
            raise BadInput("stdin is closed")
        return take(program, sys.stdin.buffer, "stdin")
    if not file:
        raise BadInput("the name of the FILE is empty")
    try:
        stream = open(file, "rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}") from None
    with stream:
        return take(program, stream, file)


def take(program: Program, stream: BinaryIO, name: str) -> Arrival:
    """Everything that comes, line by line. The complaint about a line names its number."""
    from queuectl.core.exportlines import decode
    from queuectl.core.moving import Arrival, Begin

    arrival = Arrival(program.app.storage)
    number = 0
    while line := stream.readline(LONGEST):
        number += 1
        if line.isspace():
            continue
        try:
            if len(line) >= LONGEST:
                raise BadInput("this line is too long")
            record = decode(line)
            if number == 1 and not isinstance(record, Begin):
                raise BadInput("an export begins with another line; is the beginning missing?")
            arrival.add(record)
        except BadInput as error:
            if number == 1:
                raise BadInput(f"{name}, line 1: {error}; nothing was imported") from None
            arrival.flush()
            raise BadInput(f"{name}, line {number}: {error}; what stands before it was imported") from None
    if number == 0:
        raise BadInput(f"{name} is empty: an export has a first and a last line, even one of no jobs")
    arrival.flush()
    if not arrival.ended:
        raise BadInput(
            f"{name} ends early, after {number} lines and {arrival.jobs} jobs, which were imported; "
            "import the whole of it to add the rest"
        )
    return arrival
