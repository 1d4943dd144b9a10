"""The configuration as it is in effect: every value with where it comes from, and secrets as dots."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from queuectl.api.errors import ConfigError
from queuectl.core.options import DEFAULT, DOTS, check_value
from queuectl.core.schema import KINDS, QUEUE_OPTIONS, ROUTE_OPTIONS, SECTIONS, USE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from queuectl.api.providers import Option
    from queuectl.core.app import App
    from queuectl.core.config import Config, Key
    from queuectl.core.options import Entry, Origin

#: Keys that are shown as dots where nothing is known of them, because their plugin is not there.
_SECRETIVE = re.compile("pass|secret|token|key|auth|cred|dsn|url", re.IGNORECASE)
#: An address with a password in it, whatever its option says of itself.
_PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]+@")


class Row(NamedTuple):
    """One value for people to look at."""

    key: str
    value: Any
    origin: Origin
    secret: bool

    def shape(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "value": self.value,
            "origin": self.origin.layer,
            "where": self.origin.where or None,
            "secret": self.secret,
        }


def rows(app: App) -> Iterator[Row]:
    """Every value: the tables with fixed keys, queues, then the components in effect and whatever else is set."""
    config = app.config
    for section, options in SECTIONS.items():
        for option in options:
            yield row_of(config, (section, option.name), option)
    for queue in config.names("queues"):
        yield from _given(config, ("queues", queue), QUEUE_OPTIONS)
    for route in config.names("routes"):
        yield from _given(config, ("routes", route), ROUTE_OPTIONS)
    chosen = {kind: {n for k, n, _ in config.named_components() if k == kind} for kind in KINDS}
    for kind in KINDS:
        for name in dict.fromkeys((*sorted(chosen[kind]), *config.names(kind))):
            yield from _component_rows(app, kind, name, name in chosen[kind])
    for plugin in config.names("plugin"):
        try:
            options = tuple(app.plugins.table_of(plugin))
        except ConfigError:
            options = ()
        yield from _given(config, ("plugin", plugin), options)


def _component_rows(app: App, kind: str, name: str, chosen: bool) -> Iterator[Row]:
    try:
        options = app.plugins.provider(kind, name, anyway=True)[0].options
    except ConfigError:
        options = ()
    config = app.config
    yield from (row for row in _given(config, (kind, name), (USE,)) if row.key.endswith(".use"))
    if chosen and options:
        app.options(kind, name, app.plugins.provider(kind, name)[0])
        yield from (row_of(config, (kind, name, option.name), option) for option in options)
    else:
        yield from (row for row in _given(config, (kind, name), options) if not row.key.endswith(".use"))


def _given(config: Config, prefix: Key, options: Sequence[Option]) -> Iterator[Row]:
    """The keys of a table that are set, whether or not something is known of them."""
    known = {option.name: option for option in options}
    for name in config.table(*prefix):
        yield row_of(config, (*prefix, name), known.get(name))


def row_of(config: Config, key: Key, option: Option | None) -> Row:
    from queuectl.core.schema import QUEUE_OPTIONS

    entry = config.entries.get(key)
    if entry is None:
        default = None if option is None or option.default is ... else option.default
        if option in QUEUE_OPTIONS and key[0] == "queues":
            default = None
        return Row(".".join(key), listed(default), DEFAULT, option is not None and option.secret)
    if is_secret(key, option, entry):
        return Row(".".join(key), DOTS, entry.origin, True)
    value = entry.value if option is None else check_value(".".join(key[:-1]), option, entry)
    return Row(".".join(key), listed(value), entry.origin, False)


def is_secret(key: Key, option: Option | None, entry: Entry) -> bool:
    if option is None:  # its plugin is not there to say so
        return _SECRETIVE.search(key[-1]) is not None or "@" in str(entry.value)
    reference = isinstance(entry.value, dict) and option.type is not dict
    given_as_text = entry.text and str(entry.value).lstrip().startswith("{")
    return option.secret or reference or given_as_text or _PASSWORD.search(str(entry.value)) is not None


def listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
