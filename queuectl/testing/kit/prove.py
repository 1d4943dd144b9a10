"""Runs one suite in a process of its own: ``python -m queuectl.testing.kit.prove REQUEST REPORT``.

A component may hang, exit or crash the interpreter; ``queuectl plugins check`` then says so and goes on. The report is
a line of JSON for each test that ended, written as it ends.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest


class Recorder:
    """Writes down how each test ended."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - closed by the end of the process
        self._demands: dict[str, str] = {}
        self._said: set[str] = set()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            text = getattr(getattr(item, "function", None), "__doc__", None) or ""
            self._demands[item.nodeid] = " ".join(text.split())
        self._write({"claims": dict(getattr(getattr(items[0], "module", None), "CLAIMS", {})) if items else {}})

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._write({"began": nodeid.rpartition("::")[2]})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        counts = report.when == "call" or report.skipped or report.failed
        if not counts or (report.nodeid in self._said and not report.failed):
            return
        self._said.add(report.nodeid)
        self._write(
            {
                "name": report.nodeid.rpartition("::")[2],
                "outcome": report.outcome,
                "demand": self._demands.get(report.nodeid, ""),
                "message": message_of(report),
            }
        )

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._write({"fault": str(report.longrepr).strip().splitlines()[-1]})

    def _write(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()


def message_of(report: pytest.TestReport) -> str:
    """Why a test failed or was skipped, in a few lines at most."""
    if report.passed:
        return ""
    if report.skipped:
        return str(report.longrepr[2]).removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash is not None else str(report.longrepr)
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return "\n".join(without_traceback(lines)[:4])[:1000]


def without_traceback(lines: list[str]) -> list[str]:
    """What was raised, where the text of a failure is a traceback: that of a test in a process of its own is."""
    if not lines or "Traceback (most recent call last)" not in lines[0]:
        return lines
    last = max((n for n, line in enumerate(lines) if line.startswith("  File ")), default=0)
    return next((lines[n:] for n in range(last + 1, len(lines)) if not lines[n].startswith(" ")), lines[-1:])


def main() -> int:
    request, report = sys.argv[1:]
    os.environ["QUEUECTL_PROOF"] = request
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # what is installed here is no part of the suite
    os.environ.pop("PYTEST_ADDOPTS", None)
    folder = Path(request).parent
    words = [str(Path(__file__).with_name("proof.py")), "-q", "--noconftest", "-p", "no:cacheprovider"]
    words += ["-c", os.devnull, "--rootdir", str(folder), "--basetemp", str(folder / "tmp")]
    words += ["-p", "pytest_timeout", "--timeout", "120"]
    return int(pytest.main(words, plugins=[Recorder(report)]))


if __name__ == "__main__":
    sys.exit(main())
