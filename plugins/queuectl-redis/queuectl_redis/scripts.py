"""The steps: one Lua script each, in a file of its own, made of what all have in common and the step itself."""

from __future__ import annotations

import os
from functools import cache

FOLDER = os.path.join(os.path.dirname(__file__), "lua")
_WITH = "-- with: "


@cache
def source(step: str) -> bytes:
    """The whole text of a step. ``open`` stands alone: there is no storage yet to check."""
    text = _read(step)
    if step == "open":
        return text
    begin = text.split(b"\n", 1)[0].decode()
    parts = begin.removeprefix(_WITH).split() if begin.startswith(_WITH) else []
    return b"\n".join([_read("base"), *map(_read, parts), text])


@cache
def digest(step: str) -> str:
    """The name by which a server that has seen a step knows it."""
    from hashlib import sha1  # not needed by who takes a step once

    return sha1(source(step), usedforsecurity=False).hexdigest()


@cache
def _read(name: str) -> bytes:
    with open(os.path.join(FOLDER, f"{name}.lua"), "rb") as file:
        return file.read()
