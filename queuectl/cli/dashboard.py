"""``queuectl dashboard``: see and steer the queue from a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from queuectl.cli.render import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from queuectl.cli import Program
    from queuectl.core.rundir import PoolRecord


@click.command()
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", show_default=True, help="Where it listens.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, metavar="N", show_default=True, help="0: any.")
@click.option(
    "--token-file", metavar="FILE", help="Let in only who has a token of this file; made, with new ones, if missing."
)
@click.option("--read-only", is_flag=True, help="Nobody can change anything.")
@click.option("--url-prefix", default="", metavar="PATH", help="Where it is behind a proxy: /queue.")
@click.option("--open", "open_browser", is_flag=True, help="Show it in a browser.")
@click.pass_obj
def command(
    program: Program,
    host: str,
    port: int,
    token_file: str | None,
    read_only: bool,
    url_prefix: str,
    open_browser: bool,
) -> None:
    """Serve the dashboard and the HTTP API until it is stopped.

    \b
      queuectl dashboard
      queuectl dashboard --open
      queuectl dashboard --host 0.0.0.0 --token-file ~/.config/queuectl/tokens

    On this machine alone it needs no login. For any other address it needs a token file, and something before it that
    speaks TLS: tokens pass in the clear otherwise.
    """
    from queuectl.web.gate import is_loopback
    from queuectl.web.server import Server

    server = Server(
        program.app,
        host,
        port,
        say=say,
        token_file=token_file,
        read_only=read_only,
        prefix=url_prefix,
        stop_pool=_stop_pool(),
    )
    if not is_loopback(host):
        say("warning: this listens beyond this machine without TLS: put a proxy that speaks it before this")
    say(f"dashboard at {server.url} (Ctrl-C to stop)")
    if open_browser:
        import webbrowser

        webbrowser.open(server.url)
    server.run()


def _stop_pool() -> Callable[[PoolRecord, str | None], str] | None:
    """What ends a pool of this host; None where no pool can be."""
    try:
        from queuectl.work.control import signal_pool
    except ImportError:
        return None

    def stop(pool: PoolRecord, how: str | None) -> str:
        return signal_pool(pool, how) or ""

    return stop
