"""Where the peers live: ``.bench/``, a virtual environment of their own beside what the system's packages bring.

Nothing of theirs comes into QueueCTL's environment. What cannot be had (no root, no network, no package) is said by
name and stands in the table as missing; a second call finds everything and costs nothing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

HOME = ROOT / ".bench"
VENV = HOME / "venv"
TASKS = Path(__file__).parent / "tasks"

#: program → the Debian package that has it
PROGRAMS = {
    "tsp": "task-spooler",
    "nq": "nq",
    "parallel": "parallel",
    "redis-server": "redis-server",
    "postgres": "postgresql",
}
#: module → what pip installs for it
MODULES = {
    "huey": "huey",
    "litequeue": "litequeue",
    "rq": "rq",
    "celery": "celery[redis]",
    "dramatiq": "dramatiq[redis]",
    "saq": "saq[redis]",
    "procrastinate": "procrastinate psycopg[binary]",
}


def program(name: str) -> str | None:
    """The path of a peer's program, or None. PostgreSQL's are not on the PATH on Debian."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *map(str, folders)]))


def has_module(name: str) -> bool:
    """Whether the peers' environment has a Python module."""
    python = VENV / "bin" / "python"
    return python.exists() and _quiet([str(python), "-c", f"import {name}"]) is None


def install(say: Callable[[str], None]) -> None:
    """Get what is not there yet: Python peers with pip, programs with apt where this is root on a Debian."""
    if wanted := [name for name in MODULES if not has_module(name)]:
        say(f"installing {', '.join(wanted)} into {VENV.relative_to(ROOT)}")
        if not VENV.exists():
            _quiet([sys.executable, "-m", "venv", "--without-pip", str(VENV)])
        for name in wanted:  # one by one: what fails takes no other with it
            pip = [_python_with_pip(), "-m", "pip", "-q", "--python", str(VENV / "bin" / "python")]
            if trouble := _quiet([*pip, "--disable-pip-version-check", "install", *MODULES[name].split()]):
                say(f"{name}: {trouble}")
    packages = [package for name, package in PROGRAMS.items() if program(name) is None]
    if packages and shutil.which("apt-get") and os.geteuid() == 0:
        say(f"installing {', '.join(packages)} with apt-get")
        with _nothing_started():
            _quiet(["apt-get", "-q", "update"])
            for package in packages:
                if trouble := _quiet(["apt-get", "-qy", "--no-install-recommends", "install", package]):
                    say(f"{package}: {trouble}")


def _python_with_pip() -> str:
    """This interpreter, or that which its environment was made from: the project's own environment has no pip."""
    base = getattr(sys, "_base_executable", sys.executable)
    return sys.executable if _quiet([sys.executable, "-m", "pip", "--version"]) is None else base


def _quiet(argv: Sequence[str]) -> str | None:
    """Run it; None if it went well, else the last it said."""
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, check=False, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        )
    except OSError as error:
        return str(error)
    return None if done.returncode == 0 else (done.stderr or done.stdout).strip().rpartition("\n")[2] or "failed"


@contextlib.contextmanager
def _nothing_started() -> Iterator[None]:
    """Debian's packages start their servers; a benchmark starts its own, elsewhere. This is how to tell them."""
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            policy.unlink()
