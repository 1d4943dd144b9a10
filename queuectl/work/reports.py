"""What becomes known of a pool's workers: what they say, and what those that are dead have left.

A result is written into the ledger; it is stored by an exchange, and its worker keeps it until then.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from queuectl.core import transitions, wire
from queuectl.core.rundir import WORKER_SUFFIX, output_path

from . import channel as words
from .ledger import Unsettled, key_of
from .legacy import STREAMS, files_of, from_record, outlived, remove
from .peer import FAR
from .points import reached

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from queuectl.core.rundir import WorkerRecord

    from .ledger import Ledger
    from .lookout import Lookout
    from .output import Limits
    from .pace import Pace
    from .peer import Peer
    from .takeover import Takeover
    from .telling import Telling

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")


class Reports:
    """The crew calls ``hear`` and ``mourn``; the ledger has what follows."""

    def __init__(
        self,
        run_dir: str,
        limits: Limits,
        rng: Random,
        log: Callable[[str], None],
        *,
        ledger: Ledger,
        pace: Pace,
        lookout: Lookout,
        takeover: Takeover,
        telling: Telling,
    ) -> None:
        self.run_dir = run_dir
        self.limits = limits
        self.rng = rng
        self.log = log
        self.ledger = ledger
        self.pace = pace
        self.lookout = lookout
        self.takeover = takeover
        self.telling = telling

    def hear(self, peer: Peer, head: list[Any], body: bytes) -> None:
        """What a worker says."""
        word = head[0]
        if word == words.DONE:
            reached("pool.done-read")
            self._take_result(peer, head, body)
        elif word == words.HI and peer.adopted:
            self._welcome(peer, head[4])
        elif word == words.HI:
            reached("pool.hi-read")
            self.lookout.look_at = 0.0
        elif word == words.RETURNED:
            self._take_back(peer, *head[1:3])
        elif word == words.STARTED and peer.claim is not None:
            remove(self.ledger.taken_up(peer.claim))
            self.telling.started(peer.claim, head[4])

    def _take_result(self, peer: Peer, head: list[Any], body: bytes) -> None:
        _word, id, attempt, packed, verdict, delay, sizes = head[:7]
        claim = peer.claim
        if claim is not None and self.ledger.outlived:
            remove(self.ledger.taken_up(claim))
        if claim is None or peer.disowned or (claim.job.id, claim.job.attempts) != (id, attempt):
            peer.acknowledge(id, attempt)
            if peer.disowned and claim is not None:
                self.ledger.forget(claim)
                peer.free()
            return
        outcome = wire.unpack_outcome(packed)
        assert outcome is not None
        if outcome.left:
            peer.broken = True
        kept: list[bytes | None] = []
        large: list[tuple[str, str]] = []
        at = 0
        record = os.path.join(self.run_dir, peer.id + WORKER_SUFFIX)
        for stream, size in zip(STREAMS, sizes, strict=True):
            if size < 0:
                kept.append(None)
                large.append((stream, output_path(record, stream)))
            else:
                kept.append(body[at : at + size])
                at += size
        settlement = transitions.settle(
            claim,
            outcome,
            verdict=verdict,
            delay=delay,
            decided=verdict is not None,
            rng=self.rng,
            stdout=kept[0],
            stderr=kept[1],
        )
        now = time.monotonic()
        self.pace.ended((outcome.ended_at - outcome.started_at) / 1000, now)
        peer.reported = True
        peer.kill_at = FAR
        self.ledger.keep([Unsettled(claim, settlement, peer, tuple(large))])

    def _take_back(self, peer: Peer, id: str, attempt: int) -> None:
        """A job that was handed over has not begun, and will not."""
        claim = peer.claim
        if claim is None or (claim.job.id, claim.job.attempts) != (id, attempt):
            return
        reached("pool.returned-read")
        run = self.ledger.outlived.get(key_of(claim))
        if run is not None:  # it goes on: another worker has to see to it
            self.ledger.take_up(claim, run._replace(disowned=peer.disowned))
        elif peer.disowned:
            self.ledger.forget(claim)
        else:
            self.ledger.give_back(claim)
        peer.free()

    def _welcome(self, peer: Peer, held: list[Any] | None) -> None:
        """An adopted worker has said what it holds; that is the only truth about it."""
        claim = self.takeover.orphans.pop(os.path.join(self.run_dir, peer.id + WORKER_SUFFIX), None)
        reached("takeover.hi-read")
        if claim is None:
            return
        if held != [claim.job.id, claim.job.attempts]:
            self.ledger.give_back(claim)
            return
        peer.take_up(claim, False, self.ledger.stopping)

    def mourn(self, peer: Peer, record: WorkerRecord | None) -> None:
        """A worker is dead and nothing of its tree lives: settle what it held."""
        claim = peer.claim
        if claim is not None and not peer.reported:
            run = outlived(claim, record, self.ledger.outlived.get(key_of(claim)))
            remove(self.ledger.taken_up(claim) if run is None else ())
            if run is not None:
                self.log(f"worker {peer.id} died with job {claim.job.id}: its run is taken up")
                self.ledger.take_up(claim, run._replace(disowned=peer.disowned))
                return
        if claim is not None and not peer.reported and not peer.disowned:
            entry = from_record(claim, record, self.limits, self.rng, swept=True)
            if not entry.settlement.released:
                self.log(f"worker {peer.id} died with job {claim.job.id}: {entry.settlement.reason}")
            self.ledger.keep([entry])
            return
        files = () if record is None else files_of(record)
        if peer.reported:  # its result is here; its files go once that is stored
            self.ledger.unsettled = [
                entry._replace(peer=None, remove=files) if entry.peer is peer else entry
                for entry in self.ledger.unsettled
            ]
            return
        remove(files)
        if claim is not None:
            self.ledger.forget(claim)
