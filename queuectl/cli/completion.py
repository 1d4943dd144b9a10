"""``queuectl completion``: what makes a shell complete our words."""

from __future__ import annotations

import click

from queuectl.cli.render import emit_json, write

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", metavar="SHELL", type=click.Choice(SHELLS))
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object: shell, script.")
def command(shell: str, as_json: bool) -> None:
    """Print what makes a shell complete queuectl's words: bash, zsh or fish.

    \b
      queuectl completion bash > ~/.local/share/bash-completion/completions/queuectl
      queuectl completion zsh > ~/.zfunc/_queuectl
      queuectl completion fish > ~/.config/fish/completions/queuectl.fish
    """
    from click.shell_completion import get_completion_class

    from queuectl.cli import group

    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(group(), {}, "queuectl", "_QUEUECTL_COMPLETE").source()
    if as_json:
        emit_json({"shell": shell, "script": script})
    else:
        write(script)
