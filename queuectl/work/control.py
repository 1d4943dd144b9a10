"""How other processes deal with a pool: start one in the background, signal it, wait for its end."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from queuectl.api.errors import QueueCTLError, WaitTimeout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queuectl.core.rundir import PoolRecord

    from .logfile import LogFile

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")

from queuectl.api import trees
from queuectl.core.rundir import is_locked, list_pools

from . import supervisor

#: Where a pool that is started in the background says that it is up, and what its log is.
READY_VARIABLE = "QUEUECTL_READY_FD"
LOG_VARIABLE = "QUEUECTL_LOG"
#: What asks a pool to let its jobs end, to end them politely, to end them by force, to execute itself anew.
SIGNALS = {None: signal.SIGTERM, "now": signal.SIGUSR1, "kill": signal.SIGQUIT, "restart": signal.SIGUSR2}


def detach(file: LogFile, words: Sequence[str]) -> int:
    """Run ``queuectl`` with *words* in a session of its own; its pid, when it says that it is up.

    QueueCTLError if it ends before that.
    """
    try:
        log = file.open()
    except OSError as error:
        raise QueueCTLError(f"cannot open the log {file.path}: {error.strerror}") from error
    read, write = os.pipe()
    os.set_inheritable(write, True)
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", "-m", "queuectl", *words],
        {**os.environ, READY_VARIABLE: str(write), LOG_VARIABLE: file.path},
        file_actions=(
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, log, 1),
            (os.POSIX_SPAWN_DUP2, log, 2),
        ),
        setsid=True,
    )
    os.close(write)
    os.close(log)
    with open(read, "rb") as pipe:
        if pipe.read(5) != b"ready":
            raise QueueCTLError(f"the pool did not start; see {file.path}")
    return pid


def say_ready() -> None:
    """Tell whoever started this pool in the background, and its supervisor, that it is up."""
    supervisor.tell(supervisor.READY)
    descriptor = os.environ.pop(READY_VARIABLE, None)
    if descriptor is not None:
        os.write(int(descriptor), b"ready")
        os.close(int(descriptor))


def signal_pool(pool: PoolRecord, how: str | None) -> str:
    """Ask a pool for something; why that cannot be, or an empty text. Only that very process is signalled."""
    if pool.boot != trees.boot_id() or pool.namespace != trees.pid_namespace():
        return f"pool {pool.id} runs in another container of this host: turn to it there"
    if trees.is_same(pool.pid, pool.inode) and trees.send(pool.pid, SIGNALS[how]):
        return ""
    return f"pool {pool.id} (process {pool.pid}) cannot be signalled by this user"


def await_end(pools: Sequence[PoolRecord], seconds: float | None) -> None:
    """Wait until the locks of *pools* are free. WaitTimeout after *seconds*."""
    until = None if seconds is None else time.monotonic() + seconds
    for pool in pools:
        pause = 0.005
        while is_locked(pool.path):
            if until is not None and time.monotonic() >= until:
                raise WaitTimeout(f"pool {pool.id} still runs after {seconds:g} s")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.1)


def await_restart(run_dir: str, pools: Sequence[PoolRecord], seconds: float) -> list[PoolRecord]:
    """Wait until each pool's process goes on as another pool; those that have not within *seconds*."""
    until = time.monotonic() + seconds
    left = list(pools)
    pause = 0.005
    while left and time.monotonic() < until:
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
        renewed = {record.pid: record.id for record in list_pools(run_dir) if record.alive}
        left = [pool for pool in left if renewed.get(pool.pid, pool.id) == pool.id]
    return left
