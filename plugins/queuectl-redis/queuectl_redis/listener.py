"""The wake-up line: a connection that the server writes to when there is news for a pool."""

from __future__ import annotations

import os
import socket
import time

from queuectl.api.errors import StorageError
from queuectl.api.storage import Listener

from .link import Link

PAUSE = 1.0  # seconds between tries to get a broken line back


class WakeListener(Listener):
    """Listens on a channel of its own, and is known to do so. What it is sent has no meaning but that there is news.

    A line that breaks is taken up again under the same descriptor, by ``drain``: whoever polls it need not know.
    Meanwhile nothing is heard; the pool's own look now and then is the net.
    """

    def __init__(self, link: Link, name: str) -> None:
        self._main = link
        self._name = name
        self._channel = f"{link.keys}wake:{name}"
        self._line = Link(link.address, timeout=link.timeout, ca=link.ca)
        self._here, self._there = socket.socketpair()
        self._socket: socket.socket | None = None
        self._again_at = 0.0
        self._number = os.dup(self._here.fileno())
        try:
            self._subscribe()
        except StorageError:
            self.close()
            raise

    def fileno(self) -> int:
        return self._number

    def drain(self) -> None:
        if self._socket is not None:
            try:
                while True:
                    if not self._socket.recv(4096):
                        raise ConnectionResetError
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if type(error).__name__ in ("SSLWantReadError", "SSLWantWriteError"):
                    return
                self._hang_up()
        self.mend()

    def mend(self) -> None:
        """Take a broken line up again, if it is time to."""
        if self._socket is None and self._number >= 0 and time.monotonic() >= self._again_at:
            self._again_at = time.monotonic() + PAUSE
            try:
                self._subscribe()
            except StorageError:
                self._hang_up()

    def _subscribe(self) -> None:
        made = self._line.connect()
        self._line.ask("SUBSCRIBE", self._channel)
        made.setblocking(False)
        self._socket = made
        os.dup2(made.fileno(), self._number, inheritable=False)
        self._main.step("listen", self._name, patient=False)

    def _hang_up(self) -> None:
        """A silent descriptor in place of a broken one, which would be readable for ever."""
        self._socket = None
        self._line.close()
        os.dup2(self._here.fileno(), self._number, inheritable=False)

    def close(self) -> None:
        if self._number < 0:
            return
        number, self._number = self._number, -1
        self._line.close()
        for each in (self._here, self._there):
            each.close()
        os.close(number)
        try:
            self._main.step("hush", self._name, patient=False)
        except StorageError:
            pass  # it is found out when it is to be woken
