"""The page of the conformance suites: what each test demands and why, from the tests themselves."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import NamedTuple

from prose import plain, prose

ROOT = Path(__file__).resolve().parent.parent
TESTING = ROOT / "queuectl" / "testing"

#: The kinds, with the files of their suites in the order of the tests, and the suite's class.
SUITES = {
    "Storages": ("storage", "StorageSuite"),
    "Executors": ("executor", "ExecutorSuite"),
    "Backoffs": ("backoff", "BackoffSuite"),
    "Notifiers": ("notifier", "NotifierSuite"),
}

HEAD = """\
What `queuectl plugins check` runs, and what your own tests run when they subclass a suite
([how](../howto/test-a-plugin.md)). The last column says what a test is for: nothing there means that every component of
the kind has to pass it. An ability or claim there means that who does not have it is not asked; *without* one, that
who does not declare it has to refuse. The suites are versioned with the core: a new test may fail an old plugin in a
minor release only, and the changelog says so.
"""

#: What in the source of a test says whom it is for.
FOR = (
    (r"need\(storage, Ability\.(\w+)\)", "{}"),
    (r"declares the ability (\w+)", "without {}"),
    (r"\bcopy: Callable", "BACKUP"),
    (r"\bseveral: None", "`processes`"),
    (r"\bnew_storage:", "fixture `new_storage`, hypothesis"),
    (r"if not self\.(cleans|attaches|monotone|here)\b", "`{}`"),
    (r"if not \(self\.(here)", "`{}`"),
    (r"if delivered is None", "fixture `delivered`"),
)


class Row(NamedTuple):
    """One test of a suite."""

    name: str
    demand: str  # its docstring, in one line
    whom: str  # whom it is for; empty: everybody


class Subject(NamedTuple):
    """One class of tests."""

    name: str
    about: str
    rows: tuple[Row, ...]
    knobs: tuple[tuple[str, str, str], ...]  # name, default, what for


def subjects(module: str, suite: str) -> list[Subject]:
    """The classes of a suite, those it is put together from in their order, itself last."""
    files = [TESTING / f"{module}.py", *sorted((TESTING / "subjects").glob("*.py"))]
    classes = {}
    for path in files if module == "storage" else files[:1]:
        text = path.read_text(encoding="utf-8")
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef):
                classes[node.name] = subject(node, text)
    whole = next(n for n in ast.parse(files[0].read_text(encoding="utf-8")).body if getattr(n, "name", "") == suite)
    assert isinstance(whole, ast.ClassDef)
    names = [base.id for base in whole.bases if isinstance(base, ast.Name)]
    return [classes[name] for name in ["Subject", *names, suite] if name in classes]


def subject(node: ast.ClassDef, text: str) -> Subject:
    lines = text.splitlines()
    rows, knobs = [], []
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name.startswith("test_"):
            source = "\n".join(lines[item.lineno - 1 : item.end_lineno])
            rows.append(Row(item.name, " ".join((ast.get_docstring(item) or "").split()), whom(source)))
        elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.value is not None:
            about: list[str] = []
            while (line := lines[item.lineno - 2 - len(about)].strip()).startswith("#:"):
                about.insert(0, line.removeprefix("#:").strip())
            knobs.append((item.target.id, ast.unparse(item.value), " ".join(about)))
    return Subject(node.name, ast.get_docstring(node) or "", tuple(rows), tuple(knobs))


def whom(source: str) -> str:
    """Whom a test is for."""
    found = [form.format(match) for pattern, form in FOR for match in re.findall(pattern, source)]
    return ", ".join(dict.fromkeys(found))


def suites_page(made: str) -> str:
    """All suites, test by test."""
    lines = ["# The conformance suites", "", made, HEAD]
    for title, (module, suite) in SUITES.items():
        doc = ast.get_docstring(ast.parse((TESTING / f"{module}.py").read_text(encoding="utf-8"))) or ""
        lines += [f"## {title}: {suite}", "", *prose(doc), ""]
        parts = subjects(module, suite)
        knobs = [knob for part in parts for knob in part.knobs]
        if knobs:
            lines += ["| attribute | default | |", "|---|---|---|"]
            lines += [f"| `{name}` | `{default}` | {cell(about)} |" for name, default, about in knobs]
            lines.append("")
        for part in parts:
            if part.rows:
                lines += section(part, alone=len(parts) == 1)
    return "\n".join(lines)


def section(part: Subject, *, alone: bool) -> list[str]:
    heading = [] if alone else [f"### {part.name}", "", cell(part.about), ""]
    lines = [*heading, "| test | demands, and why | for |", "|---|---|---|"]
    for row in part.rows:
        words = row.name.removeprefix("test_").replace("_", " ")
        lines.append(f"| {words} | {cell(row.demand)} | {row.whom} |")
    return [*lines, ""]


def cell(text: str) -> str:
    return " ".join(plain(text).replace("|", "\\|").replace("<", "\\<").split())
