"""When a pool asks the storage for work: when some is known to be due, when it is woken, and now and then."""

from __future__ import annotations

import select
import sys
import time
from typing import TYPE_CHECKING

from queuectl.api.errors import StorageError

from .peer import FAR

if TYPE_CHECKING:
    from collections.abc import Callable

    from queuectl.api.model import Exchange
    from queuectl.api.storage import Listener, Storage

    from .outage import Outage
    from .poller import Poller

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")

LOOK_EVERY = 1.0  # an idle pool asks so often whether something has changed, should a wake-up have been lost
MINUTE = 60.0  # no known moment is waited for longer than this at a stretch
CLOCK_SET = 1.0  # the wall clock has been set, or the machine has slept, if it is off by more than this many seconds


class Lookout:
    """Moments on the monotonic clock, the storage's wake-up line, and an eye on the wall clock."""

    def __init__(self, storage: Storage, outage: Outage, log: Callable[[str], None]) -> None:
        self.look_at = 0.0  # when to ask for work, as far as is known
        self.net_at = 0.0  # when to see whether we missed something
        self._storage = storage
        self._outage = outage
        self._log = log
        self._listener: Listener | None = None
        self._clock = time.time() - time.monotonic()

    def listen(self, pool: str, poll: Poller) -> None:
        """Be woken by the storage from now on, if it can."""
        self._listener = self._storage.listen(pool)
        if self._listener is not None:
            poll.register(self._listener.fileno(), select.POLLIN)

    def hears(self, descriptor: int) -> bool:
        """Whether *descriptor*, which polled readable, is the storage's: then there may be something for us."""
        if self._listener is None or descriptor != self._listener.fileno():
            return False
        self._listener.drain()
        self.look_at = 0.0
        return True

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()

    def should_look(self, now: float) -> bool:
        """Whether it is time to ask for work: known to be due, or something has changed unheard."""
        if now >= self.look_at:
            return True
        if now < self.net_at:
            return False
        self.net_at = now + LOOK_EVERY
        try:
            return self._storage.changed()
        except StorageError as error:
            self._outage.begin(now, error)
            return False

    def looked(self, now: float, want: int, answer: Exchange, may_take: bool) -> None:
        """We have asked for *want* jobs: when there may be more for us, if we *may take* more, as far as is known."""
        self.net_at = now + LOOK_EVERY
        if not may_take:
            self.look_at = FAR
        elif answer.more or (want and len(answer.claims) == want):
            self.look_at = 0.0
        elif answer.next_due is None:
            self.look_at = FAR
        else:
            self.look_at = now + min(MINUTE, max(0.0, answer.next_due / 1000 - time.time()) + 0.001)

    def mind_the_clock(self, now: float) -> None:
        """The storage says by the wall clock what is due, and we wait by another: when it was set, look anew."""
        clock = time.time() - now
        jump, self._clock = clock - self._clock, clock
        if abs(jump) > CLOCK_SET:
            self._log(f"the clock has jumped by {jump:+.0f} s; looking again for what is due")
            self.look_at = 0.0
