"""The documentation says what the code does: nothing is missing, nothing is stale, and what can be run is run."""

from __future__ import annotations

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

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import reference  # noqa: E402  (tools/reference.py)

PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md"), *ROOT.glob("plugins/*.md")]
)


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


# --- Made from the code -------------------------------------------------------------------------


def test_the_reference_is_what_the_code_says() -> None:
    stale = ", ".join(reference.stale_pages())
    assert not stale, f"{stale} in docs/reference: run make docs"


def test_every_command_has_a_help_that_begins_with_what_it_does_and_has_an_example() -> None:
    missing = []
    for path, command in reference.commands():
        text = command.help or ""
        if not text.strip() or f"queuectl {path.split()[0]}" not in text:
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


def test_every_hook_says_who_calls_it() -> None:
    missing = [name for name, hook in reference.hooks() if "alled" not in (hook.__doc__ or "")]
    assert not missing, ", ".join(missing)


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
    names = set(re.findall(r'"(QUEUECTL_[A-Z_]+)"\] = ', read("queuectl/work/worker.py")))
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


class Snippet(NamedTuple):
    """A block of shell lines that is marked as runnable."""

    page: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def snippets() -> Iterator[Snippet]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(r"<!-- runnable -->\n```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            yield Snippet(page, text.count("\n", 0, match.start(1)) + 1, match[1])


@pytest.mark.parametrize("snippet", list(snippets()), ids=str)
def test_a_runnable_snippet_runs(snippet: Snippet, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "queuectl"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m queuectl "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("QUEUECTL_", "XDG_"))}
    env = {
        **ours,
        "HOME": str(tmp_path),
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }
    done = subprocess.run(
        ["/bin/sh", "-eux", "-c", snippet.text],
        cwd=work,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{snippet}\n{done.stdout}\n{done.stderr}"


def test_the_readme_has_a_runnable_snippet() -> None:
    assert [snippet for snippet in snippets() if snippet.page == ROOT / "README.md"]


@pytest.mark.parametrize("name", ["README.md", "docs/tutorial.md"])
def test_the_commands_that_pages_for_beginners_use_exist(name: str) -> None:
    known = {path for path, _ in reference.commands()}
    groups = {path.split()[0] for path in known if " " in path}
    for match in re.finditer(r"^(?:\$ )?(?:queuectl|\$QUEUECTL) ([a-z]+)(?: ([a-z]+))?", read(name), re.MULTILINE):
        words = f"{match[1]} {match[2]}" if match[1] in groups else match[1]
        assert words in known, f"{name}: queuectl {words}"


def test_the_exit_codes_of_the_readme_are_those_of_the_reference() -> None:
    short = read("README.md").split("## Exit codes", 1)[1].split("##", 1)[0]
    whole = read("docs/reference/exit-codes.md")
    codes = [int(code) for code in re.findall(r"(?:^|· ?\n?)(\d+) ", short, re.MULTILINE)]
    assert codes, short
    missing = [code for code in codes if f"| {code} |" not in whole]
    assert not missing, missing
