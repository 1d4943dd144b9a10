"""``queuectl logs``: what a job wrote."""

from __future__ import annotations

import codecs
import re
import sys
from typing import TYPE_CHECKING

import click

from queuectl.api.errors import NotFound
from queuectl.api.model import State
from queuectl.cli.render import emit_json, safe_text, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from queuectl.api.model import Job
    from queuectl.cli import Program


@click.command()
@click.argument("id", metavar="ID")
@click.option("--follow", "-f", is_flag=True, help="Go on until the attempt has ended.")
@click.option("--lines", "-n", type=click.IntRange(min=0), metavar="N", help="Only the last N lines of each stream.")
@click.option("--stdout", "only_stdout", is_flag=True, help="Only what went to stdout.")
@click.option("--stderr", "only_stderr", is_flag=True, help="Only what went to stderr.")
@click.option("--attempt", type=click.IntRange(min=1), metavar="N", help="Of this attempt (default: the latest).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with both streams as text.")
@click.pass_obj
def command(
    program: Program,
    id: str,
    follow: bool,
    lines: int | None,
    only_stdout: bool,
    only_stderr: bool,
    attempt: int | None,
    as_json: bool,
) -> None:
    """Print what a job wrote.

    \b
      queuectl logs 12
      queuectl logs -f @last
      queuectl logs nightly-backup --attempt 1 --stderr | less

    First stdout, then stderr; with -f both as they come. On a terminal control bytes are made harmless; a pipe gets
    the bytes as they are.
    """
    from queuectl.core import outputs

    if only_stdout and only_stderr:
        raise click.UsageError("--stdout and --stderr exclude each other: without either both are printed")
    queue = program.queue
    found = queue.resolve(id)
    job = queue.get(found)
    which = _which(job, attempt, follow)
    streams = ("stdout",) if only_stdout else ("stderr",) if only_stderr else outputs.STREAMS
    if which == 0:
        pieces: Iterator[tuple[str, bytes]] = iter(())
        if not as_json:
            say(f"job {found} has not run yet: it is {job.state.value}")
    elif follow:
        pieces = outputs.follow(queue, found, which, streams, lines)
    elif job.state is State.PROCESSING and which == job.attempts:
        pieces = outputs.so_far(queue, job, streams, lines)
    else:
        pieces = outputs.ended(program.app.storage, found, which, streams, lines)
    if as_json:
        _as_json(found, which, streams, pieces)
    else:
        _copy(pieces)


def _which(job: Job, attempt: int | None, follow: bool) -> int:
    """The attempt that is meant; 0: there is none yet, and nobody waits for one."""
    if attempt is None:
        waits = job.state in (State.PENDING, State.FAILED)
        return job.attempts + 1 if follow and waits else job.attempts
    if attempt > job.attempts + (1 if follow else 0):
        raise NotFound(f"job {job.id} has had {job.attempts} attempt{'s' if job.attempts != 1 else ''}, not {attempt}")
    return attempt


def _as_json(id: str, attempt: int, streams: Sequence[str], pieces: Iterator[tuple[str, bytes]]) -> None:
    texts: dict[str, list[bytes]] = {stream: [] for stream in streams}
    for stream, piece in pieces:
        texts[stream].append(piece)
    emit_json(
        {"id": id, "attempt": attempt or None}
        | {stream: b"".join(parts).decode(errors="replace") for stream, parts in texts.items()}
    )


def _copy(pieces: Iterator[tuple[str, bytes]]) -> None:
    """Everything to stdout: as it is into a pipe, made safe on a terminal."""
    if sys.stdout is None:
        return
    if not sys.stdout.isatty():
        sys.stdout.flush()
        for _, piece in pieces:
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        return
    screens: dict[str, Screen] = {}
    for stream, piece in pieces:
        sys.stdout.write(screens.setdefault(stream, Screen()).feed(piece))
        sys.stdout.flush()
    for screen in screens.values():
        sys.stdout.write(screen.feed(b"", last=True))


class Screen:
    """Makes bytes of one stream into text for a terminal, piece by piece: colours are dropped, line ends made
    plain, and any other control byte is shown."""

    _COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
    _BEGUN = re.compile(r"\x1b(\[[0-9;:]{0,40})?\Z|\r\Z")  # what the next piece may complete

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._rest = ""

    def feed(self, piece: bytes, last: bool = False) -> str:
        """The text for this piece; what may go on in the next one is kept back unless this is the *last*."""
        text = self._rest + self._decoder.decode(piece, last)
        self._rest = ""
        if not last and (begun := self._BEGUN.search(text)):
            text, self._rest = text[: begun.start()], text[begun.start() :]
        return safe_text(self._COLOUR.sub("", text).replace("\r\n", "\n"))
