"""``queuectl init``: a commented configuration file to start from, and the storage."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from queuectl.api.errors import ConfigError
from queuectl.cli.render import emit_json, say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from queuectl.api.providers import Option
    from queuectl.cli import Program

HEAD = """\
# QueueCTL configuration. Every line that is commented out shows the default.
# "queuectl config list --show-origin" shows what is in effect, "queuectl config validate" checks it.
"""


@click.command()
@click.option("--user", is_flag=True, help="Write the user's file, not one for this directory.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as a JSON object.")
@click.pass_obj
def command(program: Program, user: bool, as_json: bool) -> None:
    """Write a commented configuration file and create the storage. Never overwrites anything.

    \b
      queuectl init
      queuectl --db jobs.db init

    The file is queuectl.toml here; the one that --config names; under --db PATH, PATH.toml. Nothing of this is needed:
    without a configuration everything is kept in the user's state folder.
    """
    path = _path(program, user)
    written = _write_new(path, template().encode())
    try:
        app = program.app
        provider = app.config.provider_of("storage", app.config.main.storage)
        identity = app.storage.identity
    except BaseException:
        if written:  # a refused init leaves nothing
            os.unlink(path)
        raise
    if as_json:
        emit_json(
            {"file": path, "written": written, "storage": provider, "identity": identity, "home": app.storage.home}
        )
        return
    from queuectl.core.options import shown_path

    say(f"{shown_path(path)}: {'written' if written else 'exists, and was left as it is'}")
    where = _where(app.storage.home)
    say(f"the {provider} storage is ready{where}")


def _where(home: str | None) -> str:
    """Where SQLite's file is: its folder is named after it."""
    from queuectl.core.options import shown_path

    return f": {shown_path(home.removesuffix('.d'))}" if home is not None and home.endswith(".d") else ""


def _path(program: Program, user: bool) -> str:
    """The file to write. It need not be there, unlike one that is read."""
    from queuectl.core.config import PROJECT_FILE
    from queuectl.core.places import config_dir

    db = program.db or os.environ.get("QUEUECTL_DB")
    if user:
        return os.path.join(config_dir(), "config.toml")
    if program.config_file or os.environ.get("QUEUECTL_CONFIG"):
        return os.path.abspath(os.path.expanduser(program.config_file or os.environ["QUEUECTL_CONFIG"]))
    if db:
        return os.path.abspath(os.path.expanduser(db)) + ".toml"
    return os.path.abspath(PROJECT_FILE)


def _write_new(path: str, data: bytes) -> bool:
    """Write a file that is not there yet, for this user alone; False if it is there."""
    from queuectl.core.options import shown_path

    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{shown_path(path)}: cannot be written: {reason}") from error
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    return True


def template() -> str:
    """Every table and key with its default, commented out, in the order of the code."""
    from queuectl.core.plugins import BUILTIN, OFFERS, load_object, offered
    from queuectl.core.schema import QUEUE_OPTIONS, ROUTE_OPTIONS, SECTIONS

    parts = [HEAD]
    for table, options in SECTIONS.items():
        parts.append(f"[{table}]\n{_lines(options)}")
    for (kind, name), module in BUILTIN.items():
        for provider in offered(load_object(module), OFFERS[kind]):
            if provider.name == name and provider.options:
                parts.append(f"# {kind} {name}: {provider.summary}\n# [{kind}.{name}]\n{_lines(provider.options)}")
    parts.append(f"# what differs in one queue\n# [queues.NAME]\n{_lines(QUEUE_OPTIONS)}")
    parts.append(f"# which events are kept until notifiers were told\n# [routes.NAME]\n{_lines(ROUTE_OPTIONS)}")
    return "\n".join(parts)


def _lines(options: Iterable[Option]) -> str:
    return "".join(f"# {option.name} = {_default(option)}{_help(option)}\n" for option in options)


def _help(option: Option) -> str:
    return f"  # {option.help}" if option.help else ""


def _default(option: Option) -> str:
    """The default as TOML; where there is none, what says so, or a gap to fill."""
    import json

    if option.default is None or option.default is ...:
        return '"…"' if option.type is str or option.default is ... else '"none"'
    value = option.default
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
