"""How long code of others is waited for where it should answer at once."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

#: What one call of a plugin may take where something waits for it.
HOOK_SECONDS = float(os.environ.get("QUEUECTL_HOOK_SECONDS", "10"))


class HookTimeout(Exception):
    """It took longer than allowed."""


def impatient(call: Callable[[], T]) -> T:
    """Call, and raise HookTimeout in the midst of it after HOOK_SECONDS.

    An alarm does it, so only in the main thread, and not on Windows: elsewhere a call takes as long as it takes. Calls
    may be nested; then the inner one's time counts, and the outer one's no more.
    """
    import threading

    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        return call()
    previous = signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, HOOK_SECONDS)
    try:
        return call()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _ring(_number: int, _frame: object) -> None:
    raise HookTimeout(f"no answer within {HOOK_SECONDS:g} s")
