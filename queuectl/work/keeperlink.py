"""The pool's end of the line to its keeper: starts one, asks it for workers, hears of deaths.

A SOCK_SEQPACKET socket. The pool says first where Python's modules are, then the ``Setup`` of its workers; after that
``SPAWN id`` comes with the worker's end of a channel, and ``DIED id`` goes back when the tree of a dead worker has been
ended and its record says so.

Light to import: ``worker start`` starts the keeper before it does anything else, so that both get ready at once.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .setup import Setup

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")

SPAWN, DIED = "SPAWN", "DIED"
#: A longer message is never sent.
LONGEST = 1 << 20

#: What the pool executes: no site, no search path but the one it is told. All that it is told comes over the socket: a
#: command line can be read by every user of the host, and is short.
BOOTSTRAP = f"""
import sys, os, json
descriptor = int(sys.argv[1])
path = os.read(descriptor, {LONGEST})
if path:
    sys.path[:] = json.loads(path)
    from queuectl.work.keeper import main
    main(descriptor)
"""


class KeeperLink:
    """One keeper, as its pool knows it. It is started at once, and waits for ``brief``."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._sock = ours
        words = [sys.executable, "-I", "-S", "-c", BOOTSTRAP, str(theirs.fileno())]
        os.set_inheritable(theirs.fileno(), True)
        self.pid = os.posix_spawn(sys.executable, words, os.environ, setsigmask=())
        theirs.close()
        path = [os.path.abspath(path) if path else os.getcwd() for path in sys.path]
        ours.send(json.dumps(path).encode())

    def brief(self, setup: Setup) -> None:
        """Tell it what its workers have to know. Once, before the first of them is asked for."""
        self._sock.send(json.dumps(setup).encode())

    def fileno(self) -> int:
        return self._sock.fileno()

    def spawn(self, id: str) -> socket.socket:
        """Ask for a worker; the pool's end of its channel. Raises OSError if the keeper is gone."""
        ours, theirs = socket.socketpair()
        try:
            socket.send_fds(self._sock, [json.dumps([SPAWN, id]).encode()], [theirs.fileno()])
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        return ours

    def deaths(self, tell: Callable[[str, int], None]) -> bool:
        """Tell of each worker that died and whose tree is ended: id and wait status. False if the keeper is gone.

        A keeper that died with unread input resets the connection; what it said before may come after the error.
        """
        errors = 0
        while errors < 2:
            try:
                data = self._sock.recv(4096)
            except BlockingIOError:
                return True
            except OSError:
                errors += 1
                continue
            if not data:
                return False
            _word, id, status = json.loads(data)
            tell(id, status)
        return False

    def close(self) -> None:
        self._sock.close()
