"""Labelled points in the life of a pool, a keeper and a worker, where a test lets that process be hit by a signal.

``reached("pool.job-sent")`` does nothing, unless the process was started with ``QUEUECTL_POINT=pool.job-sent``: then
the first time (with ``label:3`` the third) it sends itself ``QUEUECTL_POINT_SIGNAL`` (by name, KILL if not given) and
goes on, if it still can. Several labels are separated by commas; a process is hit once. ``QUEUECTL_POINT_MARK`` is a
path: the file ``PATH.label`` is made before the signal is sent, and where it exists the point does not strike, so that
the process that takes the place of the first one lives. The labels are listed in ``tests/faults/test_points.py``.
"""

from __future__ import annotations

import os
import signal
import sys

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")


def _armed() -> dict[str, int]:
    """Labels and how often each has to be reached until it strikes."""
    given = [word.partition(":") for word in os.environ.get("QUEUECTL_POINT", "").split(",") if word]
    return {label: int(count or 1) for label, _, count in given}


_left = _armed()
_ARMED = bool(_left)


def reached(label: str) -> None:
    """This process is now at *label*."""
    if _ARMED and label in _left:
        _left[label] -= 1
        if _left[label] == 0:
            _strike(label)


def _strike(label: str) -> None:
    mark = os.environ.get("QUEUECTL_POINT_MARK")
    if mark is not None:
        try:
            os.close(os.open(f"{mark}.{label}", os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            return
    _left.clear()
    os.kill(os.getpid(), signal.Signals[f"SIG{os.environ.get('QUEUECTL_POINT_SIGNAL', 'KILL')}"])
