"""A pool that only claims, by hand: asleep in poll until a datagram comes, then a line goes to its worker.

    pool.py DATAGRAMS WORKER              the line is what the datagram holds
    pool.py DATAGRAMS WORKER DATABASE     the line is in the newest row, which is first claimed with a commit

An empty datagram is the end.
"""

from __future__ import annotations

import os
import select
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import apsw

CLAIM = "UPDATE job SET state = 1 WHERE seq = (SELECT max(seq) FROM job) RETURNING command"


def claimed(connection: apsw.Connection) -> bytes:
    """The newest job's line, committed as claimed."""
    connection.execute("BEGIN IMMEDIATE")
    ((command,),) = connection.execute(CLAIM).fetchall()
    connection.execute("COMMIT")
    return f"{command}\n".encode()


def main(datagrams: int, worker: int, connection: apsw.Connection | None) -> None:
    poller = select.poll()
    poller.register(datagrams, select.POLLIN)
    while True:
        poller.poll()
        line = os.read(datagrams, 4096)
        if not line:
            return
        os.write(worker, line if connection is None else claimed(connection))


def opened(path: str) -> apsw.Connection:
    """The database, as durable as QueueCTL's."""
    import apsw

    connection = apsw.Connection(path)
    connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
    return connection


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), opened(sys.argv[3]) if len(sys.argv) > 3 else None)
