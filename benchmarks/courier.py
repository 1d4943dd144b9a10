"""What others' code costs the work: a backlog drained with notifiers and observers that fail, against some that work.

The courier tells them in a process of its own, so one that raises or hangs must cost the jobs next to nothing: that is
the bar. What it costs to tell anybody at all, two cores being shared with one process more, is shown beside it.
The measure is the time from the first job's start to the last one's end as the attempts' rows tell it: the start of the
pool and the seconds it grants a courier at its end are no throughput. The price of the events themselves (packing and
a process that reads them) is part of each case.
"""

from __future__ import annotations

import sys
from functools import partial

from benchmarks.harness import Report, interleave, parser, ratio, scratch
from benchmarks.pools import drained

JOBS = 2_000
BAR = 0.98

PLUGIN = """
import time
from queuectl.api import Notifier, Provider, hookimpl

class Local(Notifier):
    def notify(self, events):
        {notifier}

@hookimpl
def queuectl_notifiers():
    yield Provider("local", lambda options, context: Local(), summary="for a benchmark")

@hookimpl
def queuectl_events(events):
    {observer}
"""
CONFIG = """
[queuectl]
notifiers = ["local"]

[plugins]
files = ["./local.py"]
"""
FINE, RAISES, HANGS = "pass", "raise RuntimeError('no such host')", "time.sleep(1000)"
#: By name: what the notifier does and what the observer does; None: nobody is told at all.
CASES: dict[str, tuple[str, str] | None] = {
    "nobody": None,
    "both fine": (FINE, FINE),
    "a notifier raises": (RAISES, FINE),
    "a notifier hangs": (HANGS, FINE),
    "an observer raises": (FINE, RAISES),
    "an observer hangs": (FINE, HANGS),
}


def drain(told: tuple[str, str] | None, jobs: int) -> float:
    """Seconds that two workers need for *jobs* jobs, from the first start to the last end."""
    with scratch() as place:
        if told is not None:
            (place.path / "local.py").write_text(PLUGIN.format(notifier=told[0], observer=told[1]), encoding="utf-8")
        return drained(place, jobs, config="" if told is None else CONFIG)


def main() -> int:
    """Exit with 1 if a bar was missed."""
    options = parser("Drain 2,000 short jobs while notifiers and observers fail.", rounds=9).parse_args()
    report = Report("courier", "2,000 × /bin/true, 2 workers, with notifiers and observers that fail", options)
    jobs, rounds = (40, 1) if options.quick else (JOBS, options.rounds)
    times = interleave({name: partial(drain, told, jobs) for name, told in CASES.items()}, rounds=rounds, report=report)
    for name in CASES:
        if name not in ("nobody", "both fine"):
            report.add(f"{name}: throughput / both fine", ratio(times, "both fine", name), "×", at_least=BAR)
    report.add("both fine: throughput / with nobody", ratio(times, "nobody", "both fine"), "×", goal=BAR)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
