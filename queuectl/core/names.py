"""What ``config set`` and ``config get`` call a value: dotted names for everything, short ones for what is common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from queuectl.api.errors import BadInput, ConfigError

from .options import enumeration, suggestion
from .schema import KINDS, NAMED, QUEUE_OPTIONS, ROUTE_OPTIONS, SECTIONS, USE, check_queue_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queuectl.api.providers import Option

    from .app import App
    from .config import Key

#: Short and older names. Dashes count as underscores.
ALIASES: dict[str, Key] = {
    "default_max_retries": ("jobs", "max_retries"),
    "job_timeout_sec": ("jobs", "timeout"),
    "timeout_sec": ("jobs", "timeout"),
    "base_backoff": ("backoff", "exponential", "base"),
    "backoff_base": ("backoff", "exponential", "base"),
    "max_delay": ("backoff", "exponential", "max_delay"),
    "jitter": ("backoff", "exponential", "jitter"),
}
#: Keys of these tables need no table before them.
SHORT = ("queuectl", "jobs", "worker", "output", "plugins")


def key_of(name: str) -> Key:
    """The key that *name* means. BadInput if it cannot mean any; a component's own keys are not checked here."""
    *tables, last = name.strip().split(".")
    last = last.replace("-", "_").lower()
    if not tables:
        return _short(name, last)
    table, middle = tables[0].lower(), ".".join(tables[1:])
    if table in SECTIONS and not middle:
        known = [option.name for option in SECTIONS[table]]
        if last not in known:
            raise BadInput(
                f"{name}: there is no such key{suggestion(last, known)} ([{table}] takes {enumeration(known)})"
            )
        return table, last
    if table in NAMED and middle and last:
        return table, middle, last
    if table in SECTIONS or table in NAMED:
        form = f"{table}.KEY" if table in SECTIONS else f"{table}.NAME.KEY"
        raise BadInput(f"{name}: expected {form}")
    raise BadInput(f"{name}: there is no table [{table}]{suggestion(table, (*SECTIONS, *NAMED))}")


def _short(name: str, last: str) -> Key:
    if last in ALIASES:
        return ALIASES[last]
    for table in SHORT:
        if any(option.name == last for option in SECTIONS[table]):
            return table, last
    known = [*ALIASES, *(option.name for table in SHORT for option in SECTIONS[table])]
    hint = suggestion(last, known) or " ('queuectl config list' shows all)"
    raise BadInput(f"{name}: there is no such key{hint}")


def option_of(app: App, key: Key) -> Option:
    """The option behind a key. BadInput if there is none; plugins may have to be loaded to know."""
    if key[0] in KINDS and key[-1] == USE.name:
        return USE
    name = ".".join(key)
    options = options_of(app, key[:-1])
    option = next((option for option in options if option.name == key[-1]), None)
    if option is None:
        known = [option.name for option in options]
        raise BadInput(
            f"{name}: there is no such key{suggestion(key[-1], known)} "
            f"([{'.'.join(key[:-1])}] takes {enumeration(known)})"
        )
    return option


def options_of(app: App, table: Key) -> Sequence[Option]:
    """Everything that a table may have."""
    kind = table[0]
    if kind in SECTIONS:
        return SECTIONS[kind]
    if kind == "queues":
        if problem := check_queue_name(table[1]):
            raise BadInput(f"queues.{table[1]}: {problem}")
        return QUEUE_OPTIONS
    if kind == "routes":
        return ROUTE_OPTIONS
    if kind in KINDS:
        return [USE, *_provided(app, kind, table[1])]
    return app.plugins.table_of(table[1])


def _provided(app: App, kind: str, name: str) -> Sequence[Option]:
    try:
        return app.plugins.provider(kind, name, anyway=True)[0].options
    except ConfigError as error:
        if app.config.provider_of(kind, name) == name:  # an instance yet to be made
            raise BadInput(f"{error}; for a table of your own, say first what it is: {kind}.{name}.use") from error
        raise


def check_tables(app: App) -> None:
    """Check every table that something is known about, also those of components that are not chosen.

    What is chosen must be there; the table of a component that is not may wait for its plugin. ConfigError.
    """
    for kind, name, key in app.config.named_components():
        app.plugins.provider(kind, name, key)
        if key == ("queuectl", "notifiers"):
            app.must_be_live(name)
    for kind in KINDS:
        for name in app.config.names(kind):
            try:
                provider, _ = app.plugins.provider(kind, name, anyway=True)
            except ConfigError:
                continue
            app.options(kind, name, provider)
    app.plugins.start()
    app.plugins.check_own_tables()
