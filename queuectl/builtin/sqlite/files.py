"""Files and folders for the owner alone, whatever the umask. Descriptors are not inherited: Python sees to that."""

from __future__ import annotations

import os
import sys


def open_private(path: str, flags: int) -> int:
    """A descriptor of a file that is made if the flags say so. One of somebody else keeps its mode."""
    if sys.platform == "win32":
        return os.open(path, flags | os.O_BINARY, 0o600)
    fd = os.open(path, flags, 0o600)
    if os.fstat(fd).st_mode & 0o777 != 0o600:
        try:
            os.fchmod(fd, 0o600)
        except PermissionError:
            pass
    return fd


def private_folders(home: str, name: str) -> None:
    """Make ``home/name``."""
    for folder in (home, os.path.join(home, name)):
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            continue
        os.chmod(folder, 0o700)
