"""Hosts for the tests: each has folders of its own, and works with the installed command line and real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redis_servers import DEADLINE, until


class Host:
    """One host: a state folder, a configuration file, pools. *prefix* is what each command begins with."""

    def __init__(self, folder: Path, url: str, *, more: str = "", prefix: Sequence[str] = ()) -> None:
        folder.mkdir()
        self.folder = folder
        self.prefix = tuple(prefix)
        self.config = folder / "queuectl.toml"
        self.config.write_text(f'[queuectl]\nstorage = "redis"\n\n[storage.redis]\nurl = "{url}"\n{more}')
        self.env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "LANG": "C.UTF-8",
        }
        self.pools: list[subprocess.Popen[bytes]] = []

    def words(self, *args: str) -> list[str]:
        return [*self.prefix, sys.executable, "-m", "queuectl", "--config", str(self.config), *args]

    def run(self, *args: str, code: int | None = 0, input: str | None = None) -> subprocess.CompletedProcess[str]:
        """One command to its end, with the exit status it must have (None: any)."""
        done = subprocess.run(
            self.words(*args),
            env=self.env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            input=input,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert code is None or done.returncode == code, (args, done.returncode, done.stdout, done.stderr)
        return done

    def json(self, *args: str) -> Any:
        return json.loads(self.run(*args, "--json").stdout)

    def enqueue(self, command: str, **more: Any) -> str:
        return self.run("enqueue", json.dumps({"command": command, **more})).stdout.strip()

    def state(self, id: str) -> str:
        return str(self.json("show", id)["state"])

    def await_state(self, id: str, *states: str, deadline: float = DEADLINE) -> dict[str, Any]:
        return dict(
            until(
                lambda: job if (job := self.json("show", id))["state"] in states else None,
                f"{id} is one of {states}; it is {self.state(id)}",
                deadline,
            )
        )

    def log(self, n: int = -1) -> str:
        return (self.folder / f"pool-{n % len(self.pools)}.log").read_text()

    def start(self, *args: str) -> subprocess.Popen[bytes]:
        """A pool in the background, up when this returns."""
        log = self.folder / f"pool-{len(self.pools)}.log"
        with log.open("wb") as stderr:
            pool = subprocess.Popen(
                self.words("worker", "start", *args),
                env=self.env,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
        self.pools.append(pool)
        until(lambda: "serves" in log.read_text() or pool.poll() is not None, f"a pool: {log}")
        assert pool.poll() is None, log.read_text()
        return pool

    def close(self) -> None:
        """End the pools, politely at first, so that nothing of theirs stays."""
        for pool in self.pools:
            if pool.poll() is None:
                pool.send_signal(signal.SIGQUIT)
        for pool in self.pools:
            try:
                pool.wait(10)
            except subprocess.TimeoutExpired:
                pool.kill()
                pool.wait()
