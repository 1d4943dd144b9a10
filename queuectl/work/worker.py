"""A worker: runs one job at a time, knows its job and nothing of the storage.

Forked by the keeper, it takes jobs from its pool over its lanes, runs each through an executor, and keeps the result in
its record and output files until the pool says that it is stored. It outlives its pool: a next one may adopt it by its
named sockets while its job runs; with nobody to report to at the end, it makes the result durable and ends, and the
next pool settles from the record.

What a plugin may do wrong here (raise, hang, answer rubbish, exit) costs at most this worker: before any plugin is
asked about an ended attempt, the outcome is in the record.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

from queuectl.api import trees

from .channel import Channel
from .ears import Ears
from .lane import Lane, Offer
from .policies import Policies, sentence
from .record import quiet_pipe

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from .setup import Setup

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")


class Worker:
    """One worker process, from its fork to its end."""

    def __init__(self, setup: Setup, id: str, sock: socket.socket) -> None:
        self.setup = setup
        self.id = id
        self.terminated = False
        self.broken = False  # something of a job could not be ended: this worker takes no other
        self.looks_round = False  # whether a lane may be over
        self.policies = Policies(setup, self.log)
        self.ears = Ears()
        self.quiet = Ears()  # for signals and the end of a job alone
        wake = _signal_pipe(self._on_signal)
        for ears in (self.ears, self.quiet):
            ears.listen(wake, lambda: _drain(wake))
        self.cgroup = trees.enter_cgroup(setup.cgroup, f"queuectl-{id}") if setup.cgroup else None
        self._lanes = [Lane(self, id, Channel(sock))]

    def log(self, line: str) -> None:
        try:
            os.write(2, f"worker {self.id}: {line}\n".encode(errors="backslashreplace"))
        except OSError:
            pass

    def _on_signal(self, number: int, _frame: object) -> None:
        if number == signal.SIGTERM:
            self.terminated = True

    def open_lane(self, id: str, channel: Channel) -> None:
        """Take a further lane of the pool's into use."""
        try:
            lane = Lane(self, id, channel)
        except OSError as error:
            self.log(f"cannot open another lane: {error}")
            channel.close()
            return
        self._lanes.append(lane)
        lane.greet()

    def run(self) -> None:
        """Serve the pool until there is nothing left to do for it."""
        self._lanes[0].greet()
        while not self.terminated and self._goes_on():
            found = self._next()
            if found is None:
                self.ears.wait(None)
            else:
                found[0].work(found[1])
        self._end()

    def _goes_on(self) -> bool:
        """Close the lanes that are over; whether any is left that a job may come from, or an acknowledgement."""
        if not self.looks_round:
            return True
        self.looks_round = False
        if self.broken:
            for lane in self._lanes:
                lane.give_back()
        for lane in [lane for lane in self._lanes if lane.is_over]:
            self._lanes.remove(lane)
            lane.close()
        return not all(lane.is_kept for lane in self._lanes)

    def _next(self) -> tuple[Lane, Offer] | None:
        """What was handed over first, of what waits."""
        found = None
        for lane in self._lanes:
            offer = lane.offer
            if offer is not None and (found is None or offer.handed_at < found[1].handed_at):
                found = lane, offer
        return found

    def _end(self) -> None:
        self.policies.close()
        for lane in self._lanes:
            lane.close()
        if self.cgroup is not None:
            trees.leave_cgroup(self.cgroup)


def _signal_pipe(handler: Callable[[int, object], None]) -> int:
    """Signals of a worker: TERM ends it and its job, INT and HUP are the terminal's and none of its business."""
    read, write = quiet_pipe()
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return read


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 4096):
            pass
    except BlockingIOError:
        pass


def main(setup: Setup, id: str, sock: socket.socket) -> int:
    """The life of a worker, in the process that the keeper has just forked. Its exit status."""
    os.setsid()
    trees.become_subreaper()
    os.umask(0o077)
    try:
        worker = Worker(setup, id, sock)
    except OSError as error:
        os.write(2, f"worker {id}: cannot start: {error}\n".encode())
        return 1
    try:
        worker.run()
    except BaseException as error:
        if os.environ.get("QUEUECTL_DEBUG"):
            sys.excepthook(*sys.exc_info())
        worker.log(f"ended by a fault: {sentence(error)}")
        return 70
    return 0
