"""A process that is prepared as a worker is, to run a test of an executor in.

An executor counts on its surroundings: no other children, orphans that fall to its process, signals as a worker has
them. A test process has none of that, so each test is run in a fork of its own.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from queuectl.api import trees
from queuectl.testing.fakes import make_run

if TYPE_CHECKING:
    from queuectl.api.executor import Executor, Handle, Run
    from queuectl.api.model import Outcome

if sys.platform == "win32":
    raise ImportError("executors run in workers, and those need Linux or macOS")

#: A test that takes longer hangs.
PATIENCE = 60.0


class Ended(NamedTuple):
    """A run that has ended, and what it wrote."""

    outcome: Outcome
    stdout: bytes
    stderr: bytes


class Running:
    """A started run, followed as a worker follows it."""

    def __init__(self, handle: Handle, stdout: Path, stderr: Path) -> None:
        self.handle = handle
        self._stdout, self._stderr = stdout, stderr

    def wait(self, seconds: float = 20.0) -> bool:
        """Whether ``fileno()`` said within *seconds* that the job may have ended."""
        return readable(self.handle.fileno(), seconds)

    def end(self, seconds: float = 20.0) -> Ended:
        """Wait for the end and collect it."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.wait(until - time.monotonic())
            outcome = self.handle.collect()
            if outcome is not None:
                return Ended(outcome, self._stdout.read_bytes(), self._stderr.read_bytes())
        raise AssertionError(f"the job did not end within {seconds:g} s")


class Workbench:
    """What a test of an executor works with: the executor, and a folder."""

    def __init__(self, open_executor: Callable[[], Executor], folder: Path) -> None:
        self.open_executor = open_executor
        self.executor = open_executor()
        self._other: Executor | None = None
        self.folder = folder
        self.log: list[str] = []
        self.expected = ""  # the name that the last run was to have
        self._count = 0

    def start(self, command: Any, **run: Any) -> Running:
        """Start a shell line (a text) or an argv; *run* are fields of :class:`~queuectl.api.executor.Run`."""

        def begin(run: Run) -> Handle:
            self.expected = self.executor.ident(run)
            return self.executor.start(run)

        running = self._running(command, begin, run)
        assert running is not None
        return running

    def attach(self, ident: str) -> Running | None:
        """Take up a run by another executor, as another worker does after the first one's death."""
        other = self._other = self._other or self.open_executor()
        return self._running("true", lambda run: other.attach(ident, run), {})

    def _running(self, command: Any, begin: Callable[[Run], Handle | None], run: dict[str, Any]) -> Running | None:
        run.setdefault("own_env", self.mark())
        paths = [self.folder / f"{os.getpid()}.{self._count}.{name}" for name in ("out", "err")]
        files = [os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600) for path in paths]
        try:
            handle = begin(make_run(command, *files, log=self.log.append, **run))
        finally:
            for file in files:
                os.close(file)
        return None if handle is None else Running(handle, *paths)

    def mark(self) -> dict[str, str]:
        """What core puts into the environment of every run, and of no other."""
        self._count += 1
        return {"QUEUECTL_RUN": f"bench{os.getpid()}.1.{self._count}"}

    def close(self) -> None:
        """As a worker does at its end."""
        for executor in (self.executor, self._other):
            if executor is not None:
                executor.close()

    def run(self, command: Any, **run: Any) -> Ended:
        """Start it, see it to its end, and forget it, as a worker does."""
        running = self.start(command, **run)
        ended = running.end()
        running.handle.forget()
        return ended

    def signpost(self, name: str = "ready") -> Signpost:
        """A place where a job can say that it has come so far."""
        return Signpost(self.folder / name)


class Signpost:
    """A named pipe that jobs write to: a test waits for them without guessing how long they take."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path, 0o600)
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._own = os.open(path, os.O_WRONLY | os.O_CLOEXEC)  # so that it never reads as ended

    def __str__(self) -> str:
        return str(self.path)

    def wait(self, marks: int = 1, seconds: float = 20.0) -> None:
        """Until so many bytes have been written to it."""
        until = time.monotonic() + seconds
        while marks > 0:
            assert readable(self._fd, until - time.monotonic()), f"the job did not come so far within {seconds:g} s"
            marks -= len(os.read(self._fd, marks))

    def close(self) -> None:
        os.close(self._fd)
        os.close(self._own)


def readable(fd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(max(0.0, seconds) * 1000))


# --- The fork ----------------------------------------------------------------------------------


def in_worker(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test method in a process like a worker. It gets a :class:`Workbench` as ``bench``.

    Whatever else it names is a fixture or a parameter, as usual; they are made before the fork.
    """
    signature = inspect.signature(test)

    @functools.wraps(test)
    def outside(self: Any, open_executor: Callable[[], Executor], tmp_path: Path, **others: Any) -> None:
        def body() -> None:
            bench = Workbench(open_executor, tmp_path)
            try:
                test(self, bench=bench, **others)
            finally:
                bench.close()

        report = _run_in_fork(body)
        if report.get("skip"):
            pytest.skip(report["skip"])
        if report.get("fault"):
            pytest.fail(report["fault"], pytrace=False)

    wanted = [p for name, p in signature.parameters.items() if name not in ("bench", "open_executor", "tmp_path")]
    own = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in ("open_executor", "tmp_path")]
    rest = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in wanted[1:]]
    vars(outside)["__signature__"] = signature.replace(parameters=[wanted[0], *own, *rest])
    del vars(outside)["__wrapped__"]  # pytest would take the fixtures of the inner one
    return outside


def _run_in_fork(body: Callable[[], None]) -> dict[str, str]:
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads: the child does not use what they hold
        pid = os.fork()
    if pid == 0:
        os.close(read)
        _child(body, write)
    os.close(write)
    try:
        return _await_report(pid, read)
    finally:
        os.close(read)


def _await_report(pid: int, read: int) -> dict[str, str]:
    text = b""
    until = time.monotonic() + PATIENCE
    while readable(read, until - time.monotonic()):
        data = os.read(read, 1 << 16)
        if not data:
            break
        text += data
    else:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return {"fault": f"the test did not end within {PATIENCE:g} s"}
    _, status = os.waitpid(pid, 0)
    if not text:
        return {"fault": f"the executor took its worker with it (exit {os.waitstatus_to_exitcode(status)})"}
    report: dict[str, str] = json.loads(text)
    return report


def _child(body: Callable[[], None], write: int) -> None:
    """The life of the fork. Never returns."""
    report: dict[str, str] = {}
    try:
        _prepare()
        body()
        left = trees.children() if trees.reap() else []
        if left:
            report["fault"] = f"processes were left to the worker: {left}"
    except pytest.skip.Exception as skip:
        report["skip"] = str(skip)
    except BaseException:
        report["fault"] = traceback.format_exc()
    try:
        trees.end_children()
        data = json.dumps(report).encode()
        while data:
            data = data[os.write(write, data) :]
    finally:
        os._exit(0)


def _prepare() -> None:
    """Become like a worker, and then some: signals that are ignored or blocked, which no job may inherit."""
    os.setsid()
    trees.become_subreaper()
    os.umask(0o077)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 0)  # pytest's own alarm does not concern us
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    for fd in map(int, os.listdir("/dev/fd")):
        if fd > 2:
            try:
                os.set_inheritable(fd, False)
            except OSError:  # the one that listdir had open
                pass
