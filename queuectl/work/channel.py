"""The line between a pool and a worker: a stream socket with frames of a JSON head and a raw body.

``u32 length of head, u32 length of body, head, body``; the head is ``[word, …]``. Neither side ever waits for the
other: at most one job and a few words are under way in each direction, and what does not fit the socket's buffer stays
in a list until it is writable again.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
from typing import Any

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")

PROTOCOL = 1

HI = "HI"  # worker → pool: [HI, worker, pid, protocol, held]; the first word, and the only truth about what it holds:
#            null, or [job, attempt]
JOB = (
    "JOB"  # pool → worker: [JOB, claim, executor, backoff, handed, leased] run this; also acknowledges the one before.
)
#              The two moments are of the monotonic clock. Followed by ident and started_at: its run goes on, and is to
#              be taken up
STARTED = "STARTED"  # worker → pool: [STARTED, job, attempt, ident, started_at]; only of jobs that run for a while
STOP = "STOP"  # pool → worker: [STOP, job, attempt, why, force]
RETURN = "RETURN"  # pool → worker: [RETURN, job, attempt] give it back, unless it has begun
RETURNED = "RETURNED"  # worker → pool: [RETURNED, job, attempt]; it has not begun and will not, as was asked, or as it
#                        was to be stopped, or as this worker takes no more jobs
DONE = "DONE"  # worker → pool: [DONE, job, attempt, outcome, verdict, delay, decided, size]; body: stdout, stderr
ACK = "ACK"  # pool → worker: [ACK, job, attempt]; the settlement is committed: forget it
LEASED = "LEASED"  # pool → worker: [LEASED, moment]; the pool's lease was renewed then, by the monotonic clock
ADOPT = "ADOPT"  # pool → worker: [ADOPT, pool, protocol]; the first word to a worker's named socket, answered by HI
LANE = "LANE"  # pool → worker: [LANE, id, protocol]; the first word to its worker's named socket to open a further
#                lane, answered by HI
QUIT = "QUIT"  # pool → worker: end when nothing is in hand

_HEAD = struct.Struct("!II")
_LARGEST = 64 * 1024 * 1024
_HANGUP = getattr(select, "POLLRDHUP", 0)  # Linux; elsewhere the end is seen as POLLHUP
#: What is read at once: malloc serves it from its heap, while a larger piece would be mapped and unmapped each time.
_READ = 1 << 16
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False, ensure_ascii=True).encode
_decode = json.JSONDecoder().raw_decode


class Channel:
    """One end of the line. Not blocking; the caller polls ``fileno()``."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._received = bytearray()
        self._unsent = bytearray()
        self._hangup: Any = None  # what ``at_end`` asks, made when first needed
        self.closed = False  # the other side is gone, and everything it said has been read

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def wants_write(self) -> bool:
        return bool(self._unsent)

    def send(self, *head: Any, body: bytes = b"") -> None:
        """Say something; never waits and never raises: a reader that is gone is noticed when reading."""
        text = _encode(head).encode()
        self._unsent += _HEAD.pack(len(text), len(body)) + text + body
        self.flush()

    def flush(self) -> None:
        """Write what still waits to be written."""
        while self._unsent:
            try:
                sent = self._sock.send(self._unsent)
            except BlockingIOError:
                return
            except OSError:
                self._unsent.clear()
                return
            del self._unsent[:sent]

    def receive(self) -> list[tuple[list[Any], bytes]]:
        """The frames that have arrived. Sets ``closed`` at the end of the line.

        A side that dies with unread input resets the connection, and what it said before may come after the error: so
        it is read until the end, or until a second error.
        """
        errors = 0
        while not self.closed:
            try:
                data = self._sock.recv(_READ)
            except BlockingIOError:
                break
            except OSError:
                errors += 1
                self.closed = errors > 1
                continue
            if not data:
                self.closed = True
            self._received += data
            if len(data) < _READ:
                break  # the usual case: one frame, and nothing behind it; poll tells if there is more
        return self._frames()

    def _frames(self) -> list[tuple[list[Any], bytes]]:
        frames, at = [], 0
        while len(self._received) - at >= _HEAD.size:
            head_size, body_size = _HEAD.unpack_from(self._received, at)
            if head_size + body_size > _LARGEST:
                self.closed = True
                break
            end = at + _HEAD.size + head_size + body_size
            if len(self._received) < end:
                break
            middle = at + _HEAD.size + head_size
            head, _end = _decode(self._received[at + _HEAD.size : middle].decode())
            frames.append((head, bytes(self._received[middle:end])))
            at = end
        del self._received[:at]
        return frames

    def at_end(self) -> bool:
        """Whether the other side has closed the line, whatever it said before that is still unread."""
        if self._hangup is None:
            self._hangup = select.poll()
            self._hangup.register(self._sock.fileno(), _HANGUP)
        return any(mask & (_HANGUP | select.POLLHUP | select.POLLERR) for _fd, mask in self._hangup.poll(0))

    def close(self) -> None:
        self._sock.close()
