"""``queuectl run``: a command goes through the queue as if it ran here."""

from __future__ import annotations

import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from queuectl.api.errors import QueueCTLError
from queuectl.api.model import FINISHED, WAITING, State
from queuectl.cli.enqueue import EnqueueCommand, asked_options, job_options
from queuectl.cli.render import emit_json, say, talks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from queuectl.api.model import Job
    from queuectl.cli import Program

HELP = """Run a command through the queue as if it ran here: its output as it comes, its exit code at the end.

\b
  queuectl run -- make report
  queuectl run --queue gpu --timeout 2h -- python train.py
  queuectl run --shell 'sort big.txt | uniq -c'

A worker has to be running; without one this says so, and waits. It runs where you are, with the variables that the
configuration captures. It is tried once unless --max-retries says otherwise; an attempt that is lost with its worker is
repeated. Exit code: that of the command, 128 + n for signal n, 124 for a timeout. Ctrl-C cancels the job, waits until
all its processes are gone, and exits 130; a second one leaves at once.
"""
LOOK = 0.5  # seconds between looks at whether somebody is there to run it


def run(ctx: click.Context, /, arguments: tuple[str, ...], **said: Any) -> None:
    """What the command does: stores the job, follows each attempt, exits as the last one did."""
    program: Program = ctx.obj
    words: list[str] | None = ctx.meta["queuectl.words"]
    as_json, shell = said.pop("json"), said.pop("shell")
    if arguments or (words is None) == (shell is None):
        raise click.UsageError("say what to run: queuectl run -- COMMAND ARG…, or --shell LINE")
    if said["max_retries"] is None:
        said["max_retries"] = 0
    maker = program.queue.maker(queue=said["queue"], priority=said["priority"])
    what: dict[str, Any] = {"argv": words} if words is not None else {"command": shell}
    job = maker.job({**asked_options(said), **what})
    (receipt,) = program.queue.store([job])
    follower = Follower(program, receipt.id, receipt.created)
    with follower:
        ended = follower.follow(quiet=as_json)
    if as_json:
        _as_json(program, ended)
    ctx.exit(follower.code if follower.code is not None else exit_code(ended))


def exit_code(job: Job) -> int:
    """What the job's end means for who waits for it."""
    if job.state is State.COMPLETED:
        return 0
    code = job.outcome.exit_code if job.outcome is not None else None
    return code or 1


class Follower:
    """Follows one job to its end, and cancels it if whoever waits has enough of it."""

    def __init__(self, program: Program, id: str, ours: bool) -> None:
        self._program = program
        self._queue = program.queue
        self.id = id
        self.ours = ours  # else it was there before, and goes on whatever happens here
        self.code: int | None = None  # to exit with, if we were told to end
        self._signals = 0
        self._cancelled = False
        self._looked = time.monotonic()  # a pool may be about to start
        self._told = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._on_signal)

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.code = 128 + number
        self._signals += 1
        if self._signals > 1:
            raise KeyboardInterrupt

    def follow(self, quiet: bool) -> Job:
        """Copy what it prints, attempt after attempt, until it has ended; the job as it then is."""
        from queuectl.core.outputs import STREAMS, follow

        job = self._queue.get(self.id)
        begun = job.state is State.PROCESSING or job.state in FINISHED
        attempt = 1 if self.ours else max(1, job.attempts + (not begun))  # ours may have been tried by now
        screens: dict[str, Any] = {}
        try:
            while True:
                for stream, piece in follow(self._queue, self.id, attempt, STREAMS, None, self._look):
                    if not quiet:
                        copy(stream, piece, screens)
                job = self._queue.get(self.id)
                if job.state in FINISHED and attempt >= job.attempts:
                    break
                if job.state in WAITING:
                    self._say_again(job)
                attempt += 1
        except Abandoned:
            job = self._queue.get(self.id)
        except BrokenPipeError:
            if self.ours:
                self._cancel()
            raise
        if job.state is State.CANCELLED and talks():
            say(f"job {self.id} was cancelled")
        elif job.state is State.DEAD and (job.outcome is None or job.outcome.exit_code is None):
            say(f"job {self.id} is dead: {job.reason}")
        return job

    def _look(self, job: Job) -> None:
        """Asked before each look at the job: whether to cancel it, and whether anybody is there to run it."""
        if self._signals and not self._cancelled:
            self._cancel()
            self._looked = 0.0
        now = time.monotonic()
        if now - self._looked < LOOK:
            return
        self._looked = now
        if job.state is State.PROCESSING:
            if self._cancelled and not self._queue.is_held(job):
                say(f"job {self.id} is marked to be cancelled; no pool is alive to end it: the next one does")
                raise Abandoned
        elif job.state not in FINISHED and not self._told and not self._queue.is_served(job.spec.queue):
            self._told = True
            say(f"no pool is alive to run job {self.id}: it waits; queuectl worker start runs it, Ctrl-C cancels it")

    def _cancel(self) -> None:
        self._cancelled = True
        if not self.ours:
            raise Abandoned
        try:
            self._queue.cancel(self.id, note="whoever waited for it left")
        except QueueCTLError:
            pass  # it has ended

    def _say_again(self, job: Job) -> None:
        from queuectl.core.times import local

        say(f"job {self.id}: {job.reason or 'the attempt did not count'}; next attempt at {local(job.run_at)}")


class Abandoned(Exception):
    """There is nothing more to wait for."""


def copy(name: str, piece: bytes, screens: dict[str, Any]) -> None:
    """To the stream of the same name: as it is into a pipe, made safe on a terminal."""
    stream = sys.stdout if name == "stdout" else sys.stderr
    if stream is None:
        return
    if stream.isatty():
        from queuectl.cli.logs import Screen

        stream.write(screens.setdefault(name, Screen()).feed(piece))
    else:
        stream.flush()
        stream.buffer.write(piece)
    stream.flush()


def _as_json(program: Program, job: Job) -> None:
    """The job as it ended, with what its last attempt printed."""
    from queuectl.core.outputs import STREAMS, stored
    from queuectl.core.shapes import job_shape

    def text(stream: str) -> str:
        pieces: Iterator[bytes] = stored(program.app.storage, job.id, job.attempts, stream)
        return b"".join(pieces).decode(errors="replace")

    emit_json(job_shape(job) | {stream: text(stream) for stream in STREAMS})


command = EnqueueCommand(
    "run",
    callback=click.pass_context(run),
    help=HELP,
    short_help="Run a command through the queue.",
    options_metavar="[OPTIONS]",
    params=[
        click.Argument(["arguments"], nargs=-1, metavar="-- COMMAND ARG…", type=click.UNPROCESSED),
        *job_options(),
        click.Option(["--json"], is_flag=True, help="Print the job as it ended, with its output, as a JSON object."),
    ],
)
