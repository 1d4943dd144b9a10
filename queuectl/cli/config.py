"""``queuectl config``: read and change the configuration, and see where each value comes from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from queuectl.api.errors import BadInput, ConfigError
from queuectl.cli.render import emit_json, say, table, write

if TYPE_CHECKING:
    from queuectl.api.providers import Option
    from queuectl.cli import Program
    from queuectl.core.app import App
    from queuectl.core.config import Config, Key
    from queuectl.core.options import Entry, Origin


@click.group()
def command() -> None:
    """Read and change the configuration.

    \b
      queuectl config set max_retries 5
      queuectl config set queues.video.executor docker
      queuectl config list --show-origin
    """


# --- Changing ----------------------------------------------------------------------------------------


@command.command("set")
@click.argument("name", metavar="KEY")
@click.argument("value", metavar="VALUE")
@click.option("--json", "as_json", is_flag=True, help="Print what was set as a JSON object.")
@click.pass_obj
def set_(program: Program, name: str, value: str, as_json: bool) -> None:
    """Set one value in the file that counts here, and name the file. Jobs that are enqueued already keep theirs.

    \b
      queuectl config set max-retries 5
      queuectl config set timeout 1h30m
      queuectl config set backoff.exponential.jitter full
      queuectl --db jobs.db config set worker.count 4
    """
    from queuectl.core.editing import edited
    from queuectl.core.names import key_of, option_of
    from queuectl.core.options import Entry, Origin, check_value

    key = key_of(name)
    config = program.app.config
    option = option_of(program.app, key)
    try:
        checked = check_value(".".join(key[:-1]), option, Entry(value, Origin("flag", "config set"), text=True))
    except ConfigError as error:
        raise BadInput(str(error)) from error
    _change(program, key, edited(config.target.path, key, _as_toml(option, value, checked)))
    _report(config, key, option, as_json)


@command.command("unset")
@click.argument("name", metavar="KEY")
@click.option("--json", "as_json", is_flag=True, help="Print what was unset as a JSON object.")
@click.pass_obj
def unset(program: Program, name: str, as_json: bool) -> None:
    """Take a value out of the file that `config set` writes.

    \b
      queuectl config unset max_retries
    """
    from queuectl.core.editing import without
    from queuectl.core.names import key_of

    key = key_of(name)
    config = program.app.config
    data = without(config.target.path, key)
    if data is None:
        where = config.origin(key)
        hint = f"; it comes from {where}" if where.layer not in ("default", config.target.name) else ""
        raise BadInput(f"{'.'.join(key)} is not set in {_shown(config.target.path)}{hint}")
    _change(program, key, data)
    _report(config, key, None, as_json)


def _change(program: Program, key: Key, data: bytes) -> None:
    """Write the file if the configuration can be used with it. A file that was trusted stays so: we changed it."""
    from queuectl.core import trust
    from queuectl.core.app import App
    from queuectl.core.editing import write

    config = program.app.config
    path = config.target.path
    try:
        after = App(config.edited(path, data))
        _check_change(after, key)
    except ConfigError as error:
        raise ConfigError(f"{error}; nothing was written") from error
    trusted = config.target.name != "user" and (not os.path.exists(path) or trust.is_trusted(path))
    write(path, data)
    if trusted:
        trust.trust(path)
    program.close()


def _check_change(app: App, key: Key) -> None:
    """Check what the change of *key* can have broken, and no more: another fault must not stand in its way."""
    if key[0] == "plugins":
        app.plugins.start()
    if key[-1] == "use" and len(key) > 2:
        app.plugins.provider(key[0], key[1], key, anyway=True)
    for kind, name, chosen in app.config.named_components():
        if chosen == key or (kind, name) == key[:2]:
            provider, _ = app.plugins.provider(kind, name, chosen)
            app.options(kind, name, provider, defaults=False)


def _as_toml(option: Option, text: str, checked: Any) -> Any:
    """What is written: as it was typed where that says more (``1h30m``), else the checked value."""
    from queuectl.core.options import Secret

    if isinstance(checked, Secret):
        import tomlkit

        reference = tomlkit.inline_table()
        reference[checked.kind] = checked.ref
        return reference
    if checked is None:
        return "none"
    if option.type in (int, float):
        if option.unit and not text.strip().replace(".", "", 1).isdigit():
            return text.strip()
        return int(checked) if float(checked).is_integer() else checked
    return checked


def _report(config: Config, key: Key, option: Option | None, as_json: bool) -> None:
    """Say what was done and where, and whether something else goes before it."""
    from queuectl.core.options import DOTS, show

    target = config.target
    after = config.edited(target.path, _content(target.path))
    own = after.target.entries.get(key)
    effective = after.entries.get(key)
    hidden = effective is not None and effective.origin.layer in _above(after, target.name)

    from queuectl.core.effective import is_secret

    def shown(entry: Entry) -> Any:
        return DOTS if is_secret(key, option, entry) else show(entry.value)

    if as_json:
        value = None if own is None else DOTS if is_secret(key, option, own) else own.value
        by = effective.origin._asdict() if hidden and effective is not None else None
        emit_json({"key": ".".join(key), "value": value, "file": target.path, "hidden_by": by})
    elif own is None:
        say(f"{'.'.join(key)} is no longer set in {_shown(target.path)}")
    else:
        say(f"{'.'.join(key)} = {shown(own)} in {_shown(target.path)}")
    if hidden and effective is not None:
        say(f"queuectl: warning: {effective.origin} says {shown(effective)}, which goes before that")


def _above(config: Config, layer: str) -> list[str]:
    """The layers that go before one."""
    names = [other.name for other in config.layers]
    return names[: names.index(layer)]


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


# --- Looking -------------------------------------------------------------------------------------------


@command.command("get")
@click.argument("name", metavar="KEY")
@click.option("--show-origin", is_flag=True, help="Say where the value comes from, on stderr.")
@click.option("--json", "as_json", is_flag=True, help="Print the value and its origin as a JSON object.")
@click.pass_obj
def get(program: Program, name: str, show_origin: bool, as_json: bool) -> None:
    """Print one value as it is in effect. A secret is dots.

    \b
      queuectl config get max_retries
      queuectl config get storage.sqlite.path --show-origin
    """
    from queuectl.core.effective import row_of
    from queuectl.core.names import key_of, option_of

    key = key_of(name)
    row = row_of(program.app.config, key, option_of(program.app, key))
    if as_json:
        emit_json(row.shape())
        return
    write(f"{_plain(row.value)}\n")
    if show_origin:
        say(f"from {_origin(row.origin)}")


@command.command("list")
@click.option("--show-origin", is_flag=True, help="Say where each value comes from.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of values with their origins.")
@click.pass_obj
def list_(program: Program, show_origin: bool, as_json: bool) -> None:
    """Print every value as it is in effect. Secrets are dots.

    \b
      queuectl config list --show-origin
    """
    from queuectl.core.effective import rows as effective

    rows = list(effective(program.app))
    if as_json:
        emit_json([row.shape() for row in rows])
        return
    cells = [(row.key, _plain(row.value), *([_origin(row.origin)] if show_origin else [])) for row in rows]
    table(["key", "value", *(["from"] if show_origin else [])], cells, wide=1)


command.add_command(list_, "show")


def _plain(value: Any) -> str:
    """A value as it can be given to `config set` again."""
    from queuectl.core.options import show

    if value is None:
        return "none"
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) and "," not in item for item in value):
        return ",".join(value)
    return show(int(value) if isinstance(value, float) and value.is_integer() else value)


def _origin(origin: Origin) -> str:
    return origin.layer if not origin.where else f"{origin.layer}: {origin}"


def _shown(path: str) -> str:
    from queuectl.core.options import shown_path

    return shown_path(path)


# --- Files ---------------------------------------------------------------------------------------------


@command.command("path")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of files.")
@click.pass_obj
def path(program: Program, as_json: bool) -> None:
    """List the files that are read, from the one that goes first; `config set` writes the one that says so.

    \b
      queuectl config path
    """
    config = program.app.config
    files = [
        {
            "layer": layer.name,
            "path": layer.path,
            "exists": os.path.exists(layer.path),
            "writes": layer.path == config.target.path,
        }
        for layer in config.layers
        if layer.path
    ]
    if as_json:
        emit_json(files)
        return
    rows = [(f["layer"], f["path"], _state(bool(f["exists"]), bool(f["writes"]))) for f in files]
    table(["layer", "path", "state"], rows, wide=1)


def _state(exists: bool, writes: bool) -> str:
    return ("exists" if exists else "not there") + (", config set writes it" if writes else "")


@command.command("validate")
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as a JSON object.")
@click.pass_obj
def validate(program: Program, as_json: bool) -> None:
    """Check everything that is configured, and load what it names. Exit code 78 if it cannot be used.

    \b
      queuectl --config deploy/queuectl.toml config validate
    """
    from queuectl.core.names import check_tables

    try:
        check_tables(program.app)
    except ConfigError as error:
        if not as_json:
            raise
        emit_json({"ok": False, "error": str(error), "files": []})
        raise click.exceptions.Exit(error.exit_code) from None
    files = [layer.path for layer in program.app.config.layers if layer.path and os.path.exists(layer.path)]
    if as_json:
        emit_json({"ok": True, "error": None, "files": files})
    else:
        for file in files:
            say(f"{_shown(file)}: ok")
        if not files:
            say("there is no configuration file: all is at its default")


@command.command("trust")
@click.option("--revoke", is_flag=True, help="No longer trust the file.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as a JSON object.")
@click.pass_obj
def trust(program: Program, revoke: bool, as_json: bool) -> None:
    """Let the project file that was found here load its plugin files and command notifiers, as it is now.

    \b
      queuectl config trust

    Such files run as you. Look at them first: after a change they have to be trusted again.
    """
    from queuectl.core import trust as book

    project = _suspect(program)
    if project is None:
        raise ConfigError("there is no queuectl.toml here or above that could be trusted")
    if revoke:
        was = book.revoke(project)
        text = "is no longer trusted" if was else "was not trusted"
    else:
        book.trust(project)
        text = "is trusted as it is now"
    if as_json:
        emit_json({"file": project, "trusted": not revoke})
    else:
        say(f"{_shown(project)} {text}")


def _suspect(program: Program) -> str | None:
    """The file to trust. The configuration is not read for it: it may be the one that cannot be used yet."""
    from queuectl.core.config import find_project

    if db := program.db or os.environ.get("QUEUECTL_DB"):
        store = os.path.abspath(os.path.expanduser(db)) + ".toml"
        if os.path.exists(store):
            return store
    return find_project(program.config_file or os.environ.get("QUEUECTL_CONFIG") or None)[0]
