"""``queuectl backup``: a copy of the storage while work goes on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from queuectl.cli.render import emit_json, say, talks
from queuectl.cli.targets import check_place

if TYPE_CHECKING:
    from queuectl.cli import Program


@click.command()
@click.argument("file", metavar="FILE")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object: file, bytes.")
@click.pass_obj
def command(program: Program, file: str, as_json: bool) -> None:
    """Copy the storage to FILE while work goes on.

    \b
      queuectl backup "/backup/queue-$(date +%F).db"
      queuectl --db /backup/queue-2026-12-01.db status

    The copy is of one moment, checked, and can be used like the original; long output lies beside it in FILE.d. It
    overwrites nothing, and appears whole or not at all. Never copy a database that is in use with cp.
    """
    check_place(file)
    program.app.storage.backup(file)
    size = os.stat(file).st_size
    if as_json:
        emit_json({"file": os.path.abspath(file), "bytes": size})
    elif talks():
        say(f"{file}: {size / (1 << 20):.1f} MiB, and long output in {file}.d" if os.path.isdir(f"{file}.d") else file)
