"""Reads the SQL files: each statement stands under a line ``-- name:`` with a comment on what it is for."""

from __future__ import annotations

import os

FOLDER = os.path.dirname(__file__)


def read(*parts: str) -> str:
    """The text of a file beside this module."""
    with open(os.path.join(FOLDER, *parts), encoding="utf-8") as file:
        return file.read()


def load(name: str) -> dict[str, str]:
    """The statements of ``sql/<name>.sql`` by name, without their comments."""
    statements: dict[str, str] = {}
    for part in read("sql", f"{name}.sql").split("-- name: ")[1:]:
        title, _, body = part.partition("\n")
        lines = [line for line in body.splitlines() if line and not line.startswith("--")]
        statements[title.strip()] = "\n".join(lines).rstrip(";")
    return statements
