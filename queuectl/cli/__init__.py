"""The command line: ``main`` and a group that knows its commands by name and imports one when it is run.

A command is a module of this package with a ``command``: a ``click.Command`` (or group) whose function takes the
:class:`Program` by ``@click.pass_obj``. It says results on stdout, talk on stderr, and raises ``QueueCTLError`` for
everything a person can do something about: the class has the exit code. ``--config`` and ``--db`` are added to every
command here, so that they work before and after its name.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

import queuectl
from queuectl.api.errors import QueueCTLError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queuectl.core.app import App
    from queuectl.core.jobqueue import Queue

#: name -> (module, help, section), in the order of ``queuectl --help``.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "enqueue": ("queuectl.cli.enqueue", "Put work in: one command, one JSON object, or a file of them.", "Jobs"),
    "list": ("queuectl.cli.list", "Show jobs, newest first, filtered by state, queue or tag.", "Jobs"),
    "show": ("queuectl.cli.show", "Show one job with its attempts and everything that happened to it.", "Jobs"),
    "logs": ("queuectl.cli.logs", "Print what a job wrote; -f follows a running one.", "Jobs"),
    "wait": ("queuectl.cli.wait", "Wait until jobs have ended.", "Jobs"),
    "cancel": ("queuectl.cli.cancel", "Cancel jobs, waiting or running.", "Jobs"),
    "retry": ("queuectl.cli.retry", "Run ended jobs again.", "Jobs"),
    "dlq": ("queuectl.cli.dlq", "See and retry the jobs that failed for good.", "Jobs"),
    "worker": ("queuectl.cli.worker", "Start, stop and list workers.", "Running"),
    "status": ("queuectl.cli.status", "Show how many jobs are in which state, queues and workers.", "Running"),
    "queue": ("queuectl.cli.queue", "List, pause, resume and limit queues.", "Running"),
    "metrics": ("queuectl.cli.metrics", "Show totals, success rate and percentiles of waiting and running.", "Running"),
    "config": ("queuectl.cli.config", "Read and change the configuration.", "Setting up"),
    "init": ("queuectl.cli.init", "Write a commented configuration file and create the storage.", "Setting up"),
    "plugins": ("queuectl.cli.plugins", "See what is plugged in, and every hook.", "Setting up"),
}

EXAMPLES = """\
\b
  queuectl enqueue -- rsync -a photos/ backup/
  queuectl enqueue '{"command": "make report", "priority": 5}'
  queuectl worker start --count 2 --until-empty
  queuectl status
"""


class Program:
    """One run of the command line: which configuration and storage was asked for, opened when first needed."""

    def __init__(self) -> None:
        self.config_file: str | None = None
        self.db: str | None = None
        self._app: App | None = None
        self._queue: Queue | None = None

    @property
    def app(self) -> App:
        """The composition root; reading it reads the configuration and opens nothing else."""
        if self._app is None:
            from queuectl.core.app import App

            self._app = App.open(self.config_file, self.db)
        return self._app

    @property
    def queue(self) -> Queue:
        """The queue as a program sees it."""
        if self._queue is None:
            from queuectl.core.jobqueue import Queue

            self._queue = Queue(self.app)
        return self._queue

    def close(self) -> None:
        """Close what was opened. Idempotent."""
        app, self._app, self._queue = self._app, None, None
        if app is not None:
            app.close()


# --- Global options ---------------------------------------------------------------------------


def _take_config(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.find_root().ensure_object(Program).config_file = value


def _take_db(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.find_root().ensure_object(Program).db = value


def _global_options() -> list[click.Option]:
    return [
        click.Option(
            ["--config"],
            metavar="FILE",
            expose_value=False,
            callback=_take_config,
            help="Configuration file to use instead of the nearest queuectl.toml.",
        ),
        click.Option(
            ["--db"],
            metavar="PATH",
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


class LazyGroup(click.Group):
    """A group that knows names and one-line helps by a table, and imports a command when it is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            from importlib import import_module

            found: click.Command = import_module(COMMANDS[cmd_name][0]).command
        else:
            offered = {command.name: command for command in _plugin_commands(ctx)}.get(cmd_name)
            if offered is None:
                return None
            found = offered.load()
        return with_global_options(found)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        command = self.get_command(ctx, args[0])
        if command is not None:
            return args[0], command, args[1:]
        if args[0].startswith("-"):
            raise click.NoSuchOption(args[0], ctx=ctx)
        names = [*COMMANDS, *(command.name for command in _plugin_commands(ctx))]
        raise click.UsageError(f"there is no command {args[0]!r}{did_you_mean(args[0], names)}", ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, (_, text, section) in COMMANDS.items():
            sections.setdefault(section, []).append((name, text))
        for command in _plugin_commands(ctx, quiet=True):
            sections.setdefault("From plugins", []).append((command.name, command.help))
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)


def _plugin_commands(ctx: click.Context, quiet: bool = False) -> Sequence[Any]:
    """The commands that plugins offer; with *quiet* none where they cannot be had, since help must always work."""
    try:
        return tuple(ctx.find_root().ensure_object(Program).app.plugins.commands())
    except QueueCTLError:
        if quiet:
            return ()
        raise


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """``; did you mean 'status'?`` for a near miss, else nothing."""
    from difflib import get_close_matches

    near = get_close_matches(word, known, 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"queuectl {queuectl.__version__}")
        ctx.exit()


def group() -> LazyGroup:
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


# --- main ---------------------------------------------------------------------------------------


def main(args: Sequence[str] | None = None) -> int:
    """Run one command line and return the exit code. Says errors in one sentence on stderr; never a traceback,
    unless ``QUEUECTL_DEBUG=1``."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    program = Program()
    try:
        try:
            code = _run(program, list(sys.argv[1:] if args is None else args))
        finally:
            program.close()
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except BaseException as error:
        if os.environ.get("QUEUECTL_DEBUG") == "1" and not isinstance(error, SystemExit):
            import traceback

            traceback.print_exc()
        return _explain(error)


def _run(program: Program, args: list[str]) -> int:
    cli = group()
    if "_QUEUECTL_COMPLETE" in os.environ:
        cli.main(args, prog_name="queuectl", obj=program)
    try:
        with cli.make_context("queuectl", args, obj=program) as ctx:
            cli.invoke(ctx)
    except click.exceptions.Exit as request:
        return request.exit_code
    return 0


def _explain(error: BaseException) -> int:
    """Say what went wrong in one sentence; the exit code."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return 2
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx is not None else "queuectl"
        return _fail(f"{error.format_message().rstrip('.')} (see '{path} -h')", error.exit_code)
    if isinstance(error, click.ClickException):
        return _fail(error.format_message(), error.exit_code)
    if isinstance(error, QueueCTLError):
        return _fail(str(error), error.exit_code)
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return 130
    if isinstance(error, BrokenPipeError):
        return _reader_gone()
    if isinstance(error, SystemExit):
        code = error.code
        return code if isinstance(code, int) else 0 if code is None else _fail(str(code), 1)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", 1)
    kind = type(error).__name__
    return _fail(f"a fault in queuectl: {kind}: {error} (QUEUECTL_DEBUG=1 shows where)", QueueCTLError.exit_code)


def _fail(message: str, code: int) -> int:
    from queuectl.cli.render import safe_text

    try:
        print(f"queuectl: {safe_text(message)}", file=sys.stderr)
    except OSError:
        pass
    return code


def _reader_gone() -> int:
    """The reader of our output went away (``| head``): end quietly, as SIGPIPE would have it."""
    try:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 1)
        os.close(devnull)
    except OSError:
        pass
    return 141
