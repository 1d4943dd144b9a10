"""The command in a child process, with a home of its own: what the tests of the command line share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent


class Result(NamedTuple):
    """What one command line left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Cli:
    """Runs ``queuectl`` as a user of this machine would, with nothing configured."""

    def __init__(self, home: Path) -> None:
        self.home = home
        ours = ("QUEUECTL_", "XDG_", "PYTHONUNBUFFERED")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.env = {**kept, "HOME": str(home), "PYTHONPATH": path, "TZ": "UTC", "USER": "tester"}
        self.argv = [sys.executable, "-m", "queuectl"]

    def __call__(
        self, *words: str | bytes, stdin: str | bytes = b"", env: dict[str, str] | None = None, cwd: Path | None = None
    ) -> Result:
        """Run one command line to its end."""
        done = subprocess.run(
            [*self.argv, *words],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            env={**self.env, **(env or {})},
            cwd=cwd or self.home,
            timeout=60,
            check=False,
        )
        return Result(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def ok(self, *words: str | bytes, **more: Any) -> str:
        """What a command line that must succeed has printed, without the last line end."""
        result = self(*words, **more)
        assert result.code == 0, result
        return result.out.rstrip("\n")

    def refused(self, *words: str | bytes, code: int, **more: Any) -> str:
        """The one sentence by which a command line is refused with *code*: no traceback, nothing on stdout."""
        result = self(*words, **more)
        assert result.code == code, result
        lines = result.err.strip().splitlines()
        assert len(lines) == 1, result
        assert lines[0].startswith("queuectl: ")
        assert result.out == ""
        return lines[0]

    def popen(self, *words: str, **more: Any) -> subprocess.Popen[bytes]:
        """A command line that goes on."""
        return subprocess.Popen([*self.argv, *words], env=self.env, cwd=self.home, **more)


def lines(text: str) -> Sequence[str]:
    """The lines of a table without their padding."""
    return [" ".join(line.split()) for line in text.splitlines()]
