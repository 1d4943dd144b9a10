"""An environment of its own, in which nothing is installed but what a test installs, and what the tests run with."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Environment:
    """A virtual environment that was just made. It sees the packages of the one that runs the tests."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False, symlinks=os.name != "nt")
        self.python = folder / "bin" / "python"
        (self.site,) = folder.glob("lib/python*/site-packages")
        seen = [str(ROOT), *(entry for entry in sys.path if entry.endswith("-packages"))]
        (self.site / "tests.pth").write_text("\n".join(seen) + "\n", encoding="utf-8")

    def install(self, project: Path) -> None:
        """Build the wheel of a project and unpack it, which is what installing a wheel is."""
        build = "import flit_core.buildapi as b; print(b.build_wheel('dist'))"
        (project / "dist").mkdir(exist_ok=True)
        wheel = self.run("-c", build, cwd=project).stdout.split()[-1]
        with zipfile.ZipFile(project / "dist" / wheel) as archive:
            archive.extractall(self.site)

    def run(
        self, *words: str, cwd: Path, code: int | None = 0, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """``python WORDS`` of this environment, in a folder. It must exit with *code* (None: whatever)."""
        ours = {k: v for k, v in os.environ.items() if not k.startswith(("QUEUECTL_", "XDG_", "PYTHON", "PYTEST"))}
        done = subprocess.run(
            [str(self.python), *words],
            cwd=cwd,
            env={**ours, "HOME": str(cwd), "PYTHONDONTWRITEBYTECODE": "1", **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert code is None or done.returncode == code, f"{words}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done
