"""The notifier contract: tells people or programs what happened."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .model import Event


class Notifier(abc.ABC):
    """Delivers events. It lives in the courier, a process of its own: jobs never wait for it and never depend on it."""

    @abc.abstractmethod
    def notify(self, events: Sequence[Event]) -> None:
        """Deliver *events*, oldest first.

        A live notifier (``Provider.durable`` false) gets each event at most once; raising loses this batch and is
        logged and counted. A call that takes longer than the courier's deadline ends the courier, and a new one takes
        its place.

        One that a route names is told from the outbox, one event in a call, at least once: what raises is offered
        again later, for a day. ``event.delivery`` is then the same each time, so that a receiver knows what it has
        had already. ``NotDelivered`` says why in a sentence; anything else that is raised is named by its type. A call
        that takes longer than ``[outbox] deadline`` is interrupted, by an exception that is not to be caught.
        """

    def close(self) -> None:
        """Flush and release. Idempotent."""
