"""The page of contracts: ``queuectl.api``, file by file, from its docstrings."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from prose import prose

API = Path(__file__).resolve().parent.parent / "queuectl" / "api"

#: The files, in the order in which an author meets them.
FILES = ("providers", "storage", "executor", "processes", "backoff", "notifier", "model", "errors")

HEAD = """\
All that a plugin may import: `from queuectl.api import NAME` for the usual names, `from queuectl.api.FILE import NAME`
for the rest. [Hooks](hooks.md) have a page of their own; each sentence about a component is a test of its
[suite](suites.md). What is abstract must be written; the rest has defaults.
"""


def contracts_page(made: str) -> str:
    """Every class, method and function that is public, with its docstring."""
    lines = ["# The contracts", "", made, HEAD]
    for name in FILES:
        text = (API / f"{name}.py").read_text(encoding="utf-8")
        tree = ast.parse(text)
        lines += [f"## queuectl.api.{name}", "", *prose(ast.get_docstring(tree) or ""), ""]
        lines += constants(tree, text)
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and is_public(node.name):
                lines += class_section(node, text)
            elif isinstance(node, ast.FunctionDef) and is_public(node.name):
                lines += [f"### {node.name}", "", *signature(node), *prose(ast.get_docstring(node) or ""), ""]
    return "\n".join(lines)


def constants(tree: ast.Module, text: str) -> list[str]:
    """The constants of a file, as they are written, each with the comment above it."""
    source = text.splitlines()
    kept = []
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        names = [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
        if names and all(name.isupper() and is_public(name) for name in names):
            first = node.lineno
            while source[first - 2].startswith("#:"):
                first -= 1
            kept += source[first - 1 : node.end_lineno]
    return ["```python", *kept, "```", ""] if kept else []


def is_public(name: str) -> bool:
    return not name.startswith("_") and len(name) > 1


def class_section(node: ast.ClassDef, text: str) -> list[str]:
    """A class: its docstring, its fields as they are written, its methods."""
    lines = [f"### {node.name}", "", *prose(ast.get_docstring(node) or ""), ""]
    source = text.splitlines()
    fields = [
        item
        for item in node.body
        if isinstance(item, ast.AnnAssign) or (isinstance(item, ast.Assign) and not is_private(item))
    ]
    if fields:
        first, last = fields[0].lineno, fields[-1].end_lineno or 0
        while source[first - 2].lstrip().startswith("#"):
            first -= 1
        kept = [line for line in source[first - 1 : last] if line.strip()]
        lines += ["```python", f"class {node.name}({', '.join(map(ast.unparse, node.bases))}):", *kept, "```", ""]
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and not item.name.startswith("_"):
            decorators = {ast.unparse(each) for each in item.decorator_list}
            mark = " (abstract)" if "abc.abstractmethod" in decorators else ""
            lines += [f"#### {node.name}.{item.name}{mark}", ""]
            lines += [*signature(item), *prose(ast.get_docstring(item) or ""), ""]
    return lines


def is_private(item: ast.Assign) -> bool:
    return any(isinstance(target, ast.Name) and target.id.startswith("_") for target in item.targets)


def signature(node: ast.FunctionDef) -> list[str]:
    """The ``def`` line, wrapped where it is long."""
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    line = f"def {node.name}({ast.unparse(node.args)}){returns}"
    if len(line) > 118:
        words = re.split(r", (?![^\[]*\])", ast.unparse(node.args))
        line = "\n".join([f"def {node.name}(", *(f"    {word}," for word in words), f"){returns}"])
    return ["```python", line, "```", ""]
