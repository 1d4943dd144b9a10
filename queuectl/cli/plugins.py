"""``queuectl plugins``: what is plugged in, what it offers, every hook there is; and how to write one of your own."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import click

from queuectl.api.errors import BadInput, PluginError
from queuectl.cli.plugin_kit import check, find_plugins, new
from queuectl.cli.render import emit_json, safe_text, table, write

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from queuectl.api.providers import Option
    from queuectl.cli import Program
    from queuectl.core.plugins import Plugin


@click.group()
def command() -> None:
    """See what is plugged in, and every hook; begin and prove a plugin of your own.

    \b
      queuectl plugins list
      queuectl plugins info redis
      queuectl plugins hooks queuectl_prepare
      queuectl plugins new fair-share --kind backoff
      queuectl plugins check fair-share
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of plugins.")
@click.pass_obj
def list_(program: Program, as_json: bool) -> None:
    """List built-in plugins, installed ones and files: whether they are active, and what they offer.

    \b
      queuectl plugins list
    """
    plugins = program.app.plugins.every()
    if as_json:
        emit_json([_shape(plugin) for plugin in plugins])
        return
    rows = [(p.name, p.state, p.origin, p.error or _offers(p)) for p in plugins]
    table(["plugin", "state", "from", "offers"], rows, wide=3)


def _offers(plugin: Plugin) -> str:
    """``executor docker; queuectl_events``: its components, then the hooks that offer none."""
    from queuectl.core.plugins import OFFERS

    parts = [f"{kind} {offer.name}" for kind, offers in plugin.offers.items() for offer in offers]
    return ", ".join([*parts, *(hook for hook in plugin.hooks if hook not in OFFERS.values())])


def _shape(plugin: Plugin) -> dict[str, Any]:
    return {
        "name": plugin.name,
        "state": plugin.state,
        "source": plugin.source,
        "distribution": plugin.distribution or None,
        "version": plugin.version or None,
        "module": plugin.value,
        "offers": [
            {"kind": kind, "name": offer.name, "summary": offer.summary, "api": offer.api}
            for kind, offers in plugin.offers.items()
            for offer in offers
        ],
        "hooks": plugin.hooks,
        "deprecated": plugin.notices,
        "error": plugin.error or None,
    }


@command.command("info")
@click.argument("name", metavar="NAME")
@click.option("--json", "as_json", is_flag=True, help="Print it as a JSON object.")
@click.pass_obj
def info(program: Program, name: str, as_json: bool) -> None:
    """Show one plugin: what it offers with which options, its hooks, and why it failed if it did.

    \b
      queuectl plugins info sqlite
    """
    found = find_plugins(program, name)
    if as_json:
        shapes = [_full_shape(program, plugin) for plugin in found]
        emit_json(shapes[0] if len(shapes) == 1 else shapes)
        return
    write("\n".join(safe_text(_page(program, plugin)) for plugin in found))


def _full_shape(program: Program, plugin: Plugin) -> dict[str, Any]:
    options = {
        f"{kind}.{offer.name}": [_option_shape(option) for option in offer.options]
        for kind, offers in plugin.offers.items()
        for offer in offers
    }
    own = [_option_shape(option) for option in _declared(program, plugin)]
    return {**_shape(plugin), "options": options, "own_options": own, "traceback": plugin.trace or None}


def _option_shape(option: Option) -> dict[str, Any]:
    required = option.default is ...
    return {
        "name": option.name,
        "type": option.type.__name__,
        "default": None if required or option.secret else option.default,
        "required": required,
        "help": option.help,
        "secret": option.secret,
    }


def _declared(program: Program, plugin: Plugin) -> Sequence[Option]:
    if plugin.error or plugin.object is None:
        return ()
    try:
        return program.app.plugins.declared(plugin)
    except PluginError:
        return ()


def _page(program: Program, plugin: Plugin) -> str:
    lines = [f"{plugin.name}: {plugin.state}, {plugin.origin} ({plugin.value})"]
    for kind, offers in plugin.offers.items():
        for offer in offers:
            lines.append(f"  {kind} {offer.name}: {offer.summary}")
            lines.extend(f"    {_option_line(option)}" for option in offer.options)
    if own := _declared(program, plugin):
        lines.append(f"  options of its own, [plugin.{plugin.name}]")
        lines.extend(f"    {_option_line(option)}" for option in own)
    if plugin.hooks:
        lines.append(f"  hooks: {', '.join(plugin.hooks)}")
    lines.extend(f"  {notice}" for notice in plugin.notices)
    if plugin.error:
        lines.append(f"  not loaded: {plugin.error}")
        lines.extend(f"    {line}" for line in plugin.trace.rstrip().splitlines())
    return "\n".join(lines) + "\n"


def _option_line(option: Option) -> str:
    from queuectl.core.options import DOTS, show

    if option.default is ...:
        default = "required"
    elif option.default is None:
        default = "not set"
    else:
        default = f"default {DOTS if option.secret else show(option.default)}"
    return f"{option.name} ({option.type.__name__}, {default}): {option.help}".removesuffix(": ")


@command.command("hooks")
@click.argument("hook", required=False, metavar="[HOOK]")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of hooks, or one as an object.")
@click.pass_obj
def hooks(program: Program, hook: str | None, as_json: bool) -> None:
    """List every hook in the order things happen, or show the contract of one and who implements it.

    \b
      queuectl plugins hooks
      queuectl plugins hooks queuectl_verdict
    """
    from queuectl.core.options import suggestion
    from queuectl.core.plugins import hook_functions

    functions = hook_functions()
    if hook is None:
        shapes = [_hook_shape(name, function) for name, function in functions.items()]
        if as_json:
            emit_json(shapes)
        else:
            rows = [(s["name"], ", ".join(s["arguments"]), s["summary"]) for s in shapes]
            table(["hook", "arguments", "what for"], rows, wide=2)
        return
    name = hook if hook.startswith("queuectl_") else f"queuectl_{hook}"
    if name not in functions:
        raise BadInput(f"there is no hook {hook!r}{suggestion(name, functions)}")
    users = [plugin.name for plugin in program.app.plugins.every() if name in plugin.hooks]
    shape = {**_hook_shape(name, functions[name]), "implemented_by": users}
    if as_json:
        emit_json(shape)
        return
    write(f"{name}({', '.join(shape['arguments'])})\n\n{shape['contract']}\n\n")
    write(f"Implemented by: {', '.join(users) or 'nobody'}\n")


def _hook_shape(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    contract = inspect.cleandoc(function.__doc__ or "")
    return {
        "name": name,
        "arguments": list(inspect.signature(function).parameters),
        "summary": contract.splitlines()[0],
        "contract": contract,
    }


command.add_command(new)
command.add_command(check)
