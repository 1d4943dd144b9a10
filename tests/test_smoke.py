"""The command lines of the first public QueueCTL still work, from a shell, with nothing configured."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROMISES = 9  # lines that begin with "ok"


@pytest.mark.timeout(180)
def test_the_first_command_lines_and_the_five_scenarios() -> None:
    script = Path(sys.executable).with_name("queuectl")
    words = [str(script)] if script.exists() else [sys.executable, "-m", "queuectl"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["/bin/sh", "tests/smoke.sh", *words],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok  ") == PROMISES, done.stdout
