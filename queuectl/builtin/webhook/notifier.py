"""Posts events, one after the other, over a connection that is kept while the receiver likes to."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import socket
import ssl
import time
import uuid
from typing import TYPE_CHECKING, Any

from queuectl import __version__
from queuectl.api.errors import NotDelivered
from queuectl.api.notifier import Notifier
from queuectl.builtin.document import document

from .address import networks, parse_url, resolve
from .deadline import Deadline, Line, TooLong

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from queuectl.api.model import Event

#: The rest of an answer is read, so that the connection can be kept, if it is short and comes soon.
SHORT_ANSWER = 4096
SOON = 0.5


class Webhook(Notifier):
    """A receiver that answers with 2xx in time has been told; anything else is NotDelivered.

    Redirects are not followed. Nothing of an answer but its status is ever shown: it may be from somewhere inside.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._url = parse_url(options["url"])
        self._key = key_of(options["secret"])
        self._authorization = str(options.get("authorization") or "")
        self._allowed = networks(options.get("allow_private") or ())
        self._timeout = float(options.get("timeout") or 10.0)
        self._command = bool(options.get("command", False))
        self._connection: Connection | None = None

    def notify(self, events: Sequence[Event]) -> None:
        for event in events:
            body = document(event, command=self._command)
            self._post(body, self._headers(event.delivery or uuid.uuid4().hex, body))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _headers(self, id: str, body: bytes) -> dict[str, str]:
        moment = str(int(time.time()))
        headers = {
            "Host": self._url.header,
            "User-Agent": f"queuectl/{__version__}",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "webhook-id": id,
            "webhook-timestamp": moment,
            "webhook-signature": signature(self._key, id, moment, body),
        }
        if self._authorization:
            headers["Authorization"] = self._authorization
        return headers

    def _post(self, body: bytes, headers: Mapping[str, str]) -> None:
        deadline = Deadline(self._timeout)
        host = self._url.host
        try:
            status = self._status(body, headers, deadline)
        except TimeoutError as error:
            raise NotDelivered(f"{host} did not answer within {self._timeout:g} s") from error
        except ConnectionRefusedError as error:
            raise NotDelivered(f"{host} refused the connection") from error
        except (ConnectionError, TooLong) as error:
            raise NotDelivered(f"{host} ended the connection, or its answer had no end") from error
        except ssl.SSLCertVerificationError as error:
            raise NotDelivered(f"the certificate of {host} is not valid: {error.verify_message}") from error
        except (ssl.SSLError, http.client.HTTPException, ValueError) as error:
            raise NotDelivered(f"{host} does not speak {self._url.scheme.upper()} as it should") from error
        except OSError as error:
            raise NotDelivered(f"{host} cannot be reached: {(error.strerror or 'no reason given').lower()}") from error
        if not 200 <= status < 300:
            more = "; redirects are not followed" if 300 <= status < 400 else ""
            raise NotDelivered(f"{host} answered {status}{more}")

    def _status(self, body: bytes, headers: Mapping[str, str], deadline: Deadline) -> int:
        """What the receiver answers. A kept connection may have been closed meanwhile: then another is made."""
        kept, self._connection = self._connection, None
        if kept is not None:
            try:
                return self._ask(kept, body, headers, deadline)
            except TimeoutError:
                raise
            except (OSError, http.client.HTTPException):
                pass
        return self._ask(Connection(self._connect(deadline)), body, headers, deadline)

    def _ask(self, connection: Connection, body: bytes, headers: Mapping[str, str], deadline: Deadline) -> int:
        """One request. However it ends, a connection on which something may still come is not used again."""
        usable = False
        try:
            status, usable = connection.post(self._url.path, body, headers, deadline)
        finally:
            if usable:
                self._connection = connection
            else:
                connection.close()
        return status

    def _connect(self, deadline: Deadline) -> Line:
        """A connection to one of the addresses, the first that takes it."""
        failure: OSError | None = None
        for family, place in resolve(self._url, self._allowed, deadline):
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.settimeout(deadline.left())
                sock.connect(place)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._url.scheme == "https":
                    sock.settimeout(deadline.left())
                    sock = ssl.create_default_context().wrap_socket(sock, server_hostname=self._url.host)
                return Line(sock)
            except OSError as error:
                sock.close()
                if isinstance(error, TimeoutError):
                    deadline.left()
                failure = error
        raise failure or OSError("no address")


class Connection:
    """One connection, and one request after the other."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._http = http.client.HTTPConnection("unused")  # we connect, and say who is asked
        self._http.sock = line
        self._http.auto_open = 0

    def post(self, path: str, body: bytes, headers: Mapping[str, str], deadline: Deadline) -> tuple[int, bool]:
        """The status of the answer, and whether the connection can be used again."""
        self._line.begin(deadline)
        self._http.putrequest("POST", path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            self._http.putheader(name, value)
        self._http.endheaders(body)
        answer = self._http.getresponse()
        try:
            return answer.status, not answer.will_close and self._is_over(answer, deadline)
        finally:
            answer.close()

    @staticmethod
    def _is_over(answer: http.client.HTTPResponse, deadline: Deadline) -> bool:
        """Whether the rest of the answer has come: the status has said all, so nobody waits for more than a moment."""
        if answer.length is not None and answer.length > SHORT_ANSWER:
            return False
        deadline.cut(SOON)
        try:
            answer.read(SHORT_ANSWER)
            return answer.isclosed() or not answer.read(1)
        except (OSError, http.client.HTTPException, ValueError):
            return False

    def close(self) -> None:
        self._line.close()


def key_of(secret: str) -> bytes:
    """The key of signatures: ``whsec_`` and Base64, as the specification has it, or the bytes of any other text."""
    if secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except ValueError:
            pass
    return secret.encode("utf-8", "surrogateescape")


def signature(key: bytes, id: str, moment: str, body: bytes) -> str:
    """What proves to who knows *key* that this came from us, now."""
    mac = hmac.new(key, f"{id}.{moment}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(mac.digest()).decode()}"
