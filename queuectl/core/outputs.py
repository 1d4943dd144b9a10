"""What a job wrote: from the storage once its attempt has ended, from its worker's own files while it runs.

A worker empties its files for the next job only when nobody else has them open, so whoever follows a job here reads
that job to its end and nothing of the next one.
"""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

from queuectl.api.model import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from queuectl.api.model import Job
    from queuectl.api.storage import Storage
    from queuectl.core.jobqueue import Queue

STREAMS = ("stdout", "stderr")
PIECE = 1 << 18
LOOK_FIRST, LOOK_LONGEST = 0.02, 0.25
#: The files of a worker, as ``run/<worker><suffix>``.
SUFFIX = {"stdout": ".out", "stderr": ".err"}


def stored(storage: Storage, id: str, attempt: int, stream: str, offset: int = 0) -> Iterator[bytes]:
    """What was kept of an ended attempt's stream, in pieces."""
    while piece := storage.read_output(id, attempt, stream, offset, PIECE):
        offset += len(piece)
        yield piece


class Live:
    """The files that the worker of a running job writes to, held open."""

    def __init__(self, files: dict[str, int]) -> None:
        self.files = files
        self.offsets = dict.fromkeys(files, 0)

    @staticmethod
    def open(run_dir: str, job: Job) -> Live | None:
        """The files of *job*'s running attempt; None where no worker of this host runs it."""
        worker = _worker_of(run_dir, job)
        if worker is None:
            return None
        files: dict[str, int] = {}
        try:
            for stream in STREAMS:
                files[stream] = os.open(os.path.join(run_dir, worker + SUFFIX[stream]), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            pass
        live = Live(files)
        if len(files) == len(STREAMS) and _worker_of(run_dir, job) == worker:  # so these were its files all along
            return live
        live.close()
        return None

    def size(self, stream: str) -> int:
        """How much was written so far, whether or not all of it was kept."""
        return os.fstat(self.files[stream]).st_size

    def read_at(self, stream: str, offset: int, size: int) -> bytes:
        """Bytes as they stand in the file; what was not kept reads as zeros."""
        return os.pread(self.files[stream], size, offset)

    def fresh(self, stream: str) -> Iterator[bytes]:
        """What was written since the last call; a gap that was not kept is told in its place."""
        fd = self.files[stream]
        end = os.fstat(fd).st_size
        while self.offsets[stream] < end:
            at = self.offsets[stream]
            start = _data_from(fd, at, end)
            if start > at:
                yield b"\n[%d bytes were not kept]\n" % (start - at)
            piece = os.pread(fd, min(PIECE, end - start), start)
            self.offsets[stream] = start + len(piece)
            if not piece:
                return
            yield piece

    def close(self) -> None:
        """Let the worker have its files back. Idempotent."""
        for fd in self.files.values():
            os.close(fd)
        self.files = {}


def _data_from(fd: int, offset: int, end: int) -> int:
    """The first byte from *offset* on that was kept: where a cap has punched a hole, the hole's end."""
    if not hasattr(os, "SEEK_DATA"):
        return offset
    try:
        return os.lseek(fd, offset, os.SEEK_DATA)
    except OSError as error:
        return end if error.errno == errno.ENXIO else offset  # ENXIO: nothing but a hole up to the end


def _worker_of(run_dir: str, job: Job) -> str | None:
    from queuectl.core.rundir import list_workers

    for worker in list_workers(run_dir):
        if worker.job == job.id and worker.attempt == job.attempts:
            return str(worker.id)
    return None


def tail_offset(size: int, read: Callable[[int, int], bytes], lines: int) -> int:
    """Where the last *lines* lines begin in *size* bytes that *read(offset, n)* gives. Reads from the end."""
    if lines == 0:
        return size
    start, wanted = size, lines
    first = True
    while start > 0:
        step = min(PIECE, start)
        piece = read(start - step, step)
        end = len(piece)
        if first and piece.endswith(b"\n"):
            end -= 1
        first = False
        while (at := piece.rfind(b"\n", 0, end)) >= 0:
            wanted -= 1
            if not wanted:
                return start - step + at + 1
            end = at
        start -= step
    return 0


def follow(
    queue: Queue, id: str, attempt: int, streams: Sequence[str], lines: int | None
) -> Iterator[tuple[str, bytes]]:
    """What an attempt writes, as it does, until it has ended; of what is there already the last *lines* lines.

    Waits for an attempt that has not begun. Where its worker is on another host, it comes at the end, from storage.
    """
    live: Live | None = None
    pause = LOOK_FIRST
    try:
        while True:
            job = queue.get(id)
            running = job.state is State.PROCESSING and job.attempts == attempt
            if running and live is None:
                live = Live.open(queue.app.run_dir, job)
                for stream in streams if live is not None and lines is not None else ():
                    live.offsets[stream] = _live_tail(live, stream, lines or 0)
            wrote = False
            for stream in streams if live is not None else ():
                for piece in live.fresh(stream):
                    wrote = True
                    yield stream, piece
            if not running and (job.attempts >= attempt or job.state in (State.CANCELLED, State.DEAD)):
                break
            pause = LOOK_FIRST if wrote else min(pause * 1.5, LOOK_LONGEST)
            time.sleep(pause)
        if live is None:
            yield from ended(queue.app.storage, id, attempt, streams, lines)
    finally:
        if live is not None:
            live.close()


def _live_tail(live: Live, stream: str, lines: int) -> int:
    return tail_offset(live.size(stream), lambda offset, size: live.read_at(stream, offset, size), lines)


def ended(
    storage: Storage, id: str, attempt: int, streams: Sequence[str], lines: int | None
) -> Iterator[tuple[str, bytes]]:
    """What an ended attempt wrote, stream after stream; only the last *lines* lines of each, if that is given."""
    for stream in streams:
        offset = 0
        if lines is not None:
            size = storage.output_size(id, attempt, stream)
            offset = tail_offset(size, lambda at, n, s=stream: storage.read_output(id, attempt, s, at, n), lines)  # type: ignore[misc]
        for piece in stored(storage, id, attempt, stream, offset):
            yield stream, piece


def so_far(queue: Queue, job: Job, streams: Sequence[str], lines: int | None) -> Iterator[tuple[str, bytes]]:
    """What a running attempt has written up to now, on this host."""
    live = Live.open(queue.app.run_dir, job)
    if live is None:
        yield from ended(queue.app.storage, job.id, job.attempts, streams, lines)
        return
    try:
        for stream in streams:
            if lines is not None:
                live.offsets[stream] = _live_tail(live, stream, lines)
            for piece in live.fresh(stream):
                yield stream, piece
    finally:
        live.close()
