"""Finds installed plugins by reading ``entry_points.txt`` ourselves.

``importlib.metadata`` does the same and more, and its import alone costs as much as a whole ``enqueue``. It is asked
only when a plugin that the configuration names is not found here (zip files, exotic installers).
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

GROUP = "queuectl"


class EntryPoint(NamedTuple):
    """One installed plugin: its name, what to import for it, and what it came with."""

    name: str
    value: str  # "package.module" or "package.module:attribute"
    distribution: str
    version: str


def scan() -> list[EntryPoint]:
    """The plugins of every installed distribution, in the order of ``sys.path``.

    A distribution that is there twice counts once, where Python would import it from.
    """
    found: list[EntryPoint] = []
    seen: set[str] = set()
    for folder in dict.fromkeys(path or os.curdir for path in sys.path):
        for info in _infos(folder):
            text = _text(os.path.join(info, "entry_points.txt"))
            if GROUP not in text:
                continue
            distribution, version = _identity(info)
            if (plain := distribution.lower().replace("_", "-").replace(".", "-")) in seen:
                continue
            seen.add(plain)
            found.extend(EntryPoint(name, value, distribution, version) for name, value in parse(text))
    return found


def find_elsewhere(name: str) -> list[EntryPoint]:
    """The entry points called *name* that only the standard library sees."""
    from importlib.metadata import entry_points

    return [
        EntryPoint(point.name, point.value, point.dist.name, point.dist.version)
        if point.dist is not None
        else EntryPoint(point.name, point.value, "", "")
        for point in entry_points(group=GROUP, name=name)
    ]


def parse(text: str, group: str = GROUP) -> Iterator[tuple[str, str]]:
    """The names and values of one group of an ``entry_points.txt``."""
    inside = False
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            inside = line == f"[{group}]"
        elif inside and "=" in line and not line.startswith(("#", ";")):
            name, value = line.split("=", 1)
            yield name.strip(), value.split("[", 1)[0].strip()  # extras are of no use here


def _infos(folder: str) -> list[str]:
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return [os.path.join(folder, name) for name in sorted(names) if name.endswith((".dist-info", ".egg-info"))]


def _identity(info: str) -> tuple[str, str]:
    """Name and version of a distribution, from its metadata, else from its folder's name."""
    name, _, version = os.path.basename(info).rsplit(".", 1)[0].partition("-")
    for line in (_text(os.path.join(info, "METADATA")) or _text(os.path.join(info, "PKG-INFO"))).splitlines():
        if not line:
            break
        key, _, value = line.partition(":")
        if key == "Name":
            name = value.strip()
        elif key == "Version":
            version = value.strip()
    return name, version


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError):
        return ""
