"""A process that can be ended whatever a service does, and what it answered.

The many services of Apprise have timeouts for each read at best, read answers to their end however long they are, and
cannot be interrupted in the threads that they run in. So they run in a process of their own
(:mod:`queuectl_apprise.service`), kept for the events that follow: one that is late is killed with all it holds.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from queuectl.api.errors import NotDelivered

if TYPE_CHECKING:
    from collections.abc import Mapping

STARTUP = 15.0  # seconds that it may take to load Apprise and the service
PROGRAM = ("-P", "-m", "queuectl_apprise.service")


class Teller:
    """One service, and the process that speaks to it while there is one."""

    def __init__(self, url: str, timeout: float) -> None:
        self._url = url
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._name = ""  # of the service, for complaints

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return None if self._process is None else self._process.pid

    def tell(self, message: Mapping[str, str]) -> None:
        """NotDelivered, with a sentence that has nothing of the address in it, if the service did not take it."""
        if self._line is None:
            self._start()
        answer = self._ask(message, self._timeout, f"{self._name} did not take it within {self._timeout:g} s")
        if not answer["told"]:
            raise NotDelivered(f"{self._name} did not take it: {answer['why']}")

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, *PROGRAM],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,  # services log addresses, and what strangers answered
                )
            except OSError as error:
                ours.close()
                raise NotDelivered(
                    f"Apprise cannot be started: {(error.strerror or 'no reason given').lower()}"
                ) from error
        self._line = ours
        hello = {"url": self._url, "timeout": self._timeout}
        answer = self._ask(hello, STARTUP, f"Apprise was not ready within {STARTUP:g} s")
        if not answer["name"]:
            self.close()
            raise NotDelivered(str(answer["why"]))
        self._name = str(answer["name"])

    def _ask(self, question: Mapping[str, Any], seconds: float, late: str) -> dict[str, Any]:
        """What the process answers. Without an answer it is ended, so that none is taken for the next one's."""
        answer = None
        try:
            answer = self._exchange(json.dumps(question).encode("ascii") + b"\n", time.monotonic() + seconds)
        except TimeoutError as error:
            raise NotDelivered(late) from error
        except OSError as error:
            raise NotDelivered(f"{self._name or 'Apprise'} ended the process that spoke to it") from error
        finally:
            if answer is None:
                self.close()
        return answer

    def _exchange(self, question: bytes, until: float) -> dict[str, Any]:
        assert self._line is not None
        self._line.settimeout(_left(until))
        self._line.sendall(question)
        data = b""
        while not data.endswith(b"\n"):
            self._line.settimeout(_left(until))
            piece = self._line.recv(4096)
            if not piece:
                raise ConnectionError
            data += piece
        answer: dict[str, Any] = json.loads(data)
        return answer

    def close(self) -> None:
        """End the process, at once. Idempotent."""
        if self._line is not None:
            self._line.close()
            self._line = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
