"""Files of others are what their packages have, and come with their licence."""

from __future__ import annotations

import hashlib
from pathlib import Path

import tomli

FOLDERS = [
    Path(__file__).resolve().parents[2] / "queuectl" / "web" / "static" / "vendor",
    Path(__file__).parent / "vendor",
]


def test_every_vendored_file_is_listed_and_unchanged() -> None:
    for folder in FOLDERS:
        listed = tomli.loads((folder / "VENDORED.toml").read_text())["file"]
        for file in listed:
            assert hashlib.sha256((folder / file["name"]).read_bytes()).hexdigest() == file["sha256"], file["name"]
            assert (folder / file["licence_file"]).read_text().strip(), file["name"]
            assert file["version"] and file["package"] and file["licence"]
        known = {file["name"] for file in listed} | {file["licence_file"] for file in listed} | {"VENDORED.toml"}
        assert {path.name for path in folder.iterdir()} == known, folder
