"""What the parts of a pool need of ``select.poll``, which is not there on every system."""

from __future__ import annotations

import sys
from typing import Protocol

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")


class Poller(Protocol):
    """The one poll of the pool's loop: who has a descriptor keeps it registered there."""

    def register(self, fd: int, eventmask: int = ..., /) -> None: ...
    def modify(self, fd: int, eventmask: int, /) -> None: ...
    def unregister(self, fd: int, /) -> None: ...
