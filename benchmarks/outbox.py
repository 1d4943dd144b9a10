"""What receivers cost the work that do not take what they are told: a backlog drained beside each, against good ones.

One route keeps an event for each job that completes, for one notifier; so the row that it costs the storage is in every
case but the first. A good one is a file, which takes no time, or a receiver of webhooks that answers at once. The
receivers are real, on loopback, and asked with a timeout of a second: more often than by default. What they do
themselves they would do on another machine, so they get what jobs leave of this one. What is measured is the time from
the first job's start to the last one's end, as in ``courier``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
from functools import partial

from benchmarks.courier import BAR
from benchmarks.harness import ROOT, Report, interleave, parser, ratio, scratch
from benchmarks.pools import drained
from queuectl.testing.receiver import Receiver

JOBS = 1_500
NO_ROUTE, FILE, GOOD = "no route", "a file", "a good receiver"
#: By name: how the receiver behaves, as `Receiver` has it; None: there is none.
CASES: dict[str, str | None] = {
    NO_ROUTE: None,
    FILE: None,
    GOOD: "fine",
    "one that hangs": "hangs",
    "one that drips": "drips",
    "one that answers 500": "error",
    "one that answers 10 GB": "flood",
    "one that closes": "closes",
}
#: What the configuration says.
ROUTE = """
[routes.done]
to = ["told"]
events = ["completed"]

[notifier.told]
"""
LOG = """
use = "log"
path = "told.log"
"""
HOOK = """
use = "webhook"
url = "{url}"
secret = "of the benchmark"
timeout = 1
allow_private = ["127.0.0.1"]
"""


class Elsewhere:
    """A receiver in a process of its own, of the least priority."""

    def __init__(self, mode: str) -> None:
        argv = [sys.executable, "-m", "benchmarks.outbox", "--serve", mode]
        self._process = subprocess.Popen(
            argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()

    def close(self) -> int:
        """End it; how many connections it had."""
        said, _ = self._process.communicate(timeout=30)
        return int(said)


def serve(mode: str) -> int:
    """Be that process."""
    os.nice(19)
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w", encoding="ascii") as file:
        file.write("19")
    receiver = Receiver(mode)
    print(receiver.url, flush=True)
    sys.stdin.read()
    receiver.close()
    print(receiver.connections)
    return 0


def drain(name: str, jobs: int) -> float:
    """Seconds that two workers need for *jobs* jobs, from the first start to the last end."""
    mode = CASES[name]
    with scratch() as place:
        receiver = None if mode is None else Elsewhere(mode)
        notifier = LOG if receiver is None else HOOK.format(url=receiver.url)
        try:
            seconds = drained(place, jobs, config="" if name == NO_ROUTE else ROUTE + notifier)
        finally:
            asked = 0 if receiver is None else receiver.close()
        if receiver is not None and not asked:
            raise SystemExit("outbox: nobody was asked")
        return seconds


def main() -> int:
    """Print the medians of the per-round ratios, the time with a good receiver over the time of each case."""
    made = parser("Drain 1,500 short jobs while a receiver of webhooks misbehaves.", rounds=7)
    made.add_argument("--serve", metavar="MODE", help=argparse.SUPPRESS)
    options = made.parse_args()
    if options.serve:
        return serve(options.serve)
    report = Report("outbox", "1,500 × /bin/true, 2 workers, each told of to a receiver that misbehaves", options)
    jobs, rounds = (40, 1) if options.quick else (JOBS, options.rounds)
    times = interleave({name: partial(drain, name, jobs) for name in CASES}, rounds=rounds, report=report)
    for name in CASES:
        if name not in (NO_ROUTE, FILE, GOOD):
            report.add(f"{name}: throughput / with a file", ratio(times, FILE, name), "×", at_least=BAR)
            report.add(f"{name}: throughput / with a good receiver", ratio(times, GOOD, name), "×", at_least=BAR)
    report.add("a file: throughput / without the route", ratio(times, NO_ROUTE, FILE), "×")
    report.add("a good receiver: throughput / without the route", ratio(times, NO_ROUTE, GOOD), "×")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
