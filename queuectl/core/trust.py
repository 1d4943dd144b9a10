"""Which project files may bring code with them: those that somebody has looked at and said so.

Trust is kept in the state folder as the file's path, with a hash of it and of each plugin file that it names: when one
of them changes, it has to be given again.
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
    known[os.path.realpath(path)] = contents(path)
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
    return changed(path) == []


def changed(path: str) -> list[str] | None:
    """Which of the file and its plugin files are no longer what was trusted. None: it never was."""
    known = _read().get(os.path.realpath(path))
    if not isinstance(known, dict):
        return None
    now = contents(path)
    return sorted(name for name in {*known, *now} if known.get(name) != now.get(name))


def contents(path: str) -> dict[str, str]:
    """A hash of the file and of every plugin file that it names, by path; a missing one counts as such."""
    from .config import parse

    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise ConfigError(f"{shown_path(path)}: cannot be read: {error.strerror}") from error
    plugins = parse(data, path).get("plugins", {})
    files = plugins.get("files", []) if isinstance(plugins, dict) else []
    named = [absolute(str(name), Origin("project", path)) for name in files] if isinstance(files, list) else []
    return {os.path.realpath(path): _hash(data), **{name: _hash(_content(name)) for name in named}}


def _hash(data: bytes) -> str:
    from hashlib import sha256

    return sha256(data).hexdigest()


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return b"+" + file.read()
    except OSError:
        return b"-"


def _path() -> str:
    return os.path.join(state_dir(), "trusted.json")


def _read() -> dict[str, dict[str, str]]:
    try:
        with open(_path(), encoding="utf-8") as file:
            known = json.load(file)
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write(known: dict[str, dict[str, str]]) -> None:
    from .files import write_atomically

    private_dir(state_dir())
    write_atomically(_path(), json.dumps(known, indent=1, sort_keys=True).encode() + b"\n")
