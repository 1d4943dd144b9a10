"""Where the user's own files are: configuration and state, as the platform has it."""

from __future__ import annotations

import os
import sys

from queuectl.api.errors import StorageError

#: Stands for the home of a user who has none, as in some containers: nothing is there, and nothing can be made there.
NOWHERE = "/nonexistent"


def config_dir() -> str:
    """The folder of the user's ``config.toml``."""
    return _folder("XDG_CONFIG_HOME", ".config", "user_config_dir")


def state_dir() -> str:
    """The folder for storages, trust and whatever else must survive: private to the user, made when needed."""
    return _folder("XDG_STATE_HOME", ".local/state", "user_state_dir")


def _folder(variable: str, below_home: str, elsewhere: str) -> str:
    """By hand on Linux, since every enqueue asks for it; platformdirs is imported on other systems."""
    if not sys.platform.startswith("linux"):
        import platformdirs

        return str(getattr(platformdirs, elsewhere)("queuectl", appauthor=False))
    base = os.environ.get(variable, "")
    if not os.path.isabs(base):  # the specification: relative ones are invalid and ignored
        home = os.path.expanduser("~")
        base = os.path.join(home if os.path.isabs(home) else NOWHERE, below_home)
    return os.path.join(base, "queuectl")


def private_dir(path: str) -> str:
    """Make *path* and what is missing above it, for this user alone; returns it."""
    if not os.path.isdir(path):
        parent = os.path.dirname(path)
        if parent and not os.path.isdir(parent):
            private_dir(parent)
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
        except OSError as error:
            raise StorageError(f"cannot make the folder {path}: {(error.strerror or str(error)).lower()}") from error
    return path
