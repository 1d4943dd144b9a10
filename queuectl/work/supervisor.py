"""Tells a supervisor that asks for it (systemd's ``Type=notify``) when the pool is up, reloads or stops."""

from __future__ import annotations

import os
import socket
import sys
import time

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")

#: What a supervisor says to this process and to nobody below it.
VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")

READY, STOPPING = "READY=1", "STOPPING=1"


def reloading() -> str:
    """That what comes next is a new beginning of the same process."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"


def tell(message: str) -> None:
    """Send *message* if somebody asked for it. A supervisor that does not listen is its own concern."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address[0] == "@":
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(message.encode(), address)
    except OSError:
        pass
