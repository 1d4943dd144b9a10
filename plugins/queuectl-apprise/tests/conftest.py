"""Real receivers on loopback: of posts, and of mails."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from apprise_mail import MailServer

from queuectl.testing.plugin import queuectl_project, receiver_of

__all__ = ["mail_server", "queuectl_project", "receiver_of"]


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    server = MailServer()
    yield server
    server.close()
