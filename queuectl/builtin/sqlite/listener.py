"""Waking pools: an empty datagram to each socket in ``run/`` that wants to hear of news.

Nobody polls: a pool that waits is woken by whoever commits something that it could not have known of.
"""

# ruff: noqa: E402 - mypy skips a module from such an assertion on

from __future__ import annotations

import os
import sys

assert sys.platform != "win32"  # where no pools run
from _socket import AF_UNIX, MSG_DONTWAIT, SOCK_DGRAM  # socket itself costs 3 ms
from _socket import socket as Socket
from typing import TYPE_CHECKING, Self

from queuectl.api.storage import Listener

from .files import private_folders

if TYPE_CHECKING:
    from collections.abc import Iterable

_SUFFIX = ".wake"


class WakeListener(Listener):
    """A datagram socket ``run/<name>.wake``."""

    def __init__(self, home: str, name: str) -> None:
        private_folders(home, "run")
        self._path = os.path.join(home, "run", name + _SUFFIX)
        self._socket: Socket | None = Socket(AF_UNIX, SOCK_DGRAM)
        self._socket.setblocking(False)
        self._inode = 0
        with _Folder(os.path.dirname(self._path)) as folder:
            try:
                os.unlink(self._path)  # of a pool that was replaced by its own new image
            except FileNotFoundError:
                pass
            os.fchmod(self._socket.fileno(), 0o600)
            self._socket.bind(folder.short(name + _SUFFIX))
        self._inode = os.stat(self._path).st_ino

    def fileno(self) -> int:
        assert self._socket is not None, "closed"
        return self._socket.fileno()

    def drain(self) -> None:
        if self._socket is None:
            return
        try:
            while True:
                self._socket.recv(1)
        except BlockingIOError:
            pass

    def close(self) -> None:
        if self._socket is None:
            return
        self._socket.close()
        self._socket = None
        try:
            if os.stat(self._path).st_ino == self._inode:  # not that of a successor
                os.unlink(self._path)
        except OSError:
            pass


class _Folder:
    """A folder whose sockets are named through its descriptor: a socket's path may have 107 bytes, a folder's more."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1

    def __enter__(self) -> Self:
        self._fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._fd)

    def short(self, name: str) -> str:
        if os.path.isdir("/proc/self/fd"):
            return f"/proc/self/fd/{self._fd}/{name}"
        return os.path.join(self._path, name)


def wake(folder: str, but: Iterable[str] = ()) -> None:
    """Tell everybody who listens in *folder*. Never blocks, never fails: a wake-up that is lost costs a second."""
    try:
        skip = {name + _SUFFIX for name in but}
        names = [name for name in os.listdir(folder) if name.endswith(_SUFFIX) and name not in skip]
        if not names:
            return
        with _Folder(folder) as short:
            sender = Socket(AF_UNIX, SOCK_DGRAM)
            try:
                for name in names:
                    try:
                        sender.sendto(b"", MSG_DONTWAIT, short.short(name))
                    except OSError:
                        pass  # its pool is dead, or has not read for long: it will look anyway
            finally:
                sender.close()
    except OSError:
        pass
