"""A courier whose receivers misbehave as its words say: ``courier_with.py FD LIMIT HOME JOURNAL RECEIVER…``.

Each receiver appends "name n n n" to the journal when it has been told of jobs n, before it does what its name says.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Sequence
from functools import partial

from queuectl.api.model import Event
from queuectl.work.courier_process import Courier, Receiver, ready_signals


def tell(name: str, journal: str, events: Sequence[Event]) -> object:
    with open(journal, "a") as file:
        file.write(" ".join([name, *(event.job.id for event in events)]) + "\n")
    match name:
        case "hangs":
            signal.pause()
        case "hangs-on-13" if any(event.job.id == "13" for event in events):
            signal.pause()
        case "exits":
            os._exit(3)
        case "raises":
            raise RuntimeError("no such host")
        case "leaves":
            raise SystemExit(0)
        case "prints":
            print("a word on stdout")
            os.write(1, b"\0\0\0\5 rubbish")
        case "rubbish":
            return {"not": "expected"}
        case "forks" if os.fork() == 0:
            signal.pause()
    return None


def main() -> None:
    fd, limit, _home, journal, *names = sys.argv[1:]
    if "never-ready" in names:
        signal.pause()
    if "dies-young" in names:
        os._exit(9)
    ready_signals()
    receivers = [Receiver(name, partial(tell, name, journal)) for name in names if name != "nobody"]
    Courier(socket.socket(fileno=int(fd)), receivers, float(limit), lambda line: print(line, file=sys.stderr)).serve()


main()
