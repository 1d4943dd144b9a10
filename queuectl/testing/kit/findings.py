"""What can be said of a plugin by looking at it: that it loads, what its hooks and options are, what it imports."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from queuectl.api.errors import PluginError
from queuectl.api.model import Finding
from queuectl.api.providers import REQUIRED, Command
from queuectl.core.options import DEFAULT, convert, enumeration, show
from queuectl.core.plugins import Plugin, Plugins, explain, guarded, offered

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from queuectl.api.providers import Option, Provider

#: More than this is no plugin's source but somebody's home directory.
MOST_FILES = 500


def look_at(plugin: Plugin, plugins: Plugins, taken: Collection[str]) -> list[Finding]:
    """What there is to say of one plugin. *taken* are the names of built-in commands."""
    if plugin.disabled:
        return [Finding("error", "it is disabled by [plugins] disable", id="loads")]
    if not plugin.load():
        advice = "'queuectl plugins info' has the traceback" if plugin.trace else ""
        return [Finding("error", f"it does not load: {plugin.error}", advice, "loads")]
    found = [Finding("ok", f"it loads: {plugin.value}", id="loads"), *_hooks(plugin)]
    for kind, offers in plugin.offers.items():
        for offer in offers:
            found += _offer(kind, offer)
    found += _own_options(plugin, plugins)
    found += _commands(plugin, taken)
    if plugin.source != "built-in":
        found += _imports(plugin)
    return found


def _hooks(plugin: Plugin) -> Iterator[Finding]:
    if not plugin.hooks:
        yield Finding("error", "it implements no hook", "mark a function with @hookimpl", "hooks")
    else:
        yield Finding("ok", f"it implements {enumeration(plugin.hooks)}", id="hooks")
    for notice in plugin.notices:
        yield Finding("warning", notice, id="deprecated")


# --- Offers -------------------------------------------------------------------------------------


def _offer(kind: str, offer: Provider[Any]) -> Iterator[Finding]:
    what = f"{kind} {offer.name}"
    complaints = [*_options(offer.options), *_options(offer.job_options, "job_options: ")]
    for level, text in complaints:
        yield Finding(level, f"{what}: {text}", id="options")
    if not offer.summary:
        yield Finding("warning", f"{what}: it has no summary for 'queuectl plugins list'", id="offers")
    if offer.job_options and kind not in ("executor", "backoff"):
        yield Finding("error", f"{what}: a job cannot ask anything of a {kind}: job_options", id="options")
    if offer.durable and kind != "notifier":
        yield Finding("error", f"{what}: only notifiers are told from the outbox: durable", id="offers")
    if offer.abilities and kind != "storage":
        yield Finding("error", f"{what}: only storages have abilities", id="offers")
    if not any(level == "error" for level, _ in complaints):
        names = enumeration(option.name for option in offer.options)
        yield Finding("ok", f"{what}: its options are right: {names}", id="options")


def _options(options: Iterable[Option], where: str = "") -> Iterator[tuple[str, str]]:
    """What is wrong with declared options, with its level."""
    seen: set[str] = set()
    for option in options:
        name = f"{where}{option.name}"
        if option.name in seen:
            yield "error", f"{name} is declared twice"
        seen.add(option.name)
        if not option.name.isidentifier() or not option.name.isascii() or option.name != option.name.lower():
            yield "error", f"{name}: the name of an option has small letters, digits and underscores"
        if option.type not in (str, int, float, bool, list, dict):
            yield "error", f"{name}: its type is {option.type!r}, not str, int, float, bool, list or dict"
        elif option.default is not REQUIRED and option.default is not None and not (option.path and not option.default):
            _, problem = convert(option, option.default, False, name, DEFAULT)
            if problem is not None:
                yield "error", f"{name}: its own default {show(option.default)} is refused: {problem}"
        if not option.help:
            yield "warning", f"{name} has no help"


def _own_options(plugin: Plugin, plugins: Plugins) -> Iterator[Finding]:
    if "queuectl_options" not in plugin.hooks:
        return
    try:
        declared = plugins.declared(plugin)
    except PluginError as error:
        yield Finding("error", str(error), id="options")
        return
    complaints = list(_options(declared, f"[plugin.{plugin.name}] "))
    for level, text in complaints:
        yield Finding(level, text, id="options")
    if not any(level == "error" for level, _ in complaints):
        names = enumeration(option.name for option in declared)
        yield Finding("ok", f"the options of its own are right: {names}", id="options")


# --- Commands -----------------------------------------------------------------------------------


def _commands(plugin: Plugin, taken: Collection[str]) -> Iterator[Finding]:
    if "queuectl_commands" not in plugin.hooks:
        return
    try:
        commands = guarded("queuectl_commands", lambda: list(offered(plugin.object, "queuectl_commands")))
    except PluginError as error:
        yield Finding("error", str(error), id="commands")
        return
    for command in commands:
        level, text = _command(command, taken)
        yield Finding(level, text, id="commands")


def _command(command: Any, taken: Collection[str]) -> tuple[str, str]:
    import click

    if not isinstance(command, Command):
        return "error", f"queuectl_commands gave {type(command).__name__}, not a Command record"
    what = f"command {command.name}"
    if command.name in taken:
        return "error", f"{what}: that is the name of a built-in command, which cannot be taken"
    try:
        loaded = command.load()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return "error", f"{what} does not load: {explain(error)}"
    if not isinstance(loaded, click.Command):
        return "error", f"{what}: load gave {type(loaded).__name__}, not a click command"
    if not command.help:
        return "warning", f"{what} has no help for 'queuectl --help'"
    return "ok", f"{what} loads"


# --- Imports ------------------------------------------------------------------------------------


def _imports(plugin: Plugin) -> Iterator[Finding]:
    """Whether it keeps to what is promised: ``queuectl.api``, and ``queuectl`` itself."""
    wrong = [place for path in _sources(plugin) for place in inner_imports(path)]
    for place in wrong:
        yield Finding(
            "warning", f"{place}, which may change in any release", "queuectl.api is what is promised", "imports"
        )
    if not wrong:
        yield Finding("ok", "of QueueCTL it imports queuectl.api alone", id="imports")


def _sources(plugin: Plugin) -> list[Path]:
    if plugin.source == "file":
        return [Path(plugin.value)]
    module = sys.modules.get(plugin.value.partition(":")[0])
    package = sys.modules.get((module.__name__ if module else "").partition(".")[0])
    file = getattr(package, "__file__", None)
    if file is None:
        return []
    path = Path(file)
    return sorted(path.parent.rglob("*.py"))[:MOST_FILES] if path.name == "__init__.py" else [path]


def inner_imports(path: Path) -> Iterator[str]:
    """``file.py:3 imports queuectl.core.app`` for each import of what is ours and not promised."""
    try:
        tree = ast.parse(path.read_bytes(), str(path))
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        for name in _imported(node):
            rooms = name.split(".")
            if rooms[0] == "queuectl" and len(rooms) > 1 and rooms[1] not in ("api", "testing"):
                yield f"{path.name}:{node.lineno} imports {name}"


def _imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    """The dotted names of the modules that a statement imports; not those of its own package."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if node.module == "queuectl":
        return [f"queuectl.{a.name}" for a in node.names if a.name not in ("Queue", "hookimpl", "__version__")]
    return [] if node.level else [node.module or ""]
