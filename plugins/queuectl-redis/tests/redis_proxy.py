"""A connection that breaks where a test wants it: a proxy before a server, which loses one command or its reply."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import hiredis


class Proxy:
    """Passes on what goes between one client at a time and the server on *target*, a Unix socket.

    It counts commands. At number *cut* it breaks the connection: before the command reaches the server, or, with
    *late*, when the server has taken it and answered, so that only the reply is lost.
    """

    def __init__(self, target: Path, path: Path, *, cut: int = 0, late: bool = True) -> None:
        self.target = target
        self.path = path
        self.cut = cut
        self.late = late
        self.commands: list[str] = []
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(str(path))
        self._door.listen(8)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            with client, socket.socket(socket.AF_UNIX) as server:
                server.connect(str(self.target))
                self._pass(client, server)

    def _pass(self, client: socket.socket, server: socket.socket) -> None:
        requests, replies = hiredis.Reader(notEnoughData=None), hiredis.Reader(notEnoughData=...)
        try:
            while data := client.recv(1 << 16):
                requests.feed(data)
                while (command := requests.gets()) is not None:
                    self.commands.append(command[0].decode())
                    breaks = len(self.commands) == self.cut
                    if breaks and not self.late:
                        return
                    server.sendall(hiredis.pack_command(tuple(command)))
                    reply = b""
                    while replies.gets() is ...:
                        piece = server.recv(1 << 16)
                        if not piece:
                            return
                        replies.feed(piece)
                        reply += piece
                    if breaks:
                        return
                    client.sendall(reply)
        except OSError:
            return

    def close(self) -> None:
        self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        self._thread.join(10)
