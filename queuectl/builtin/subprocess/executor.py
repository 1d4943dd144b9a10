"""Runs a job as a child of the worker, on request with less priority."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from queuectl.api.executor import Run
from queuectl.api.processes import ProcessExecutor

if TYPE_CHECKING:
    from collections.abc import Callable

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")


class SubprocessExecutor(ProcessExecutor):
    """Runs jobs as children of this process, which must be a subreaper for the whole tree to be ended."""

    def __init__(self, shell: str = "/bin/sh", nice: int = 0, umask: int | None = None) -> None:
        super().__init__(shell, umask)
        self.nice = nice

    def spawn(self, program: str, argv: tuple[str, ...], run: Run) -> int:
        nice = int(run.options.get("nice", self.nice))
        spawn = super().spawn
        return _modestly(nice, lambda: spawn(program, argv, run), run) if nice else spawn(program, argv, run)


def _modestly(nice: int, spawn: Callable[[], int], run: Run) -> int:
    """Spawn from a thread that has made itself *nice*, and ends: on Linux a child has the niceness of its thread.

    Nobody but root could take it back from the whole worker; and told to the child afterwards it would come too late.
    """
    import threading  # few jobs ask for it

    result: list[int | BaseException] = []

    def in_thread() -> None:
        try:
            try:
                os.nice(nice)  # of this thread
            except OSError as error:
                run.log(f"cannot run job {run.claim.job.id} at nice {nice}: {error.strerror}")
            result.append(spawn())
        except BaseException as error:
            result.append(error)

    if sys.platform != "linux":  # there the whole process would be modest from then on
        pid = spawn()
        os.setpriority(os.PRIO_PROCESS, pid, nice)
        return pid
    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]
