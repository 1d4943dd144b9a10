"""What a worker listens to: one poll, and who is to be told when a descriptor has something."""

from __future__ import annotations

import select
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")


class Ears:
    """Descriptors and their hearers."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._hearers: dict[int, Callable[[], None]] = {}

    def listen(self, descriptor: int, hear: Callable[[], None]) -> None:
        """Call *hear* when *descriptor* is readable, or has come to its end."""
        self._poll.register(descriptor, select.POLLIN)
        self._hearers[descriptor] = hear

    def expect(self, descriptor: int, *, writable: bool) -> None:
        """Call its hearer, too, when there is room to write; or no more."""
        self._poll.modify(descriptor, select.POLLIN | (select.POLLOUT if writable else 0))

    def forget(self, descriptor: int) -> None:
        """Before it is closed."""
        self._poll.unregister(descriptor)
        del self._hearers[descriptor]

    def wait(self, seconds: float | None) -> None:
        """Until something is heard, a signal comes or *seconds* have passed."""
        self._tell(None if seconds is None else max(0.0, seconds) * 1000 + 1)

    def hear(self) -> None:
        """What there is to hear now."""
        self._tell(0)

    def _tell(self, milliseconds: float | None) -> None:
        for descriptor, _mask in self._poll.poll(milliseconds):
            hear = self._hearers.get(descriptor)  # none: another hearer has just closed it
            if hear is not None:
                hear()
