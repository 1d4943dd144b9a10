"""``queuectl export``: everything of a storage as lines of JSON."""

from __future__ import annotations

import os
import sys
from io import FileIO
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from queuectl.api.errors import Conflict
from queuectl.cli.render import emit_json, say, talks
from queuectl.cli.targets import check_place

if TYPE_CHECKING:
    from queuectl.api.storage import Storage
    from queuectl.cli import Program

#: Lines are written in lots: one write each would be most of the time.
LOT = 1 << 18
#: After so many bytes a file is brought to the disk. What has piled up there by the end, a pool whose commit shares the
#: file system would have to wait for.
SYNCED = 1 << 23


@click.command()
@click.argument("file", metavar="[FILE]", required=False)
@click.option("--json", "as_json", is_flag=True, help="With FILE: print a JSON object: file, jobs.")
@click.pass_obj
def command(program: Program, file: str | None, as_json: bool) -> None:
    """Write every job with its history and output as lines of JSON, to FILE or stdout.

    \b
      queuectl export jobs.ndjson
      queuectl export | zstd > jobs.ndjson.zst
      queuectl export | queuectl --db new.db import -

    Ids, times, attempts, what people did, output, and how queues are set: all that queuectl import takes in again, on
    whatever storage. Stop the workers first: what changes meanwhile is written as it is when its turn comes. Variables
    are written as they are, secrets in them too; FILE is for you alone.
    """
    if file is None and as_json:
        raise click.UsageError("the export itself goes to stdout: --json goes with a FILE")
    if file is not None:
        check_place(file)
    storage = program.app.storage
    if program.queue.is_served():
        say("workers are running: what they change meanwhile is exported as it is when its turn comes")
    if file is None:
        if sys.stdout is not None:
            sys.stdout.flush()
            write(storage, sys.stdout.buffer)
        return
    jobs = to_file(storage, file)
    if as_json:
        emit_json({"file": os.path.abspath(file), "jobs": jobs})
    elif talks():
        say(f"{file}: {jobs} jobs")


def to_file(storage: Storage, file: str) -> int:
    """Write a file that is whole when it has its name; the number of jobs in it."""
    if os.path.lexists(file):
        raise Conflict(f"{file} exists already; an export overwrites nothing")
    part = f"{file}.{os.getpid()}.part"
    try:
        with _Synced(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            jobs = write(storage, stream)
            os.fsync(stream.fileno())
        os.rename(part, file)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename == part:
            error.filename = file  # the draft's name would tell nobody anything
        if os.path.exists(part):
            os.unlink(part)
        raise
    return jobs


class _Synced(FileIO):
    """A file that never has much that is not on the disk yet."""

    _unsynced = 0

    def write(self, data: Any, /) -> int:
        written = super().write(data)
        self._unsynced += written
        if self._unsynced >= SYNCED:
            self._unsynced = 0
            os.fsync(self.fileno())
        return written


def write(storage: Storage, stream: BinaryIO) -> int:
    """Every line to *stream*; the number of jobs."""
    from queuectl.core.exportlines import encode
    from queuectl.core.moving import End, records

    lot = bytearray()
    jobs = 0
    for record in records(storage):
        lot += encode(record).encode("ascii") + b"\n"
        if isinstance(record, End):
            jobs = record.jobs
        if len(lot) >= LOT or isinstance(record, End):
            _write_all(stream, lot)
            lot.clear()
    return jobs


def _write_all(stream: BinaryIO, data: bytearray) -> None:
    left = bytes(data)
    while left:
        left = left[stream.write(left) :]
    stream.flush()
