"""Actions on everything that a filter matches: a thread of their own each, and how far it got."""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING

from queuectl.api.errors import BadInput, QueueCTLError
from queuectl.api.model import Action
from queuectl.core.plugins import explain

if TYPE_CHECKING:
    from queuectl.core.filters import Filter
    from queuectl.web.site import Site

STEP = 200
KEPT = 50
RUNNING_MOST = 4


class Batch:
    """One action on everything that matched when it began."""

    def __init__(self, action: Action, query: str, expected: int, more: bool, actor: str) -> None:
        self.id = secrets.token_urlsafe(9)
        self.action = action
        self.query = query
        self.expected = expected  # as it was counted before
        self.more = more  # counting had stopped there
        self.actor = actor
        self.looked = 0
        self.changed = 0
        self.error = ""
        self.stopping = False
        self.done = threading.Event()

    @property
    def state(self) -> str:
        if not self.done.is_set():
            return "running"
        return "failed" if self.error else "stopped" if self.stopping else "done"


class Batches:
    """Those of one server: the latest are remembered."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = threading.Lock()
        self._known: dict[str, Batch] = {}
        self._threads: list[threading.Thread] = []

    def get(self, id: str) -> Batch | None:
        return self._known.get(id)

    def start(self, batch: Batch, asked: Filter) -> None:
        """Begin. BadInput if too many are going on."""
        with self._lock:
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            if len(self._threads) >= RUNNING_MOST:
                raise BadInput("several actions on many jobs are going on: wait for one of them")
            self._known[batch.id] = batch
            while len(self._known) > KEPT:
                del self._known[next(iter(self._known))]
            thread = threading.Thread(target=self._run, args=(batch, asked), name=f"batch-{batch.id}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, batch: Batch, asked: Filter) -> None:
        try:
            for looked, changed in self._site.queue(batch.actor).sweep(batch.action, asked, size=STEP):
                batch.looked += looked
                batch.changed += changed
                if batch.stopping:
                    break
        except QueueCTLError as error:
            batch.error = str(error)
        except Exception as error:
            batch.error = explain(error)
        finally:
            batch.done.set()
            self._site.release()

    def close(self) -> None:
        """Let those that go on end after the step they are at."""
        for batch in self._known.values():
            batch.stopping = True
        for thread in self._threads:
            thread.join(10)
