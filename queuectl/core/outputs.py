"""What a job wrote: from the storage once its attempt has ended, from its worker's own files while it runs.

A worker empties its files for the next job only when nobody else has them open, so whoever follows a job here reads
that job to its end and nothing of the next one.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from typing import TYPE_CHECKING

from queuectl.api.model import FINISHED, State
from queuectl.api.storage import Ability

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from io import FileIO

    from queuectl.api.model import Job
    from queuectl.api.storage import Storage
    from queuectl.core.jobqueue import Queue

STREAMS = ("stdout", "stderr")
PIECE = 1 << 18
LOOK_FIRST, LOOK_LONGEST = 0.02, 0.25
WATCHED, WATCH_EVERY = 10.0, 3.0  # seconds that a pool elsewhere is asked to show, and how often it is asked again
LOOK_SHOWN = 2.0  # seconds that it is given to show something


def stored(storage: Storage, id: str, attempt: int, stream: str, offset: int = 0) -> Iterator[bytes]:
    """What was kept of an ended attempt's stream, in pieces."""
    while piece := storage.read_output(id, attempt, stream, offset, PIECE):
        offset += len(piece)
        yield piece


class Live:
    """The files that the worker of a running job writes to, held open."""

    def __init__(self, files: dict[str, FileIO]) -> None:
        self.files = files
        self.offsets = dict.fromkeys(files, 0)

    @staticmethod
    def open(run_dir: str, job: Job) -> Live | None:
        """The files of *job*'s running attempt; None where no worker of this host runs it."""
        from queuectl.core.rundir import find_run

        worker = find_run(run_dir, job.id, job.attempts)
        if worker is None:
            return None
        live = Live({})
        try:
            for stream in STREAMS:
                live.files[stream] = open(worker.output_path(stream), "rb", buffering=0)  # noqa: SIM115 - held until close
                live.offsets[stream] = 0
        except OSError:
            pass
        still = find_run(run_dir, job.id, job.attempts)
        if len(live.files) == len(STREAMS) and still is not None and still.id == worker.id:
            return live  # so these were its files all along
        live.close()
        return None

    def size(self, stream: str) -> int:
        """How much was written so far, whether or not all of it was kept."""
        return os.fstat(self.files[stream].fileno()).st_size

    def read_at(self, stream: str, offset: int, size: int) -> bytes:
        """Bytes as they stand in the file; what was not kept reads as zeros."""
        self.files[stream].seek(offset)
        return self.files[stream].read(size)

    def fresh(self, stream: str) -> Iterator[bytes]:
        """What was written since the last call; a gap that was not kept is told in its place."""
        fd, end = self.files[stream].fileno(), self.size(stream)
        while self.offsets[stream] < end:
            at = self.offsets[stream]
            start = _data_from(fd, at, end)
            if start > at:
                yield b"\n[%d bytes were not kept]\n" % (start - at)
            piece = self.read_at(stream, start, min(PIECE, _data_to(fd, start, end) - start))
            self.offsets[stream] = start + len(piece)
            if not piece:
                return
            yield piece

    def close(self) -> None:
        """Let the worker have its files back. Idempotent."""
        for file in self.files.values():
            file.close()
        self.files = {}


class Shown:
    """What a running attempt on another host writes, as its pool lays it out while somebody watches."""

    def __init__(self, storage: Storage, id: str, attempt: int) -> None:
        self._storage = storage
        self._id = id
        self._attempt = attempt
        self._again_at = 0.0
        self.offsets: dict[str, int] = {}  # where each stream goes on; none before anything of it was seen

    def watch(self) -> None:
        """Ask for it, and again before it is forgotten."""
        if time.monotonic() >= self._again_at:
            self._again_at = time.monotonic() + WATCH_EVERY
            self._storage.watch(self._id, hold=WATCHED)

    def fresh(self, stream: str, lines: int | None) -> Iterator[bytes]:
        """What has come since the last call; at first no more than the last *lines* lines. A gap is told."""
        at = self.offsets.get(stream, 0)
        begin, data = self._storage.shown_output(self._id, self._attempt, stream, at)
        if not data:
            return
        if stream not in self.offsets and lines is not None:
            cut = tail_offset(len(data), lambda offset, n: data[offset : offset + n], lines)
            yield data[cut:]
        else:
            if begin > at:
                yield b"\n[%d bytes were not shown]\n" % (begin - at)
            yield data
        self.offsets[stream] = begin + len(data)


def _data_from(fd: int, offset: int, end: int) -> int:
    """The first byte from *offset* on that was kept: where a cap has punched a hole, the hole's end."""
    if sys.platform == "win32" or not hasattr(os, "SEEK_DATA"):
        return offset
    try:
        return os.lseek(fd, offset, os.SEEK_DATA)
    except OSError as error:
        return end if error.errno == errno.ENXIO else offset  # ENXIO: nothing but a hole up to the end


def _data_to(fd: int, offset: int, end: int) -> int:
    """Where the data that begins at *offset* ends, and a hole begins."""
    if sys.platform == "win32" or not hasattr(os, "SEEK_HOLE") or offset >= end:
        return end
    try:
        return min(end, os.lseek(fd, offset, os.SEEK_HOLE))
    except OSError:
        return end


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
    queue: Queue,
    id: str,
    attempt: int,
    streams: Sequence[str],
    lines: int | None,
    look: Callable[[Job], None] | None = None,
) -> Iterator[tuple[str, bytes]]:
    """What an attempt writes, as it does, until it has ended; of what is there already the last *lines* lines.

    Waits for an attempt that has not begun. Where its worker is on another host its pool is asked to show what it
    writes; what cannot be seen that way comes at the end, from storage.
    *look* is shown the job each time that this looks at it, several times a second.
    """
    live: Live | None = None
    shown: Shown | None = None
    pause = LOOK_FIRST
    try:
        while True:
            job = queue.get(id)
            if look is not None:
                look(job)
            running = job.state is State.PROCESSING and job.attempts == attempt
            if running and live is None:
                live = _opened(queue, job, streams, lines)
                if live is None and shown is None and Ability.LIVE in queue.app.storage.abilities:
                    shown = Shown(queue.app.storage, id, attempt)
            wrote = False
            if live is None and shown is not None and running:
                shown.watch()
                for stream in streams:
                    for piece in shown.fresh(stream, lines):
                        wrote = True
                        yield stream, piece
            if live is not None:
                for stream in streams:
                    for piece in live.fresh(stream):
                        wrote = True
                        yield stream, piece
            if not running and (job.attempts >= attempt or job.state in FINISHED):
                break
            pause = LOOK_FIRST if wrote else min(pause * 1.5, LOOK_LONGEST)
            time.sleep(pause)
        if live is None and shown is not None and shown.offsets:
            yield from _rest_of_shown(queue, shown, id, attempt, streams)
        elif live is None:
            yield from ended(queue.app.storage, id, attempt, streams, lines)
        else:
            yield from _rest(queue, live, id, attempt, streams)
    finally:
        if live is not None:
            live.close()


def _opened(queue: Queue, job: Job, streams: Sequence[str], lines: int | None) -> Live | None:
    live = Live.open(queue.app.run_dir, job)
    if live is not None and lines is not None:
        for stream in streams:
            live.offsets[stream] = _live_tail(live, stream, lines)
    return live


def _rest(queue: Queue, live: Live, id: str, attempt: int, streams: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """What is left of a stream that was cut to head and tail when it ended, before all of it was read here."""
    outcome = next((a.outcome for a in queue.history(id).attempts if a.number == attempt), None)
    for stream in streams:
        size, offset = live.size(stream), live.offsets[stream]
        if outcome is not None and size < offset:
            written = outcome.stdout_size if stream == "stdout" else outcome.stderr_size
            if (left := min(written - offset, size)) > 0:
                yield stream, live.read_at(stream, size - left, left)


def _rest_of_shown(
    queue: Queue, shown: Shown, id: str, attempt: int, streams: Sequence[str]
) -> Iterator[tuple[str, bytes]]:
    """What was kept beyond what was shown; of a stream that was cut, no more than has not been shown."""
    storage = queue.app.storage
    outcome = next((a.outcome for a in queue.history(id).attempts if a.number == attempt), None)
    for stream in streams:
        size, offset = storage.output_size(id, attempt, stream), shown.offsets.get(stream, 0)
        written = size
        if outcome is not None:
            written = outcome.stdout_size if stream == "stdout" else outcome.stderr_size
        if written > size:  # head and tail were kept: what is new is at the end
            offset = max(0, size - max(0, written - offset))
        for piece in stored(storage, id, attempt, stream, offset):
            yield stream, piece


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
    """What a running attempt has written up to now, the last of it where it runs on another host."""
    live = Live.open(queue.app.run_dir, job)
    if live is None and Ability.LIVE in queue.app.storage.abilities:
        yield from _shown_so_far(queue, job, streams, lines)
        return
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


def _shown_so_far(queue: Queue, job: Job, streams: Sequence[str], lines: int | None) -> Iterator[tuple[str, bytes]]:
    """What its pool shows as soon as it shows anything, or what was kept if the attempt ends before that."""
    shown = Shown(queue.app.storage, job.id, job.attempts)
    until, wrote = time.monotonic() + LOOK_SHOWN, False
    while not wrote and time.monotonic() < until:
        shown.watch()
        for stream in streams:
            for piece in shown.fresh(stream, lines):
                wrote = True
                yield stream, piece
        if not wrote:
            time.sleep(LOOK_LONGEST / 4)
    if not wrote:
        yield from ended(queue.app.storage, job.id, job.attempts, streams, lines)
