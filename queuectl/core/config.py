"""The configuration: every value by name, checked, and where it came from.

Layers, from the highest: flag, ``QUEUECTL_*`` variables, the store file (``PATH.toml`` under ``--db PATH``), the
project file (``--config FILE``, else the nearest ``queuectl.toml`` upward), the user file, the default. A table with
fixed keys (``[jobs]``) is checked here and always; the table of a component (``[storage.sqlite]``) is checked when that
component is chosen, since only its provider knows the keys.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from queuectl.api.errors import ConfigError

from .options import DEFAULT, Entry, Origin, check_table, enumeration, place, show, shown_path, suggestion, unknown_key
from .places import config_dir
from .schema import (
    NAMED,
    QUEUE_OPTIONS,
    ROUTE_OPTIONS,
    SECTIONS,
    SHORT_VARIABLES,
    Dashboard,
    Jobs,
    Main,
    Outbox,
    Output,
    PluginsConfig,
    QueueConfig,
    RouteConfig,
    Worker,
    check_queue_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from queuectl.api.providers import Option

PROJECT_FILE = "queuectl.toml"
#: A prefix of ``--config``, for processes of ours: this file was found by walking up (so it has to be trusted for
#: some things), or, with nothing behind it, none was found.
FOUND = "found:"
LARGEST_FILE = 1 << 20  # bytes

#: Where a value is: ("jobs", "timeout") or ("storage", "sqlite", "path"). ("storage", "sqlite") says that the table is
#: there at all.
Key = tuple[str, ...]
Entries = dict[Key, Entry]


class Layer(NamedTuple):
    """One source of values."""

    name: str  # flag, env, store, project or user
    path: str  # of a file, whether or not it exists; else ""
    entries: Entries


class Config:
    """All that was configured. Made by :meth:`load`; never changes."""

    def __init__(self, layers: list[Layer], *, db: str | None, project: str | None, found: bool, user: str) -> None:
        self.layers = layers  # highest first
        self.db = db  # --db, absolute
        self.project = project  # the project file in effect
        self.found = found  # … was found by walking up, not named
        self.user = user  # where the user file is or would be
        self.entries: Entries = {}
        for layer in reversed(layers):
            self.entries.update(layer.entries)
        self.notes: list[str] = []  # warnings, one line each, for whoever shows them
        self.untrusted = False
        self._barred: set[str] = set()  # notifiers that an untrusted file wants to run commands
        self._distrust({"store", "project"} if found else {"store"})
        self._check()

    # -- reading ------------------------------------------------------------------------------------

    @staticmethod
    def load(config: str | None = None, db: str | None = None) -> Config:
        """Read what is there. *config* and *db* are the global options; ConfigError says what cannot be used."""
        environ = os.environ
        db_origin = Origin("flag", "--db")
        if db is None and (db := environ.get("QUEUECTL_DB") or None):
            db_origin = Origin("env", "QUEUECTL_DB")
        named = config if config is not None else environ.get("QUEUECTL_CONFIG") or None
        project, found = find_project(named)
        if db is not None:
            if "\0" in db or not db:
                raise ConfigError(f"{db_origin}: {show(db)} is no path")
            db = os.path.abspath(os.path.expanduser(db))
        user = os.path.join(config_dir(), "config.toml")
        layers = [Layer("env", "", {})]
        if db is not None:
            layers.append(Layer("store", db + ".toml", read_file(db + ".toml", "store")))
        if project is not None:
            layers.append(Layer("project", project, read_file(project, "project", must=True)))
        layers.append(Layer("user", user, read_file(user, "user")))
        below = {key for layer in layers for key in layer.entries}
        layers[0].entries.update(read_environment(environ, below))
        if db is not None:
            _point_to(layers, db, db_origin)
        return Config(layers, db=db, project=project, found=found, user=user)

    def edited(self, path: str, data: bytes) -> Config:
        """This configuration as it would be with *data* in the file at *path*. ConfigError if it could not be used."""
        layers = [
            layer._replace(entries=entries_of(parse(data, path), Origin(layer.name, path)))
            if layer.path == path
            else layer
            for layer in self.layers
        ]
        after = Config(layers, db=self.db, project=self.project, found=self.found, user=self.user)
        after.notes.clear()  # they were said of this one
        return after

    @property
    def target(self) -> Layer:
        """The file that ``config set`` writes: the store file, else the project file in effect, else the user file."""
        return next(layer for layer in self.layers if layer.path)

    # -- looking ------------------------------------------------------------------------------------

    def table(self, *table: str) -> dict[str, Entry]:
        """The entries of a table as they were found, unchecked: ``table("storage", "sqlite")``."""
        n = len(table)
        return {key[n]: entry for key, entry in self.entries.items() if len(key) == n + 1 and key[:n] == table}

    def names(self, kind: str) -> list[str]:
        """The tables that there are under *kind*: instances of a component, queues or plugins."""
        return list(dict.fromkeys(key[1] for key in self.entries if key[0] == kind and len(key) > 1))

    def provider_of(self, kind: str, name: str) -> str:
        """The provider behind an instance: its ``use``, else its own name."""
        entry = self.entries.get((kind, name, "use"))
        if entry is None:
            return name
        if not isinstance(entry.value, str) or not entry.value:
            raise ConfigError(f"{place(f'{kind}.{name}', 'use', entry)} = {show(entry.value)}: expected a name")
        return entry.value

    def named_components(self) -> Iterator[tuple[str, str, Key]]:
        """What the configuration makes active: kind, instance and the key that says so."""
        yield "storage", self.main.storage, ("queuectl", "storage")
        yield "executor", self.main.executor, ("queuectl", "executor")
        yield "backoff", self.main.backoff, ("queuectl", "backoff")
        for name in self.main.notifiers:
            yield "notifier", name, ("queuectl", "notifiers")
        for route, wanted in self.routes.items():
            for name in wanted.to:
                yield "notifier", name, ("routes", route, "to")
        for queue, settings in self.queues.items():
            if settings.executor is not None:
                yield "executor", settings.executor, ("queues", queue, "executor")
            if settings.backoff is not None:
                yield "backoff", settings.backoff, ("queues", queue, "backoff")

    @property
    def targets(self) -> tuple[str, ...]:
        """The notifiers that some route names: each gets its events from the outbox."""
        return tuple(dict.fromkeys(name for route in self.routes.values() for name in route.to))

    def origin(self, key: Key) -> Origin:
        entry = self.entries.get(key)
        return DEFAULT if entry is None else entry.origin

    # -- checking -----------------------------------------------------------------------------------

    def _check(self) -> None:
        sections = {name: self._section(name, options) for name, options in SECTIONS.items()}
        main = Main(**sections["queuectl"])
        self.main = main._replace(notifiers=tuple(n for n in main.notifiers if n not in self._barred))
        self.jobs = Jobs(**sections["jobs"])
        self.worker = Worker(**sections["worker"])
        self.output = Output(**sections["output"])
        self.outbox = Outbox(**sections["outbox"])
        self.dashboard = Dashboard(**sections["dashboard"])
        self.plugins = PluginsConfig(**sections["plugins"])
        for name in self.names("queues"):
            if problem := check_queue_name(name):
                raise ConfigError(f"{self.origin(('queues', name))}: [queues.{name}]: {problem}")
        self.queues: Mapping[str, QueueConfig] = {
            name: QueueConfig(**check_table(f"queues.{name}", self.table("queues", name), QUEUE_OPTIONS))
            for name in self.names("queues")
        }
        self.routes: Mapping[str, RouteConfig] = {name: self._route(name) for name in self.names("routes")}
        self._check_together()

    def _route(self, name: str) -> RouteConfig:
        checked = check_table(f"routes.{name}", self.table("routes", name), ROUTE_OPTIONS)
        route = RouteConfig(**{key: tuple(value) for key, value in checked.items()})
        return route._replace(to=tuple(n for n in route.to if n not in self._barred))

    def _section(self, name: str, options: tuple[Option, ...]) -> dict[str, Any]:
        checked = check_table(name, self.table(name), options)
        return {key: tuple(value) if isinstance(value, list) else value for key, value in checked.items()}

    def _check_together(self) -> None:
        """What no single value can be blamed for."""
        worker, output = self.worker, self.output
        if worker.lease is not None and worker.lease < 2 * worker.heartbeat:
            entry = self.entries.get(("worker", "lease"), Entry(worker.lease))
            raise ConfigError(
                f"{place('worker', 'lease', entry)} = {show(worker.lease)}: "
                f"expected at least twice the heartbeat ({show(worker.heartbeat)})"
            )
        if output.head + output.tail > output.limit:
            entry = self.entries.get(("output", "limit"), Entry(output.limit))
            raise ConfigError(
                f"{place('output', 'limit', entry)} = {output.limit}: "
                f"expected at least head and tail together ({output.head + output.tail})"
            )

    # -- trust --------------------------------------------------------------------------------------

    def _distrust(self, layers: set[str]) -> None:
        """Leave out what a file that nobody named may not bring in: plugin files and commands to run.

        That is a project file that was found by walking up, and the store file, which comes with its database.
        """
        suspects = [key for key in self.entries if self.origin(key).layer in layers and _runs_code(self, key)]
        if not suspects:
            return
        from .trust import changed

        looked = {path: changed(path) for path in {self.origin(key).where for key in suspects}}
        files = {path for path, news in looked.items() if news != []}
        for key in [key for key in suspects if self.origin(key).where in files]:
            if key[0] == "notifier":
                self._barred.add(key[1])
            else:
                self._fall_back(key, files)
        self.untrusted = bool(files)
        for path in sorted(files):
            news = enumeration(map(shown_path, looked[path] or ()))
            why = f"{news} changed since it was trusted" if looked[path] else "the file was found and not named"
            self.notes.append(
                f"{shown_path(path)}: its plugin files and command notifiers are not loaded, because {why}: "
                f"look at it, then run 'queuectl config trust' or name it with --config"
            )

    def _fall_back(self, key: Key, without: set[str]) -> None:
        """Take a value from the highest layer that is none of these files."""
        del self.entries[key]
        for layer in self.layers:
            if layer.path not in without and key in layer.entries:
                self.entries[key] = layer.entries[key]
                return


def _runs_code(config: Config, key: Key) -> bool:
    if key == ("plugins", "files"):
        return bool(config.entries[key].value)
    if key[0] != "notifier" or len(key) < 2 or config.provider_of("notifier", key[1]) != "command":
        return False
    listed = [entry.value for k, entry in config.entries.items() if k == ("queuectl", "notifiers") or k[2:] == ("to",)]
    return any(key[1] in str(value) for value in listed)  # one that nothing names runs nothing


def _point_to(layers: list[Layer], db: str, origin: Origin) -> None:
    """Put what ``--db`` says above (or, as a variable, into) the environment's layer."""
    merged: Entries = {}
    for layer in reversed(layers):
        merged.update(layer.entries)
    chosen = merged.get(("queuectl", "storage"))
    name = chosen.value if chosen is not None and isinstance(chosen.value, str) else "sqlite"
    use = merged.get(("storage", name, "use"))
    if (use.value if use is not None else name) != "sqlite":
        name = "sqlite"
    entries = {
        ("queuectl", "storage"): Entry(name, origin),
        ("storage", name, "path"): Entry(db, origin),
    }
    if origin.layer == "env":
        layers[0].entries.update(entries)
    else:
        layers.insert(0, Layer("flag", "", entries))


# --- Files -------------------------------------------------------------------------------------------


def find_project(named: str | None) -> tuple[str | None, bool]:
    """The project file, absolute, and whether it was found rather than named."""
    if named is None:
        return _walk_up(), True
    if named.startswith(FOUND):
        return named[len(FOUND) :] or None, True
    path = os.path.abspath(os.path.expanduser(named))
    if "\0" in path or not os.path.exists(path):
        raise ConfigError(f"--config {named}: there is no such file")
    return path, False


def _walk_up() -> str | None:
    """The nearest project file, here or above, up to the root of the repository, the home directory or the root."""
    try:
        start = folder = os.getcwd()
    except OSError:  # the directory we are in was removed
        return None
    home = os.path.realpath(os.path.expanduser("~"))
    while True:
        path = os.path.join(folder, PROJECT_FILE)
        if os.path.isfile(path):
            return path if folder == start or _is_of_the_house(path, start) else None
        above = os.path.dirname(folder)
        if above == folder or folder == home or any(os.path.exists(os.path.join(folder, v)) for v in (".git", ".hg")):
            return None
        folder = above


def _is_of_the_house(path: str, start: str) -> bool:
    """Whether a file above us is by somebody whose files we would run: us, root, or whose directory we are in.

    Otherwise anybody could put a file into a shared directory above and have it obeyed.
    """
    if not hasattr(os, "getuid"):
        return True
    return os.stat(path).st_uid in (os.getuid(), 0, os.stat(start).st_uid)


def read_file(path: str, layer: str, *, must: bool = False) -> Entries:
    """The entries of a TOML file; none if there is no file and it need not exist. ConfigError if it cannot be used."""
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        if must:
            raise ConfigError(f"{shown_path(path)}: there is no such file") from None
        return {}
    except NotADirectoryError:
        return {}
    except OSError as error:
        raise ConfigError(f"{shown_path(path)}: cannot be read: {error.strerror}") from error
    if len(data) > LARGEST_FILE:
        raise ConfigError(f"{shown_path(path)}: a configuration file has at most {LARGEST_FILE} bytes")
    return entries_of(parse(data, path), Origin(layer, path))


def parse(data: bytes, path: str) -> dict[str, Any]:
    """*data* as TOML; ConfigError names the line."""
    import tomli  # not before there is a file: most enqueues have none

    try:
        return tomli.loads(data.decode())
    except UnicodeDecodeError as error:
        raise ConfigError(f"{shown_path(path)}: byte {error.start} is not UTF-8") from error
    except tomli.TOMLDecodeError as error:
        raise ConfigError(f"{shown_path(path)}: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{shown_path(path)}: nested too deep") from error


def entries_of(document: Mapping[str, Any], origin: Origin) -> Entries:
    """A document as entries. ConfigError at a table that does not exist."""
    entries: Entries = {}
    for table, content in document.items():
        if table not in SECTIONS and table not in NAMED:
            raise ConfigError(_unknown_table(table, content, origin))
        if not isinstance(content, dict):
            raise ConfigError(f"{origin}: {table} = {show(content)}: expected a table")
        for key, value in content.items():
            if table in SECTIONS:
                entries[table, key] = Entry(value, origin)
                continue
            if not isinstance(value, dict):
                raise ConfigError(f"{origin}: [{table}] {key} = {show(value)}: expected tables, [{table}.NAME]")
            entries[table, key] = Entry(value, origin)
            entries.update({(table, key, name): Entry(item, origin) for name, item in value.items()})
    return entries


def _unknown_table(table: str, content: Any, origin: Origin) -> str:
    known = (*SECTIONS, *NAMED)
    if isinstance(content, dict):
        return f"{origin}: [{table}]: unknown table{suggestion(table, known)}"
    home = next((name for name, options in SECTIONS.items() if any(o.name == table for o in options)), None)
    hint = f"; it belongs under [{home}]" if home else " (every key is in a table)"
    return f"{origin}: {table}: unknown key{hint}"


# --- The environment -----------------------------------------------------------------------------------


def read_environment(environ: Mapping[str, str], below: Iterable[Key]) -> Entries:
    """What ``QUEUECTL_TABLE__KEY`` and ``QUEUECTL_KIND__NAME__KEY`` say. *below* are the keys of the files.

    Names are upper case with ``_`` for ``-`` there, so a name that a file has is recognised by what it would look like.
    """
    entries: Entries = {}
    for variable, value in environ.items():
        if not variable.startswith("QUEUECTL_") or not value:  # empty is as good as not there
            continue
        origin = Origin("env", variable)
        if variable in SHORT_VARIABLES:
            entries[SHORT_VARIABLES[variable]] = Entry(value, origin, text=True)
        elif "__" in variable:
            key = _variable_key(variable, below)
            entries[key] = Entry(value, origin, text=True)
            if key[0] in NAMED:
                entries[key[:2]] = Entry({}, origin)
    return entries


def _variable_key(variable: str, below: Iterable[Key]) -> Key:
    table, *parts = variable.removeprefix("QUEUECTL_").lower().split("__")
    if table in SECTIONS and len(parts) == 1:
        known = [option.name for option in SECTIONS[table]]
        if parts[0] not in known:
            raise ConfigError(unknown_key(table, parts[0], Entry(None, Origin("env", variable)), known))
        return table, parts[0]
    if table in NAMED and len(parts) == 2 and all(parts):
        return table, _instance(table, parts[0], below), parts[1]
    if table not in SECTIONS and table not in NAMED:
        known = [name.upper() for name in (*SECTIONS, *NAMED)]
        raise ConfigError(f"{variable}: there is no table [{table}]{suggestion(table.upper(), known)}")
    form = f"{table.upper()}__KEY" if table in SECTIONS else f"{table.upper()}__NAME__KEY"
    raise ConfigError(f"{variable}: expected QUEUECTL_{form}")


def _instance(table: str, name: str, below: Iterable[Key]) -> str:
    for key in below:
        if key[0] == table and len(key) > 1 and key[1].lower().replace("-", "_") == name:
            return key[1]
    return name if table in ("queues", "routes") else name.replace("_", "-")
