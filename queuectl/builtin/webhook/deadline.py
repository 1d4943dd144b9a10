"""One deadline for all that a delivery takes, however little at a time the other side gives."""

from __future__ import annotations

import io
import socket
import time
from typing import Any

#: The most that is read of an answer: its head is what counts.
LONGEST_ANSWER = 64 * 1024


class TooLong(OSError):
    """The answer does not end."""


class Deadline:
    """A moment, *seconds* from now."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until then. TimeoutError if it has come."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def cut(self, seconds: float) -> None:
        """Let it be no later than *seconds* from now."""
        self._end = min(self._end, time.monotonic() + seconds)


class Line:
    """A connected socket on which nothing waits beyond a deadline: as much of a socket as ``http.client`` needs."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.deadline = Deadline(0)
        self.room = 0

    def begin(self, deadline: Deadline) -> None:
        """The next request may take until then."""
        self.deadline, self.room = deadline, LONGEST_ANSWER

    def sendall(self, data: Any) -> None:
        view = memoryview(data)
        while view:
            self._sock.settimeout(self.deadline.left())
            view = view[self._sock.send(view) :]

    def receive(self, buffer: Any) -> int:
        if self.room <= 0:
            raise TooLong
        self._sock.settimeout(self.deadline.left())
        n = self._sock.recv_into(memoryview(buffer)[: self.room])
        self.room -= n
        return n

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Incoming(self), 4096)

    def close(self) -> None:
        self._sock.close()


class _Incoming(io.RawIOBase):
    def __init__(self, line: Line) -> None:
        self._line = line

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._line.receive(buffer)
