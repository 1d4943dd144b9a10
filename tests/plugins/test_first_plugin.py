"""The pages on writing and testing plugins show a plugin and its tests: taken as they stand, the tests pass."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "docs" / "howto" / f"{name}.md" for name in ("write-a-plugin", "test-a-plugin")]


def test_the_plugin_of_the_pages_passes_the_tests_of_the_pages(tmp_path: Path) -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    files = dict(re.findall(r"^```python\n# ([a-z_]+\.py)\b[^\n]*\n(.*?)^```", text, re.M | re.S))
    assert {"conftest.py", "ladder.py", "test_ladder.py"} <= files.keys()
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None and int(passed[1]) > 70
