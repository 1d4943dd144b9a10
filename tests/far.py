"""A place where runs outlive their workers: an executor for tests, and the site that runs its jobs.

The site is a thread of the test, so nothing that is killed reaches its processes. Executor and site speak by files in
one folder: ``NAME.request`` asks for a run, ``NAME.code`` tells its end, ``NAME.kill`` asks for it.
"""

from __future__ import annotations

import json
import subprocess
import threading
from pathlib import Path

FAR = """
import hashlib, json, os, signal, threading, time
from pathlib import Path
from queuectl.api import hookimpl, Provider
from queuectl.api.executor import Executor, Handle
from queuectl.api.model import Outcome, OutcomeKind

FOLDER = Path({folder!r})

class FarHandle(Handle):
    def __init__(self, ident, run):
        self.ident, self.base = ident, str(FOLDER / ident.removeprefix("far:"))
        self.files = [os.dup(run.stdout), os.dup(run.stderr)]
        self.asked = 0
        self.read, self.write = os.pipe()
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        while not os.path.exists(self.base + ".code"):
            time.sleep(0.01)
        os.close(self.write)

    def fileno(self):
        return self.read

    def stop(self, force=False):
        self.asked = 9 if force else 15
        Path(self.base + ".kill").write_text(str(self.asked))

    def collect(self):
        try:
            code = int(Path(self.base + ".code").read_text())
        except FileNotFoundError:
            return None
        for name, file in zip(("out", "err"), self.files):
            os.write(file, Path(self.base + "." + name).read_bytes())
            os.close(file)
        os.close(self.read)
        return Outcome(OutcomeKind.EXITED, code) if code >= 0 else Outcome(OutcomeKind.SIGNALLED, -code)

    def forget(self):
        for name in ("code", "request", "out", "err", "kill"):
            Path(self.base + "." + name).unlink(missing_ok=True)

class Far(Executor):
    def ident(self, run):
        return "far:" + hashlib.sha256(run.own_env["QUEUECTL_RUN"].encode()).hexdigest()[:16]

    def start(self, run):
        base = str(FOLDER / self.ident(run).removeprefix("far:"))
        words = list(run.argv) if run.argv else ["/bin/sh", "-c", run.shell]
        Path(base + ".draft").write_text(json.dumps([words, dict(run.own_env)]))
        os.rename(base + ".draft", base + ".request")
        return FarHandle(self.ident(run), run)

    def attach(self, ident, run):
        return FarHandle(ident, run) if (FOLDER / (ident.removeprefix("far:") + ".request")).exists() else None

    def clean(self, ident):
        return False

@hookimpl
def queuectl_executors():
    yield Provider("far", lambda options, context: Far())
"""


class Site:
    """Runs what is asked for in its folder, until it is closed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._known: set[str] = set()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def plugin(self) -> str:
        """The executor, as a one-file plugin."""
        return FAR.replace("{folder!r}", repr(str(self.folder)))

    @property
    def started(self) -> int:
        return len(self._known)

    def _serve(self) -> None:
        while not self._closed.wait(0.01):
            for request in self.folder.glob("*.request"):
                if request.stem not in self._known:
                    self._begin(request)
            for name, process in list(self._running.items()):
                self._look(name, process)

    def _begin(self, request: Path) -> None:
        self._known.add(request.stem)
        try:
            words, env = json.loads(request.read_text())
        except FileNotFoundError:
            return
        with (
            open(self.folder / f"{request.stem}.out", "wb") as out,
            open(self.folder / f"{request.stem}.err", "wb") as err,
        ):
            env = {"PATH": "/usr/bin:/bin", **env}
            self._running[request.stem] = subprocess.Popen(
                words, env=env, stdout=out, stderr=err, start_new_session=True
            )

    def _look(self, name: str, process: subprocess.Popen[bytes]) -> None:
        kill = self.folder / f"{name}.kill"
        if kill.exists():
            process.send_signal(int(kill.read_text() or "9"))
            kill.unlink()
        if process.poll() is not None:
            del self._running[name]
            draft = self.folder / f"{name}.done"
            draft.write_text(str(process.returncode))
            draft.rename(self.folder / f"{name}.code")

    def close(self) -> None:
        self._closed.set()
        self._thread.join()
        for process in self._running.values():
            process.kill()
            process.wait()
