"""Docstrings as Markdown, for the pages that are made from them."""

from __future__ import annotations

import inspect
import re


def prose(doc: str) -> list[str]:
    """A docstring, in lines; what is below ``::`` becomes code."""
    lines: list[str] = []
    inside = False
    for line in inspect.cleandoc(doc).splitlines():
        literal = line.startswith("    ")
        if literal and not inside:
            lines.append("```python")
        elif inside and line and not literal:
            while lines[-1] == "":
                lines.pop()
            lines += ["```", ""]
        inside = literal or (inside and not line)
        lines.append(line[4:] if literal else re.sub(r"::$", ":", plain(line)))
    return [*lines, "```"] if inside else lines


def plain(text: str) -> str:
    """Marks of reStructuredText as those of Markdown."""
    return re.sub(r":(?:class|meth|func):`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text).replace("``", "`")
