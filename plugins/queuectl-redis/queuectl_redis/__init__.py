"""Jobs in a Redis or Valkey server: ``storage = "redis"``, for pools on any number of hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from queuectl.api.markers import hookimpl
from queuectl.api.providers import Context, Option, Provider
from queuectl.api.storage import Ability

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from queuectl.api.storage import Storage

__version__ = "0.1.0"

ABILITIES = frozenset(
    {
        Ability.MULTI_HOST,
        Ability.LISTEN,
        Ability.UNIQUE,
        Ability.TAGS,
        Ability.OUTBOX,
        Ability.MOVING,
        Ability.FAULTS,
        Ability.LIVE,
    }
)


def open_redis(options: Mapping[str, Any], context: Context) -> Storage:
    """Connect to the server that the options name."""
    from .storage import open_storage

    return open_storage(options)


def _plain_prefix(prefix: str) -> str | None:
    return None if prefix and not set(prefix) & set("{}: \n") else "must be a word without braces, colons and spaces"


PROVIDER: Provider[Storage] = Provider(
    "redis",
    open_redis,
    options=(
        Option("url", str, "redis://127.0.0.1:6379/0", "redis://, rediss:// (TLS) or unix:// address of the server"),
        Option("password", str, None, "the server's password, where it is not in the address", secret=True),
        Option("prefix", str, "queuectl", "what the names of all keys begin with", check=_plain_prefix),
        Option(
            "timeout", float, 5.0, "how long to wait for an answer of the server", minimum=0.1, maximum=60.0, unit="s"
        ),
        Option(
            "patience",
            float,
            10.0,
            "how long a command goes on trying while the server is away; pools never give up",
            minimum=0.0,
            maximum=3600.0,
            unit="s",
        ),
        Option("wait_replicas", int, 0, "how many replicas must have a change before it counts", minimum=0, maximum=9),
        Option("ca", str, None, "certificates that the server's own is checked against, for rediss://", path=True),
    ),
    summary="a Redis or Valkey server; any number of hosts",
    abilities=ABILITIES,
)


@hookimpl
def queuectl_storages() -> Iterable[Provider[Storage]]:
    yield PROVIDER
