"""Changes one value in a configuration file and leaves everything else in it, comments too, as it was."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from queuectl.api.errors import ConfigError

from .files import write_atomically
from .options import shown_path

if TYPE_CHECKING:
    from .config import Key


def edited(path: str, key: Key, value: Any) -> bytes:
    """The text of the file at *path* with *key* set to *value*; a file that is not there counts as empty."""
    import tomlkit

    document: Any = _read(path)
    table = document
    for depth, name in enumerate(key[:-1]):
        if name not in table:
            fresh = tomlkit.table(is_super_table=depth < len(key) - 2)
            if depth == 0 and len(document.body) and not document.as_string().endswith("\n\n"):
                document.add(tomlkit.nl())
            table[name] = fresh
        table = table[name]
    table[key[-1]] = value
    return str(tomlkit.dumps(document)).encode()


def without(path: str, key: Key) -> bytes | None:
    """The text of the file without *key*; None if it is not in there. A table left empty goes too."""
    import tomlkit

    document: Any = _read(path)
    tables = [document]
    for name in key[:-1]:
        if name not in tables[-1]:
            return None
        tables.append(tables[-1][name])
    if key[-1] not in tables[-1]:
        return None
    del tables[-1][key[-1]]
    for depth in range(len(key) - 1, 0, -1):
        if len(tables[depth]) or "#" in tables[depth].as_string():
            break
        del tables[depth - 1][key[depth - 1]]
    return str(tomlkit.dumps(document)).encode()


def write(path: str, data: bytes) -> None:
    """Write a configuration file, whole or not at all. ConfigError if it cannot be written."""
    folder = os.path.dirname(path)
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        write_atomically(path, data)
    except OSError as error:
        raise ConfigError(f"{shown_path(path)}: cannot be written: {error.strerror}") from error


def _read(path: str) -> Any:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        with open(path, encoding="utf-8", newline="") as file:
            return tomlkit.parse(file.read())
    except FileNotFoundError:
        return tomlkit.document()
    except OSError as error:
        raise ConfigError(f"{shown_path(path)}: cannot be read: {error.strerror}") from error
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise ConfigError(f"{shown_path(path)}: {error}") from error
