"""The house keeps its shape: who may import whom, no cycles, and what is written nowhere.

Everything is read from the source; nothing is imported. A failure names the file that imports, the line, and the file
that it must not see.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "queuectl"

#: Who may see whom. A room always sees itself.
SEES = {
    "api": set(),
    "core": {"api"},
    "work": {"api", "core"},
    "cli": {"api", "core", "work", "web", "testing"},
    "web": {"api", "core"},
    "builtin": {"api"},
    "testing": {"api", "core"},
    "plugins": {"api"},
}
#: What anybody may take from the package itself.
OF_THE_ROOT = {"", "__version__", "hookimpl"}
#: Rooms that cli opens only inside the command that needs them.
LATE = {"work", "web", "testing"}


class Import(NamedTuple):
    """One ``import`` statement's view of one module of ours."""

    source: Path
    line: int
    target: str  # dotted name of a module of ours
    name: str  # what is taken from it; "" for a plain import
    at_import: bool  # runs when the importing module is loaded

    def __str__(self) -> str:
        return f"{shown(self.source)}:{self.line} imports {shown(file_of(self.target)) or self.target}"


def sources() -> list[Path]:
    """Every Python file of ours that is shipped."""
    return sorted(PACKAGE.rglob("*.py"))


def plugin_sources() -> list[Path]:
    """Every Python file of the separately installable plugins, their tests aside."""
    return sorted(path for path in ROOT.glob("plugins/*/**/*.py") if "tests" not in path.relative_to(ROOT).parts)


def shown(path: Path | None) -> str:
    return str(path.relative_to(ROOT)) if path else ""


def module_of(path: Path) -> str:
    """The dotted name of a file of ours."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def file_of(module: str) -> Path | None:
    """The file of a dotted name, if it is one of our modules."""
    path = ROOT.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.exists():
            return candidate
    return None


def room_of(path: Path) -> str:
    """The room a file is in; "" for the files at the top of the package."""
    parts = path.relative_to(ROOT).parts
    if parts[0] == "plugins":
        return "plugins"
    return parts[1] if len(parts) > 2 else ""


def imports_of(path: Path) -> Iterator[Import]:
    """Everything of ours that a file imports, anywhere in it."""

    def walk(node: ast.AST, at_import: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(path, child.lineno, alias.name, "", at_import)
            elif isinstance(child, ast.ImportFrom):
                base = absolute(path, child)
                for alias in child.names:
                    inner = f"{base}.{alias.name}"
                    if file_of(inner):  # from package import module
                        yield Import(path, child.lineno, inner, "", at_import)
                    else:
                        yield Import(path, child.lineno, base, alias.name, at_import)
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                yield from walk(child, False)
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                for part in child.body:
                    yield from walk(ast.Module([part], []), False)
                for part in child.orelse:
                    yield from walk(ast.Module([part], []), at_import)
            else:
                yield from walk(child, at_import)

    for found in walk(tree_of(path), True):
        if found.target == "queuectl" or found.target.startswith("queuectl."):
            yield found


def absolute(path: Path, node: ast.ImportFrom) -> str:
    """The dotted name after ``from``, with the dots of a relative import resolved."""
    if not node.level:
        return node.module or ""
    package = module_of(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    package = package[: len(package) - node.level + 1]
    return ".".join([*package, *([node.module] if node.module else [])])


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


# --- The rules ----------------------------------------------------------------------------------


def test_imports_go_one_way() -> None:
    wrong = []
    for path in [*sources(), *plugin_sources()]:
        room = room_of(path)
        if not room:  # __init__ and __main__ only lead on
            continue
        for found in imports_of(path):
            if found.target == "queuectl":
                if found.name not in OF_THE_ROOT:
                    wrong.append(f"{found} for {found.name!r}: take it from where it lives")
                continue
            target = found.target.split(".")[1]
            if target != room and target not in SEES[room]:
                allowed = ", ".join(sorted(SEES[room])) or "nothing else of ours"
                wrong.append(f"{found}: {room} sees {allowed}")
    assert not wrong, "\n".join(wrong)


def test_cli_opens_work_web_and_testing_only_inside_the_command_that_needs_them() -> None:
    wrong = [
        f"{found}: only inside the function that needs it"
        for path in sorted((PACKAGE / "cli").rglob("*.py"))
        for found in imports_of(path)
        if found.at_import and found.target.split(".")[1:2] and found.target.split(".")[1] in LATE
    ]
    assert not wrong, "\n".join(wrong)


def test_no_module_imports_itself_by_a_detour() -> None:
    """Python survives some cycles of modules; a reader does not."""
    edges: dict[str, dict[str, Import]] = {}
    for path in sources():
        name = module_of(path)
        for found in imports_of(path):
            if found.at_import and found.target != name and file_of(found.target):
                edges.setdefault(name, {}).setdefault(found.target, found)

    done: set[str] = set()

    def visit(name: str, way: list[str]) -> None:
        if name in way:
            circle = [*way[way.index(name) :], name]
            steps = [str(edges[a][b]) for a, b in pairwise(circle)]
            pytest.fail("a cycle of imports:\n" + "\n".join(steps))
        if name in done:
            return
        for target in edges.get(name, {}):
            visit(target, [*way, name])
        done.add(name)

    for name in list(edges):
        visit(name, [])


def test_relative_imports_stay_in_their_folder() -> None:
    wrong = [
        f"{shown(path)}:{node.lineno} climbs {node.level} folders; name the package instead"
        for path in sources()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ImportFrom) and node.level > 1
    ]
    assert not wrong, "\n".join(wrong)


def test_every_room_is_a_known_one() -> None:
    unknown = {room_of(path) for path in sources()} - set(SEES) - {""}
    assert not unknown, f"rooms that no rule speaks of: {', '.join(sorted(unknown))}"


def test_sql_is_never_made_from_values() -> None:
    """Values are bound. Text that chooses among fixed pieces lives in .sql files or in names, never in f-strings."""
    wrong = []
    for path in [*sources(), *plugin_sources()]:
        tree = tree_of(path)
        constants = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or not node.args:
                continue
            if node.func.attr in {"execute", "executemany", "executescript"} and is_made(node.args[0], constants):
                wrong.append(f"{shown(path)}:{node.lineno} makes a statement by {ast.unparse(node.args[0])[:60]}")
    assert not wrong, "\n".join(wrong)


def is_made(node: ast.expr, constants: Mapping[str, object]) -> bool:
    """Whether an expression puts a statement together. A PRAGMA may be: it knows no parameters."""
    if isinstance(node, ast.JoinedStr):
        begin = node.values[0].value if node.values and isinstance(node.values[0], ast.Constant) else ""
        return not only_pragmas(begin) and any(isinstance(part, ast.FormattedValue) for part in node.values)
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Mod | ast.Add)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        text = node.func.value
        return not (isinstance(text, ast.Name) and only_pragmas(constants.get(text.id, "")))
    return False


def only_pragmas(text: object) -> bool:
    lines = [line for line in str(text).split(";") if line.strip()]
    return bool(lines) and all(line.strip().startswith("PRAGMA ") for line in lines)


@pytest.mark.parametrize("name", ["pickle", "marshal", "shelve", "yaml", "dill", "cloudpickle"])
def test_nothing_that_runs_code_when_it_reads(name: str) -> None:
    """JSON only: whoever can write to the storage must not thereby run Python in ours."""
    pattern = re.compile(rf"^\s*(import\s+{name}\b|from\s+{name}\b)", re.MULTILINE)
    wrong = [shown(path) for path in [*sources(), *plugin_sources()] if pattern.search(path.read_text("utf-8"))]
    assert not wrong, f"{name} in {', '.join(wrong)}"


def test_each_built_in_could_be_a_plugin() -> None:
    """Nobody but the table of built-ins knows them by name, so each can move out with ``git mv`` and an entry point."""
    wrong = [
        str(found)
        for path in sources()
        if room_of(path) not in ("builtin", "")
        for found in imports_of(path)
        if found.target.startswith("queuectl.builtin")
    ]
    assert not wrong, "\n".join(wrong)
