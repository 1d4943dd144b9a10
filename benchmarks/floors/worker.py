"""A worker that does only what every job needs, by hand: no queue, no record of what happened, no hooks.

    worker.py backlog FOLDER JOBS only-started|kept WORD…   so many times the command of these words
    worker.py told FOLDER SOCKET [RECORD]                   each job that comes over that descriptor

``backlog`` says at the end how many bytes its jobs printed. ``told`` gets the words of a command with tabs between, and
answers with what it printed. With a RECORD what is in hand is written there first.
"""

from __future__ import annotations

import os
import select
import signal
import sys

_DEFAULT_SIGNALS = [
    number for number in signal.valid_signals() if number not in (signal.SIGKILL, signal.SIGSTOP) and number < 32
]


class Output:
    """One of the two files for what jobs print, kept from job to job."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def open_for_job(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def take(self) -> bytes:
        """What the job printed; the file is empty again."""
        size = os.fstat(self._descriptor).st_size
        if size == 0:
            return b""
        printed = os.pread(self._descriptor, size, 0)
        os.ftruncate(self._descriptor, 0)
        os.close(os.open(self._path, os.O_RDONLY | os.O_CLOEXEC))  # spares a wait: queuectl/work/output.py says which
        return printed


class Worker:
    """Starts a job and sees to its end, one at a time."""

    def __init__(self, folder: str) -> None:
        self._env = dict(os.environ)
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        lane = os.path.join(folder, str(os.getpid()))
        self._outputs = Output(lane + ".out"), Output(lane + ".err")
        self._poller = select.poll()

    def only_run(self, argv: list[str]) -> bytes:
        """The least: a process, started and waited for, in this session; what it prints is lost."""
        null = self._null
        onto = [(os.POSIX_SPAWN_DUP2, null, number) for number in range(3)]
        _, status = os.waitpid(os.posix_spawn(argv[0], argv, self._env, file_actions=onto), 0)
        _must_be_well(status)
        return b""

    def run(self, argv: list[str]) -> bytes:
        """A session of its own, output kept and read back, nothing left; what it printed."""
        self._finish(self._start(argv))
        return b"".join([output.take() for output in self._outputs])

    def _start(self, argv: list[str]) -> int:
        out, err = (output.open_for_job() for output in self._outputs)
        onto = ((os.POSIX_SPAWN_DUP2, self._null, 0), (os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, err, 2))
        pid = os.posix_spawn(
            argv[0], argv, self._env, file_actions=onto, setsid=True, setsigmask=(), setsigdef=_DEFAULT_SIGNALS
        )
        os.close(out)
        os.close(err)
        return pid

    def _finish(self, pid: int) -> None:
        ended = os.pidfd_open(pid)
        self._poller.register(ended, select.POLLIN)
        self._poller.poll()
        self._poller.unregister(ended)
        _, status = os.waitpid(pid, os.WNOHANG)
        os.close(ended)
        _must_be_well(status)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        sys.exit("a job left something behind")


def _must_be_well(status: int) -> None:
    """A figure for work that was not done would be worth nothing."""
    if status != 0:
        sys.exit(f"a job ended with {os.waitstatus_to_exitcode(status)}")


def backlog(worker: Worker, jobs: int, kind: str, argv: list[str]) -> int:
    """The bytes that so many jobs have printed."""
    run = {"only-started": worker.only_run, "kept": worker.run}[kind]
    return sum(len(run(argv)) for _ in range(jobs))


def told(worker: Worker, channel: int, record: int | None) -> None:
    """Until the other end is closed: asleep in poll, then a job."""
    poller = select.poll()
    poller.register(channel, select.POLLIN)
    while True:
        poller.poll()
        line = os.read(channel, 4096)
        if not line:
            return
        if record is not None:
            os.pwrite(record, line, 0)
        printed = worker.run(line.decode().removesuffix("\n").split("\t"))
        os.write(channel, printed + b"\n")


def main(verb: str, folder: str, *words: str) -> None:
    worker = Worker(folder)
    if verb == "backlog":
        jobs, kind, *argv = words
        print(backlog(worker, int(jobs), kind, argv))
    else:
        channel, *records = words
        told(
            worker, int(channel), os.open(records[0], os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600) if records else None
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
