"""Jobs as processes of this host: the base of executors that run a job here, as it is or behind other words.

A plain command is executed directly, as make does, since a shell costs as much as a small program; whatever a shell
could read differently goes to ``/bin/sh -c``. The child is the leader of a session of its own and gets default
signals, /dev/null as stdin, its two output files, and no other descriptor. When it has ended, everything it started is
ended too.

Loaded in workers only; never where jobs are enqueued.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from . import trees
from .commandlines import find_program, plain_words
from .errors import StartFailed
from .executor import Executor, Handle, Run
from .model import Outcome, OutcomeKind

if TYPE_CHECKING:
    from collections.abc import Sequence

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")

#: Python ignores some signals, and a job must not inherit that.
_DEFAULT_SIGNALS = [
    number for number in signal.valid_signals() if number not in (signal.SIGKILL, signal.SIGSTOP) and number < 32
]


class ProcessExecutor(Executor):
    """Runs jobs as children of the worker, and ends them with everything they started.

    By itself it is the whole contract. An executor that runs jobs behind other words (``nice``, ``unshare``,
    ``firejail``, ``systemd-run --scope``) says which, in :meth:`prefix`. Those words have to pass on what they get: the
    arguments, the descriptors, signals, and the exit code.
    """

    def __init__(self, shell: str = "/bin/sh", umask: int | None = None) -> None:
        self.shell = shell
        self.umask = umask
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._sees_orphans = trees.is_subreaper()

    def prefix(self, run: Run) -> Sequence[str]:
        """The words in front of the job's own; none by default.

        The first is a program, looked for on the worker's PATH: a job cannot put another in its place.
        """
        return ()

    def start(self, run: Run) -> Handle:
        argv = run.argv if run.argv is not None else plain_words(run.shell or "")
        prefix = tuple(self.prefix(run))
        if argv is None:
            program, argv = self.shell, (self.shell, "-c", run.shell or "")
        elif argv[0].startswith("/") and not prefix:
            program = argv[0]  # the attempt itself is the quickest way to look for it
        else:
            program = find_program(argv[0], run.env, run.cwd)
        if prefix:
            program, argv = _program_in_front(prefix[0]), (*prefix, *argv)
        pid = self.spawn(program, argv, run)
        return ProcessHandle(pid, None if self._sees_orphans else f"QUEUECTL_RUN={run.env.get('QUEUECTL_RUN', '')}")

    def spawn(self, program: str, argv: tuple[str, ...], run: Run) -> int:
        """Start the file *program*; its pid. posix_spawn knows no directory and no umask: this process, which has one
        job, lends it its own."""
        _enter(run.cwd)
        mask = os.umask(self.umask) if self.umask is not None else None
        try:
            return self._spawn_here(program, argv, run)
        except OSError as error:
            if error.errno == errno.ENOEXEC:  # a script without "#!": what a shell would do with it
                return self._spawn_here(self.shell, (self.shell, program, *argv[1:]), run)
            find_program(program, run.env, run.cwd)  # says it better, if it is not there or may not be executed
            code = 127 if error.errno == errno.ENOENT else 126
            raise StartFailed(f"{argv[0]}: {(error.strerror or str(error)).lower()}", code) from error
        except ValueError as error:  # a NUL byte in an argument
            raise StartFailed(f"{argv[0]!r}: {error}", 126) from error
        finally:
            if mask is not None:
                os.umask(mask)
            if run.cwd is not None:
                os.fchdir(self._here)

    def _spawn_here(self, program: str, argv: tuple[str, ...], run: Run) -> int:
        return os.posix_spawn(
            program,
            argv,
            run.env,
            file_actions=(
                (os.POSIX_SPAWN_DUP2, self._null, 0),
                (os.POSIX_SPAWN_DUP2, run.stdout, 1),
                (os.POSIX_SPAWN_DUP2, run.stderr, 2),
            ),
            setsid=True,
            setsigmask=(),
            setsigdef=_DEFAULT_SIGNALS,
        )

    def close(self) -> None:
        for descriptor in (self._null, self._here) if self._null >= 0 else ():
            os.close(descriptor)
        self._null = self._here = -1


class ProcessHandle(Handle):
    """A running child, the leader of its own session and process group.

    *mark* is given where orphans do not fall to this process: what the job leaves is then looked for by session and
    by that mark in its environment.
    """

    def __init__(self, pid: int, mark: str | None = None) -> None:
        self.pid = pid
        self._mark = mark
        self._spent = False
        self.ident = f"pid:{pid}"
        self._pidfd = trees.open_pidfd(pid)
        self._poller = _ExitPipe(pid) if self._pidfd is None else None

    def fileno(self) -> int:
        if self._poller is not None:
            return self._poller.fileno()
        assert self._pidfd is not None
        return self._pidfd

    def stop(self, force: bool = False) -> None:
        if self._spent:  # its pid may be anybody's by now
            return
        if not force:
            trees.send_group(self.pid, signal.SIGTERM)
            trees.send_group(self.pid, signal.SIGCONT)
            return
        trees.send_group(self.pid, signal.SIGKILL)
        trees.send(self.pid, signal.SIGKILL)

    def collect(self) -> Outcome | None:
        left = 0
        if self._mark is not None and sys.platform == "linux":
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return None
            left = self._end_unseen(self._mark)  # while the leader is not reaped: the number of its session is its own
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid == 0:
            return None
        self._spent = True
        if self._mark is not None and sys.platform != "linux":
            left = self._end_unseen(self._mark)
        left += trees.end_children() if trees.reap() else 0
        if self._pidfd is not None:
            os.close(self._pidfd)
        if self._poller is not None:
            self._poller.close()
        code = os.waitstatus_to_exitcode(status)
        if code >= 0:
            return Outcome(OutcomeKind.EXITED, code, left=left)
        return Outcome(OutcomeKind.SIGNALLED, -code, left=left)

    def _end_unseen(self, mark: str) -> int:
        """End what the job left and nobody hands to us; how many could not be ended."""
        trees.send_group(self.pid, signal.SIGKILL)
        return trees.end_marked(mark, (self.pid,))


class _ExitPipe:
    """Stands in for a pidfd where there is none: a thread that waits for the child without reaping it."""

    def __init__(self, pid: int) -> None:
        import threading

        self._read, self._write = os.pipe()
        threading.Thread(target=self._wait, args=(pid, self._write), daemon=True).start()

    @staticmethod
    def _wait(pid: int, pipe: int) -> None:
        if sys.platform == "linux":
            try:
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            except OSError:
                pass
        else:  # no waiting without reaping: look now and then whether it is still there
            while trees.send(pid, 0) and not _ended(pid):
                time.sleep(0.02)
        os.close(pipe)

    def fileno(self) -> int:
        return self._read

    def close(self) -> None:
        os.close(self._read)


def _ended(pid: int) -> bool:
    """Whether a child is a zombie, as ps sees it."""
    with os.popen(f"ps -o state= -p {pid}") as listing:
        return listing.read().strip()[:1] in ("Z", "")


def _program_in_front(name: str) -> str:
    try:
        return find_program(name, os.environ, None)
    except StartFailed as error:
        raise StartFailed(f"what the executor puts in front of the job cannot be run: {error}", error.code) from error


def _enter(cwd: str | None) -> None:
    """Change to *cwd*. Raises StartFailed if it is not there on this host."""
    if cwd is None:
        return
    try:
        os.chdir(cwd)
    except OSError as error:
        why = (error.strerror or "").lower()
        text = "does not exist on this host" if error.errno == errno.ENOENT else f"cannot be entered: {why}"
        raise StartFailed(f"the directory {cwd} {text}", 126) from error
