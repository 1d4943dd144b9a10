"""Tells whoever wants to know what becomes of jobs: live through one courier, and by the outbox through others.

Only while somebody wants to: else it costs the pool's loop nothing but a look. None of this ever waits for anybody,
except at the end.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from queuectl.api.model import Delivery, Event, targets_of
from queuectl.core import transitions

from .peer import FAR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queuectl.api.model import Claim, Route, Settlement

    from .courier import CourierLink
    from .couriers import Couriers
    from .ledger import Unsettled
    from .poller import Poller

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")


class Telling:
    """One pool's couriers, as its loop sees them.

    *courier* tells live, and is there if anybody listens; *couriers* tell what waits in the outbox, and are there if
    the storage has one; *routes* say what is to be put into it.
    """

    def __init__(
        self, routes: tuple[Route, ...], courier: CourierLink | None, couriers: Couriers | None, poll: Poller
    ) -> None:
        self.routes = routes
        self.courier = courier
        self._couriers = couriers
        self._poll = poll
        self._polled: dict[int, int] = {}  # descriptors, with their events
        self._alone = courier is None and not routes  # nobody to tell: only what others left in the outbox

    def start(self) -> None:
        if self.courier is not None:
            self.courier.start()

    def close(self, *, at_once: bool) -> None:
        """Tell what is to be told, for a while; with *at_once* leave what is in the outbox to others."""
        if self.courier is not None:
            self.courier.close()
        if self._couriers is not None:
            self._couriers.close(0.0) if at_once else self._couriers.close()

    # -- what there is to tell ------------------------------------------------------------------------

    def started(self, claim: Claim, at: int) -> None:
        """A job runs for a while, since *at* (ms)."""
        if self.courier is not None:
            self.courier.send([Event("started", at, claim.job)])

    def addressed(self, entry: Unsettled) -> Settlement:
        """The settlement with what the routes want told of it: it is stored in the same step."""
        settlement = entry.settlement
        event = transitions.event_of(entry.claim, settlement, time.time_ns() // 1_000_000)
        if event is None:
            return settlement
        targets = targets_of(self.routes, event.kind, entry.claim.job.spec)
        return settlement._replace(deliveries=tuple([Delivery(target, event) for target in targets]))

    def settled(self, entries: Sequence[Unsettled]) -> None:
        """These results were applied: tell it live."""
        if self.courier is not None:
            at = time.time_ns() // 1_000_000
            events = [transitions.event_of(entry.claim, entry.settlement, at) for entry in entries]
            if told := [event for event in events if event is not None]:
                self.courier.send(told)

    def stored(self, settlements: Sequence[Settlement]) -> None:
        """These are stored with all that rides on them: let it be taken from the outbox."""
        if self._couriers is not None:
            self._couriers.told({each.target for settlement in settlements for each in settlement.deliveries})

    def woken(self) -> None:
        """Somebody else has stored something: it may be for us to tell."""
        if self._couriers is not None:
            self._couriers.heard()

    # -- the couriers ---------------------------------------------------------------------------------

    def next_moment(self) -> float:
        """When ``tend`` has something to do, on the monotonic clock."""
        moment = FAR if self._couriers is None else self._couriers.next_deadline()
        if self.courier is not None and (due := self.courier.next_deadline()) is not None:
            return min(moment, due)
        return moment

    def tend(self, now: float) -> None:
        """Let them do what time demands, and poll what they want polled from now on."""
        if self._couriers is not None:
            self._couriers.tick(now)
        if self._alone:
            return
        wanted: dict[int, int] = {}
        if self.courier is not None:
            self.courier.tick(now)
            wanted.update(self.courier.wants())
        if self._couriers is not None:
            wanted.update(self._couriers.wants())
        for descriptor in self._polled.keys() - wanted.keys():
            try:
                self._poll.unregister(descriptor)
            except KeyError:
                pass
        for descriptor, mask in wanted.items():
            self._poll.register(descriptor, mask)
        self._polled = wanted

    def handle(self, descriptor: int, mask: int) -> None:
        """What poll said of a descriptor."""
        if self._couriers is not None and self._couriers.handle(descriptor, time.monotonic()):
            return
        if self.courier is not None:
            self.courier.handle(descriptor, mask)

    def bury_the_dead(self) -> None:
        """A child of this process has ended, and is not collected yet: it may be a courier."""
        if self._couriers is not None:
            self._couriers.bury_the_dead()

    def pids(self) -> set[int]:
        """The processes, for whoever ends others."""
        pids = set() if self._couriers is None else self._couriers.pids
        if self.courier is not None and self.courier.pid is not None:
            pids.add(self.courier.pid)
        return pids
