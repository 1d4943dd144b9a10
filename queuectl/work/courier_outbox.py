"""A courier of the outbox: the process that tells one notifier of what waits for it, at least once.

The pool execs it as ``python -m queuectl.work.courier_outbox FD TARGET HOME [--config FILE] [--db PATH]`` when
something is due for TARGET, and holds the other end of the socket FD: a byte on it means "look again", its end means
"be done soon". It has its own connection to the storage, one target and one thread, so whatever the notifier does,
neither a job nor another notifier waits for it. When nothing has waited for a while it ends; the pool starts another.

What was taken is kept from other couriers for longer than a call may take, and is forgotten when the notifier has
returned: a courier that is killed in between leaves it to be told once more, under the same ``Event.delivery``.
"""

from __future__ import annotations

import faulthandler
import os
import random
import select
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

from queuectl.api.errors import QueueCTLError, StorageError, StorageInvalid
from queuectl.core.app import App
from queuectl.core.plugins import explain
from queuectl.work.courier_process import ready_signals
from queuectl.work.points import reached

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from queuectl.api.model import Delivery, Event
    from queuectl.api.notifier import Notifier
    from queuectl.api.storage import Storage

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")

BATCH = 200  # deliveries taken in one step
GATHER = 0.2  # seconds between two steps at the least: each costs the storage as much as an exchange
IDLE = 30.0  # so long a courier waits for more before it ends
GRACE = 5.0  # so long it goes on when its pool has ended
MARGIN = 2.0  # a notifier that does not let itself be interrupted takes the courier with it so much later
REST_FIRST, REST_LONGEST = 1.0, 60.0  # before a target that failed is tried again, with one delivery
AGAIN_FIRST, AGAIN_LONGEST = 2.0, 900.0  # before a delivery that failed is
NICENESS = 10  # jobs go first
GIVE_WAY, GIVE_WAY_LONGEST = 20.0, 1.0  # on a busy machine: rests so many times as long as it worked, at most a second


class TooLong(BaseException):
    """The notifier has had its time. Not an Exception, so that what catches those lets it pass."""


def rest_after(failures: int) -> float:
    """Seconds that a target rests after so many failures in a row."""
    return min(REST_LONGEST, REST_FIRST * 2.0 ** min(failures - 1, 10))


def way_given(used: float, waited: float) -> float:
    """Seconds to rest after work that has *used* a core for so many seconds and *waited* for one for so many.

    Niceness alone still lets a courier have a tenth of a core, and a receiver that wants a new connection for each
    event takes all of it. Who had to wait is not alone, and so takes a twentieth, or more after work that would make it
    rest for too long.
    """
    return min(GIVE_WAY_LONGEST, GIVE_WAY * used) if waited > used / 4 else 0.0


def again_after(tries: int, rng: random.Random) -> float:
    """Seconds until a delivery that failed so many times is tried again, spread out."""
    return min(AGAIN_LONGEST, AGAIN_FIRST * 2.0 ** min(tries - 1, 12)) * (0.75 + 0.5 * rng.random())


class OutboxCourier:
    """Takes what is due for one target and tells its notifier, one event in a call."""

    def __init__(
        self,
        storage: Storage,
        target: str,
        open: Callable[[], Notifier],
        deadline: float,
        link: Link,
        log: Callable[[str], None],
    ) -> None:
        self._storage = storage
        self._target = target
        self._open = open
        self._deadline = deadline  # seconds that one call may take
        self._hold = 2 * deadline + MARGIN  # what was taken is kept from others for so long
        self._link = link
        self._log = log
        self._rng = random.Random(os.urandom(8))
        self._notifier: Notifier | None = None
        self._failures = 0  # in a row
        self._armed_at = 0.0
        self._nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)  # for the traceback of an end that is wanted
        self._calling = False
        signal.signal(signal.SIGALRM, self._interrupt)

    def serve(self) -> None:
        """Until nothing has waited for a while, or the pool has ended."""
        while not self._link.is_over() and not (self._failures and self._link.ends):
            begin, used, waited = time.monotonic(), time.process_time(), waited_for_a_core()
            taken = self._stored(self._take)
            reached("courier.taken")
            if not taken:
                if not self._wait_for_more():
                    break
                continue
            self._round(taken, begin)
            if self._failures:
                self._link.pause(rest_after(self._failures))
            else:
                rest = way_given(time.process_time() - used, waited_for_a_core() - waited)
                self._link.pause(max(rest, begin + GATHER - time.monotonic()))
        if self._notifier is not None:
            self._arm()
            self._notifier.close()

    def _take(self) -> Sequence[Delivery]:
        """What is due; of a target that has just failed only one."""
        wanted = 1 if self._failures else BATCH
        return self._storage.take_deliveries(targets=(self._target,), limit=wanted, hold=self._hold)

    # -- one round --------------------------------------------------------------------------------------

    def _round(self, taken: Sequence[Delivery], begin: float) -> None:
        """Tell what was taken, until one fails or the time for it is over; the rest is given back."""
        until = begin + self._hold - self._deadline - MARGIN
        done: list[int] = []
        rest = list(taken)
        failed: tuple[Delivery, str] | None = None
        while rest and failed is None and time.monotonic() < until and not self._link.is_over():
            delivery = rest.pop(0)
            error = self._tell(delivery)
            if error is None:
                self._failures = 0
                done.append(delivery.id)
            else:
                failed = delivery, error
        faulthandler.cancel_dump_traceback_later()
        self._armed_at = 0.0
        reached("courier.told")
        if done:
            self._stored(lambda: self._storage.delivered(done))
        if failed is not None:
            self._failed(*failed)
        if rest:
            self._stored(lambda: self._storage.postpone([delivery.id for delivery in rest], 0.0))

    def _failed(self, delivery: Delivery, error: str) -> None:
        self._failures += 1
        if self._failures & (self._failures - 1) == 0:  # the first, the second, the fourth …
            times = f" ({self._failures} times in a row)" if self._failures > 1 else ""
            self._log(f"courier: notifier {self._target} was not told{times}: {error}")
        pause = again_after(delivery.tries, self._rng)
        self._stored(lambda: self._storage.postpone([delivery.id], pause, error=error))

    def _tell(self, delivery: Delivery) -> str | None:
        """Why the notifier was not told; None if it was."""
        event = delivery.event._replace(delivery=f"{self._storage.identity}-{delivery.id}")
        self._arm()
        self._calling = True
        signal.setitimer(signal.ITIMER_REAL, self._deadline, 1.0)
        try:
            self._call(event)
        except TooLong:
            self._notifier = None  # who knows what was interrupted
            return f"it took longer than {self._deadline:g} s"
        except QueueCTLError as error:
            return " ".join(str(error).split())[:300]
        except BaseException as error:  # others' code: an exit or an interrupt is its own too, no signal raises one
            return explain(error)[:300]
        finally:
            self._calling = False
            signal.setitimer(signal.ITIMER_REAL, 0)
        return None

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self._calling:
            raise TooLong

    def _call(self, event: Event) -> None:
        if self._notifier is None:
            self._notifier = self._open()
        self._notifier.notify([event])

    def _arm(self) -> None:
        """End this process if a call does not return and cannot be interrupted either, by a thread that Python cannot
        hold up."""
        now = time.monotonic()
        if now - self._armed_at > 1.0:
            self._armed_at = now
            faulthandler.dump_traceback_later(self._deadline + MARGIN, exit=True, file=self._nowhere)

    # -- between rounds ---------------------------------------------------------------------------------

    def _wait_for_more(self) -> bool:
        """Wait until something is due; False when nothing is and nothing has come for a while."""
        if self._link.ends:
            return False
        stats = self._stored(self._storage.outbox) or ()
        due = next((stat.due_at for stat in stats if stat.target == self._target), None)
        pause = IDLE if due is None else max(0.05, due / 1000 - time.time())
        return self._link.rest(min(pause, IDLE)) or pause < IDLE

    def _stored(self, call: Callable[[], Any]) -> Any:
        """What the storage answers, however often it has to be asked; None if the pool has ended meanwhile."""
        pause = 0.1
        while True:
            try:
                return call()
            except StorageInvalid:
                raise
            except StorageError as error:
                if self._link.is_over():
                    return None
                self._log(f"courier: {error}; trying again")
                self._link.rest(pause * (0.5 + self._rng.random()))
                pause = min(10.0, 2 * pause)


class Link:
    """The courier's end of the line to its pool."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sock.setblocking(False)
        self._until: float | None = None  # the pool has ended: be done by then

    @property
    def ends(self) -> bool:
        """Whether the pool has ended, or wants us to."""
        self._hear()
        return self._until is not None

    def is_over(self) -> bool:
        """Whether there is no time left."""
        self._hear()
        return self._until is not None and time.monotonic() >= self._until

    def pause(self, seconds: float) -> None:
        """Wait, however often the pool says that there is more, but not beyond its end."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self.ends:
            self.rest(left)

    def say_goodbye(self) -> None:
        """Tell the pool that this is an orderly end."""
        try:
            self._sock.send(b".")
        except OSError:
            pass

    def rest(self, seconds: float) -> bool:
        """Wait; True as soon as the pool says that there is more, or ends."""
        if self._until is not None:
            time.sleep(max(0.0, min(seconds, self._until - time.monotonic())))
            return True
        select.select([self._sock], [], [], seconds)
        return self._hear()

    def _hear(self) -> bool:
        """Whether anything was said."""
        if self._until is not None:
            return False
        try:
            data = self._sock.recv(4096)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._until = time.monotonic() + GRACE
        return True


def give_way() -> None:
    """Let jobs go first, also where the kernel schedules each session as one: there a process's own niceness counts for
    nothing beside those of other sessions."""
    os.nice(NICENESS)
    try:
        with open("/proc/self/autogroup", "w", encoding="ascii") as file:
            file.write(str(NICENESS))
    except OSError:  # it does not
        pass


def waited_for_a_core() -> float:
    """Seconds for which this process could have run and did not; 0 where the kernel does not tell."""
    try:
        with open("/proc/self/schedstat", encoding="ascii") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def main(words: Sequence[str]) -> int:
    """The courier's life; its exit status."""
    fd, target, home, *arguments = words
    ready_signals()
    give_way()
    line = socket.socket(fileno=int(fd))
    line.set_inheritable(False)
    os.dup(line.fileno())  # never closed: the pool sees the end of the line when this process has ended, not before
    link = Link(line)
    try:
        app = App.reopen(arguments)
        storage = app.storage
        route = next((name for name, route in app.config.routes.items() if target in route.to), "")
        courier = OutboxCourier(
            storage,
            target,
            lambda: app.notifier(target, home or None, ("routes", route, "to")),
            app.config.outbox.deadline,
            link,
            app.log,
        )
        courier.serve()
        app.close()
        link.say_goodbye()
    except QueueCTLError as error:
        print(f"queuectl: courier: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(status)  # whatever threads a notifier has left running
