"""The kept histograms, for charts: a slot of time that is over is summed up once and remembered.

What is over does not change, and a busy week has a million samples: the storage adds them up, once for each width of
slots that pages show.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

from queuectl.api.model import Sample
from queuectl.core.figures import Slot

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from queuectl.api.storage import Storage

MINUTE = 60_000
#: A settlement may take so long to be written: a slot is over when this has passed as well.
SETTLED = 2 * MINUTE
SLOTS_MOST = 1000
#: The slots of a week: what is asked for since any moment is made of these, and of what is before the first of them.
WIDE = 120 * MINUTE

#: Histograms by measure, for each queue and, under None, for all of them.
Measured = dict[str | None, dict[str, Counter[int]]]


class Past:
    """What was read so far, shared by all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._over: dict[tuple[int, int], Measured] = {}  # (width, start)

    def slots(self, storage: Storage, now: int, span: int, count: int, queue: str | None = None) -> list[Slot]:
        """The last *span* ms in *count* slots of whole minutes; the last of them goes on. *queue* None: of all."""
        return of_queue(self.read(storage, now, span, count), queue)

    def read(self, storage: Storage, now: int, span: int, count: int) -> dict[int, Measured]:
        """The same for every queue at once: for ``of_queue``."""
        width = span // count // MINUTE * MINUTE
        end = now // width * width + width
        starts = range(end - width * count, end, width)
        with self._lock:
            known = {start: self._over[width, start] for start in starts if (width, start) in self._over}
        for first, last in _runs([start for start in starts if start not in known], width):
            read: dict[int, Measured] = {start: {} for start in range(first, last + width, width)}
            for sample in storage.summed(first, last + width - 1, width // MINUTE):
                _add(read[sample.minute * MINUTE], sample)
            known |= read
        self._remember(known, width, now)
        return {start: known[start] for start in starts}

    def since(self, storage: Storage, now: int, since: int, queues: Sequence[str] | None = None) -> Iterator[Sample]:
        """All since then, summed up, of these queues (None: of all together, under the name of none)."""
        end = now // WIDE * WIDE + WIDE
        count = min((end - since) // WIDE, SLOTS_MOST // 2)
        first = end - count * WIDE
        if since < first:
            yield from storage.summed(since, first - 1, WIDE // MINUTE)
        for start, measured in self.read(storage, now, count * WIDE, count).items() if count else ():
            for queue in (None,) if queues is None else queues:
                for measure, histogram in measured.get(queue, {}).items():
                    for bucket, n in histogram.items():
                        yield Sample(start // MINUTE, queue or "", measure, bucket, n)

    def _remember(self, known: dict[int, Measured], width: int, now: int) -> None:
        with self._lock:
            for start, measured in known.items():
                if start + width + SETTLED < now:
                    self._over[width, start] = measured
            while len(self._over) > SLOTS_MOST:
                del self._over[min(self._over, key=lambda key: key[1])]


def of_queue(read: dict[int, Measured], queue: str | None) -> list[Slot]:
    return [Slot(start, measured.get(queue, {})) for start, measured in read.items()]


def _add(measured: Measured, sample: Sample) -> None:
    for queue in (None, sample.queue):
        measured.setdefault(queue, {}).setdefault(sample.measure, Counter())[sample.bucket] += sample.n


def _runs(starts: Sequence[int], width: int) -> Iterator[tuple[int, int]]:
    """Slots that follow each other, as the first and the last of them."""
    first = last = None
    for start in starts:
        if first is None or last is None or start != last + width:
            if first is not None and last is not None:
                yield first, last
            first = start
        last = start
    if first is not None and last is not None:
        yield first, last
