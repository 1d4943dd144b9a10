"""The command line: ``main`` and the commands it knows, by name.

A command is a module of this package with a ``command``: a ``click.Command`` (or group) whose function takes the
:class:`Program` by ``@click.pass_obj``. It says results on stdout, talk on stderr, and raises ``QueueCTLError`` for
everything a person can do something about: the class has the exit code. ``--config`` and ``--db`` are added to every
command, so that they work before and after its name.

Nothing heavy is imported here, click neither: :func:`entry` first turns the collector of cycles off, which would look
at every function of every module that a command of a few milliseconds imports.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queuectl.cli.lazy import LazyGroup
    from queuectl.core.app import App
    from queuectl.core.jobqueue import Queue

#: name -> (module, help, section), in the order of ``queuectl --help``.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "enqueue": ("queuectl.cli.enqueue", "Put work in: one command, one JSON object, or a file of them.", "Jobs"),
    "run": ("queuectl.cli.run", "Run a command through the queue as if it ran here.", "Jobs"),
    "list": ("queuectl.cli.list", "Show jobs, newest first, filtered by state, queue or tag.", "Jobs"),
    "show": ("queuectl.cli.show", "Show one job with its attempts and everything that happened to it.", "Jobs"),
    "logs": ("queuectl.cli.logs", "Print what a job wrote; -f follows a running one.", "Jobs"),
    "wait": ("queuectl.cli.wait", "Wait until jobs have ended.", "Jobs"),
    "cancel": ("queuectl.cli.cancel", "Cancel jobs, waiting or running.", "Jobs"),
    "retry": ("queuectl.cli.retry", "Run ended jobs again.", "Jobs"),
    "delete": ("queuectl.cli.delete", "Delete jobs with their history and output.", "Jobs"),
    "dlq": ("queuectl.cli.dlq", "See, retry and delete the jobs that failed for good.", "Jobs"),
    "worker": ("queuectl.cli.worker", "Start, stop and list workers.", "Running"),
    "status": ("queuectl.cli.status", "Show how many jobs are in which state, queues and workers.", "Running"),
    "queue": ("queuectl.cli.queue", "List, pause, resume and limit queues.", "Running"),
    "metrics": ("queuectl.cli.metrics", "Show totals, success rate and percentiles of waiting and running.", "Running"),
    "dashboard": ("queuectl.cli.dashboard", "See and steer the queue from a browser; the HTTP API.", "Running"),
    "doctor": ("queuectl.cli.doctor", "Check everything, and say what to do about what is wrong.", "Running"),
    "prune": ("queuectl.cli.prune", "Delete jobs that ended long ago.", "Keeping"),
    "backup": ("queuectl.cli.backup", "Copy the storage while work goes on.", "Keeping"),
    "export": ("queuectl.cli.export", "Write every job with its history and output as lines of JSON.", "Keeping"),
    "import": ("queuectl.cli.import_", "Take in what export wrote.", "Keeping"),
    "config": ("queuectl.cli.config", "Read and change the configuration.", "Setting up"),
    "init": ("queuectl.cli.init", "Write a commented configuration file and create the storage.", "Setting up"),
    "completion": ("queuectl.cli.completion", "Print what makes a shell complete queuectl's words.", "Setting up"),
    "plugins": ("queuectl.cli.plugins", "See what is plugged in, and every hook.", "Setting up"),
}


class Program:
    """One run of the command line: which configuration and storage was asked for, opened when first needed."""

    def __init__(self) -> None:
        self.config_file: str | None = None
        self.db: str | None = None
        self.whose_fault = "a fault in queuectl"  # how a complaint begins about what nobody foresaw
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

    def choose(self, *, config_file: str | None = None, db: str | None = None) -> None:
        """Take a global option. What was opened by others, to find the commands of plugins, is closed again."""
        self.close()
        self.config_file = config_file if config_file is not None else self.config_file
        self.db = db if db is not None else self.db

    def close(self) -> None:
        """Close what was opened. Idempotent."""
        app, self._app, self._queue = self._app, None, None
        if app is not None:
            app.close()


def entry() -> NoReturn:
    """What the installed ``queuectl`` calls: runs :func:`main` and ends the process without taking it apart.

    Whoever asked to be called at the end is; what is saved is the tearing down of every module, a tenth of the whole.
    """
    import gc

    gc.disable()
    code = main()
    try:
        import atexit

        threading = sys.modules.get("threading")
        if threading is not None:
            threading._shutdown()
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        pass
    os._exit(code)


def main(args: Sequence[str] | None = None) -> int:
    """Run one command line and return the exit code. Says errors in one sentence on stderr; never a traceback,
    unless ``QUEUECTL_DEBUG=1``."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    program = Program()
    try:
        try:
            # not list(…): once its command is imported, `list` is a module of this package
            code = _run(program, [*(sys.argv[1:] if args is None else args)])
        finally:
            program.close()
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except BaseException as error:
        if os.environ.get("QUEUECTL_DEBUG") == "1" and not isinstance(error, SystemExit):
            import traceback

            traceback.print_exc()
        return _explain(error, program.whose_fault)


def group() -> LazyGroup:
    """The whole command line as a click group."""
    from queuectl.cli.lazy import make_group

    return make_group()


def _run(program: Program, args: list[str]) -> int:
    import click

    cli = group()
    if "_QUEUECTL_COMPLETE" in os.environ:
        cli.main(args, prog_name="queuectl", obj=program)
    try:
        with cli.make_context("queuectl", args, obj=program) as ctx:
            cli.invoke(ctx)
    except click.exceptions.Exit as request:
        return request.exit_code
    return 0


def _explain(error: BaseException, whose_fault: str) -> int:
    """Say what went wrong in one sentence; the exit code."""
    import click

    from queuectl.api.errors import QueueCTLError, SystemRefused

    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return 2
    if isinstance(error, click.UsageError):
        # click's parser does not say whose option wants an argument: better no advice than a wrong one
        advice = f" (see '{error.ctx.command_path} -h')" if error.ctx is not None else ""
        return _fail(f"{_in_one_line(error.format_message())}{advice}", error.exit_code)
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
        where = f"{error.filename}: " if error.filename else "the output cannot be written: " if _is_full(error) else ""
        return _fail(f"{where}{error.strerror or error}", SystemRefused.exit_code)
    if isinstance(error, MemoryError):
        return _fail("there is not enough memory for this", QueueCTLError.exit_code)
    kind = type(error).__name__
    return _fail(f"{whose_fault}: {kind}: {error} (QUEUECTL_DEBUG=1 shows where)", QueueCTLError.exit_code)


def _is_full(error: OSError) -> bool:
    import errno

    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def _in_one_line(message: str) -> str:
    """What click says, as one sentence: it lists choices on lines of their own, and calls a whole number a range."""
    said = " ".join(message.split()).rstrip(".")
    return said.replace("is not a valid integer range", "is not a whole number").replace(
        "is not a valid integer", "is not a whole number"
    )


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
