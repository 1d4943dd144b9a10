"""``make demo`` does what it says: it checks its own results, so its exit code is the judgement."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.timeout(120)
def test_the_demo_comes_out_right(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "examples/demo/demo.py", "--folder", str(tmp_path / "demo")],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("  ok  ") == 7, done.stdout
