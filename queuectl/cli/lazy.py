"""The group that imports a command when it is run, and the options that every command has."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import click

import queuectl
from queuectl.api.errors import QueueCTLError
from queuectl.cli import COMMANDS, Program

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queuectl.api.providers import Command
    from queuectl.core.plugins import Plugin

EXAMPLES = """\
\b
  queuectl enqueue -- rsync -a photos/ backup/
  queuectl enqueue '{"command": "make report", "priority": 5}'
  queuectl worker start --count 2 --until-empty
  queuectl status
"""


# --- Global options ---------------------------------------------------------------------------


def _take_config(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.find_root().ensure_object(Program).choose(config_file=value)


def _take_db(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.find_root().ensure_object(Program).choose(db=value)


def _global_options() -> list[click.Option]:
    return [
        click.Option(
            ["--config"],
            metavar="FILE",
            is_eager=True,  # before --help, which lists the commands of its plugins
            expose_value=False,
            callback=_take_config,
            help="Configuration file to use instead of the nearest queuectl.toml.",
        ),
        click.Option(
            ["--db"],
            metavar="PATH",
            is_eager=True,
            expose_value=False,
            callback=_take_db,
            help="SQLite database to use, whatever the configuration says.",
        ),
    ]


def with_global_options(command: click.Command) -> click.Command:
    """*command*, and all below it, with ``--config`` and ``--db`` unless it has options of that name itself."""
    taken = {opt for param in command.params for opt in param.opts}
    command.params.extend(option for option in _global_options() if option.opts[0] not in taken)
    if isinstance(command, click.Group):
        for sub in command.commands.values():
            with_global_options(sub)
    return command


# --- The group ----------------------------------------------------------------------------------


class QuickHelp(click.Command):
    """A command whose ``-h`` is made without asking gettext, which looks for catalogues in a dozen places first."""

    _quick: click.Option | None = None

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        if self._quick is None:
            self._quick = click.Option(
                sorted(self.get_help_option_names(ctx), key=len),
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_show_help,
                help="Show this message and exit.",
            )
        return self._quick


def _show_help(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(ctx.get_help())
        ctx.exit()


class LazyGroup(QuickHelp, click.Group):
    """A group that knows names and one-line helps by a table, and imports a command when it is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            from importlib import import_module

            if cmd_name != "enqueue":  # it is over before there is anything to collect
                gc.enable()
            found: click.Command = import_module(COMMANDS[cmd_name][0]).command
        else:
            offered = {command.name: (plugin, command) for plugin, command in _plugin_commands(ctx)}.get(cmd_name)
            if offered is None:
                return None
            ctx.find_root().ensure_object(Program).whose_fault = f"plugin {offered[0]}: command {cmd_name}"
            found = offered[1].load()
        return with_global_options(found)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        command = self.get_command(ctx, args[0])
        if command is not None:
            return args[0], command, args[1:]
        if args[0].startswith("-"):
            raise click.NoSuchOption(args[0], ctx=ctx)
        names = [*COMMANDS, *(command.name for _, command in _plugin_commands(ctx))]
        raise click.UsageError(f"there is no command {args[0]!r}{did_you_mean(args[0], names)}", ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, (_, text, section) in COMMANDS.items():
            sections.setdefault(section, []).append((name, text))
        for _, command in _plugin_commands(ctx, for_help=True):
            sections.setdefault("From plugins", []).append((command.name, command.help))
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)


def _plugin_commands(ctx: click.Context, for_help: bool = False) -> Sequence[tuple[Plugin, Command]]:
    """The commands that plugins offer, and whose they are; *for_help* none where they cannot be had: help must always
    work.

    One that would take the name of a built-in command is left out, which help says.
    """
    try:
        offered = tuple(ctx.find_root().ensure_object(Program).app.plugins.commands())
    except QueueCTLError:
        if for_help:
            return ()
        raise
    if for_help:
        from queuectl.cli.render import say

        for plugin, command in offered:
            if command.name in COMMANDS:
                whose = f"plugin {plugin}: the command {command.name}"
                say(f"queuectl: warning: {whose} is a built-in one, which cannot be taken")
    return tuple(each for each in offered if each[1].name not in COMMANDS)


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """``; did you mean 'status'?`` for a near miss, else nothing."""
    from difflib import get_close_matches

    near = get_close_matches(word, known, 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"queuectl {queuectl.__version__}")
        ctx.exit()


def make_group() -> LazyGroup:
    """The whole command line as a click group."""
    version = click.Option(
        ["--version"], is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version."
    )
    return LazyGroup(
        "queuectl",
        params=[*_global_options(), version],
        help=f"A durable job queue for shell commands.\n\n{EXAMPLES}",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        options_metavar="[--config FILE] [--db PATH]",
        subcommand_metavar="COMMAND …",
    )
