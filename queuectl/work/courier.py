"""The pool's end of the courier: hands events over without ever waiting for anybody.

The courier is a process of its own (:mod:`queuectl.work.courier_process`), started only when the configuration has
somebody to tell. The pool's loop polls what :meth:`CourierLink.wants` names, and calls ``handle``, ``tick`` and
``send``; none of them blocks.

One batch is under way at a time; what happens meanwhile, and in the moment after, waits in a bounded backlog and goes
together: the words about a batch cost the pool as much as many events. The courier
says ``ready`` (with the names of its receivers), ``call`` before each receiver is told of a batch, ``back`` when that
one has returned, and ``done`` after the last. If a word is overdue, or the courier dies, the receiver that was being
told is to blame: it loses that batch and sits out for a while, longer each time. A new courier takes the old one's
place after a pause and tells the batch to those that had not been told. Everything lost is counted and logged.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, NamedTuple

from queuectl.api import trees
from queuectl.core.wire import pack_event
from queuectl.work import courier_child
from queuectl.work.frames import BrokenFrame, Reader, frame

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Sequence

    from queuectl.api.model import Event

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")

BACKLOG_EVENTS = 10_000
BACKLOG_BYTES = 8 << 20
BATCH_EVENTS = 500
BATCH_BYTES = 1 << 20
STEADY = 60.0  # a courier that lived so long did not fail at its start


class Strike(NamedTuple):
    """A receiver that took a courier with it."""

    times: int
    until: float  # monotonic; it is told nothing before


class Flight:
    """The batch that is under way."""

    def __init__(self, number: int, events: Sequence[bytes]) -> None:
        self.number = number
        self.events = events
        self.told: set[str] = set()  # whom the batch was offered to: never again, whatever became of it
        self.current: str | None = None


class CourierLink:
    """A courier that is always there, as far as the pool can tell.

    *words* are the global command-line options that open the same application, *home* its directory. *deadline* is how
    many seconds one receiver may take for one batch; *startup* how many the courier may take to load them all; *gather*
    how many lie between two batches at the least.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        log: Callable[[str], None],
        home: str = "",
        deadline: float = 30.0,
        startup: float = 60.0,
        pause: float = 0.5,
        bench: float = 5.0,
        gather: float = 0.05,
        clock: Callable[[], float] = time.monotonic,
        program: Sequence[str] = ("-P", "-m", "queuectl.work.courier_process"),
    ) -> None:
        self._words = (home, *words)
        self._program = tuple(program)
        self._log = log
        self._deadline, self._startup, self._pause, self._bench_for = deadline, startup, pause, bench
        self._clock = clock

        self._backlog: deque[bytes] = deque()
        self._backlog_bytes = 0
        self._flight: Flight | None = None
        self._gather = gather
        self._next_batch = 0.0  # not before; the first after a quiet time goes at once
        self._number = 0

        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._pidfd = -1
        self._dying: list[subprocess.Popen[bytes]] = []  # killed, not yet waited for
        self._reader = Reader()
        self._out = memoryview(b"")
        self._born = 0.0
        self._due: float | None = None  # the next word of the courier, or its end, is expected by then
        self._hung_up = False
        self._again: float | None = None  # a new courier is started then
        self._deaths = 0  # in a row, soon after the start
        self._receivers: tuple[str, ...] | None = None  # None until the first courier has said so
        self._ready = False
        self._strikes: dict[str, Strike] = {}
        self._closed = False

        #: Events that were taken from the pool, and that nobody will be told because the backlog was full.
        self.sent = 0
        self.dropped = 0
        #: By receiver: events it was not told, or that it failed at; and how many batches it failed at.
        self.lost: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        #: Couriers that had to be replaced.
        self.replaced = 0

    # -- what the pool calls ------------------------------------------------------------------------

    def start(self) -> None:
        """Start the courier, also after ``close``. One that cannot be started is tried again later."""
        self._closed = False
        if self._process is not None:
            return
        try:
            self._spawn()
        except OSError as error:
            self._log(f"courier: cannot be started: {error}")
            self._retry_later()

    def send(self, events: Sequence[Event]) -> None:
        """Take *events*. Never blocks; the oldest are dropped, and counted, where too many wait."""
        if self._closed:
            return
        for event in events:
            text = json.dumps(pack_event(event), separators=(",", ":")).encode("ascii")
            self._backlog.append(text)
            self._backlog_bytes += len(text)
        self.sent += len(events)
        while len(self._backlog) > BACKLOG_EVENTS or self._backlog_bytes > BACKLOG_BYTES:
            self._backlog_bytes -= len(self._backlog.popleft())
            self._drop(1)
        self._go_on()

    @property
    def pid(self) -> int | None:
        """The courier's process, while there is one."""
        return None if self._process is None else self._process.pid

    def wants(self) -> list[tuple[int, int]]:
        """The descriptors to poll now, with their events. Ask again after each call of another method."""
        wanted = []
        if self._socket is not None:
            wanted.append((self._socket.fileno(), select.POLLIN | (select.POLLOUT if self._out else 0)))
        if self._pidfd >= 0:
            wanted.append((self._pidfd, select.POLLIN))
        return wanted

    def handle(self, fd: int, mask: int) -> None:
        """What poll said about one of the wanted descriptors."""
        if self._socket is not None and fd == self._socket.fileno():
            if mask & select.POLLOUT:
                self._flush()
            if mask & ~select.POLLOUT:
                self._receive()
        elif fd == self._pidfd:
            self._receive()  # its last words
            if self._process is not None:
                self._buried("ended")

    def next_deadline(self) -> float | None:
        """When ``tick`` should be called at the latest, on the monotonic clock; None: no need."""
        moments = [moment for moment in (self._due, self._again) if moment is not None]
        if self._idle() and self._backlog:
            now = self._clock()
            moments += [strike.until for strike in self._strikes.values() if strike.until > now]
            if self._next_batch > now and self._present():
                moments.append(self._next_batch)
        if self._dying or (self._process is not None and self._pidfd < 0):
            moments.append(self._clock() + 1.0)  # nothing else would tell of its death
        return min(moments, default=None)

    def tick(self, now: float | None = None) -> None:
        """Do what time demands: end a courier that overran, start a new one, let a benched receiver play again."""
        now = self._clock() if now is None else now
        self._dying = [process for process in self._dying if process.poll() is None]
        if self._process is not None and self._pidfd < 0 and courier_child.has_ended(self._process):
            self._receive()
            self._buried("ended")
        if self._due is not None and now >= self._due:
            self._receive()  # it may be we who are late
            if self._due is not None and now >= self._due:
                self._overran()
        if self._again is not None and now >= self._again:
            self._again = None
            self.start()
        self._go_on()

    def close(self, grace: float = 5.0) -> None:
        """Deliver what waits, for up to *grace* seconds; then end the courier. Blocks that long at most. Idempotent."""
        until = self._clock() + grace
        gather, self._gather, self._next_batch = self._gather, 0.0, 0.0
        if not self._closed:
            self._go_on()
            while (self._backlog or self._flight) and self._turn(until):
                pass
            self._lose_rest()
            self._hang_up()
        while self._process is not None and self._turn(until):
            pass
        if self._process is not None:
            self._log("courier: did not end in time and was killed")
            courier_child.kill(self._process)
            self._release()
        self._dying = [process for process in self._dying if not courier_child.ends(process, 0.5)]
        self._gather = gather

    def _hang_up(self) -> None:
        """Let the courier end, and start no other."""
        self._closed = True
        self._again = self._due = None
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass

    # -- one courier's life -------------------------------------------------------------------------

    def _spawn(self) -> None:
        self._process, self._socket = courier_child.start(self._program, repr(self._deadline), *self._words)
        pidfd = trees.open_pidfd(self._process.pid)
        self._pidfd = -1 if pidfd is None else pidfd
        self._reader = Reader()
        self._out = memoryview(b"")
        self._ready = False
        self._born = self._clock()
        self._due = self._born + self._startup

    def _receive(self) -> None:
        """Hear all that the courier has said."""
        try:
            while self._socket is not None and (data := self._socket.recv(1 << 16)):
                for words in self._reader.feed(data):
                    self._heard(words)
        except BlockingIOError:
            return
        except ConnectionError:
            pass
        except (BrokenFrame, LookupError, TypeError, ValueError) as error:
            self._buried(f"said what it should not ({error})")
            return
        if self._socket is not None:  # it has hung up, and is about to end
            self._socket.close()
            self._socket = None
            self._out = memoryview(b"")
            self._ready = False
            self._hung_up = True
            self._due = self._clock() + 1.0

    def _heard(self, words: Any) -> None:
        flight = self._flight
        match words[0]:
            case "ready":
                self._receivers = tuple(str(name) for name in words[1])
                self._ready = True
                self._due = None
                if self._receivers:
                    self._go_on()
                else:
                    self._forget()
                    self._hang_up()
            case "call" if flight is not None and words[1] == flight.number:
                flight.current = str(words[2])
                flight.told.add(flight.current)
                self._due = self._clock() + self._deadline
            case "back" if flight is not None and words[1] == flight.number and flight.current is not None:
                self._returned(flight, flight.current, fine=bool(words[2]))
            case "done" if flight is not None and words[1] == flight.number:
                self._arrived(flight)

    def _returned(self, flight: Flight, name: str, *, fine: bool) -> None:
        flight.current = None
        self._due = self._clock() + self._deadline
        self._strikes.pop(name, None)
        if not fine:
            self.faults[name] += 1
            self.lost[name] += len(flight.events)

    def _arrived(self, flight: Flight) -> None:
        self._miss(flight)
        self._flight = None
        self._due = None
        self._go_on()

    def _overran(self) -> None:
        current = self._flight.current if self._flight is not None else None
        if current and not self._hung_up:
            what = f"{current} took longer than {self._deadline:g} s"
        else:
            what = "hung up" if self._hung_up else "was not ready in time"
        self._buried(what)

    def _buried(self, why: str) -> None:
        """The courier is dead or as good as dead: find who is to blame, and arrange for another."""
        if self._closed:
            self._release()
            return
        if self._process is not None:
            courier_child.kill(self._process)
        code = self._release()
        self.replaced += 1
        flight, blame = self._flight, ""
        if flight is not None:
            if flight.current is not None:
                self._strike(flight.current, len(flight.events))
                blame = f" while it told {flight.current}, which misses {len(flight.events)} events"
            self._flight = flight if self._others(flight) else None
            if self._flight is None:
                self._miss(flight)
            flight.current = None
        how = f" (exit {code})" if code is not None and code >= 0 else f" (signal {-code})" if code else ""
        self._retry_later()
        pause = max(0.0, (self._again or 0.0) - self._clock())
        self._log(f"courier: {why}{how if why == 'ended' else ''}{blame}; another starts in {pause:.1f} s")

    def _release(self) -> int | None:
        """Let go of the process and its descriptors; how it ended, if that is known.

        Nobody waits for a process that was killed: one that hangs in the kernel takes its time even then.
        """
        code = None
        if self._process is not None:
            code = self._process.returncode
            if code is None and courier_child.is_ours(
                self._process
            ):  # else the pool, which waits for any child, was first
                code = self._process.poll()
            if code is None:
                self._dying.append(self._process)
            self._process = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        self._out = memoryview(b"")
        self._ready = self._hung_up = False
        self._due = None
        return code

    def _retry_later(self) -> None:
        """Arrange for another courier: the pause doubles while they die young."""
        now = self._clock()
        self._deaths = self._deaths + 1 if now - self._born < STEADY else 1
        self._again = now + min(60.0, self._pause * 2 ** min(self._deaths - 1, 10))

    # -- batches --------------------------------------------------------------------------------------

    def _idle(self) -> bool:
        return self._ready and self._flight is None

    def _go_on(self) -> None:
        """Send the next batch, or the one that was under way when the last courier died."""
        if not self._ready or self._out or self._due is not None:
            return
        if self._flight is None and self._backlog and self._clock() >= self._next_batch and self._present():
            self._next_batch = self._clock() + self._gather
            self._number += 1
            self._flight = Flight(self._number, self._take())
        if self._flight is not None:
            self._offer(self._flight)

    def _take(self) -> list[bytes]:
        """The oldest waiting events, as many as make a handy message."""
        batch: list[bytes] = []
        size = 0
        while self._backlog and len(batch) < BATCH_EVENTS and (not batch or size + len(self._backlog[0]) < BATCH_BYTES):
            text = self._backlog.popleft()
            self._backlog_bytes -= len(text)
            size += len(text)
            batch.append(text)
        return batch

    def _offer(self, flight: Flight) -> None:
        skip = json.dumps(sorted(flight.told | self._benched()))
        self._out = memoryview(frame(b"[%d,%s,[%s]]" % (flight.number, skip.encode("ascii"), b",".join(flight.events))))
        self._due = self._clock() + self._deadline
        self._flush()

    def _flush(self) -> None:
        assert self._socket is not None
        try:
            while self._out:
                self._out = self._out[self._socket.send(self._out) :]
        except BlockingIOError:
            pass
        except OSError:
            self._out = memoryview(b"")  # it is dead, and poll will say so

    # -- who is told ----------------------------------------------------------------------------------

    def _strike(self, name: str, events: int) -> None:
        count = self._strikes[name].times + 1 if name in self._strikes else 1
        self._strikes[name] = Strike(count, self._clock() + min(300.0, self._bench_for * 2 ** min(count - 1, 10)))
        self.faults[name] += 1
        self.lost[name] += events

    def _benched(self) -> set[str]:
        now = self._clock()
        return {name for name, strike in self._strikes.items() if strike.until > now}

    def _present(self) -> bool:
        """Whether anybody would be told now."""
        return bool(set(self._receivers or ()) - self._benched())

    def _others(self, flight: Flight) -> bool:
        """Whether somebody is left who was not offered this batch."""
        return self._receivers is None or bool(set(self._receivers) - flight.told - self._benched())

    def _miss(self, flight: Flight) -> None:
        """Count the batch as lost for those it was never offered to."""
        for name in set(self._receivers or ()) - flight.told:
            self.lost[name] += len(flight.events)

    def _drop(self, events: int) -> None:
        if self.dropped == 0:
            self._log("courier: events come faster than they are taken: the oldest are dropped")
        self.dropped += events

    # -- the end --------------------------------------------------------------------------------------

    def _turn(self, until: float) -> bool:
        """One round of a loop of our own; False when nothing more can be done before *until*."""
        now = self._clock()
        due = self.next_deadline()
        if now >= until or (self._process is None and (due is None or due >= until)):
            return False
        poll = select.poll()
        for fd, mask in self.wants():
            poll.register(fd, mask)
        for fd, mask in poll.poll(max(0.0, min(until, due if due is not None else until) - now) * 1000 + 1):
            self.handle(fd, mask)
        self.tick()
        return True

    def _lose_rest(self) -> None:
        """Count what will not be delivered any more, and say what was lost altogether."""
        self.dropped += len(self._backlog)
        if self._flight is not None:
            if self._flight.current is not None:
                self.lost[self._flight.current] += len(self._flight.events)
            self._miss(self._flight)
        self._forget()
        if self.dropped or self.lost.total():
            each = "".join(f", {name} missed {n}" for name, n in sorted(self.lost.items()) if n)
            self._log(f"courier: of {self.sent} events {self.dropped} were dropped{each}")

    def _forget(self) -> None:
        self._flight = None
        self._backlog.clear()
        self._backlog_bytes = 0
