"""A user whose jobs run in containers: drives the command line, and judges by the engine and by marks in files."""

from __future__ import annotations

import errno
import json
import os
import signal
from pathlib import Path
from typing import Any

from dockerd import Engine
from driver import Driver, PoolProcess, until

from queuectl.core.rundir import list_workers

#: Says where it is, runs until the gate is opened, and says again. The journal tells how often it ran.
GATED = (
    "echo began; echo aside >&2; echo $QUEUECTL_JOB_ID $QUEUECTL_ATTEMPT >> {f}/journal; read word < {f}/gate; "
    "echo ended; : > {f}/passed; exit 3"
)


class User(Driver):
    """One storage, and a configuration whose containers see its folder under the same path."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        super().__init__(folder)
        self.engine = engine
        self.env["QUEUECTL_CONFIG"] = str(folder / "queuectl.toml")
        os.mkfifo(folder / "gate")
        self.configure()

    def configure(self, more: str = "", **options: Any) -> None:
        """Write the configuration: *options* of the executor, and *more* tables."""
        lines = ["[queuectl]", 'executor = "docker"', "[worker]", "heartbeat = 0.5", "[executor.docker]"]
        (self.folder / "queuectl.toml").write_text("\n".join([*lines, self.options(**options), more, ""]))

    def options(self, **options: Any) -> str:
        """The lines of a table for this engine, where containers see the user's folder."""
        mine = {"user": "0:0", "patience": 60.0, "mounts": [f"{self.folder}:{self.folder}"], **options}
        return "\n".join(f"{name} = {json.dumps(value)}" for name, value in self.engine.options(**mine).items())

    # -- a job that waits -------------------------------------------------------------------------

    def gated(self, line: str = GATED, **more: Any) -> str:
        """A job that has begun and, unless it is another *line*, waits at the gate."""
        before = len(self.journal())
        id = self.enqueue(line.format(f=self.folder), **{"max_retries": 0, **more})
        until(lambda: len(self.journal()) > before, "the job has begun")
        if line == GATED:
            until(lambda: self._is_heard(id), "its first line is heard")
        return id

    def _is_heard(self, id: str) -> bool:
        """Whether engine and worker both have what it said: an engine that is killed loses what is on its way."""
        with self.engine.client() as client:
            kept = [set(client.logs(one["Id"]).split()) for one in self.containers() if one["State"]["Running"]]
        said = self.json("logs", id)
        return {b"began", b"aside"} in kept and (said["stdout"], said["stderr"]) == ("began\n", "aside\n")

    def open_gate(self) -> None:
        """Let one job pass that waits there, or will."""
        until(self._pass, "somebody waits at the gate")

    def _pass(self) -> bool:
        try:
            gate = os.open(self.folder / "gate", os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return False  # nobody waits there yet
        os.write(gate, b"go\n")
        os.close(gate)
        return True

    def journal(self) -> list[str]:
        path = self.folder / "journal"
        return path.read_text().splitlines() if path.exists() else []

    def has_passed(self) -> bool:
        return (self.folder / "passed").exists()

    def ended_once(self, id: str, said: str = "began\nended\n") -> Any:
        """It ran once, and its result and both streams, whole, are there."""
        job = self.await_state(id, "dead", deadline=60)
        assert (job["reason"], job["attempts"], job["losses"]) == ("exit 3", 1, 0)
        assert self.journal() == [f"{id} 1"]
        logs = self.json("logs", id)
        assert logs["stdout"] == said and logs["stderr"].startswith("aside\n"), logs
        return logs

    # -- containers and workers -------------------------------------------------------------------

    def containers(self) -> list[dict[str, Any]]:
        """Those of this user, ended ones too, as the engine shows them."""
        with self.engine.client() as client:
            everyone = [client.inspect_container(found["Id"]) for found in client.containers(all=True)]
        return [one for one in everyone if any(str(self.folder) in str(mount) for mount in one["Mounts"])]

    def remove_containers(self) -> None:
        with self.engine.client() as client:
            for one in self.containers():
                client.remove_container(one["Id"], force=True)

    def is_running(self) -> bool:
        return any(one["State"]["Running"] for one in self.containers())

    def kill_workers(self) -> None:
        """SIGKILL for every worker that has a job."""
        for record in list_workers(str(self.run_dir)):
            if record.alive and record.job is not None:
                os.kill(record.pid, signal.SIGKILL)

    def kill_all(self, pool: PoolProcess) -> None:
        """Pool and workers die at one moment: none of them sees another's death."""
        pool.signal(signal.SIGSTOP)
        self.kill_workers()
        pool.signal(signal.SIGKILL)
        pool.end()
