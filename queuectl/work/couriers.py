"""The pool's end of the outbox: a courier for each notifier that a route names, while something waits for it.

What is to be told rides on the settlement that caused it; here is only made sure that somebody takes it. None of this
ever waits for anybody, except ``close``, for a while.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from typing import TYPE_CHECKING

from queuectl.api.errors import StorageError
from queuectl.work import courier_child

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterable, Sequence

    from queuectl.api.storage import Storage

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")

LOOK_EVERY = 5.0  # so often we look for what others have stored
LOOK_SELDOM = 60.0  # with no routes: something may be left from when there were some
DROP_STEPS = 20  # in one look
LOOK_AGAIN = 0.25  # and not more often than this
PAUSE_FIRST, PAUSE_LONGEST = 0.5, 60.0  # before a courier that died is replaced; longer each time
STEADY = 60.0  # one that lived so long did not die at its start
GRACE = 6.0  # a courier goes on for a while when we end; a little longer than that
PROGRAM = ("-P", "-m", "queuectl.work.courier_outbox")


class Line:
    """The courier of one target, while there is one."""

    def __init__(
        self,
        target: str,
        spawn: Callable[[str], tuple[subprocess.Popen[bytes], socket.socket]],
        log: Callable[[str], None],
    ) -> None:
        self.target = target
        self._spawn = spawn
        self._log = log
        self._deaths = 0
        self._born = 0.0
        self._again = 0.0  # not before
        self._orderly = False  # it has said that it ends
        self.process: subprocess.Popen[bytes] | None = None
        self.socket: socket.socket | None = None

    def rouse(self, now: float) -> None:
        """There is something to be told: let the courier look, or start one."""
        if self.socket is not None:
            try:
                self.socket.send(b".")
            except OSError:  # its line is full of such words, or it has just ended: the next look finds out
                pass
        elif now >= self._again:
            self._start(now)

    def _start(self, now: float) -> None:
        try:
            self.process, self.socket = self._spawn(self.target)
        except OSError as error:
            self._log(f"courier: cannot be started: {error.strerror}")
            self._again = now + PAUSE_LONGEST
            return
        self._born = now
        self._orderly = False

    def hear(self, now: float) -> None:
        """The courier says goodbye, or its end of the line is closed: it has ended."""
        assert self.socket is not None
        try:
            data = self.socket.recv(64)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._orderly = self._orderly or bool(data)
        if not data:
            self._bury(now)

    def bury_if_dead(self, now: float) -> bool:
        """Whether it was dead: also one that left something behind which keeps its end of the line open."""
        if self.process is None or not courier_child.has_ended(self.process):
            return False
        self.hear(now)  # its last word
        if self.process is not None:
            self._bury(now)
        return True

    def _bury(self, now: float) -> None:
        assert self.socket is not None and self.process is not None
        self.socket.close()
        self.socket = None
        if not self._orderly:
            courier_child.kill(self.process)  # what it started, too
        self.kill(0.1)
        code = self.process.returncode
        self.process = None
        if self._orderly:
            self._deaths = 0
            return
        self._deaths = self._deaths + 1 if now - self._born < STEADY else 1
        pause = min(PAUSE_LONGEST, PAUSE_FIRST * 2.0 ** min(self._deaths - 1, 10))
        self._again = now + pause
        how = f" (exit {code})" if code and code > 0 else f" (signal {-code})" if code else ""
        self._log(f"courier of {self.target} ended{how}; another starts in {pause:g} s if something waits")

    def hang_up(self) -> None:
        """Let it come to an end."""
        if self.socket is not None:
            self.socket.shutdown(socket.SHUT_WR)

    def kill(self, patience: float = 0.0) -> None:
        """End it if it does not by itself. One that hangs in the kernel is left to it."""
        if self.process is not None and not courier_child.ends(self.process, patience):
            courier_child.kill(self.process)
            courier_child.ends(self.process, 0.5)


class Couriers:
    """All of them, as the pool's loop sees them."""

    def __init__(
        self,
        targets: Iterable[str],
        words: Sequence[str],
        storage: Storage,
        log: Callable[[str], None],
        *,
        home: str = "",
        keep: float = 86400.0,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self._words = (home, *words)
        self._program = tuple(program)
        self._storage = storage
        self._keep = keep
        self._log = log
        self._lines = {target: Line(target, self._spawn, log) for target in targets}
        self._look_at = 0.0
        self._looked_at = 0.0

    def told(self, targets: Iterable[str]) -> None:
        """Something was stored for these."""
        now = time.monotonic()
        for target in targets:
            self._lines[target].rouse(now)

    def heard(self) -> None:
        """Somebody else may have stored something."""
        self._look_at = min(self._look_at, self._looked_at + LOOK_AGAIN)

    def wants(self) -> list[tuple[int, int]]:
        """The descriptors to poll now, with their events."""
        return [(line.socket.fileno(), select.POLLIN) for line in self._lines.values() if line.socket is not None]

    def handle(self, descriptor: int, now: float) -> bool:
        """Whether the descriptor, which polled readable, is one of ours."""
        for line in self._lines.values():
            if line.socket is not None and line.socket.fileno() == descriptor:
                line.hear(now)
                self._look_at = min(self._look_at, now + LOOK_AGAIN)
                return True
        return False

    def bury_the_dead(self) -> None:
        """A child of this process has ended, and is not collected yet: it may be a courier."""
        now = time.monotonic()
        for line in self._lines.values():
            if line.bury_if_dead(now):
                self._look_at = min(self._look_at, now + LOOK_AGAIN)

    def next_deadline(self) -> float:
        """When ``tick`` should be called at the latest, on the monotonic clock."""
        return self._look_at

    def tick(self, now: float) -> None:
        """Look for what is due and has no courier: from before we came, from others, or postponed."""
        if now < self._look_at:
            return
        self._look_at, self._looked_at = now + (LOOK_EVERY if self._lines else LOOK_SELDOM), now
        wall = time.time_ns() // 1_000_000
        before = wall - round(1000 * self._keep)
        try:
            stats = self._storage.outbox()
            if any(stat.oldest_at is not None and stat.oldest_at < before for stat in stats):
                self._drop(before)
        except StorageError:
            return  # the pool's own calls say what is wrong
        for stat in stats:
            line = self._lines.get(stat.target)
            if line is None or stat.due_at is None:
                continue
            if stat.due_at <= wall:
                line.rouse(now)
            elif line.socket is None:
                self._look_by(now, stat.due_at - wall)
            self._look_by(now, (stat.oldest_at or wall) - before)

    def _look_by(self, now: float, ms: int) -> None:
        self._look_at = min(self._look_at, now + max(LOOK_AGAIN, ms / 1000))

    def _drop(self, before: int) -> None:
        """Give up what nobody could be told in time."""
        gone = 0
        for _ in range(DROP_STEPS):
            step = self._storage.drop_deliveries(before)
            gone += step
            if not step:
                break
        if gone:
            self._log(
                f"{gone} event{' was' if gone == 1 else 's were'} dropped: nobody could be told in {self._keep:g} s"
            )

    @property
    def pids(self) -> set[int]:
        """The processes, for whoever ends others."""
        return {line.process.pid for line in self._lines.values() if line.process is not None}

    def close(self, grace: float = GRACE) -> None:
        """Let what is due be told for a while, then end the couriers. What is left waits in the outbox."""
        self._look_at = 0.0
        self.tick(time.monotonic())
        for line in self._lines.values():
            line.hang_up()
        until = time.monotonic() + grace
        while (left := until - time.monotonic()) > 0 and (wanted := self.wants()):
            poll = select.poll()
            for descriptor, mask in wanted:
                poll.register(descriptor, mask)
            for descriptor, _ in poll.poll(left * 1000):
                self.handle(descriptor, time.monotonic())
        for line in self._lines.values():
            line.kill()

    def _spawn(self, target: str) -> tuple[subprocess.Popen[bytes], socket.socket]:
        return courier_child.start(self._program, target, *self._words)
