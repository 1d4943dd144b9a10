"""What every-day steps cost with a million jobs about, against a thousand: nothing more.

The jobs are pending, finished or scheduled for later. A step is one call of the storage as the commands make it,
measured in CPU time and without fsync, since both would only hide a difference.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from benchmarks.harness import Report, Spread, interleave, parser, ratio, scratch
from benchmarks.stores import FAR, finished, opened, waiting
from queuectl.api.model import NewJob, Outcome, OutcomeKind, State, Turn, Where
from queuectl.builtin.sqlite.storage import SQLiteStorage
from queuectl.core.transitions import settle

FEW = 1_000
MOST = 1.25
DONE = Outcome(OutcomeKind.EXITED, 0, 0, 12)
KINDS: dict[str, Callable[[SQLiteStorage, int], None]] = {
    "pending": waiting,
    "finished": finished,
    "scheduled": partial(waiting, run_at=FAR),
}
JOB = NewJob("/bin/true", queue="fresh", cwd="/")


class Step(NamedTuple):
    """One thing people and pools do, and how often it is done for one figure."""

    name: str
    act: Callable[[SQLiteStorage], object]
    times: int


def turn(storage: SQLiteStorage) -> None:
    """Settle one job and claim the next; the first time there is none to settle."""
    claims = getattr(storage, "in_hand", ())
    answer = storage.exchange(Turn("pool", tuple([settle(claim, DONE) for claim in claims]), want=1))
    assert len(answer.claims) == 1
    storage.in_hand = answer.claims  # type: ignore[attr-defined]


def show(storage: SQLiteStorage) -> None:
    (job,) = storage.get(["500"])
    assert job is not None
    storage.history("500")


STEPS = (
    Step("enqueue", lambda storage: storage.enqueue([JOB]), 200),
    Step("claim and settle", turn, 200),
    Step("status", lambda storage: storage.stat(), 100),
    Step("list", lambda storage: storage.find(limit=50), 30),
    Step("list --state", lambda storage: [storage.find(Where(states=(state,)), limit=50) for state in State], 10),
    Step("show", show, 200),
)


def cost(storage: SQLiteStorage, step: Step) -> float:
    """Seconds of CPU for one of it."""
    begin = time.process_time()
    for _ in range(step.times):
        step.act(storage)
    return (time.process_time() - begin) / step.times


def main() -> int:
    """Exit with 1 if a bar was missed."""
    options = parser(__doc__ or "", rounds=9)
    options.add_argument("--jobs", type=int, default=1_000_000, help="how many are many")
    asked = options.parse_args()
    sizes = [20_000] if asked.quick else [asked.jobs, *([10_000_000] if asked.full else [])]
    report = Report("growth", f"steps with {sizes[-1]:,} jobs against {FEW:,}", asked)
    for many in sizes:
        for kind, fill in KINDS.items():
            measure(report, kind, fill, many, 2 if asked.quick else asked.rounds)
    return report.finish()


def measure(report: Report, kind: str, fill: Callable[[SQLiteStorage, int], None], many: int, rounds: int) -> None:
    """All steps on a small and a large storage of one kind."""
    with scratch() as place:
        storages = {"few": opened(place.path, "few"), "many": opened(place.path, "many")}
        begin = time.monotonic()
        fill(storages["few"], FEW)
        fill(storages["many"], many)
        report.say(f"{many:,} {kind} jobs made in {time.monotonic() - begin:.1f} s")
        for storage in storages.values():
            waiting(storage, 5_000, queue="fresh", priority=1)  # what there is to claim
        for step in STEPS:
            cases = {name: partial(cost, storage, step) for name, storage in storages.items()}
            times = interleave(cases, rounds=rounds, report=report)
            what = f"{step.name}, {many:,} {kind}"
            report.add(what, ratio(times, "many", "few"), f"× {FEW:,}", at_most=MOST)
            report.say(f"{what}: {1e6 * Spread.of(times['many']).median:.0f} µs")
        for storage in storages.values():
            storage.close()


if __name__ == "__main__":
    sys.exit(main())
