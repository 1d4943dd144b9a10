"""Runs the dashboard in this process, under waitress, until it is told to end."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

from waitress.server import create_server  # type: ignore[import-untyped]

from queuectl.api.errors import BadInput, SystemRefused
from queuectl.web.gate import Gate, hosts_of, is_loopback
from queuectl.web.site import create_site
from queuectl.web.visitors import read_tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from queuectl.core.app import App
    from queuectl.web.site import StopPool

#: Threads beside those that streams may take: pages are answered whatever is open.
PAGES = 8
CONNECTIONS = 1000


class Server:
    """One dashboard, bound to its address."""

    def __init__(
        self,
        app: App,
        host: str,
        port: int,
        *,
        say: Callable[[str], None],
        token_file: str | None = None,
        read_only: bool = False,
        prefix: str = "",
        stop_pool: StopPool | None = None,
    ) -> None:
        from socket import gethostname

        if not is_loopback(host) and token_file is None:
            raise BadInput(
                f"whoever reaches {host} could run commands here: give --token-file FILE, "
                "or stay on 127.0.0.1 and use an SSH tunnel"
            )
        gate = Gate(read_tokens(token_file, say) if token_file is not None else None, read_only=read_only)
        prefix = "/" + prefix.strip("/") if prefix.strip("/") else ""
        settings = app.config.dashboard
        self._inner: Any = None
        self._warming: threading.Thread | None = None
        try:
            self._server: Any = create_server(
                self._answer,
                host=host,
                port=port,
                threads=settings.streams + PAGES,
                connection_limit=CONNECTIONS,
                channel_request_lookahead=1,  # so that it notices who hangs up
                asyncore_use_poll=True,  # select() knows no descriptor above 1023
                channel_timeout=60,
                max_request_body_size=2 << 20,
                max_request_header_size=64 << 10,
                url_prefix=prefix,
                ident="queuectl",
                clear_untrusted_proxy_headers=True,
            )
        except OSError as error:
            raise SystemRefused(
                f"cannot listen at {host} port {port}: {(error.strerror or str(error)).lower()}"
            ) from error
        self.port = int(self._server.effective_port) if hasattr(self._server, "effective_port") else port
        self.flask, self.site = create_site(
            app, hosts_of(host, self.port, gethostname(), settings.hosts), gate, stop_pool=stop_pool
        )
        self._inner = self.flask
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self.port}{prefix}/"

    def _answer(self, environ: Any, start_response: Any) -> Any:
        return self._inner(environ, start_response)

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM, or :meth:`stop`."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._ended)
        self._warming = threading.Thread(target=self.site.warm, name="warm", daemon=True)
        self._warming.start()
        try:
            self._server.run()
        finally:
            self.close()

    def _ended(self, number: int, frame: object) -> None:
        self.site.watcher.close()  # first: the server waits for what it answers, and a stream has no end of its own
        raise SystemExit(0)

    def stop(self) -> None:
        """End :meth:`run` from another thread."""
        self._server.close()

    def close(self) -> None:
        """Let nobody in any more, and release everything. Idempotent."""
        self.site.watcher.close()
        if self._warming is not None:
            self._warming.join(15)
        self._server.close()
        self.site.close()
