"""The notifier ``webhook``: each event is posted to an address as signed JSON.

Made for the outbox: it is offered each event again until a receiver has answered with 2xx. The headers are those of
the Standard Webhooks specification: ``webhook-id`` is the delivery, the same each time; ``webhook-signature`` is an
HMAC-SHA256 of the id, the time and the body. Nothing but the options is imported before the first event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from queuectl.api.markers import hookimpl
from queuectl.api.providers import Option, Provider

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from queuectl.api.notifier import Notifier
    from queuectl.api.providers import Context


def _check_url(url: str) -> str | None:
    from .address import complaint_about_url

    return complaint_about_url(url)


def _check_networks(values: list[Any]) -> str | None:
    from .address import complaint_about_networks

    return complaint_about_networks(values)


def _check_header(value: str) -> str | None:
    return None if value.isascii() and value.isprintable() else "expected one line of ASCII"


OPTIONS = (
    Option("url", str, help="where to post, http or https; it may hold a secret", secret=True, check=_check_url),
    Option("secret", str, help="the key of the signatures, known to the receiver", secret=True),
    Option("authorization", str, "", "sent as the header of that name", secret=True, check=_check_header),
    Option(
        "allow_private",
        list,
        [],
        "networks that are not public and may be posted to all the same, like 10.0.0.0/8 or 127.0.0.1",
        check=_check_networks,
    ),
    Option(
        "timeout",
        float,
        10.0,
        "seconds for all of it: resolve, connect, send, be answered",
        minimum=0.1,
        maximum=300,
        unit="s",
    ),
    Option("command", bool, False, "send the job's command too; it may hold secrets"),
)


def _open(options: Mapping[str, Any], _context: Context) -> Notifier:
    from .notifier import Webhook

    return Webhook(options)


@hookimpl
def queuectl_notifiers() -> Iterable[Provider[Notifier]]:
    yield Provider("webhook", _open, OPTIONS, summary="each event as signed JSON to an address", durable=True)
