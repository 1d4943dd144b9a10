"""Ends what an engine has forgotten.

A dockerd that is killed while it starts a container shows it as created ever after. The job runs all the same, and
neither start, kill nor remove reaches it. On the engine's own host its processes are found by their control group,
which bears the container's id.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

if sys.platform == "win32":
    raise ImportError("workers need Linux or macOS")


def end_forgotten(container: str) -> int:
    """Kill every process of this host in the control group of a container, by its full id; how many there were.

    PermissionError if they are not ours to kill.
    """
    count = 0
    while found := processes_of(container):
        count += len(found)
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    return count


def processes_of(container: str) -> list[int]:
    """The live processes of this host whose control group bears the id."""
    return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cgroup") if _is_alive_in(path, container)]


def _is_alive_in(path: Path, container: str) -> bool:
    try:
        if container not in path.read_text():
            return False
        state = (path.parent / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False  # it has just ended
    return state not in "ZX"
