"""Which project files may bring code with them: those that somebody has looked at and said so.

Trust is kept in the state folder as the file's path and a hash of it and of the plugin files it names: when either
changes, it has to be given again.
"""

from __future__ import annotations

import json
import os

from queuectl.api.errors import ConfigError

from .options import Origin, absolute, shown_path
from .places import private_dir, state_dir


def trust(path: str) -> None:
    """Trust the project file at *path* as it is now."""
    known = _read()
    known[os.path.realpath(path)] = digest(path)
    _write(known)


def revoke(path: str) -> bool:
    """No longer trust the file at *path*; whether it was trusted."""
    known = _read()
    was = known.pop(os.path.realpath(path), None) is not None
    if was:
        _write(known)
    return was


def is_trusted(path: str) -> bool:
    """Whether the file and its plugin files are still what was trusted."""
    known = _read().get(os.path.realpath(path))
    return known is not None and known == digest(path)


def digest(path: str) -> str:
    """A hash of the file and of every plugin file that it names, in order; a missing one counts as such."""
    from hashlib import sha256

    from .config import parse

    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise ConfigError(f"{shown_path(path)}: cannot be read: {error.strerror}") from error
    whole = sha256(data)
    plugins = parse(data, path).get("plugins", {})
    files = plugins.get("files", []) if isinstance(plugins, dict) else []
    for name in files if isinstance(files, list) else []:
        whole.update(sha256(_content(absolute(str(name), Origin("project", path)))).digest())
    return whole.hexdigest()


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return b"+" + file.read()
    except OSError:
        return b"-"


def _path() -> str:
    return os.path.join(state_dir(), "trusted.json")


def _read() -> dict[str, str]:
    try:
        with open(_path(), encoding="utf-8") as file:
            known = json.load(file)
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write(known: dict[str, str]) -> None:
    from .files import write_atomically

    private_dir(state_dir())
    write_atomically(_path(), json.dumps(known, indent=1, sort_keys=True).encode() + b"\n")
