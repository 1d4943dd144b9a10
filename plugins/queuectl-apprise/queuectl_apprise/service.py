"""The process in which Apprise runs: ``python -m queuectl_apprise.service``, with a socket as its standard input.

The first line on it is ``{"url", "timeout"}`` and is answered with ``{"name", "why"}``: of the service, null if there
is none, and then why. Each further line is a message, ``{"title", "body", "type"}``, and is answered with
``{"told", "why"}``. It ends with the socket, and, should nobody be there to end it, a second after a message took
longer than it may.

What services log and raise goes nowhere: it has addresses in it, and texts of strangers. Only a status that was
answered, that there was no connection, or the kind of what was raised is said of it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from apprise import Apprise

MEMORY = 512 << 20  # bytes that answers may take up before they are an error
_STATUS = re.compile(r"\berror[=:] ?([1-9]\d\d)\b")
_NO_CONNECTION = re.compile(r"connection error|connect", re.IGNORECASE)


class NoService(Exception):
    """There is none for an address. The message says why, with nothing of the address in it."""


class Complaints(logging.Handler):
    """What a service logged while it was asked, boiled down to what may be shown."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.why = ""

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        if found := _STATUS.search(said):
            self.why = f"it answered {found[1]}"
        elif not self.why and _NO_CONNECTION.search(said):
            self.why = "the connection failed"


def serve(line: socket.socket) -> None:
    """Until the other end is closed."""
    questions = _lines(line)
    hello = next(questions)
    complaints = _listen()
    try:
        service = _service(str(hello["url"]))
    except NoService as error:
        _say(line, {"name": None, "why": str(error)})
        return
    _say(line, {"name": str(service[0].service_name), "why": ""})
    for message in questions:
        complaints.why = ""
        if sys.platform != "win32":
            signal.setitimer(signal.ITIMER_REAL, float(hello["timeout"]) + 1.0)
        told = _told(service, message, complaints)
        if sys.platform != "win32":
            signal.setitimer(signal.ITIMER_REAL, 0)
        _say(line, {"told": told, "why": complaints.why or "it gave no reason that can be shown"})


def _told(service: Apprise, message: dict[str, Any], complaints: Complaints) -> bool:
    try:
        return bool(
            service.notify(
                title=message["title"], body=message["body"], notify_type=message["type"], body_format="text"
            )
        )
    except Exception as error:  # any service's code: whatever it raises, it has not told
        complaints.why = complaints.why or f"it raised {type(error).__name__}"  # the text may have an address in it
        return False


def _service(url: str) -> Apprise:
    """One service that says who we are, keeps nothing on disk, and goes nowhere else by a redirect. Or NoService."""
    from apprise import Apprise, AppriseAsset

    asset = AppriseAsset(
        app_id="QueueCTL",
        app_desc="QueueCTL",
        app_url="",
        language="en",
        async_mode=False,
        pgp_autogen=False,
        pem_autogen=False,
        http_redirects=False,
        storage_mode="memory",
    )
    try:
        made = Apprise.instantiate(url, asset=asset, suppress_exceptions=False)
    except Exception as error:  # any service's code, with an address that is not for it
        raise NoService(f"the service cannot be made of the url: it raised {type(error).__name__}") from error
    if made is None:
        raise NoService("the url is of no service that Apprise knows, or it is not complete")
    service = Apprise(asset=asset)
    service.add(made)
    return service


def _listen() -> Complaints:
    """Hear what services log, and let nobody else."""
    complaints = Complaints()
    logger = logging.getLogger("apprise")
    logger.addHandler(complaints)
    logger.propagate = False
    return complaints


def _lines(line: socket.socket) -> Iterator[dict[str, Any]]:
    with line.makefile("rb") as stream:
        for text in stream:
            yield json.loads(text)


def _say(line: socket.socket, answer: dict[str, Any]) -> None:
    line.sendall(json.dumps(answer).encode("ascii") + b"\n")


def _limit_memory() -> None:
    if sys.platform != "win32":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_AS)
        limit = MEMORY if most == resource.RLIM_INFINITY else min(MEMORY, most)
        resource.setrlimit(resource.RLIMIT_AS, (limit, most))


def main() -> None:
    """Take the socket away from standard input, and serve."""
    line = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if sys.platform != "win32":
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit_memory()
    try:
        serve(line)
    except (ConnectionError, StopIteration):  # who asked is gone
        pass


if __name__ == "__main__":
    main()
