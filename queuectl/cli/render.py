"""What results look like: JSON, tables on a terminal, plain columns elsewhere, and text made safe to print."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from queuectl.core.text import safe_line as safe_line
from queuectl.core.text import safe_text as safe_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def is_terminal() -> bool:
    """Whether somebody looks at stdout on a terminal that can draw."""
    return _looks_at(sys.stdout) and os.environ.get("TERM") != "dumb"


def talks() -> bool:
    """Whether somebody looks at stderr."""
    return _looks_at(sys.stderr)


def _looks_at(stream: Any) -> bool:
    try:
        return stream is not None and bool(stream.isatty())
    except ValueError:
        return False


def say(text: str) -> None:
    """One line of talk, on stderr."""
    if sys.stderr is not None:
        print(safe_text(text), file=sys.stderr)


def write(text: str) -> None:
    """Data, on stdout."""
    if sys.stdout is not None:
        sys.stdout.write(text)


def emit_json(document: Any) -> None:
    """One JSON document on stdout: pure ASCII, so nothing in it can reach a terminal; indented for people."""
    import json

    if is_terminal():
        write(json.dumps(document, indent=2) + "\n")
    else:
        write(json.dumps(document, separators=(", ", ": ")) + "\n")


def emit_json_array(items: Iterable[Any]) -> None:
    """The same for an array of any length: written as it comes, so that a million jobs need no memory."""
    import json

    indent = 2 if is_terminal() else None
    lead = "["
    for item in items:
        write(lead + json.dumps(item, indent=indent))
        lead = ", " if indent is None else ",\n"
    write("[]\n" if lead == "[" else "]\n")


def table(
    headers: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    title: str = "",
    right: Sequence[int] = (),
    wide: int | None = None,
) -> None:
    """Rows under headers: drawn by rich on a terminal, aligned columns elsewhere.

    *right* are the columns that hold numbers; *wide* the one that gives way where the terminal is narrow.
    """
    cells = [["-" if cell is None else safe_line(str(cell)) for cell in row] for row in rows]
    if is_terminal() and not os.environ.get("NO_COLOR"):
        _draw(headers, cells, title, right, wide)
    else:
        _columns(headers, cells, title, right)


def _draw(
    headers: Sequence[str], cells: Sequence[Sequence[str]], title: str, right: Sequence[int], wide: int | None
) -> None:
    from rich import box  # 20 ms: only where something is drawn
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    grid = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    widths = [max(len(line[i]) for line in (headers, *cells)) for i in range(len(headers))]
    fitted = _fit(widths, console.width - 2 * len(widths), wide)
    for i, header in enumerate(headers):
        grid.add_column(
            header,
            justify="right" if i in right else "left",
            no_wrap=True,
            overflow="ellipsis",
            max_width=fitted[i],
        )
    for row in cells:
        grid.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    console.print(grid)


def _fit(widths: Sequence[int], room: int, wide: int | None, least: int = 12) -> list[int]:
    """The widths of columns that share *room*: *wide* gives way first, then whichever is the widest; last of all the
    first column, which names the row, as long as it takes no more than half.

    Left to itself rich takes from all alike, and cuts the ids short before anything else.
    """
    fitted = list(widths)
    if wide is not None:
        fitted[wide] = min(widths[wide], max(least, room - sum(widths) + widths[wide]))
    fitted[0] = min(fitted[0], max(1, room // 2))
    while sum(fitted) > room and max(fitted) > 1:
        rest = fitted[1:] if max(fitted[1:], default=0) > 2 else fitted
        fitted[len(fitted) - len(rest) + rest.index(max(rest))] -= 1
    return fitted


#: How the words of the state machine are coloured; the word itself always says it too.
STYLES = {
    "completed": "green",
    "processing": "cyan",
    "failed": "yellow",
    "dead": "red",
    "cancelled": "dim",
    "paused": "yellow",
}


def _columns(headers: Sequence[str], cells: Sequence[Sequence[str]], title: str, right: Sequence[int]) -> None:
    lines = [list(headers), *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headers))]
    out = [title] if title else []
    for line in lines:
        padded = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        out.append("  ".join(padded).rstrip())
    write("\n".join(out) + "\n")
