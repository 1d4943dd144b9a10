"""A real HTTP receiver on loopback, which behaves as badly as it is told to: for tests of what posts somewhere."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssl import SSLContext

OK = b"HTTP/1.1 204 No Content\r\n\r\n"
OK_AND_GONE = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
MIB = b"x" * (1 << 20)


class Receiver:
    """Takes connections until it is closed. ``mode`` says how each request is answered:

    ``fine``, ``fine-and-gone``, ``error`` (500), ``redirect``, ``hangs`` (never), ``drips`` (a byte of the head each
    50 ms), ``drips-body``, ``flood`` (10 GB of body), ``flood-head`` (a head without an end), ``continues``
    (100 Continue without an end), ``closes`` (at once), ``greets`` (in another language), ``rubbish``. With *tls* it is
    one of HTTPS, with the certificate that is loaded there.
    """

    def __init__(
        self,
        mode: str = "fine",
        *,
        family: int = socket.AF_INET,
        host: str = "127.0.0.1",
        tls: SSLContext | None = None,
    ) -> None:
        self.mode = mode
        self.requests: list[Request] = []
        self.connections = 0
        self._host = host
        self._scheme = "http" if tls is None else "https"
        self._server = socket.socket(family, socket.SOCK_STREAM)
        self._server.bind((host, 0))
        self._server.listen(64)
        if tls is not None:  # the key is agreed on with the first read, by whoever serves the connection
            self._server = tls.wrap_socket(self._server, server_side=True, do_handshake_on_connect=False)
        self._open: set[socket.socket] = set()
        self._ended = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._server.getsockname()[1])

    @property
    def url(self) -> str:
        return f"{self._scheme}://{f'[{self._host}]' if ':' in self._host else self._host}:{self.port}/hook?to=ops"

    @property
    def documents(self) -> list[Any]:
        """The bodies of all requests, read as JSON."""
        return [json.loads(request.body) for request in self.requests]

    def close(self) -> None:
        """Hang up on everybody."""
        self._ended.set()
        for each in [self._server, *self._open]:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            each.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                line, _ = self._server.accept()
            except OSError:  # it is closed, or who came has gone already
                continue
            self.connections += 1
            self._open.add(line)
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        try:
            with line, line.makefile("rb") as stream:
                if self.mode == "closes":
                    return
                if self.mode == "greets":
                    line.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")
                while request := read_request(stream):
                    self.requests.append(request)
                    if not self._answer(line):
                        return
        except OSError:
            pass
        finally:
            self._open.discard(line)

    def _answer(self, line: socket.socket) -> bool:
        """Whether the connection can be used again."""
        match self.mode:
            case "fine":
                line.sendall(OK)
                return True
            case "fine-and-gone":
                line.sendall(OK_AND_GONE)
            case "error":
                line.sendall(b"HTTP/1.1 500 Oh no\r\nContent-Length: 6\r\n\r\nsecret")
                return True
            case "redirect":
                line.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n")
            case "hangs":
                self._ended.wait()
            case "drips":
                self._forever(line, [bytes([byte]) for byte in b"HTTP/1.1 200 OK\r\nX: " + b"y" * 60], 0.05)
            case "drips-body":
                line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                self._forever(line, [b"z"], 0.05)
            case "flood":
                line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n")
                self._forever(line, [MIB], 0)
            case "flood-head":
                line.sendall(b"HTTP/1.1 200 OK\r\n")
                self._forever(line, [b"X-More: " + b"y" * 1000 + b"\r\n"], 0)
            case "continues":
                self._forever(line, [b"HTTP/1.1 100 Continue\r\n\r\n"], 0)
            case "rubbish":
                line.sendall(b"\x16\x03\x01 this is not HTTP\r\n\r\n" * 3)
        return False

    def _forever(self, line: socket.socket, pieces: list[bytes], pause: float) -> None:
        while not self._ended.is_set():
            for piece in pieces:
                line.sendall(piece)
                if pause and self._ended.wait(pause):
                    return


class Request:
    """What was asked; the names of headers are in small letters."""

    def __init__(self, head: str, headers: dict[str, str], body: bytes) -> None:
        self.head = head
        self.headers = headers
        self.body = body
        self.at = time.monotonic()

    @property
    def id(self) -> str:
        """The delivery, of a webhook."""
        return self.headers["webhook-id"]


def read_request(stream: Any) -> Request | None:
    """The next request of a connection; None at its end, also if that comes in the middle of one."""
    head = stream.readline()
    if not head:
        return None
    headers = {}
    while (line := stream.readline()).strip():
        name, _, value = line.partition(b":")
        headers[name.decode("latin-1").lower()] = value.strip().decode("latin-1")
    length = int(headers.get("content-length", 0))
    body = stream.read(length) if line else None
    if body is None or len(body) < length:
        return None
    return Request(head.decode("latin-1").strip(), headers, body)
