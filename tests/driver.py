"""Drives the installed command line with real processes, and looks at what they left from outside.

For tests of promises about processes: a pool is started as a user starts it, jobs leave their marks in files and
command lines, and the judgement rests on those, not on what QueueCTL says of itself.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NOBODY = 65534
#: An ordinary user who may still read the interpreter and the sources, wherever they are.
AS_NOBODY = (
    "setpriv",
    f"--reuid={NOBODY}",
    f"--regid={NOBODY}",
    "--clear-groups",
    "--inh-caps=-all,+dac_read_search",
    "--ambient-caps=-all,+dac_read_search",
    "--bounding-set=-all,+dac_read_search",
)
DEADLINE = 30.0


def until(condition: Callable[[], Any], what: str, deadline: float = DEADLINE) -> Any:
    """Wait for a true answer; fail with *what* was awaited."""
    end = time.monotonic() + deadline
    pause = 0.005
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline:g} s: {what}")
        time.sleep(pause)
        pause = min(pause * 1.3, 0.1)


class PoolProcess:
    """A ``worker start`` that this test started. It logs to a file: workers that outlive it hold its stderr open."""

    def __init__(self, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.popen = popen
        self.log = log

    @property
    def pid(self) -> int:
        return self.popen.pid

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()

    def await_line(self, text: str, deadline: float = DEADLINE) -> str:
        """The first line of its log with *text*, as soon as there is one."""

        def look() -> str | None:
            ended = self.popen.poll() is not None
            line = next((line for line in self.lines() if text in line), None)
            assert line or not ended, f"it ended without a line with {text!r}: {self.lines()}"
            return line

        return str(until(look, f"a line with {text!r} in {self.log}", deadline))

    def signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def end(self, deadline: float = DEADLINE) -> int:
        """Wait for its end; the exit status."""
        try:
            return self.popen.wait(deadline)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end; it said: {self.lines()}") from None


def whose(driver: Driver) -> str:
    """Whose processes these are, for figures."""
    return "root" if os.getuid() == 0 and not driver.prefix else "a normal user"


class Driver:
    """One storage in a folder of its own, and a user who works with it."""

    def __init__(self, folder: Path, *, prefix: Sequence[str] = (), env: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.db = folder / "queue.db"
        self.prefix = tuple(prefix)
        self.env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "LANG": "C.UTF-8",
            **(env or {}),
        }
        self.pools: list[PoolProcess] = []

    @property
    def run_dir(self) -> Path:
        return Path(f"{self.db}.d") / "run"

    def words(self, *args: str) -> list[str]:
        return [*self.prefix, sys.executable, "-m", "queuectl", "--db", str(self.db), *args]

    def run(self, *args: str, input: str | None = None, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """One command line, to its end. *code* is the exit status it must have; None: any."""
        done = subprocess.run(
            self.words(*args),
            check=False,
            input=input,
            env=self.env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert "Traceback" not in done.stderr, done.stderr
        if code is not None:
            assert done.returncode == code, (args, done.returncode, done.stdout, done.stderr)
        return done

    def json(self, *args: str) -> Any:
        return json.loads(self.run(*args, "--json").stdout)

    def enqueue(self, command: str, **more: Any) -> str:
        """Put a shell line in; its id."""
        return self.run("enqueue", json.dumps({"command": command, **more})).stdout.strip()

    def job(self, id: str) -> dict[str, Any]:
        return dict(self.json("show", id))

    def await_state(self, id: str, *states: str, deadline: float = DEADLINE) -> dict[str, Any]:
        return dict(
            until(
                lambda: (job := self.job(id)) if self.job(id)["state"] in states else None, f"{id} {states}", deadline
            )
        )

    def start(self, *args: str, prefix: Sequence[str] = ()) -> PoolProcess:
        """A pool in the background, up when this returns."""
        pool = self.launch(*args, prefix=prefix)
        pool.await_line("serves")
        return pool

    def launch(self, *args: str, prefix: Sequence[str] = ()) -> PoolProcess:
        """A pool in the background, which may not live to say that it is up."""
        log = self.folder / f"pool-{len(self.pools)}.log"
        with log.open("wb") as stderr:
            popen = subprocess.Popen(
                [*prefix, *self.words("worker", "start", *args)],
                env=self.env,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
        pool = PoolProcess(popen, log)
        self.pools.append(pool)
        return pool

    def workers(self) -> list[dict[str, Any]]:
        return list(self.json("worker", "list"))

    def worker_of(self, job: str) -> dict[str, Any]:
        """The worker that has a job in hand, as soon as there is one."""
        return dict(
            until(lambda: next((w for w in self.workers() if w["job"] == job), None), f"a worker has job {job}")
        )

    def close(self) -> None:
        """End every process that was started here, by pid."""
        for pool in self.pools:
            if pool.popen.poll() is None:
                pool.popen.kill()
            pool.popen.wait()
        for path in self.run_dir.glob("*.lock") if self.run_dir.is_dir() else ():
            from queuectl.core.rundir import read_worker

            record = read_worker(str(path))
            if record is not None and record.alive and record.pid != os.getpid():
                os.kill(record.pid, signal.SIGKILL)


def processes_with(mark: str) -> list[int]:
    """The pids of live processes that have *mark* in their command line."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                if mark.encode() in Path(f"/proc/{entry}/cmdline").read_bytes():
                    found.append(int(entry))
            except OSError:
                continue
    return found


def give_to_nobody(folder: Path) -> None:
    """Let an ordinary user own *folder* and reach it."""
    os.chown(folder, NOBODY, NOBODY)
    for parent in folder.parents:
        if parent.stat().st_uid == os.getuid() and parent != Path("/") and "pytest" in parent.name:
            parent.chmod(0o755)
