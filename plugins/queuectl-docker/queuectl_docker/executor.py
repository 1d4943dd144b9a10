"""The executor: lives in a worker, starts containers, takes up and clears away what other workers left."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from queuectl.api.executor import Executor, Handle, Run

from .container import KIND, Container, Settings
from .engine import Away, Engine, Refused
from .frames import Output
from .plan import JOB, PREFIX, STORE, make_plan, name_of, store_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from queuectl.api.providers import Context

#: An ended container is nobody's when one worker has seen it for so many seconds. Its age says nothing: after a weekend
#: without pools the results of Friday are still to be taken up.
UNCLAIMED = 86_400.0
SWEEP_EVERY = 3_600.0


class DockerExecutor(Executor):
    """Runs each job in a container of its own, named by job and attempt."""

    def __init__(self, options: Mapping[str, Any], context: Context) -> None:
        self._options = options
        self._context = context
        self._engine = Engine(options["host"])
        self._store = store_of(context)
        self._leavers: list[threading.Thread] = []
        self._behind: set[str] = set()  # names of what is of no use any more, and still there
        self._ended: dict[str, float] = {}  # ended containers of this storage, and when we first saw them so
        self._sweep_at = 0.0

    def ident(self, run: Run) -> str:
        return KIND + name_of(run)

    def start(self, run: Run) -> Handle:
        plan = make_plan(run, self._options, self._store, self._engine.sockets)
        self._settle_leavers()
        job = run.claim.job
        earlier = {STORE: self._store, JOB: job.id} if job.attempts > 1 else None
        memory = plan.host["mem_limit"]
        output = Output(run.stdout, run.stderr, run.log)
        return Container(
            self._engine,
            plan.name,
            plan,
            output,
            self._settings(memory),
            earlier=earlier,
            log=run.log,
            leave=self._remove_soon,
        )

    def attach(self, ident: str, run: Run) -> Handle | None:
        name = _name(ident)
        if name is None:
            return None
        try:
            state = self._engine.state(name)
        except Away:
            state = {"Status": "unknown"}  # the handle finds out
        if state is None or state["Status"] == "created":
            return None
        output = Output(run.stdout, run.stderr, run.log)
        memory = run.options.get("memory") or self._options["memory"]
        handle = Container(
            self._engine, name, None, output, self._settings(memory), log=run.log, leave=self._remove_soon
        )
        if state["Status"] == "exited":
            handle.settle(60.0)
        return handle

    def clean(self, ident: str) -> bool:
        name = _name(ident)
        if name is None:
            return False
        try:
            return self._engine.state(name) is not None and self._engine.remove(name)
        except (Away, Refused) as error:
            self._context.log(f"container {name} is left behind: {error}")
            return False

    def close(self) -> None:
        self._settle_leavers()
        self._engine.close()

    def _settings(self, memory: int) -> Settings:
        return Settings(self._options["patience"], self._options["log_size"], memory)

    # -- what is of no use any more ---------------------------------------------------------------

    def _remove_soon(self, name: str) -> None:
        """Delete a container whose result is kept elsewhere, while the worker goes on."""
        thread = threading.Thread(target=self._remove, args=(name,), daemon=True)
        self._leavers.append(thread)
        thread.start()

    def _remove(self, name: str) -> None:
        self._behind.add(name)
        try:
            for one in sorted(self._behind):  # some may be there since the engine was away
                self._engine.remove(one)
                self._behind.discard(one)
            if time.monotonic() >= self._sweep_at:
                self._sweep_at = time.monotonic() + SWEEP_EVERY
                self._sweep()
        except (Away, Refused) as error:
            self._context.log(f"container {name} is left behind: {error}")

    def _sweep(self) -> None:
        """Remove what nobody takes up: the engine was away when it was to be removed, or its job was deleted."""
        now = time.monotonic()
        found = self._engine.containers({STORE: self._store}, status=["exited", "created", "dead"])
        self._ended = {one["Id"]: self._ended.get(one["Id"], now) for one in found}
        for id, since in self._ended.items():
            if now - since >= UNCLAIMED:
                self._engine.remove(id)

    def _settle_leavers(self) -> None:
        while self._leavers:
            self._leavers.pop().join()


def _name(ident: str) -> str | None:
    """The container's name, if the ident is one of ours."""
    name = ident.removeprefix(KIND)
    plain = name.replace("-", "").replace(".", "").replace("_", "")
    return name if name != ident and name.startswith(PREFIX) and plain.isalnum() and name.isascii() else None
