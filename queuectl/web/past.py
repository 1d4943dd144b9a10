"""The kept histograms, for charts: summed over blocks of ten minutes that are remembered once they are over.

What is over does not change, and a week has a few hundred thousand samples: each is read from the storage once.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

from queuectl.core.figures import Slot

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from queuectl.api.model import Sample
    from queuectl.api.storage import Storage

MINUTE = 60_000
BLOCK = 10 * MINUTE
#: A settlement may take so long to be written: a block is over when this has passed as well.
SETTLED = 2 * MINUTE
BLOCKS_MOST = 2 * 7 * 144

Key = tuple[str, str, int]  # queue, measure, bucket


class Past:
    """What was read so far, shared by all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks: dict[int, Counter[Key]] = {}

    def slots(self, storage: Storage, now: int, span: int, count: int, queue: str | None = None) -> list[Slot]:
        """The last *span* ms in *count* slots of whole blocks (of minutes, where they are shorter than a block)."""
        width = span // count
        if width < BLOCK:
            end = now // MINUTE * MINUTE + MINUTE
            start = end - span
            minutes: dict[int, Counter[Key]] = {}
            for sample in storage.samples(start, end):
                _add(minutes, sample.minute * MINUTE, sample)
            return _slots(minutes, start, width, count, queue)
        width = width // BLOCK * BLOCK
        end = now // BLOCK * BLOCK + BLOCK
        start = end - width * count
        return _slots(self._between(storage, start, end, now), start, width, count, queue)

    def _between(self, storage: Storage, start: int, end: int, now: int) -> dict[int, Counter[Key]]:
        with self._lock:
            known = {at: self._blocks[at] for at in range(start, end, BLOCK) if at in self._blocks}
        missing = [at for at in range(start, end, BLOCK) if at not in known]
        read: dict[int, Counter[Key]] = {at: Counter() for at in missing}
        for first, last in _runs(missing):
            for sample in storage.samples(first, last + BLOCK - 1):
                _add(read, sample.minute * MINUTE // BLOCK * BLOCK, sample)
        with self._lock:
            for at, block in read.items():
                if at + BLOCK + SETTLED < now:
                    self._blocks[at] = block
            for at in sorted(self._blocks)[: max(0, len(self._blocks) - BLOCKS_MOST)]:
                del self._blocks[at]
        return known | read


def _add(blocks: dict[int, Counter[Key]], at: int, sample: Sample) -> None:
    blocks.setdefault(at, Counter())[sample.queue, sample.measure, sample.bucket] += sample.n


def _runs(blocks: Sequence[int]) -> Iterable[tuple[int, int]]:
    """Blocks that follow each other, as first and last."""
    first = last = None
    for at in blocks:
        if last is not None and at == last + BLOCK:
            last = at
            continue
        if first is not None and last is not None:
            yield first, last
        first = last = at
    if first is not None and last is not None:
        yield first, last


def _slots(blocks: dict[int, Counter[Key]], start: int, width: int, count: int, queue: str | None) -> list[Slot]:
    measured: list[dict[str, Counter[int]]] = [{} for _ in range(count)]
    for at, block in blocks.items():
        place = (at - start) // width
        if 0 <= place < count:
            for (name, measure, bucket), n in block.items():
                if queue is None or name == queue:
                    measured[place].setdefault(measure, Counter())[bucket] += n
    return [Slot(start + place * width, histograms) for place, histograms in enumerate(measured)]
