"""The built-in executor ``subprocess``: the job is a child of the worker, in a session of its own.

A plain command is executed directly, as make does, since a shell costs as much as a small program; whatever a shell
could read differently goes to ``/bin/sh -c``. The child gets default signals, /dev/null as stdin, its two output
files, and no other descriptor. When it has ended, everything it started is ended too.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from queuectl.api import trees
from queuectl.api.errors import StartFailed
from queuectl.api.executor import Executor, Handle, Run
from queuectl.api.markers import hookimpl
from queuectl.api.model import Outcome, OutcomeKind
from queuectl.api.providers import Context, Option, Provider

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")

#: What no POSIX shell reads as anything but plain words.
_PLAIN = re.compile(r"[A-Za-z0-9_@%+:,./ \t-]+").fullmatch
#: First words that a shell would not look up on PATH.
_SHELL_WORDS = frozenset(
    """
    . : [ alias bg break builtin case cd chdir command continue do done echo elif else esac eval exec exit export
    false fc fg fi for function getopts hash if in jobs kill let local login logout newgrp printf pwd read readonly
    return select set shift source test then time times trap true type typeset ulimit umask unalias unset until wait
    while
    """.split()
)
#: Python ignores some signals, and a job must not inherit that.
_DEFAULT_SIGNALS = [
    number for number in signal.valid_signals() if number not in (signal.SIGKILL, signal.SIGSTOP) and number < 32
]


def plain_words(line: str) -> tuple[str, ...] | None:
    """The words of a shell line that needs no shell, or None if it does."""
    if not _PLAIN(line):
        return None
    words = tuple(line.split())
    return words if words and words[0] not in _SHELL_WORDS else None


def find_program(name: str, env: Mapping[str, str], cwd: str | None) -> str:
    """The file that *name* means in the job's own PATH and directory. Raises StartFailed, 127 or 126."""
    if not name:
        raise StartFailed("the command is empty")
    if "\0" in name:
        raise StartFailed(f"{name!r}: a command has no NUL bytes", 126)
    if "/" in name:
        candidates = [name]
    else:
        candidates = [os.path.join(folder or ".", name) for folder in env.get("PATH", os.defpath).split(":")]
    denied = False
    for candidate in candidates:
        path = candidate if cwd is None or candidate.startswith("/") else os.path.join(cwd, candidate)
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return candidate
        denied = denied or os.path.exists(path)
    if denied:
        raise StartFailed(f"{name}: permission denied", 126)
    raise StartFailed(f"{name}: command not found", 127)


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


class SubprocessExecutor(Executor):
    """Runs jobs as children of this process, which must be a subreaper for the whole tree to be ended."""

    def __init__(self, shell: str = "/bin/sh", nice: int = 0, umask: int | None = None) -> None:
        self.shell = shell
        self.nice = nice
        self.umask = umask
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._sees_orphans = trees.is_subreaper()

    def start(self, run: Run) -> Handle:
        argv = run.argv if run.argv is not None else plain_words(run.shell or "")
        if argv is not None:
            program = find_program(argv[0], run.env, run.cwd)
        else:
            program, argv = self.shell, (self.shell, "-c", run.shell or "")
        nice = int(run.options.get("nice", self.nice))
        pid = self._spawn(program, argv, run)
        if nice:
            try:
                os.setpriority(os.PRIO_PROCESS, pid, nice)
            except OSError as error:
                run.log(f"cannot run job {run.claim.job.id} at nice {nice}: {error.strerror}")
        return ProcessHandle(pid, None if self._sees_orphans else f"QUEUECTL_RUN={run.env.get('QUEUECTL_RUN', '')}")

    def _spawn(self, program: str, argv: tuple[str, ...], run: Run) -> int:
        """posix_spawn knows no directory and no umask: this process, which has one job, lends it its own."""
        here = _enter(run.cwd)
        mask = os.umask(self.umask) if self.umask is not None else None
        try:
            return self._spawn_here(program, argv, run)
        except OSError as error:
            if error.errno == errno.ENOEXEC:  # a script without "#!": what a shell would do with it
                return self._spawn_here(self.shell, (self.shell, program, *argv[1:]), run)
            code = 127 if error.errno == errno.ENOENT else 126
            raise StartFailed(f"{argv[0]}: {(error.strerror or str(error)).lower()}", code) from error
        except ValueError as error:  # a NUL byte in an argument
            raise StartFailed(f"{argv[0]!r}: {error}", 126) from error
        finally:
            if mask is not None:
                os.umask(mask)
            if here is not None:
                os.fchdir(here)
                os.close(here)

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
        if self._null >= 0:
            os.close(self._null)
            self._null = -1


def _ended(pid: int) -> bool:
    """Whether a child is a zombie, as ps sees it."""
    with os.popen(f"ps -o state= -p {pid}") as listing:
        return listing.read().strip()[:1] in ("Z", "")


def _enter(cwd: str | None) -> int | None:
    """Change to *cwd*; a descriptor of where we were. Raises StartFailed if it is not there on this host."""
    if cwd is None:
        return None
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chdir(cwd)
    except OSError as error:
        os.close(here)
        text = "does not exist on this host" if error.errno == errno.ENOENT else (error.strerror or "").lower()
        raise StartFailed(f"the directory {cwd} {text}", 126) from error
    return here


def _mask(text: str) -> int:
    return int(text, 8)


def _check_umask(text: str) -> str | None:
    return None if re.fullmatch("[0-7]{1,4}", text) else "must be an octal mask such as 027"


def _open(options: Mapping[str, Any], context: Context) -> Executor:
    umask = options.get("umask")
    return SubprocessExecutor(
        options.get("shell", "/bin/sh"), options.get("nice", 0), _mask(umask) if umask is not None else None
    )


_NICE = Option("nice", int, 0, "priority for the processor: 0 is normal, 19 is the most modest", minimum=0, maximum=19)


@hookimpl
def queuectl_executors() -> Iterable[Provider[Executor]]:
    yield Provider(
        "subprocess",
        _open,
        (
            Option("shell", str, "/bin/sh", "the shell that runs shell lines, called with -c", path=True),
            _NICE,
            Option(
                "umask", str, None, "file mode mask of the jobs, in octal; default: the worker's", check=_check_umask
            ),
        ),
        "a child process on this host",
        job_options=(_NICE,),
    )
