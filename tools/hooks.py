"""The page of hooks, made from the docstrings of ``queuectl/api/hookspecs.py``."""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import TYPE_CHECKING, NamedTuple

from prose import plain

from queuectl.api import hookspecs
from queuectl.core.plugins import hook_functions

if TYPE_CHECKING:
    from collections.abc import Callable

MOMENTS = {"queuectl_configure", "queuectl_prepare", "queuectl_events", "queuectl_shutdown"}
QUESTIONS = {"queuectl_verdict", "queuectl_environment"}


class Contract(NamedTuple):
    """What a hook's docstring says, in its parts."""

    summary: str
    called: str  # "Called in the worker …": which process
    body: tuple[str, ...]  # what it is given, and whatever else there is to say
    raising: str
    since: str  # "0.1"
    example: str  # a plugin, whole


def contract_of(hook: Callable[..., object]) -> Contract:
    """The parts of a docstring; what is missing is empty."""
    text, _, example = inspect.cleandoc(hook.__doc__ or "").partition("\nExample::\n")
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n")]
    summary, rest = paragraphs[0], paragraphs[1:]

    def take(start: str) -> str:
        found = next((paragraph for paragraph in rest if paragraph.startswith(start)), "")
        if found:
            rest.remove(found)
        return found

    called, raising, since = take("Called"), take("Raising"), take("Since")
    return Contract(
        summary,
        called,
        tuple(rest),
        raising,
        since.removeprefix("Since ").rstrip("."),
        textwrap.dedent(example).strip(),
    )


def kind_of(name: str) -> str:
    return "moment" if name in MOMENTS else "question" if name in QUESTIONS else "offer"


def hooks_page(made: str) -> str:
    """Every hook, with its contract and an example."""
    lines = ["# Hooks", "", made, plain(inspect.cleandoc(hookspecs.__doc__ or "")), ""]
    lines += ["| hook | | called | since |", "|---|---|---|---|"]
    for name, hook in hook_functions().items():
        contract = contract_of(hook)
        where = re.split(r"[:.] |[:.]$", contract.called.removeprefix("Called "))[0]
        lines.append(f"| [{name}](#{name}) | {kind_of(name)} | {plain(where)} | {contract.since} |")
    lines.append("")
    for name, hook in hook_functions().items():
        lines += section(name, hook)
    return "\n".join(lines)


def section(name: str, hook: Callable[..., object]) -> list[str]:
    contract, signature = contract_of(hook), inspect.signature(hook)
    words = ", ".join(f"{p.name}: {p.annotation}" for p in signature.parameters.values())
    lines = [f"## {name}", "", "```python", f"def {name}({words}) -> {signature.return_annotation}", "```", ""]
    for paragraph in (contract.summary, contract.called, *contract.body, contract.raising):
        lines += [*textwrap.wrap(plain(paragraph), 119, break_long_words=False, break_on_hyphens=False), ""]
    return [*lines, f"Kind: {kind_of(name)}. Since: {contract.since}.", "", "```python", contract.example, "```", ""]
