"""The courier: the process that tells notifiers and observers what happened.

The pool execs it, as ``python -m queuectl.work.courier_process FD LIMIT HOME [--config FILE] [--db PATH]``, and speaks
to it over the socket FD (see :mod:`queuectl.work.courier`). It lives as long as that socket: at its end it delivers
what has arrived, closes its receivers and ends. It holds no job and no storage, so whatever a notifier does to it,
nothing is lost but what it was being told.

The code of others runs here: each call is isolated from the next, and announced to the pool before it is made, so
that the pool knows whom to blame if it never returns.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from queuectl.api.errors import QueueCTLError
from queuectl.core.app import App
from queuectl.core.wire import unpack_event
from queuectl.work.frames import Reader, message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from queuectl.api.model import Event
    from queuectl.api.notifier import Notifier

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")


class Receiver(NamedTuple):
    """One who is told: a notifier, or a plugin with the ``queuectl_events`` hook."""

    name: str  # "notifier log", "plugin audit": as the log says it
    tell: Callable[[Sequence[Event]], object]
    close: Callable[[], object] | None = None


class Courier:
    """Takes batches from the pool and hands them to each receiver in turn."""

    def __init__(
        self, link: socket.socket, receivers: Sequence[Receiver], limit: float, log: Callable[[str], None]
    ) -> None:
        self._link = link
        self._receivers = receivers
        self._limit = limit
        self._log = log
        self._faults: dict[str, int] = {}

    def serve(self) -> None:
        """Until the pool closes its end; then close every receiver."""
        self._say("ready", [receiver.name for receiver in self._receivers])
        for number, skip, events in self._batches():
            for receiver in self._receivers:
                if receiver.name not in skip:
                    self._tell(receiver, number, events)
            self._say("done", number)
        for receiver in self._receivers:
            if receiver.close is not None:
                self._call(receiver.name, receiver.close)

    def _batches(self) -> Iterator[tuple[int, list[str], list[Event]]]:
        reader = Reader()
        while data := self._receive():
            for number, skip, events in reader.feed(data):
                yield number, skip, [unpack_event(event) for event in events]

    def _receive(self) -> bytes:
        try:
            return self._link.recv(1 << 18)
        except ConnectionError:
            return b""

    def _tell(self, receiver: Receiver, number: int, events: Sequence[Event]) -> None:
        self._say("call", number, receiver.name)
        self._say("back", number, self._call(receiver.name, lambda: receiver.tell(events)))

    def _call(self, name: str, call: Callable[[], object]) -> bool:
        """Whether *call* returned. What it returned is nobody's business.

        The pool ends a courier whose call takes longer than the limit. The alarm is for one whose pool is gone.
        """
        signal.setitimer(signal.ITIMER_REAL, 2 * self._limit)
        try:
            call()
        except BaseException as error:  # others' code: an exit or an interrupt is its own too, no signal raises here
            self._count(name, error)
            return False
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        return True

    def _count(self, name: str, error: BaseException) -> None:
        """Log a fault: the first, the second, the fourth, the eighth …, so that the log stays readable."""
        count = self._faults[name] = self._faults.get(name, 0) + 1
        if count & (count - 1) == 0:
            times = f" ({count} times)" if count > 1 else ""
            self._log(f"courier: {name} failed{times}: {type(error).__name__}: {str(error)[:500]}")

    def _say(self, *words: Any) -> None:
        try:
            self._link.sendall(message(words))
        except OSError:  # the pool is gone: deliver what has arrived all the same
            pass


def ready_signals() -> None:
    """End when the pool does, not when a signal meant for all of us says so.

    Handlers rather than SIG_IGN: those would be inherited by whatever a notifier starts.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


class _LateNotifier:
    """A notifier that is opened when there is something to tell: one that hangs even then is named like any other."""

    def __init__(self, open: Callable[[], Notifier]) -> None:
        self._open = open
        self._notifier: Notifier | None = None

    def tell(self, events: Sequence[Event]) -> None:
        if self._notifier is None:
            self._notifier = self._open()
        self._notifier.notify(events)

    def close(self) -> None:
        if self._notifier is not None:
            self._notifier.close()


def receivers_of(app: App, home: str | None) -> list[Receiver]:
    """Everybody whom the configuration wants to be told. Raises ConfigError or PluginError."""
    app.plugins.configure()
    receivers = []
    for name in app.config.main.notifiers:
        app.must_be_live(name)
        notifier = _LateNotifier(partial(app.notifier, name, home))
        receivers.append(Receiver(f"notifier {name}", notifier.tell, notifier.close))
    return receivers + [Receiver(f"plugin {name}", tell) for name, tell in app.plugins.observers()]


def main(words: Sequence[str]) -> int:
    """The courier's life; its exit status."""
    fd, limit, home, *arguments = words
    ready_signals()
    link = socket.socket(fileno=int(fd))
    link.set_inheritable(False)
    try:
        app = App.reopen(arguments)
        receivers = receivers_of(app, home or None)
    except QueueCTLError as error:
        print(f"queuectl: courier: {error}", file=sys.stderr)
        return error.exit_code
    Courier(link, receivers, float(limit), app.log).serve()
    signal.setitimer(signal.ITIMER_REAL, float(limit))
    app.close()
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(status)  # whatever threads a notifier has left running
