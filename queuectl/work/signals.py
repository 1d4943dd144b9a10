"""The signals of a pool: noted when they come, obeyed when its loop comes to them."""

from __future__ import annotations

import os
import select
import signal
import sys
from typing import TYPE_CHECKING

from .record import quiet_pipe

if TYPE_CHECKING:
    from .poller import Poller

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")

OURS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT)


class Signals:
    """What came and was not obeyed yet, in that order. A signal wakes the poll."""

    def __init__(self, poll: Poller) -> None:
        self.pending: list[int] = []
        self._wake, self._wake_write = quiet_pipe()
        poll.register(self._wake, select.POLLIN)

    def catch(self) -> None:
        """From now on. A SIGHUP that was ignored when we began, as by ``nohup``, stays so."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        hangup = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
        for number in (*OURS, *hangup):
            signal.signal(number, lambda number, _frame: self.pending.append(number))

    def let_go(self) -> None:
        """Leave nothing behind that another image of this process would inherit."""
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def hears(self, descriptor: int) -> bool:
        """Whether *descriptor*, which polled readable, is the one that signals wake the poll by."""
        if descriptor != self._wake:
            return False
        try:
            while os.read(self._wake, 4096):
                pass
        except BlockingIOError:
            pass
        return True
