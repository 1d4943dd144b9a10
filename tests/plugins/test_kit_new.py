"""``queuectl plugins new`` begins plugins that are whole: they install, are typed, and pass their own tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fresh import ROOT, Environment
from place import Place

from queuectl.cli.plugin_kit import KINDS
from queuectl.testing.kit import scaffold


def test_every_kind_that_the_command_knows_has_templates_and_the_other_way_round() -> None:
    folders = {path.name for path in Path(scaffold.__file__).parent.joinpath("templates").iterdir()} - {"common"}
    assert set(KINDS) == set(scaffold.KINDS) == folders


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_installs_and_passes_its_own_tests(tmp_path: Path, kind: str) -> None:
    begun = scaffold.begin("rate-limit", kind, tmp_path / "plugin")
    here = Environment(tmp_path / "fresh")
    here.install(begun.folder)
    done = here.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", cwd=begun.folder)
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None and " failed" not in done.stdout
    assert int(passed[1]) >= {"storage": 150, "executor": 90, "backoff": 70, "notifier": 25}.get(kind, 2)


def test_new_plugins_are_typed_and_tidy(tmp_path: Path) -> None:
    """By the settings that they bring along, but for all of them at once: a type checker starts slowly."""
    for kind in KINDS:
        begun = scaffold.begin(f"some-{kind}", kind, tmp_path / kind)
        ruff = [sys.executable, "-m", "ruff"]
        for words in (["check", "--no-cache", "."], ["format", "--no-cache", "--check", "."]):
            done = subprocess.run([*ruff, *words], cwd=begun.folder, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{kind}\n{done.stdout}{done.stderr}"
    files = [*map(str, tmp_path.glob("*/src")), *map(str, tmp_path.glob("*/tests/test_*.py"))]
    words = ["--strict", "--config-file=", f"--cache-dir={ROOT / '.mypy_cache' / 'kit'}", *files]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *words],
        cwd=tmp_path,
        env={"MYPYPATH": ":".join([str(ROOT), *map(str, tmp_path.glob("*/src"))]), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_command_says_what_it_wrote_and_never_writes_over_anything(place: Place) -> None:
    written = place.run("plugins", "new", "rate-limit", "--kind", "backoff", "--json").json
    folder = Path(written["folder"])
    assert folder == (place.project / "queuectl-rate-limit").resolve()
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert set(written["files"]) == there >= {"pyproject.toml", "README.md", ".github/workflows/test.yml"}
    assert written["distribution"] == "queuectl-rate-limit"
    assert "is not empty" in place.refused(4, "plugins", "new", "queuectl-rate-limit", "--kind", "storage")
    shutil.rmtree(folder)
    assert "cd queuectl-rate-limit" in place.run("plugins", "new", "rate-limit", "--kind", "storage").out


@pytest.mark.parametrize(
    "name", ["", "Upper", "under_score", "../up", "-dash", "two--dashes", "1st", "x" * 31, "ümlaut"]
)
def test_a_name_that_cannot_be_one_is_refused(place: Place, name: str) -> None:
    assert "cannot name a plugin" in place.refused(2, "plugins", "new", "--kind", "backoff", "--", name)
    assert list(place.project.iterdir()) == []


LOOKALIKE = """
import os, sys
from queuectl_shelf.storage import ShelfStorage

ours, theirs = ShelfStorage(sys.argv[1]), ShelfStorage(sys.argv[1])
file = sys.argv[1] + "/state.json"
theirs.set_queue("mail", limit=1)
assert ours.stat()[0].limit == 1
theirs.set_queue("mail", limit=2)
with open(file, "rb") as stored:
    text = stored.read()
assert ours.stat()[0].limit == 2
theirs.set_queue("mail", limit=3)
with open(file, "rb") as stored:
    later = stored.read()
assert len(later) == len(text)
was = os.stat(file)
with open(file, "r+b") as same:  # the same inode, time and size, as a file system may give them again
    same.write(text)
os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))
assert ours.stat()[0].limit == 2
with open(file, "r+b") as same:
    same.write(later)
os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))
assert ours.stat()[0].limit == 3
"""


def test_a_new_storage_never_takes_one_file_for_another(tmp_path: Path) -> None:
    """What others stored is seen, though the file has the inode, the time and the size of the one that was read."""
    begun = scaffold.begin("shelf", "storage", tmp_path / "plugin")
    path = f"{begun.folder / 'src'}{os.pathsep}{ROOT}"
    subprocess.run(
        [sys.executable, "-c", LOOKALIKE, str(tmp_path / "shelf")], env={**os.environ, "PYTHONPATH": path}, check=True
    )


@pytest.mark.parametrize(("name", "kind"), [("list", "command"), ("log", "notifier"), ("queuectl-sqlite", "storage")])
def test_the_name_of_what_is_built_in_is_refused(place: Place, name: str, kind: str) -> None:
    assert "is built in" in place.refused(2, "plugins", "new", name, "--kind", kind)
    assert list(place.project.iterdir()) == []


def test_no_placeholder_is_left_and_nothing_else_of_ours_than_the_api_is_imported() -> None:
    for kind in KINDS:
        for path, text in scaffold.package("rate-limit", kind).items():
            assert not re.search(r"@[A-Za-z]+@", text), f"{kind}: {path}"
            ours = set(re.findall(r"^\s*(?:from|import) (queuectl(?:\.\w+)?)\b", text, re.MULTILINE))
            allowed = {"queuectl.api", "queuectl.testing"} if path.startswith("tests/") else {"queuectl.api"}
            assert ours <= allowed, f"{kind}: {path} imports {ours - allowed}"
