"""Named sockets in ``run/``: bound and reached by a relative name, since the path of a socket may have 107 bytes."""

from __future__ import annotations

import os
import socket
import struct
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")


@contextmanager
def _inside(folder: str) -> Iterator[None]:
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chdir(folder)
        yield
    finally:
        os.fchdir(here)
        os.close(here)


def listen(folder: str, name: str) -> socket.socket:
    """A stream socket under *name* in *folder* that others of this user may connect to. Does not block."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    with _inside(folder):
        sock.bind(name)
        os.chmod(name, 0o600)
    sock.listen(8)  # of its pool, which opens lanes, and of one that adopts
    return sock


def connect(path: str) -> socket.socket:
    """A connection to the socket at *path*. ConnectionRefusedError, FileNotFoundError: nobody is there any more.
    BlockingIOError: somebody is, who has no time yet."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        with _inside(os.path.dirname(path)):
            sock.connect(os.path.basename(path))
    except OSError:
        sock.close()
        raise
    return sock


def is_own_user(sock: socket.socket) -> bool:
    """Whether the other side is a process of this user (or of root), as the kernel says."""
    return peer(sock)[1] in (os.geteuid(), 0)


def peer(sock: socket.socket) -> tuple[int, int]:
    """The pid (0 where the system does not tell) and the user of the other side."""
    if sys.platform == "linux":
        pid, uid, _gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return pid, uid
    version, uid = struct.unpack_from("2I", sock.getsockopt(0, 1, 76))  # SOL_LOCAL, LOCAL_PEERCRED: struct xucred
    return 0, uid if version == 0 else -1
