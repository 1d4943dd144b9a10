"""Charts read what is over once, and what goes on each time."""

from __future__ import annotations

from queuectl.api.model import OutboxStat, QueueStat, Sample
from queuectl.api.storage import Storage
from queuectl.core.figures import Slot, figures
from queuectl.web.pages.overview import RANGES
from queuectl.web.past import MINUTE, WIDE, Past

NOW = 1_800_000_000_000 // (120 * MINUTE) * 120 * MINUTE + 30 * MINUTE


class Watched:
    """Samples, one a minute, and how many minutes were asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def samples(self, since: int, until: int) -> list[Sample]:
        minutes = range(since // MINUTE, until // MINUTE + 1)
        self.asked += len(minutes)
        return [Sample(m, "ab"[m % 2], "completed", 5, 1) for m in minutes if m * MINUTE <= NOW]

    summed = Storage.summed

    def stat(self) -> list[QueueStat]:
        return []

    def outbox(self) -> list[OutboxStat]:
        return []


def total(slots: list[Slot]) -> int:
    return sum(slot.count("completed") for slot in slots)


def test_every_minute_is_in_one_slot() -> None:
    for span, count in ((60, 60), (24 * 60, 48), (7 * 24 * 60, 84)):
        slots = Past().slots(Watched(), NOW, span * MINUTE, count)  # type: ignore[arg-type]
        assert len(slots) == count and len({slot.start for slot in slots}) == count
        assert slots[-1].start <= NOW < slots[-1].start + span // count * MINUTE
        assert total(slots) == (NOW - slots[0].start) // MINUTE + 1


def test_what_is_over_is_read_once() -> None:
    storage, past = Watched(), Past()
    first = past.slots(storage, NOW, 168 * 60 * MINUTE, 84)  # type: ignore[arg-type]
    storage.asked = 0
    again = past.slots(storage, NOW, 168 * 60 * MINUTE, 84)  # type: ignore[arg-type]
    assert total(first) == total(again) and storage.asked == 120
    one = past.slots(storage, NOW, 168 * 60 * MINUTE, 84, queue="a")  # type: ignore[arg-type]
    assert abs(total(one) - total(first) // 2) <= 1
    storage.asked = 0
    later = past.slots(storage, NOW + 3 * 60 * MINUTE, 168 * 60 * MINUTE, 84)  # type: ignore[arg-type]
    assert storage.asked <= 3 * 120 and len(later) == 84


def test_what_was_since_any_moment_is_the_same_as_if_it_were_read_at_once() -> None:
    storage, past = Watched(), Past()
    assert RANGES["7d"][0] // RANGES["7d"][1] == WIDE, "so what pages have read is at hand"
    for minutes in (0, 1, 29, 30, 31, 120, 121, 150, 151, 65_000):
        since = NOW - minutes * MINUTE
        for queues in (None, ["b", "none"]):
            whole = figures(storage, since, NOW, queues)  # type: ignore[arg-type]
            pieces = past.since(storage, NOW, since, queues)  # type: ignore[arg-type]
            assert figures(storage, since, NOW, queues, pieces) == whole, (minutes, queues)  # type: ignore[arg-type]
    storage.asked = 0
    list(past.since(storage, NOW, NOW - 10_000 * MINUTE))  # type: ignore[arg-type]
    assert storage.asked <= 240, "no more than the slot that goes on, and what is before the first"
