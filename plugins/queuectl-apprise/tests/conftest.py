"""Real receivers on loopback: of posts, and of mails."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from apprise_mail import MailServer

from queuectl.testing.plugin import queuectl_project
from queuectl.testing.receiver import Receiver

__all__ = ["queuectl_project"]


@pytest.fixture
def receiver_of() -> Iterator[Callable[[str], Receiver]]:
    """Makes a receiver of posts that behaves as it is told to."""
    made: list[Receiver] = []

    def make(mode: str = "fine") -> Receiver:
        made.append(Receiver(mode))
        return made[-1]

    yield make
    for receiver in made:
        receiver.close()


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    server = MailServer()
    yield server
    server.close()
