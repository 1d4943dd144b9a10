"""``queuectl doctor``: looks at everything, and says what to do about what it finds."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from queuectl.cli.render import emit_json, is_terminal, safe_line, write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from queuectl.api.model import Finding
    from queuectl.cli import Program

COLOURS = {"ok": "32", "warning": "33", "error": "31"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: ok, and checks.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Check the configuration, the storage and what runs, and say what to do about what is wrong.

    \b
      queuectl doctor
      queuectl doctor --json | jq '.checks[] | select(.level != "ok")'

    Looks at: configuration, plugins, the database's integrity, version, file system and locks, claims that nobody works
    on, what dead pools and workers have left, workers, queues, what waits for notifiers, free space and the clock. Kept
    counts that are wrong are put right. Exit code 1 if an error was found; warnings alone are 0. With a large database
    it takes a while.
    """
    from queuectl.core.doctor import examine

    program: Program = ctx.obj
    findings: list[Finding] = []
    found = examine(lambda: program.app)
    if as_json:
        findings.extend(found)
        emit_json({"ok": not _errors(findings), "checks": [_shape(finding) for finding in findings]})
    else:
        findings.extend(_shown(found))
    ctx.exit(1 if _errors(findings) else 0)


def _errors(findings: list[Finding]) -> int:
    return sum(finding.level == "error" for finding in findings)


def _shape(finding: Finding) -> dict[str, str]:
    return {"id": finding.id, "level": finding.level, "text": finding.text, "advice": finding.advice}


def _shown(findings: Iterator[Finding]) -> Iterator[Finding]:
    """Each as it comes: some take long."""
    drawn = is_terminal() and not os.environ.get("NO_COLOR")
    for finding in findings:
        level = f"{finding.level:<8}"
        if drawn:
            level = f"\x1b[{COLOURS.get(finding.level, '0')}m{level}\x1b[0m"
        write(f"{level} {finding.id:<15} {safe_line(finding.text)}\n")
        if finding.advice and finding.level != "ok":
            write(f"{'':<24} do: {safe_line(finding.advice)}\n")
        yield finding
