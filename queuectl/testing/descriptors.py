"""How many descriptors this process has open: for tests of what lives for weeks."""

from __future__ import annotations

import os
import time

#: On Linux and macOS it lists them.
FOLDER = "/dev/fd"
#: Seconds that what goes on beside a test may take to hang up.
CLOSED_WITHIN = 10.0


def open_descriptors() -> int:
    """Their number, the one of this look included."""
    return len(os.listdir(FOLDER))


def await_closed(before: int) -> None:
    """No more are open than *before*, soon."""
    until = time.monotonic() + CLOSED_WITHIN
    while open_descriptors() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert open_descriptors() <= before
