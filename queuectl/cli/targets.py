"""A FILE that a command is to make: a place where none can be is said before anything is read."""

from __future__ import annotations

import os

from queuectl.api.errors import BadInput


def check_place(file: str) -> None:
    """Refuse a name at which no file can be made, as a file that cannot be read is refused."""
    if not file:
        raise BadInput("the name of the FILE is empty")
    folder = os.path.dirname(os.path.abspath(file))
    if not os.path.isdir(folder):
        raise BadInput(f"{file} cannot be made: there is no folder {folder}")
    if not os.path.lexists(file) and not os.access(folder, os.W_OK | os.X_OK):
        raise BadInput(f"{file} cannot be made: the folder {folder} cannot be written to")
