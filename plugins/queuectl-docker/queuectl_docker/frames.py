"""Takes the engine's stream apart: stdout and stderr come in frames on one line."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_HEADER = 8  # stream, three zeros, length in four bytes


class Frames:
    """Bytes in, pieces of the two streams out, as they come: no frame is ever held back or put together."""

    def __init__(self, write: Callable[[int, memoryview], None]) -> None:
        self._write = write  # the stream (1 or 2) and what it says
        self.closed = False  # what comes from now on is nobody's
        self._header = b""
        self._stream = 0
        self._left = 0

    def feed(self, data: bytes) -> None:
        view = memoryview(data)
        while view and not self.closed:
            if not self._left:
                need = _HEADER - len(self._header)
                self._header += bytes(view[:need])
                view = view[need:]
                if len(self._header) == _HEADER:
                    self._stream = self._header[0]
                    self._left = int.from_bytes(self._header[4:], "big")
                    self._header = b""
                continue
            piece = view[: self._left]
            view = view[len(piece) :]
            self._left -= len(piece)
            self._write(self._stream, piece)


class Output:
    """The two files of a run. Counts what came, so that a stream which begins anew goes on where it was cut.

    A file that cannot be written (the disk is full) takes no more, and the job goes on.
    """

    def __init__(self, stdout: int, stderr: int, log: Callable[[str], None]) -> None:
        self._files = {1: os.dup(stdout), 2: os.dup(stderr)}
        self._log = log
        self._lock = threading.Lock()  # of the files: a number that was closed is soon another file's
        self.counts = {1: 0, 2: 0}
        self._skip = {1: 0, 2: 0}

    def again(self) -> Frames:
        """For a stream that begins with the first byte of the run: what came already is left out."""
        self._skip = dict(self.counts)
        return Frames(self._take)

    def onward(self) -> Frames:
        """For a stream that begins with what is new."""
        self._skip = {1: 0, 2: 0}
        return Frames(self._take)

    def _take(self, stream: int, piece: memoryview) -> None:
        if stream not in self.counts:
            return
        skip = min(self._skip[stream], len(piece))
        self._skip[stream] -= skip
        piece = piece[skip:]
        self.counts[stream] += len(piece)
        with self._lock:
            while piece and stream in self._files:
                try:
                    piece = piece[os.write(self._files[stream], piece) :]
                except OSError as error:
                    self._log(f"output is not kept any more: {(error.strerror or str(error)).lower()}")
                    os.close(self._files.pop(stream))

    def close(self) -> None:
        with self._lock:
            while self._files:
                os.close(self._files.popitem()[1])
