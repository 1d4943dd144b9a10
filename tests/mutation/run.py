"""Take each guard away, in a copy, and see whether the tests notice: ``make mutants``.

Exits with 1 if a mutant survives, and with 2 if one does not apply or the tests fail for another reason than a rule.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

from mutants import SUITES, Mutant, Suite

ROOT = Path(__file__).resolve().parent.parent.parent
COPIED = ("queuectl", "tests", "pyproject.toml")


def copies(folder: Path, n: int) -> Queue[Path]:
    """So many copies of the package and its tests, for as many mutants at a time."""
    free: Queue[Path] = Queue()
    for number in range(n):
        copy = folder / str(number)
        copy.mkdir()
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, copy / name)
        free.put(copy)
    return free


def tests_fail(copy: Path, tests: Sequence[str]) -> int:
    """The exit status of pytest in a copy: 1 where a test failed, 0 where none did."""
    env = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    words = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider", *tests]
    return subprocess.run(words, cwd=copy, env=env, capture_output=True, check=False).returncode


def verdict(copy: Path, suite: Suite, mutant: Mutant) -> str:
    """``killed``, ``survives``, or what is wrong with the mutant."""
    path = copy / mutant.file
    original = path.read_text()
    if original.count(mutant.text) != 1:
        return f"does not apply: its text stands there {original.count(mutant.text)} times"
    path.write_text(original.replace(mutant.text, mutant.instead))
    try:
        status = tests_fail(copy, suite.tests)
    finally:
        path.write_text(original)
    return {0: "survives", 1: "killed"}.get(status, f"broke the tests: pytest ended with {status}")


def main(chosen: Sequence[str]) -> int:
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        free = copies(Path(folder), min(4, os.cpu_count() or 1))
        suites = [suite for suite in SUITES if not chosen or suite.name in chosen]

        def judge(case: tuple[Suite, Mutant]) -> tuple[Suite, Mutant, str]:
            copy = free.get()
            try:
                return *case, verdict(copy, *case)
            finally:
                free.put(copy)

        for suite in suites:
            copy = free.get()
            assert tests_fail(copy, suite.tests) == 0, f"the tests of {suite.name} fail without any mutant"
            free.put(copy)
        with ThreadPoolExecutor(free.qsize()) as threads:
            for suite, mutant, said in threads.map(judge, [(s, m) for s in suites for m in s.mutants]):
                counts[said.split(":")[0]] += 1
                if said != "killed":
                    print(f"{suite.name}: {mutant.guard} ({mutant.file}): {said}", flush=True)
    total = counts.total()
    print(f"{total} mutants: {counts['killed']} killed, {counts['survives']} survive")
    if path := os.environ.get("QUEUECTL_FAULTS_REPORT"):
        with open(path, "a", encoding="utf-8") as file:
            line = {"name": "mutants of the guards", "target": total, "ran": total, "held": counts["killed"]}
            file.write(json.dumps(line) + "\n")
    if counts["killed"] == total:
        return 0
    return 1 if counts["killed"] + counts["survives"] == total else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
