"""The notifier ``command``: runs a program for each event, with the event as JSON on its standard input.

Made for the outbox: the event is offered again until the program exits with 0. Never a shell, and nothing of the event
in its arguments: what a job is called cannot become a command.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from typing import IO, TYPE_CHECKING, Any

from queuectl.api.errors import NotDelivered
from queuectl.api.markers import hookimpl
from queuectl.api.notifier import Notifier
from queuectl.api.providers import Option, Provider

from .document import document

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from queuectl.api.model import Event
    from queuectl.api.providers import Context


def _check_argv(words: list[Any]) -> str | None:
    if not words or not all(isinstance(word, str) and "\0" not in word for word in words) or not words[0]:
        return 'expected a program and its arguments, as in ["/usr/bin/logger", "-t", "queue"]'
    return None


OPTIONS = (
    Option("argv", list, help="the program and its arguments; no shell", check=_check_argv),
    Option("cwd", str, None, "where it is run; without it, where the pool was started", path=True),
    Option("timeout", float, 10.0, "seconds it may take for one event", minimum=0.1, maximum=3600, unit="s"),
    Option("command", bool, False, "tell it the job's command too; it may hold secrets"),
)
TAIL = 500  # bytes of what it said last that a complaint shows
PAUSE = 0.05  # between two looks at a program that says nothing


class Command(Notifier):
    """A program that exits with 0 in time has been told; anything else is NotDelivered. Its output goes nowhere."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._argv = [str(word) for word in options["argv"]]
        self._cwd = options.get("cwd")
        self._timeout = float(options.get("timeout") or 10.0)
        self._command = bool(options.get("command", False))

    def notify(self, events: Sequence[Event]) -> None:
        for event in events:
            self._run(document(event, command=self._command) + b"\n")

    def _run(self, data: bytes) -> None:
        with tempfile.TemporaryFile() as file:  # not a pipe: a program that does not read it holds nobody up
            file.write(data)
            file.seek(0)
            try:
                process = subprocess.Popen(
                    self._argv,
                    stdin=file,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    cwd=self._cwd,
                    start_new_session=True,
                )
            except (OSError, ValueError) as error:
                why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                raise NotDelivered(f"{self._argv[0]} cannot be run: {why.lower()}") from error
        assert process.stderr is not None
        with process.stderr:
            try:
                said = _until_its_end(process, process.stderr, time.monotonic() + self._timeout)
            except TimeoutError as error:
                raise NotDelivered(f"{self._argv[0]} took longer than {self._timeout:g} s") from error
            finally:
                _end(process)
        if process.returncode:
            how = f"exit {process.returncode}" if process.returncode > 0 else f"signal {-process.returncode}"
            last = said.decode(errors="replace").strip().rpartition("\n")[2]
            raise NotDelivered(f"{self._argv[0]} ended with {how}{f': {last}' if last else ''}")


def _until_its_end(process: subprocess.Popen[bytes], stderr: IO[bytes], deadline: float) -> bytes:
    """Wait for the program, not for those it leaves behind; what it said last. TimeoutError if it takes too long."""
    said = b""
    if sys.platform != "win32":  # where nobody is told: no worker runs there
        os.set_blocking(stderr.fileno(), False)
    while True:
        ended = process.poll() is not None
        while data := _read(stderr):
            said = (said + data)[-TAIL:]
            if time.monotonic() > deadline:
                break
        if ended:
            return said
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        if data is None:
            select.select([stderr], [], [], min(left, PAUSE))
        else:  # it has closed it, and is about to end
            try:
                process.wait(min(left, PAUSE))
            except subprocess.TimeoutExpired:
                pass


def _read(stderr: IO[bytes]) -> bytes | None:
    """What there is; empty at the end, None if there is nothing yet."""
    try:
        return os.read(stderr.fileno(), 1 << 16)
    except BlockingIOError:
        return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program that has not ended, and what it started."""
    if process.poll() is not None:
        return
    if sys.platform == "win32":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _open(options: Mapping[str, Any], _context: Context) -> Notifier:
    return Command(options)


@hookimpl
def queuectl_notifiers() -> Iterable[Provider[Notifier]]:
    yield Provider("command", _open, OPTIONS, summary="a program that is given each event as JSON", durable=True)
