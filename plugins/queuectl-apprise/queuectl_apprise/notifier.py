"""Says what happened, in words, by a service of Apprise's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from queuectl.api.notifier import Notifier

from .teller import Teller
from .words import filled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from queuectl.api.model import Event

#: How services show a message, as Apprise calls it; any other kind is "info".
LOOKS = {"completed": "success", "dead": "failure", "lost": "failure", "failed": "warning", "interrupted": "warning"}


class Apprise(Notifier):
    """A service that said yes in time has been told; anything else is NotDelivered."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._title, self._body = str(options["title"]), str(options["body"])
        self._teller = Teller(str(options["url"]), float(options["timeout"]))

    def notify(self, events: Sequence[Event]) -> None:
        for event in events:
            look = LOOKS.get(event.kind, "info")
            self._teller.tell({"title": filled(self._title, event), "body": filled(self._body, event), "type": look})

    def close(self) -> None:
        self._teller.close()
