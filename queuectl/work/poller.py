"""What a pool's loop waits for: whoever has a descriptor registers it here, and is told what comes."""

from __future__ import annotations

import select
import sys
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")


class Poller(Protocol):
    """What the parts of a pool need of ``select.poll``."""

    def register(self, fd: int, eventmask: int = ..., /) -> None: ...
    def modify(self, fd: int, eventmask: int, /) -> None: ...
    def unregister(self, fd: int, /) -> None: ...


class Polls:
    """Two polls: one hears everything, the other everything but the crew, of which nothing is urgent at times."""

    def __init__(self) -> None:
        self.crew: Poller = select.poll()
        self._all = self.crew
        self._others = select.poll()

    def register(self, fd: int, eventmask: int = select.POLLIN, /) -> None:
        self._all.register(fd, eventmask)
        self._others.register(fd, eventmask)

    def modify(self, fd: int, eventmask: int, /) -> None:
        self._all.modify(fd, eventmask)
        self._others.modify(fd, eventmask)

    def unregister(self, fd: int, /) -> None:
        self._all.unregister(fd)
        self._others.unregister(fd)

    def wait(self, seconds: float, *, crew: bool) -> Sequence[tuple[int, int]]:
        """Until something is heard, or the time is over; without *crew* it can wait."""
        return (self._all if crew else self._others).poll(max(0.0, seconds) * 1000 + 0.5)
