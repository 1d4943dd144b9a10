"""A real mail server on loopback."""

from __future__ import annotations

import asyncio
import email
import email.policy
import threading
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP


class MailServer:
    """Takes mails until it is closed. ``answer`` is what it says to each: 2… is a yes, None is silence."""

    def __init__(self) -> None:
        self.answer: str | None = "250 OK"
        self.mails: list[EmailMessage] = []
        self.told = threading.Event()  # set with the first of them
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        # In that thread: a test of a browser may have left this one a loop that runs.
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    @property
    def url(self) -> str:
        """As Apprise writes it: mails to ops@example.org, without TLS or a login."""
        port = self._server.sockets[0].getsockname()[1]
        return f"mailto://127.0.0.1:{port}?from=queue@example.org&to=ops@example.org&mode=insecure&format=text"

    async def _listen(self) -> asyncio.Server:
        return await self._loop.create_server(lambda: SMTP(self, loop=self._loop), "127.0.0.1", 0)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        if self.answer is None:
            await asyncio.Event().wait()
        if self.answer.startswith("2"):
            mail = email.message_from_bytes(envelope.content, EmailMessage, policy=email.policy.default)
            self.mails.append(mail)
            self.told.set()
        return self.answer

    def close(self) -> None:
        """Hang up on everybody."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
