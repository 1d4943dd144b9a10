"""Where the server is: an address as people write it, taken apart. By hand: ``urllib`` costs as much as ``click``."""

from __future__ import annotations

from typing import Any, NamedTuple

from queuectl.api.errors import ConfigError

PORT = 6379
FORMS = "redis://[user:password@]host[:port][/number], rediss://… (TLS) or unix:///path/to/socket[?db=number]"


class Address(NamedTuple):
    """A server, and which of its databases."""

    host: str = "127.0.0.1"
    port: int = PORT
    path: str | None = None  # of a Unix socket
    tls: bool = False
    database: int = 0
    username: str | None = None
    password: str | None = None

    def __str__(self) -> str:
        """Without the password."""
        if self.path is not None:
            return f"unix://{self.path}" + (f"?db={self.database}" if self.database else "")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"redis{'s' * self.tls}://{host}:{self.port}" + (f"/{self.database}" if self.database else "")


def parse(url: str) -> Address:
    """The address that *url* names. ConfigError, without repeating it: there may be a password in it."""
    scheme, colon, rest = url.partition("://")
    if not colon or scheme not in ("redis", "rediss", "unix"):
        raise ConfigError(f"storage.redis.url: not an address of a Redis server; expected {FORMS}")
    rest, _, query = rest.partition("?")
    credentials, at, rest = rest.rpartition("@")
    username, password = None, None
    if at:
        username, _, password = (_plain(part) for part in credentials.partition(":"))
    where: dict[str, Any] = {"path": _plain(rest)} if scheme == "unix" else _host(rest)
    if scheme == "unix" and not rest.startswith("/"):
        raise ConfigError(f"storage.redis.url: the path of a socket begins with /; expected {FORMS}")
    given = dict(part.partition("=")[::2] for part in query.split("&")) if query else {}
    if set(given) - {"db"}:
        raise ConfigError(f"storage.redis.url: {sorted(set(given) - {'db'})[0]!r} is not known here; expected {FORMS}")
    database = given.get("db") or where.pop("database", "") or "0"
    return Address(
        **where,
        tls=scheme == "rediss",
        database=_number(database, "the database"),
        username=username or None,
        password=password or None,
    )


def _host(rest: str) -> dict[str, Any]:
    rest, _, database = rest.partition("/")
    if rest.startswith("["):  # an IPv6 address
        host, _, port = rest[1:].partition("]")
        port = port.removeprefix(":")
    else:
        host, _, port = rest.partition(":")
    return {
        "host": _plain(host) or "127.0.0.1",
        "port": _number(port, "the port", 65535) if port else PORT,
        "database": database,
    }


def _number(text: str, what: str, highest: int = 1 << 31) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) > highest:
        raise ConfigError(f"storage.redis.url: {what} is a number; expected {FORMS}")
    return int(text)


def _plain(text: str) -> str:
    """With %XX resolved."""
    if "%" not in text:
        return text
    first, *parts = text.split("%")
    data = first.encode()
    for part in parts:
        try:
            data += bytes.fromhex(part[:2]) + part[2:].encode()
        except ValueError:
            raise ConfigError("storage.redis.url: a % is followed by two hexadecimal digits") from None
    return data.decode("utf-8", "surrogateescape")
