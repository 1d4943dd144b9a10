"""Pytest fixtures that drive the real program with your plugin in it.

In your ``conftest.py``::

    pytest_plugins = ["queuectl.testing.plugin"]

and then::

    def test_a_job_runs_by_my_executor(queuectl_project):
        queuectl_project.config('''
            [queuectl]
            executor = "mine"
        ''')
        id = queuectl_project.run("enqueue", "--", "hello").out.strip()
        queuectl_project.run("worker", "start", "--until-empty")
        assert queuectl_project.json("show", id)["state"] == "completed"

Each test has a folder, a home and a storage of its own; nothing of yours is read or changed. The program runs in
processes of its own, from the Python that runs the tests, so it finds what is installed there. ``receiver_of("hangs")``
is a receiver of posts beside it that behaves as it is told to.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from queuectl.core.rundir import read_worker

from .receiver import Receiver


class Result(NamedTuple):
    """What a command line left."""

    out: str
    err: str
    code: int

    def json(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)


class Worker:
    """A ``queuectl worker start`` in the background."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._err = b""

    @property
    def err(self) -> str:
        """What it has said so far, as far as it was waited for."""
        return self._err.decode(errors="replace")

    def await_line(self, text: str, seconds: float = 30.0) -> str:
        """Wait until a line of its standard error has *text*; that line."""
        assert self.process.stderr is not None
        until = time.monotonic() + seconds
        while True:
            for line in self.err.splitlines():
                if text in line:
                    return line
            if not select.select([self.process.stderr], [], [], max(0.0, until - time.monotonic()))[0]:
                raise AssertionError(f"not within {seconds:g} s: a line with {text!r}; it said:\n{self.err}")
            data = os.read(self.process.stderr.fileno(), 1 << 16)
            if not data:
                raise AssertionError(f"it ended without a line with {text!r}; it said:\n{self.err}")
            self._err += data

    def stop(self, seconds: float = 30.0) -> int:
        """Ask it to end when its jobs have, and wait for that; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.end(seconds)

    def end(self, seconds: float = 30.0) -> int:
        """Wait for its end; its exit code."""
        _, rest = self.process.communicate(timeout=seconds)
        self._err += rest or b""
        return self.process.returncode


class Project:
    """A folder in which somebody uses QueueCTL."""

    def __init__(self, root: Path) -> None:
        self.root = root / "project"
        self.home = root / "home"
        self.site = root / "site"  # on the path of Python: what ``install`` installs
        for folder in (self.root, self.home, self.site):
            folder.mkdir()
        self._config: Path | None = None
        self._workers: list[Worker] = []
        path = [str(self.site), *(entry for entry in sys.path if entry)]
        self.env: dict[str, str] = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "XDG_STATE_HOME": str(self.home / "state"),
            "XDG_DATA_HOME": str(self.home / "data"),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "PYTHONPATH": os.pathsep.join(path),
            "LANG": "C.UTF-8",
            "NO_COLOR": "1",
        }

    # -- setting the scene --------------------------------------------------------------------------

    def write(self, name: str, text: str) -> Path:
        """Write a file of the project; common indentation is taken off."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def config(self, text: str) -> Path:
        """Write ``queuectl.toml`` and name it (``--config``) in every command from now on, so that it is trusted."""
        self._config = self.write("queuectl.toml", text)
        return self._config

    def install(self, distribution: str, source: str, *, version: str = "1.0", entry_point: str | None = None) -> None:
        """Install a plugin of one module, as ``pip`` would: *source* becomes a module with an entry point.

        The module is named like the distribution, with underscores; the entry point by default as well, without a
        ``queuectl-`` in front.
        """
        module = distribution.replace("-", "_")
        name = entry_point or distribution.removeprefix("queuectl-")
        (self.site / f"{module}.py").write_text(textwrap.dedent(source), encoding="utf-8")
        folder = self.site / f"{module}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (folder / "entry_points.txt").write_text(f"[queuectl]\n{name} = {module}\n")

    # -- the program --------------------------------------------------------------------------------

    def words(self, *words: str) -> list[str]:
        chosen = ["--config", str(self._config)] if self._config is not None else []
        return [sys.executable, "-m", "queuectl", *chosen, *words]

    def run(
        self,
        *words: str,
        input: str = "",
        code: int | None = 0,
        env: Mapping[str, str] | None = None,
        seconds: float = 60.0,
    ) -> Result:
        """One command line to its end. It must exit with *code* (None: whatever) and never show a traceback."""
        done = subprocess.run(
            self.words(*words),
            input=input,
            check=False,
            cwd=self.root,
            env={**self.env, **(env or {})},
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=seconds,
        )
        shown = f"queuectl {' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        assert "Traceback (most recent call last)" not in done.stderr, shown
        assert code is None or done.returncode == code, shown
        return Result(done.stdout, done.stderr, done.returncode)

    def json(self, *words: str) -> Any:
        """The answer of a command with ``--json``."""
        return self.run(*words, "--json").json()

    def start_worker(self, *words: str) -> Worker:
        """``worker start`` in the background, ready for jobs. It is ended with the test."""
        process = subprocess.Popen(
            self.words("worker", "start", *words),
            cwd=self.root,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        worker = Worker(process)
        self._workers.append(worker)
        worker.await_line(f"process {process.pid}")
        return worker

    def close(self) -> None:
        """End what was started here, by pid."""
        for worker in self._workers:
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGTERM)
                worker.process.send_signal(signal.SIGTERM)  # the second one ends the jobs
                try:
                    worker.process.wait(10)
                except subprocess.TimeoutExpired:
                    worker.process.kill()
            worker.process.wait()
            if worker.process.stderr is not None:
                worker.process.stderr.close()
        for path in self.home.parent.rglob("run/*.lock"):
            record = read_worker(str(path))
            if record is not None and record.alive and sys.platform != "win32":
                try:
                    os.kill(record.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass


@pytest.fixture
def queuectl_project(tmp_path: Path) -> Iterator[Project]:
    """A folder, a home and a storage for this test alone, and the program to use in them."""
    project = Project(tmp_path)
    yield project
    project.close()


@pytest.fixture
def receiver_of() -> Iterator[Callable[[str], Receiver]]:
    """Makes receivers of posts on loopback, each of which behaves as it is told to."""
    made: list[Receiver] = []

    def make(mode: str) -> Receiver:
        made.append(Receiver(mode))
        return made[-1]

    yield make
    for receiver in made:
        receiver.close()
