"""The documentation says what the code does: nothing is missing, nothing is stale, and what can be run is run."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from queuectl.api.model import State
from queuectl.core import schema, shapes, specs
from queuectl.core.plugins import hook_functions
from queuectl.testing.kit.proving import CLAIMS

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import guarantees  # noqa: E402  (tools/guarantees.py)
import hooks  # noqa: E402  (tools/hooks.py)
import reference  # noqa: E402
import suites  # noqa: E402

PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md"), *ROOT.glob("plugins/*.md")]
)


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


# --- Made from the code -------------------------------------------------------------------------


def test_the_reference_is_what_the_code_says() -> None:
    stale = ", ".join(reference.stale_pages())
    assert not stale, f"{stale} in docs/reference: run make docs"


def test_every_figure_that_was_kept_is_on_the_page_of_guarantees() -> None:
    assert guarantees.unlisted() == []


def test_every_command_has_a_help_that_begins_with_what_it_does_and_has_an_example() -> None:
    missing = []
    for path, command in reference.commands():
        text = command.help or ""
        if not re.search(rf"^ *.*queuectl .*\b{path.split()[0]}\b", text, re.MULTILINE):
            missing.append(path)
    assert not missing, f"no help, or no example in it: {', '.join(missing)}"


def test_every_option_has_a_help() -> None:
    missing = [
        f"{path} {option.opts[0]}"
        for path, command in reference.commands()
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden and not option.help
    ]
    assert not missing, ", ".join(missing)


def test_every_hook_says_who_calls_it_with_what_and_since_when_and_shows_an_example() -> None:
    missing = []
    for name, hook in hook_functions().items():
        contract = hooks.contract_of(hook)
        missing += [
            f"{name}: {part}" for part in ("called", "raising", "since", "example") if not getattr(contract, part)
        ]
        said = set(re.findall(r"\*(\w+)\*", " ".join(contract.body)))
        missing += [f"{name}: *{argument}*" for argument in inspect.signature(hook).parameters if argument not in said]
        if f"def {name}(" not in contract.example:
            missing.append(f"{name}: an example that implements it")
    assert not missing, "not in its docstring: " + ", ".join(missing)


def test_every_test_of_a_suite_says_what_it_demands() -> None:
    missing = [
        row.name
        for module, suite in suites.SUITES.values()
        for part in suites.subjects(module, suite)
        for row in part.rows
        if not row.demand
    ]
    assert not missing, ", ".join(missing)


def test_every_word_of_a_suite_that_an_author_may_set_can_be_claimed() -> None:
    for module, suite in suites.SUITES.values():
        knobs = [knob for part in suites.subjects(module, suite) for knob in part.knobs]
        assert [name for name, _, about in knobs if not about] == []
        assert {name for name, _, _ in knobs} == set(CLAIMS[module]), f"{suite} and queuectl.testing.kit.proving"


# --- Written by hand ----------------------------------------------------------------------------


def test_every_key_of_a_job_is_in_the_reference() -> None:
    text = read("docs/reference/json.md")
    missing = [key for key in specs.KEYS if f"`{key}`" not in text]
    assert not missing, f"docs/reference/json.md does not say what goes in as {', '.join(missing)}"


def test_every_key_that_a_job_is_shown_with_is_in_the_reference() -> None:
    text = read("docs/reference/json.md")
    source = "".join(
        line
        for line in Path(shapes.__file__).read_text(encoding="utf-8").splitlines(True)
        if not line.lstrip().startswith("#")
    )
    keys = set(re.findall(r'^\s+"([a-z_]+)": ', source, re.MULTILINE))
    missing = sorted(key for key in keys if f"`{key}`" not in text)
    assert keys and not missing, f"docs/reference/json.md does not say what {', '.join(missing)} means"


def test_every_state_is_in_the_reference() -> None:
    text = read("docs/reference/states.md")
    assert not [state for state in State if f"`{state}`" not in text]


def test_every_variable_of_a_job_is_in_the_reference() -> None:
    names = set(re.findall(r'"(QUEUECTL_[A-Z_]+)"\] = ', read("queuectl/work/policies.py")))
    text = read("docs/reference/environment.md")
    missing = [name for name in names | set(schema.CAPTURED) if f"`{name}`" not in text]
    assert names and not missing, f"docs/reference/environment.md does not say {', '.join(missing)}"


def test_every_decision_is_in_the_list_of_decisions() -> None:
    listed = read("docs/decisions/README.md")
    missing = [path.name for path in ROOT.glob("docs/decisions/0*.md") if path.name not in listed]
    assert not missing, ", ".join(missing)


def test_every_page_can_be_reached_from_the_index() -> None:
    linked = {(page.parent / target).resolve() for page in PAGES for target in links(page.read_text(encoding="utf-8"))}
    lost = [str(page.relative_to(ROOT)) for page in ROOT.glob("docs/**/*.md") if page.resolve() not in linked]
    assert not lost, f"no page links to {', '.join(lost)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_leads_nowhere(page: Path) -> None:
    dead = [target for target in links(page.read_text(encoding="utf-8")) if not (page.parent / target).exists()]
    assert not dead, f"{page.relative_to(ROOT)} links to {', '.join(dead)}"


def links(text: str) -> Iterator[str]:
    """The files of ours that a page links to."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:|#", target):
            yield target.partition("#")[0]


# --- What can be run ------------------------------------------------------------------------------


class Block(NamedTuple):
    """A block of shell lines that is marked as runnable, and what its last command exits with."""

    page: Path
    line: int
    text: str
    code: int

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, match.start(2)) + 1, match[2], int(match[1] or 0))
        for match in re.finditer(r"<!-- runnable(?:, exits with (\d+))? -->\n```sh\n(.*?)^```", text, re.M | re.S)
    ]


RUNNABLE = [page for page in PAGES if blocks(page)]


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_says_can_be_run_runs(page: Path, tmp_path: Path) -> None:
    """The blocks of a page one after the other, in one folder, with an empty home: as somebody would who reads it."""
    env = surroundings(tmp_path)
    for block in blocks(page):
        done = subprocess.run(
            ["/bin/sh", "-eux", "-c", block.text],
            cwd=tmp_path / "work",
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == block.code, f"{block}\n{done.stdout}\n{done.stderr}"


def surroundings(folder: Path) -> dict[str, str]:
    """An empty home and working folder below *folder*, and a PATH on which this queuectl is the one that is found."""
    (folder / "bin").mkdir()
    (folder / "work").mkdir()
    command = folder / "bin" / "queuectl"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m queuectl "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("QUEUECTL_", "XDG_"))}
    return {
        **ours,
        "HOME": str(folder),
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }


def test_the_pages_for_beginners_are_run() -> None:
    assert {ROOT / "README.md", ROOT / "docs" / "tutorial.md"} <= set(RUNNABLE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_line_of_a_page_names_what_exists(page: Path) -> None:
    """Commands, and the options that stand before ``--``."""
    known = dict(reference.commands())
    wrong = []
    for line in command_lines(page.read_text(encoding="utf-8")):
        words = line.split(" -- ")[0].split()
        while words and words[0].startswith("--"):
            words = words[1:] if words[0] in ("--help", "--version") else words[2:]
        if not words or words[0] == "COMMAND":
            continue
        path = " ".join(words[:2]) if " ".join(words[:2]) in known else words[0]
        if path not in known:
            wrong.append(f"there is no command: queuectl {line}")
            continue
        options = {name for parameter in known[path].params for name in (*parameter.opts, *parameter.secondary_opts)}
        options |= {"--help", "-h", "--config", "--db"}
        said = [word.partition("=")[0] for word in words[1:] if re.fullmatch(r"--?[a-z][a-z-]*(=.*)?", word)]
        wrong += [f"there is no option {word}: queuectl {line}" for word in said if word not in options]
    assert not wrong, "\n".join(wrong)


def command_lines(text: str) -> Iterator[str]:
    """What stands behind ``queuectl`` in the shell blocks of a page, up to the end of that command."""
    for block in re.findall(r"^```(?:sh|console)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for match in re.finditer(r"(?:^|[|(&] *|\$ )(?:queuectl|\$QUEUECTL) ([^\n]*)", block, re.MULTILINE):
            yield re.split(r" [|&#;]|[|)]| \\| \$\(", re.sub(r"'[^']*'", "'…'", match[1]))[0]


def python_plugins() -> list[tuple[str, str]]:
    """The plugins that pages show, whole, with the page's name."""
    return [
        (str(page.relative_to(ROOT)), block)
        for page in PAGES
        for block in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        if "@hookimpl" in block
    ]


@pytest.mark.parametrize(("page", "text"), python_plugins())
def test_a_plugin_that_a_page_shows_can_be_loaded(page: str, text: str, tmp_path: Path) -> None:
    env = surroundings(tmp_path)
    (tmp_path / "shown.py").write_text(text, encoding="utf-8")
    (tmp_path / "q.toml").write_text('[plugins]\nfiles = ["shown.py"]\nrequire = ["shown"]\n', encoding="utf-8")
    command = ["queuectl", "--config", str(tmp_path / "q.toml"), "plugins", "info", "shown", "--json"]
    done = subprocess.run(command, cwd=tmp_path / "work", env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{page}: {done.stderr}"
    assert json.loads(done.stdout)["state"] == "active", f"{page}: {done.stdout}"


def test_the_exit_codes_of_the_readme_are_those_of_the_reference() -> None:
    short = read("README.md").split("## Exit codes", 1)[1].split("##", 1)[0]
    whole = read("docs/reference/exit-codes.md")
    codes = [int(code) for code in re.findall(r"(?:^|· ?\n?)(\d+) ", short, re.MULTILINE)]
    assert codes, short
    missing = [code for code in codes if f"| {code} |" not in whole]
    assert not missing, missing
