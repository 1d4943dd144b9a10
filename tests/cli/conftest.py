"""Fixtures of the command line: an empty home, and workers."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from commandline import Cli


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """``queuectl`` with an empty home."""
    home = tmp_path / "home"
    home.mkdir()
    return Cli(home)


@pytest.fixture
def pool(cli: Cli) -> Iterator[None]:
    """Two workers, until the test is over."""
    process = cli.popen("worker", "start", "--count", "2", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield
    cli("worker", "stop", "--now", "--timeout", "10")
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
