"""``enqueue`` is typed in loops: what it imports is a budget, and this is its guard.

CPU time is measured by ``benchmarks/enqueue.py``; a list of modules says the same on every machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

#: What must not be loaded, nor anything below it.
NEVER = {
    "asyncio", "concurrent", "ctypes", "email", "flask", "hashlib", "http", "importlib.metadata", "importlib.resources",
    "jinja2", "logging", "multiprocessing", "platformdirs", "pluggy", "queuectl.api.hookspecs", "queuectl.api.trees",
    "queuectl.cli.status",
    "prometheus_client", "queuectl.testing", "queuectl.web", "queuectl.work", "random", "rich", "secrets", "shlex",
    "shutil", "socket",
    "sqlite3", "ssl", "subprocess", "tempfile", "tomlkit", "tomli", "tomllib", "traceback", "urllib", "waitress",
    "werkzeug", "xml", "zipfile", "zoneinfo",
}  # fmt: skip
#: Modules beyond those that ``import click`` loads: ours, apsw, json and what belongs to them.
MOST = 50

DUMP = """
import atexit, os, sys
def dump():
    with open(os.environ["MODULES_TO"], "w") as file:
        file.write(" ".join(sys.modules))
"""


def loaded(tmp_path: Path, code: str, *words: str) -> set[str]:
    """The modules that are loaded at the end of *code*, run with these words as its command line."""
    to = tmp_path / "modules"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("QUEUECTL_", "XDG_", "COV"))}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    env = {**kept, "HOME": str(tmp_path), "PYTHONPATH": path, "MODULES_TO": str(to)}
    script = f"{DUMP}\natexit.register(dump)\n{code}"
    subprocess.run([sys.executable, "-c", script, *words], env=env, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    return set(to.read_text().split())


def enqueue(tmp_path: Path, *words: str) -> set[str]:
    return loaded(tmp_path, "from queuectl.cli import entry; entry()", "enqueue", *words)


def family(module: str) -> set[str]:
    """A module and those it is in."""
    parts = module.split(".")
    return {".".join(parts[:n]) for n in range(1, len(parts) + 1)}


@pytest.mark.parametrize(
    "words", [["--", "true"], ["-c", "a | b"], ['{"command": "x", "priority": 3}']], ids=["argv", "shell", "json"]
)
def test_enqueue_loads_none_of_what_it_has_no_use_for(tmp_path: Path, words: list[str]) -> None:
    enqueue(tmp_path, "--", "true")  # the first makes the storage
    by_click = loaded(tmp_path, "import click")
    found = enqueue(tmp_path, *words) - by_click
    assert not {module for module in found if family(module) & NEVER}


def test_enqueue_loads_few_modules(tmp_path: Path) -> None:
    enqueue(tmp_path, "--", "true")
    extra = enqueue(tmp_path, "--", "true") - loaded(tmp_path, "import click")
    assert len(extra) <= MOST, f"{len(extra)}: {' '.join(sorted(extra))}"


def test_help_loads_no_command_and_no_storage(tmp_path: Path) -> None:
    found = loaded(tmp_path, "from queuectl.cli import entry; entry()", "--help")
    assert not {m for m in found if m.startswith(("queuectl.builtin", "queuectl.web", "queuectl.work"))}
    assert {m for m in found if m.startswith("queuectl.cli.")} <= {"queuectl.cli.lazy", "queuectl.cli.render"}
    assert "apsw" not in found


def test_no_command_loads_the_dashboard_or_rich_for_a_pipe(tmp_path: Path) -> None:
    found = loaded(tmp_path, "from queuectl.cli import entry; entry()", "status")
    assert not {module for module in found if family(module) & {"rich", "flask", "queuectl.web", "queuectl.work"}}
