"""Redis and PostgreSQL for the peers that need them: own port, own data folder, loopback, ended by their pid."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.peers.home import program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 30.0


@contextlib.contextmanager
def redis() -> Iterator[str]:
    """A server that appends to a file and syncs it each second, its usual durable form; its address."""
    server, client = program("redis-server"), program("redis-cli")
    assert server and client
    with _folder() as folder:
        port = _free_port()
        argv = [server, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
        argv += ["--appendonly", "yes", "--appendfsync", "everysec"]
        with _running(argv, folder, signal.SIGTERM):
            _await(lambda: _ok([client, "-p", str(port), "ping"]))
            yield f"redis://127.0.0.1:{port}/0"


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """A server as it comes, synchronous commits and all; its connection string. It refuses to be root's."""
    server, initdb, ready = program("postgres"), program("initdb"), program("pg_isready")
    assert server and initdb and ready
    with _folder() as folder:
        lower: list[str] = []
        if os.geteuid() == 0:
            user = next(name for name in ("postgres", "nobody") if _user(name))
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
            lower = ["setpriv", f"--reuid={user}", "--clear-groups"]
        port, data = str(_free_port()), str(folder / "data")
        argv = [*lower, initdb, "-D", data, "-A", "trust", "-U", "postgres", "--no-sync"]
        subprocess.run(argv, cwd=folder, env=_plain(), stdout=subprocess.DEVNULL, check=True)
        argv = [*lower, server, "-D", data, "-c", f"port={port}", "-c", "listen_addresses=127.0.0.1"]
        argv += ["-c", f"unix_socket_directories={folder}"]
        with _running(argv, folder, signal.SIGINT):
            _await(lambda: _ok([ready, "-q", "-h", "127.0.0.1", "-p", port]))
            yield f"host=127.0.0.1 port={port} user=postgres dbname=postgres"


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="queuectl-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _running(argv: list[str], folder: Path, farewell: signal.Signals) -> Iterator[None]:
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(argv, cwd=folder, env=_plain(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield
    finally:
        server.send_signal(farewell)
        try:
            server.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _await(answers: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not answers():
        if time.monotonic() > deadline:
            raise SystemExit("benchmark: a server did not come up")
        time.sleep(0.05)


def _ok(argv: list[str]) -> bool:
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def _plain() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C.UTF-8"}


def _user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
