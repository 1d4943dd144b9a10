"""A pool that only hands jobs on, by hand: asleep in poll, with nothing to decide.

    pool.py starts WORKER DATAGRAMS              each datagram is a job, and goes to the worker; an empty one is the end
    pool.py starts WORKER DATAGRAMS DATABASE     the job is in the newest row, which is first claimed with a commit
    pool.py backlog DATABASE WORKER…             all rows: claimed ahead, four results a commit

A job is the words of its command with tabs between. Workers and datagrams are descriptors.
"""

from __future__ import annotations

import os
import select
import socket
import sys
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import apsw

NEWEST = "UPDATE job SET state = 1 WHERE seq = (SELECT max(seq) FROM job) RETURNING command"
NEXT = "UPDATE job SET state = 1 WHERE seq BETWEEN ? AND ? RETURNING seq, command"
RESULT = "INSERT INTO attempt (job, output) VALUES (?, ?)"
END = "UPDATE job SET state = 2 WHERE seq = ?"
AHEAD, TOGETHER = 8, 4


class Claim(NamedTuple):
    seq: int
    line: bytes


def newest(connection: apsw.Connection) -> bytes:
    """The newest job, committed as claimed."""
    connection.execute("BEGIN IMMEDIATE")
    ((command,),) = connection.execute(NEWEST).fetchall()
    connection.execute("COMMIT")
    return f"{command}\n".encode()


def starts(worker: int, datagrams: int, connection: apsw.Connection | None) -> None:
    """Until there is no more to start."""
    poller = select.poll()
    poller.register(worker, select.POLLIN)
    poller.register(datagrams, select.POLLIN)
    while True:
        for descriptor, _ in poller.poll():
            said = os.read(descriptor, 4096)
            if descriptor == worker and said:
                continue  # a job has ended
            if not said:
                return let_go(worker)
            os.write(worker, said if connection is None else newest(connection))


def let_go(worker: int) -> None:
    """Until the worker, which may still have a job, has ended."""
    with socket.socket(fileno=worker) as channel:
        channel.shutdown(socket.SHUT_WR)
        while channel.recv(4096):
            pass


class Backlog:
    """All jobs of a database, worked off."""

    def __init__(self, connection: apsw.Connection, workers: list[int]) -> None:
        self._connection = connection
        self._idle = list(workers)
        self._poller = select.poll()
        for worker in workers:
            self._poller.register(worker, select.POLLIN)
        self._claims: deque[Claim] = deque()
        self._claimed = 0
        self._in_hand: dict[int, int] = {}  # worker -> seq
        self._results: list[tuple[int, bytes]] = []

    def work_off(self) -> None:
        self._commit()
        while self._in_hand:
            for worker, _ in self._poller.poll():
                said = os.read(worker, 4096)
                if not said:
                    sys.exit("a worker has ended")
                self._results.append((self._in_hand.pop(worker), said[:-1]))
                self._idle.append(worker)
            self._tell()  # the next job does not wait for the commit of the last
            if len(self._results) >= TOGETHER or not self._claims:
                self._commit()

    def _tell(self) -> None:
        while self._idle and self._claims:
            worker, claim = self._idle.pop(), self._claims.popleft()
            self._in_hand[worker] = claim.seq
            os.write(worker, claim.line)

    def _commit(self) -> None:
        """Store what ended and claim what is next."""
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        for seq, output in self._results:
            execute(RESULT, (seq, output))
            execute(END, (seq,))
        last = self._claimed + AHEAD - len(self._claims)
        claims = [Claim(seq, f"{line}\n".encode()) for seq, line in execute(NEXT, (self._claimed + 1, last))]
        execute("COMMIT")
        self._results.clear()
        self._claims.extend(claims)
        self._claimed += len(claims)
        self._tell()


def opened(path: str) -> apsw.Connection:
    """The database, as durable as QueueCTL's."""
    import apsw

    connection = apsw.Connection(path)
    connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
    return connection


def main(verb: str, *words: str) -> None:
    if verb == "starts":
        worker, datagrams, *databases = words
        starts(int(worker), int(datagrams), opened(databases[0]) if databases else None)
    else:
        database, *workers = words
        Backlog(opened(database), [int(worker) for worker in workers]).work_off()


if __name__ == "__main__":
    main(*sys.argv[1:])
