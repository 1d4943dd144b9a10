"""A courier as the pool's child: how one is started with a line to it, found dead, and ended with what it started."""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")


def start(program: Sequence[str], *words: str) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Run a Python *program* with the number of its end of a line, and *words*; our end never blocks. OSError."""
    import subprocess  # only pools with somebody to tell need it

    ours, theirs = socket.socketpair()
    with theirs:
        fd = theirs.fileno()
        try:
            process = subprocess.Popen(
                [sys.executable, *program, str(fd), *words],
                stdin=subprocess.DEVNULL,
                stdout=2,  # what a notifier prints is talk
                pass_fds=(fd,),
                start_new_session=True,  # the terminal's signals are for the pool
            )
        except OSError:
            ours.close()
            raise
    ours.setblocking(False)
    return process, ours


def is_ours(process: subprocess.Popen[bytes]) -> bool:
    """Whether the pid still belongs to our child, dead or alive: once waited for, it may be anybody's."""
    if sys.platform == "darwin":
        return process.poll() is None
    if process.returncode is not None:
        return False
    try:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it lives no more; if we can help it, without waiting for it: its pid stays ours."""
    if sys.platform == "darwin":
        return process.poll() is not None
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def kill(process: subprocess.Popen[bytes]) -> None:
    """End it, and what its notifiers started in its session. Nobody waits for it here."""
    if not is_ours(process):
        return
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except OSError:
        process.kill()


def ends(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether it is gone within *seconds*. A killed one that hangs in the kernel is not."""
    import subprocess

    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True
