"""Events by mail, chat and whatever else Apprise knows: ``use = "apprise"``, named in a route.

One table is one service, so that the outbox keeps account of each: who has been told is not told again because another
was not. Nothing but the options is imported before the first event, and Apprise itself only in the process that
:mod:`queuectl_apprise.service` is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from queuectl.api.markers import hookimpl
from queuectl.api.providers import Context, Option, Provider

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from queuectl.api.notifier import Notifier

__version__ = "0.1.0"

TITLE = "{kind}: job {id} ({queue})"
BODY = "job {id} of queue {queue}\n{kind} at {at}: {reason}\nattempts: {attempts}, exit code: {exit_code}"


def _check_url(url: str) -> str | None:
    scheme, found, rest = url.partition("://")
    if not found or not scheme.replace("-", "").isalnum() or not rest or not url.isprintable():
        return "expected an address of one service as Apprise writes it, like mailtos://… or slack://…"
    return None


def _check_template(template: str) -> str | None:
    from .words import complaint_about

    return complaint_about(template)


OPTIONS = (
    Option("url", str, help="one service, as Apprise writes it; it holds secrets", secret=True, check=_check_url),
    Option(
        "title", str, TITLE, "what a message is called; {id}, {queue}, {kind} … are filled in", check=_check_template
    ),
    Option("body", str, BODY, "what it says", check=_check_template),
    Option(
        "timeout", float, 20.0, "seconds that the service may take for one event", minimum=0.1, maximum=300, unit="s"
    ),
)


def _open(options: Mapping[str, Any], _context: Context) -> Notifier:
    from .notifier import Apprise

    return Apprise(options)


@hookimpl
def queuectl_notifiers() -> Iterable[Provider[Notifier]]:
    yield Provider("apprise", _open, OPTIONS, summary="mail, chat and many other services", durable=True)
