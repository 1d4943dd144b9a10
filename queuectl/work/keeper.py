"""The keeper: forks workers, and ends what a dead one leaves. It outlives its pool.

Exec'd by the pool as a small process of its own: forking from the pool would hand its locks and sockets to the workers.
It is a subreaper, so the orphans of a worker that died become its children; *any child of the keeper that is no worker
is the tree of a dead worker*. No storage, no plugins, no configuration in here.

What it and the pool say to each other is in ``keeperlink``.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
from typing import Any

from queuectl.api import trees

from . import worker
from .keeperlink import DIED, LONGEST, SPAWN
from .points import reached
from .record import create_keeper_file, mark_swept, new_id, quiet_pipe
from .setup import Setup, warm_up

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")


class Keeper:
    """The process that forks workers and buries them."""

    def __init__(self, setup: Setup, control: socket.socket) -> None:
        self.setup = setup
        self.control = control
        self._workers: dict[int, str] = {}  # pid → id
        self._dead: list[tuple[str, int]] = []  # whose tree is still to be ended
        self._wake_read, self._wake_write = quiet_pipe()
        self._pool_gone = False
        self._path, self._lock = create_keeper_file(setup.run_dir, new_id())

    def run(self) -> None:
        """Serve until the pool and all workers are gone."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        poll = select.poll()
        poll.register(self.control.fileno(), select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        while not (self._pool_gone and not self._workers):
            for descriptor, _mask in poll.poll():
                if descriptor == self._wake_read:
                    os.read(descriptor, 4096)
                elif not self._listen():
                    self._pool_gone = True
                    poll.unregister(descriptor)
            self._bury()
        try:
            os.unlink(self._path)
        except OSError:  # a disk that cannot be written: whoever comes next removes it
            pass

    def _listen(self) -> bool:
        """One message from the pool; False when it is gone."""
        try:
            data, descriptors, _flags, _address = socket.recv_fds(self.control, 4096, 1)
        except OSError:
            return False
        if not data:
            return False
        message = json.loads(data)
        if message[0] == SPAWN:
            reached("keeper.asked")
            self._spawn(message[1], descriptors[0])
        return True

    def _spawn(self, id: str, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        pid = os.fork()
        if pid == 0:
            status = 70
            try:
                self.control.close()
                os.close(self._lock)  # else it would seem to live for as long as its workers
                signal.set_wakeup_fd(-1)
                os.close(self._wake_read)
                os.close(self._wake_write)
                status = worker.main(self.setup, id, socket.socket(fileno=descriptor))
            finally:
                os._exit(status)
        os.close(descriptor)
        self._workers[pid] = id
        reached("keeper.forked")

    def _bury(self) -> None:
        """Reap what has ended; end the trees of dead workers and say so."""
        trees.reap(self._on_exit)
        while self._dead:
            trees.end_children(self._workers, on_exit=self._on_exit)
            reached("keeper.tree-ended")
            dead, self._dead = self._dead, []
            for id, status in dead:
                mark_swept(self.setup.run_dir, id)
                reached("keeper.swept")
                if self.setup.cgroup:
                    trees.remove_cgroup(f"{self.setup.cgroup}/queuectl-{id}")
                self._tell(DIED, id, status)
                reached("keeper.told")

    def _on_exit(self, pid: int, status: int) -> None:
        id = self._workers.pop(pid, None)
        if id is not None:
            if self.setup.cgroup:
                trees.end_cgroup(f"{self.setup.cgroup}/queuectl-{id}")
            self._dead.append((id, status))

    def _tell(self, *message: Any) -> None:
        if not self._pool_gone:
            try:
                self.control.send(json.dumps(message).encode())
            except OSError:
                pass


def main(descriptor: int) -> None:
    """The keeper's process, from the pool's exec on. It ends if the pool does before it has said what to do."""
    os.setsid()
    trees.become_subreaper()
    control = socket.socket(fileno=descriptor)
    control.set_inheritable(False)
    try:
        setup = control.recv(LONGEST)
    except OSError:
        return
    if not setup:
        return
    keeper = Keeper(Setup(*json.loads(setup)), control)
    warm_up(keeper.setup)
    gc.freeze()
    gc.disable()
    keeper.run()
