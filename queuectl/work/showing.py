"""Shows what running jobs write to whoever watches them from another host, through the storage.

Only while somebody watches: else it costs nothing. A storage without the ability LIVE never says that anybody does.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from queuectl.core.outputs import STREAMS, WATCHED, Live

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from queuectl.api.model import Claim
    from queuectl.api.storage import Storage

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")

EVERY = 0.3  # seconds between two looks at the files of a watched job
WINDOW = 1 << 17  # bytes: what was written before the last so many is not shown to who comes late
FAR = float("inf")


class Watched:
    """One job that is watched: its files, once its worker has them, and how far they were shown."""

    def __init__(self) -> None:
        self.until = 0.0
        self.live: Live | None = None


class Showing:
    """The jobs of one pool that are watched."""

    def __init__(self, storage: Storage, run_dir: str) -> None:
        self._storage = storage
        self._run_dir = run_dir
        self._watched: dict[str, Watched] = {}
        self.look_at = FAR  # on the monotonic clock

    def hear(self, ids: Iterable[str]) -> None:
        """Somebody watches these, as the storage says; they are shown for a while from now on."""
        now = time.monotonic()
        for id in ids:
            self._watched.setdefault(id, Watched()).until = now + WATCHED
            self.look_at = min(self.look_at, now)

    def look(self, held: Mapping[str, Claim]) -> None:
        """Show what is new of the jobs that are held and watched. StorageError if the storage cannot be used."""
        now = time.monotonic()
        for id, watched in list(self._watched.items()):
            claim = held.get(id)
            if claim is None or now > watched.until:
                self._forget(id)
                continue
            if watched.live is None:
                watched.live = Live.open(self._run_dir, claim.job)
            if watched.live is not None:
                self._show(claim, watched.live)
        self.look_at = now + EVERY if self._watched else FAR

    def _show(self, claim: Claim, live: Live) -> None:
        for stream in STREAMS:
            end = live.size(stream)
            begin = max(live.offsets[stream], end - WINDOW)
            if begin < end:
                data = live.read_at(stream, begin, end - begin)
                self._storage.show_output(claim.job, claim.job.attempts, stream, begin, data)
                live.offsets[stream] = begin + len(data)

    def _forget(self, id: str) -> None:
        watched = self._watched.pop(id)
        if watched.live is not None:
            watched.live.close()

    def close(self) -> None:
        for id in list(self._watched):
            self._forget(id)
