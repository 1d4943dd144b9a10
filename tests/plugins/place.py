"""Fake distributions on disk, and the command line in a child process that sees them and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]


class Done(NamedTuple):
    """How one command line ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Place:
    """A home directory, a project folder in it, and a folder for installed distributions."""

    def __init__(self, base: Path) -> None:
        self.home, self.site, self.project = base / "home", base / "site", base / "home" / "project"
        self.program = ["-m", "queuectl"]  # what Python is to run
        self.project.mkdir(parents=True)
        self.site.mkdir()

    def install(
        self, name: str, code: str, *, version: str = "1.0", entry: str = "", distribution: str = "", module: str = ""
    ) -> None:
        """A distribution ``queuectl-NAME`` with one module and an entry point called *name*."""
        distribution = distribution or f"queuectl-{name}"
        module = module or distribution.replace("-", "_")
        info = self.site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[queuectl]\n{name} = {entry or module}\n")
        (self.site / f"{module}.py").write_text(code)

    def configure(self, text: str, name: str = "queuectl.toml") -> Path:
        path = self.project / name
        path.write_text(text)
        return path

    def run(self, *args: str, env: dict[str, str] | None = None, named: bool = True) -> Done:
        """``queuectl ARGS`` in the project folder, with ``--config`` if there is a file and it is to be *named*."""
        words = list(args)
        if named and (self.project / "queuectl.toml").exists():
            words += ["--config", "queuectl.toml"]
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("QUEUECTL_", "XDG_"))}
        clean.update(HOME=str(self.home), PYTHONPATH=f"{self.site}{os.pathsep}{ROOT}", **(env or {}))
        done = subprocess.run(
            [sys.executable, *self.program, *words],
            check=False,
            cwd=self.project,
            env=clean,
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    def refused(self, code: int, *args: str, **options: Any) -> str:
        """What a command line that ends with *code* says, as one line."""
        done = self.run(*args, **options)
        assert done.code == code, done
        assert done.out == ""
        assert done.err.startswith("queuectl: ") and done.err.count("\n") == 1, done.err
        return done.err.removeprefix("queuectl: ").rstrip("\n")
