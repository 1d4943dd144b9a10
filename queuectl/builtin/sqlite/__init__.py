"""The built-in storage: one SQLite file on one machine, nothing to set up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from queuectl.api.errors import StorageError
from queuectl.api.markers import hookimpl
from queuectl.api.providers import Context, Option, Provider
from queuectl.api.storage import Ability

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from queuectl.api.storage import Storage

DEFAULT_NAME = "queue.db"
BUSY_SECONDS = 30.0


def open_sqlite(options: Mapping[str, Any], context: Context) -> Storage:
    """Open the file that the options name, or the one in the user's state folder, which is made if need be."""
    import os

    from .storage import SQLiteStorage

    path = options.get("path")
    if path is None:
        try:
            os.makedirs(context.state_dir, mode=0o700, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"cannot make the folder {context.state_dir} for the database: {(error.strerror or str(error)).lower()}"
            ) from error
        path = os.path.join(context.state_dir, DEFAULT_NAME)
    return SQLiteStorage(
        path, durability=options.get("durability", "full"), busy_seconds=options.get("busy_timeout", BUSY_SECONDS)
    )


PROVIDER: Provider[Storage] = Provider(
    "sqlite",
    open_sqlite,
    options=(
        Option("path", str, None, "the database file; its folder must exist", path=True),
        Option(
            "durability",
            str,
            "full",
            "full: what was accepted survives a power cut; normal: only a crash of the program",
            choices=("full", "normal"),
        ),
        Option(
            "busy_timeout",
            float,
            BUSY_SECONDS,
            "how long to wait for a turn at the file, should another program hold it",
            minimum=0.01,
            maximum=3600.0,
            unit="s",
        ),
    ),
    summary="one file on this machine; no server",
    abilities=frozenset(
        {Ability.MOVING, Ability.BACKUP, Ability.LISTEN, Ability.UNIQUE, Ability.TAGS, Ability.OUTBOX, Ability.FAULTS}
    ),
)


@hookimpl
def queuectl_storages() -> Iterable[Provider[Storage]]:
    yield PROVIDER
