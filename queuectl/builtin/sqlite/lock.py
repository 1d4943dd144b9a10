"""One writer at a time, in the order they came.

SQLite's own busy handler sleeps and tries again, which lets one process starve for seconds while others take turns. A
``flock`` on a file beside the database is granted in order of arrival.
"""

from __future__ import annotations

import os
import sys
from _thread import allocate_lock, start_new_thread  # not threading: it is not on the enqueue path otherwise

from .files import open_private

if sys.platform != "win32":
    from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock


class WriteLock:
    """An exclusive ``flock`` with a time limit. One per connection; not nested, not carried over a fork."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = self._open()

    def _open(self) -> int:
        return open_private(self._path, os.O_RDWR | os.O_CREAT)

    if sys.platform == "win32":  # where no workers run, SQLite's own handler has to do

        def acquire(self, timeout: float) -> bool:
            return True

        def release(self) -> None:
            pass

    else:

        def acquire(self, timeout: float) -> bool:
            """Take the lock; False after *timeout* seconds."""
            try:
                flock(self._fd, LOCK_EX | LOCK_NB)
                return True
            except BlockingIOError:
                return self._wait(timeout)

        def _wait(self, timeout: float) -> bool:
            # flock has no time limit, polling has no order: a thread waits in line, and this one waits for the thread.
            # A thread that was given up keeps its descriptor, so that its late lock cannot be mistaken for another.
            fd, decided, got = self._fd, allocate_lock(), allocate_lock()
            got.acquire()
            given_up = False

            def wait() -> None:
                flock(fd, LOCK_EX)
                with decided:
                    if given_up:
                        os.close(fd)
                    else:
                        got.release()

            start_new_thread(wait, ())
            if got.acquire(timeout=timeout):
                return True
            with decided:
                if got.acquire(blocking=False):
                    return True
                given_up = True
                self._fd = self._open()
                return False

        def release(self) -> None:
            flock(self._fd, LOCK_UN)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
