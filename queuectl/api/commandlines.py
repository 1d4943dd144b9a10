"""What a command line means: whether it needs a shell, and which file its first word is."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from queuectl.api.errors import StartFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What no POSIX shell reads as anything but plain words.
_PLAIN = re.compile(r"[A-Za-z0-9_@%+:,./ \t-]+").fullmatch
#: First words that a shell would not look up on PATH.
_SHELL_WORDS = frozenset(
    """
    . : [ alias bg break builtin case cd chdir command continue do done echo elif else esac eval exec exit export
    false fc fg fi for function getopts hash if in jobs kill let local login logout newgrp printf pwd read readonly
    return select set shift source test then time times trap true type typeset ulimit umask unalias unset until wait
    while
    """.split()
)


def plain_words(line: str) -> tuple[str, ...] | None:
    """The words of a shell line that needs no shell, or None if it does."""
    if not _PLAIN(line):
        return None
    words = tuple(line.split())
    return words if words and words[0] not in _SHELL_WORDS else None


def find_program(name: str, env: Mapping[str, str], cwd: str | None) -> str:
    """The file that *name* means in the job's own PATH and directory. Raises StartFailed, 127 or 126."""
    if not name:
        raise StartFailed("the command is empty")
    if "\0" in name:
        raise StartFailed(f"{name!r}: a command has no NUL bytes", 126)
    if "/" in name:
        candidates = [name]
    else:
        candidates = [os.path.join(folder or ".", name) for folder in env.get("PATH", os.defpath).split(":")]
    denied = False
    for candidate in candidates:
        path = candidate if cwd is None or candidate.startswith("/") else os.path.join(cwd, candidate)
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return candidate
        denied = denied or os.path.exists(path)
    if denied:
        raise StartFailed(f"{name}: permission denied", 126)
    raise StartFailed(f"{name}: command not found", 127)
