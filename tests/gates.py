"""Jobs that run until a test lets them end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self


class Gate:
    """A named pipe that jobs wait at: however many do, and also those that come when it is open already."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            os.mkfifo(path)
        self._fd = os.open(path, os.O_RDWR)  # open at both ends: neither side waits for the other

    def __enter__(self) -> Self:
        return self

    def __call__(self) -> None:
        os.write(self._fd, b"go\n" * 10)

    def __exit__(self, *_error: object) -> None:
        os.close(self._fd)
