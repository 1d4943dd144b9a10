"""All peers, and which of them can play."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from benchmarks.peers import home
from benchmarks.peers.peer import Broken, Peer, Stage, check
from benchmarks.peers.programs import Nq, TaskSpooler, parallel, xargs
from benchmarks.peers.queues import KINDS, PythonQueue

if TYPE_CHECKING:
    from benchmarks.harness import Report


class Troupe(NamedTuple):
    """Those who passed the check, by name; and why the others did not."""

    ready: dict[str, Peer]
    absent: dict[str, str]


def everybody() -> list[Peer]:
    return [xargs(2), parallel(2), TaskSpooler(), Nq(), *map(PythonQueue, KINDS)]


def call(stage: Stage, report: Report, *names: str) -> Troupe:
    """Install and check the named peers (default: all). Who cannot take part is named in the report."""
    home.install(report.say)
    ready, absent = {}, {}
    for peer in everybody():
        if names and peer.name not in names:
            continue
        reason = peer.missing()
        if reason is None:
            try:
                check(peer, stage)
            except Broken as broken:
                reason = f"failed the check: {broken}"
        if reason is None:
            ready[peer.name] = peer
        else:
            absent[peer.name] = reason
            report.missing(peer.name, reason)
        report.say(f"{peer.name}: {reason or 'forty jobs, each ran once'}")
    return Troupe(ready, absent)
