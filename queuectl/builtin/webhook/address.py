"""Which addresses may be posted to.

A name is resolved once for each connection, every address that it has is judged, and the connection goes to one that
was: no second answer of a name server can lead elsewhere. What is not public is refused unless it was allowed.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from queuectl.api.errors import NotDelivered

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .deadline import Deadline

    Address = ipaddress.IPv4Address | ipaddress.IPv6Address
    Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Addresses of IPv6 in which one of IPv4 stands, at its end: translated by a gateway, or only written so.
_TRANSLATED = tuple(ipaddress.IPv6Network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "::/96"))


class Url(NamedTuple):
    """Where to post."""

    scheme: str
    host: str  # as the certificate and the Host header have it
    port: int
    path: str  # with its query

    @property
    def header(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"


def parse_url(text: str) -> Url:
    """ValueError, with what was expected, if it cannot be posted to."""
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("expected an address in ASCII without spaces; others are written as %XX, a name as xn--…")
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected http://… or https://…")
    if "@" in parts.netloc:
        raise ValueError('expected no name and password in it; use authorization = "Basic …"')
    port = parts.port if parts.port is not None else (443 if parts.scheme == "https" else 80)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Url(parts.scheme, parts.hostname, port, path)


def complaint_about_url(text: str) -> str | None:
    try:
        parse_url(text)
    except ValueError as error:
        return str(error)
    return None


def networks(values: Iterable[str]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(value, strict=False) for value in values)


def complaint_about_networks(values: list[Any]) -> str | None:
    for value in values:
        try:
            networks([value] if isinstance(value, str) else [str(value)])
        except ValueError:
            return f"{value!r} is no network like 10.0.0.0/8 and no address"
    return None


def may_be_told(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether *address* is public, or in a network that was allowed."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if any(address.version == network.version and address in network for network in allowed):
        return True
    if not address.is_global or address.is_multicast or address.is_reserved or address.is_unspecified:
        return False
    inner = _inner(address)
    return inner is None or may_be_told(inner, allowed)


def _inner(address: Address) -> ipaddress.IPv4Address | None:
    """The address of IPv4 that one of IPv6 leads to."""
    if not isinstance(address, ipaddress.IPv6Address):
        return None
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if any(address in network for network in _TRANSLATED):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def resolve(url: Url, allowed: Sequence[Network], deadline: Deadline) -> list[tuple[socket.AddressFamily, Any]]:
    """Every address of the host, each judged. NotDelivered if there is none or one of them may not be told."""
    found = []
    for family, _, _, _, place in _look_up(url, deadline):
        address = ipaddress.ip_address(str(place[0]))
        if not may_be_told(address, allowed):
            raise NotDelivered(f"{url.host} has the address {address}, which is not public: see allow_private")
        if (family, place) not in found:
            found.append((family, place))
    return found


def _look_up(url: Url, deadline: Deadline) -> list[Any]:
    """Ask the system, which may take its time and cannot be interrupted."""
    answer: list[Any] = []

    def ask() -> None:
        try:
            answer.append(socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answer.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(deadline.left())
    if not answer:
        raise TimeoutError
    if isinstance(answer[0], Exception):
        raise NotDelivered(f"the name {url.host} cannot be resolved") from answer[0]
    return list(answer[0])
