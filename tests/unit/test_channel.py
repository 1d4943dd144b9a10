"""The line between pool and worker, one end of it closed."""

from __future__ import annotations

import socket

from queuectl.work.channel import Channel


def line() -> tuple[Channel, Channel]:
    ours, theirs = socket.socketpair()
    return Channel(ours), Channel(theirs)


def test_a_line_that_is_open_is_not_at_its_end() -> None:
    ours, theirs = line()
    assert not theirs.at_end()
    ours.send("JOB")
    assert not theirs.at_end()
    ours.close()
    theirs.close()


def test_the_end_of_a_line_is_seen_behind_what_is_unread() -> None:
    """A job must not start when its pool is dead, whatever else that pool said before it died."""
    ours, theirs = line()
    ours.send("STOP")
    ours.close()
    assert theirs.at_end()
    assert [head for head, _body in theirs.receive()] == [["STOP"]]
    theirs.close()
