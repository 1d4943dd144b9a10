"""What the commands that destroy something have in common: they ask first, and can say what they would do."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from queuectl.api.errors import BadInput
from queuectl.cli.render import say, talks, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeVar

    Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def removing(function: Decorated) -> Decorated:
    """The options of such a command: ``--yes``, ``--dry-run``, ``--json``."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print a JSON object: dry_run, ids, count."),
        click.option("--dry-run", is_flag=True, help="Only print the ids of what would go."),
        click.option("--yes", "-y", is_flag=True, help="Do not ask."),
    ):
        function = option(function)
    return function


def confirm(what: str, yes: bool) -> None:
    """Go on only if somebody on the terminal says so, or ``--yes`` did: *what* completes "…?"."""
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty() or not talks():
        raise BadInput(f"this would {what}; where nobody can be asked, say --yes (or --dry-run to see)")
    if not click.confirm(f"{what[0].upper()}{what[1:]}?", err=True):
        say("nothing was done")
        raise click.exceptions.Exit(1)


def report(ids: Iterable[str], dry_run: bool, as_json: bool) -> int:
    """Go through *ids* as they come, however many, and say what became of them; the number."""
    count = 0
    if as_json:
        write(f'{{"dry_run": {json.dumps(dry_run)}, "ids": [')
    for id in ids:
        if as_json:
            write(("" if not count else ", ") + json.dumps(id))
        elif dry_run:
            write(f"{id}\n")
        count += 1
    if as_json:
        write(f'], "count": {count}}}\n')
    elif dry_run:
        say(f"{jobs(count)} would be deleted")
    elif talks():
        say(f"{jobs(count)} deleted")
    return count


def jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"
