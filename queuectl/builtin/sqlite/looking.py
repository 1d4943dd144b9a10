"""Looking at jobs, queues and figures."""

from __future__ import annotations

import heapq
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from queuectl.api.errors import BadInput
from queuectl.api.model import FINISHED, Audit, Fault, History, Job, Page, QueueStat, Sample, State, Where

from . import statements
from .rows import ATTEMPT_COLUMNS, JOB_COLUMNS, NUMBER, STATES, attempt_id, attempt_of, job_of, outcome_of, seq_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from .database import Database

_SQL = {
    name: text.replace("{job}", JOB_COLUMNS).replace("{attempt}", ATTEMPT_COLUMNS)
    for name, text in statements.load("looking").items()
}
#: The most rows that one call of find() looks at in vain, where no index serves a filter.
LOOK = 10_000
#: How far a wall clock may be set back before ``since`` misses jobs.
SLACK = 86_400_000
_END = (1 << 63) - 1
_DAY_ONE = -_END


def job_at(db: Database, seq: int) -> Job:
    row = db.execute(_SQL["job"], (seq,)).fetchone()
    last = None
    if row[7]:
        ended = db.execute(_SQL["outcome"], (attempt_id(seq, 0), attempt_id(seq + 1, 0) - 1)).fetchone()
        last = outcome_of(ended) if ended else None
    return job_of(db, row, last)


def get(db: Database, ids: Sequence[str]) -> list[Job | None]:
    with db.reading:
        seqs = [seq_of(db, id) for id in ids]
        return [None if seq is None else job_at(db, seq) for seq in seqs]


def resolve(db: Database, prefix: str) -> list[str]:
    if not prefix:
        return []
    last = ord(prefix[-1])
    after = prefix[:-1] + chr(last + 1) if last < 0x10FFFF and not 0xD7FF <= last < 0xDFFF else prefix + "\U0010ffff"
    with db.reading:
        return [id for (id,) in db.execute(_SQL["prefix"], (prefix, after))]


def history(db: Database, id: str) -> History:
    with db.reading:
        seq = seq_of(db, id)
        if seq is None:
            return History()
        span = (attempt_id(seq, 0), attempt_id(seq + 1, 0) - 1)
        return History(
            tuple([attempt_of(row) for row in db.execute(_SQL["attempts"], span)]),
            tuple([Audit(*row) for row in db.execute(_SQL["audits"], (seq,))]),
        )


def stat(db: Database, now: int) -> list[QueueStat]:
    with db.reading:
        risen = {queue: (n, first) for queue, n, first in db.execute(_SQL["due_since"], (now,))}
        return [_queue_stat(db, row, *risen.get(row[0], (0, None))) for row in db.execute(_SQL["queues"]).fetchall()]


def _queue_stat(db: Database, row: Any, risen: int, first: int | None) -> QueueStat:
    number, name, paused, cap, ready = row[:5]
    runs, run_ms, pause_reason = row[11:]
    oldest = first
    if ready and (head := db.execute(_SQL["head"], (number,)).fetchone()):
        oldest = head[0]
    return QueueStat(
        name, dict(zip(STATES, row[5:11], strict=True)), ready + risen, oldest, bool(paused), pause_reason, cap, runs,
        run_ms,
    )  # fmt: skip


def samples(db: Database, since: int, until: int) -> list[Sample]:
    with db.reading:
        return [Sample(*row) for row in db.execute(_SQL["samples"], (since // 60_000, until // 60_000))]


def summed(db: Database, since: int, until: int, width: int) -> list[Sample]:
    """Stretch by stretch: each is read in order of its key and sorted by itself, which is less than sorting all."""
    before, last = since // 60_000 - 1, until // 60_000
    found: list[Sample] = []
    with db.reading:
        while (following := db.execute(_SQL["next_minute"], (before, last)).fetchone()) is not None:
            start = following[0] // width * width
            end = min(last, start + width - 1)
            found += [Sample(start, *row) for row in db.execute(_SQL["summed"], (before + 1, end))]
            before = end
    return found


def sizes(path: str) -> dict[str, int]:
    found = {}
    for part, suffix in (("database", ""), ("log", "-wal")):
        try:
            found[part] = os.stat(path + suffix).st_size
        except FileNotFoundError:
            found[part] = 0
    return found


def changed(db: Database) -> bool:
    """Whether another connection has committed since the last call."""
    db.watch()
    version = next(db.execute("PRAGMA data_version"))[0]
    was, db.seen_version = db.seen_version, version
    return bool(version != was)


def faults(db: Database, limit: int) -> list[Fault]:
    with db.reading:
        found = []
        for fault, n, first_at, last_at in db.execute(_SQL["faults"], (limit,)).fetchall():
            ((seq,),) = db.execute(_SQL["latest_of_fault"], (fault,)).fetchall()
            found.append(Fault(fault, n, first_at, last_at, job_at(db, seq)))
        return found


# -- find -----------------------------------------------------------------------------------------


class Look(NamedTuple):
    """What the filters of find() need of a row."""

    key: tuple[int, ...]  # where the line goes on
    seq: int
    queue: int
    state: int
    created_at: int
    matches: int  # whether the text was found


class Phase(NamedTuple):
    """One of the lines that a search walks, one after the other."""

    line: str
    state: int | None = None
    start: tuple[int, ...] = (_END,)
    by_queue: bool = False  # there is a line for each queue; they are merged
    always_by_queue: bool = False  # there is no other
    newest_first: bool = True
    aged: int | None = None  # place in the key of a moment that falls along the line: where ``since`` can stop


def phases(where: Where) -> list[Phase]:
    """The lines that hold the jobs of *where*, in the order that ``Storage.find`` promises."""
    if where.ids is not None:
        return [Phase("ids")]
    if where.tags is not None:
        return [Phase("tagged")]
    if where.faults is not None:
        return [Phase("faulted", start=(_END, _END))]
    if where.states is None:
        return [Phase("newest", by_queue=True)]
    found = []
    for state in dict.fromkeys(where.states):
        number = NUMBER[state]
        if state in FINISHED:
            found.append(Phase("ended", number, (_END, _END), by_queue=True, aged=0))
        elif state is State.PROCESSING:
            found.append(Phase("held", number, (_END, _END)))
        elif state is State.FAILED:
            found.append(Phase("retrying", number, (_DAY_ONE, 0), newest_first=False))
        else:
            first = (_DAY_ONE, 0, 0)
            found.append(Phase("ready", number, first, by_queue=True, always_by_queue=True, newest_first=False))
            found.append(Phase("later", number, first[:2], by_queue=True, newest_first=False))
    return found


class Search:
    """Walks the jobs of a ``Where`` in order, from a place on; what it looks at is bounded by who asks."""

    def __init__(self, db: Database, where: Where) -> None:
        self._db = db
        self._where = where
        self._look = "seq, queue, state, created_at, 1"
        if where.text is not None:
            self._look = "seq, queue, state, created_at, instr(command, :text) > 0"
        self._queues = None if where.queues is None else db.known_queues(where.queues)
        self._states = None if where.states is None else {NUMBER[state] for state in where.states}
        self.phases = phases(where)

    def rows(self, phase: Phase, after: tuple[int, ...]) -> Iterator[Look]:
        """The rows of one line after a key. Whether they match is for ``matches``."""
        if phase.line == "ids":
            return self._by_seq(sorted(self._ids(), reverse=True), after)
        if phase.line == "tagged":
            return self._by_seq(self._tagged(after), after)
        if phase.line == "faulted":
            lines = [self._faulted(fault, after) for fault in dict.fromkeys(self._where.faults or ())]
            return heapq.merge(*lines, key=lambda look: look.key, reverse=True)
        queues = self._queues
        if queues is None and phase.always_by_queue:
            queues = [queue for (queue,) in self._db.execute("SELECT id FROM queue WHERE ready > 0")]
        if queues is None or not phase.by_queue:
            return self._line(phase.line, phase.state, None, after)
        lines = [self._line(f"{phase.line}_in", phase.state, queue, after) for queue in queues]
        if len(lines) == 1:
            return lines[0]
        return heapq.merge(*lines, key=lambda look: look.key, reverse=phase.newest_first)

    def matches(self, look: Look) -> bool:
        since = self._where.since
        return bool(
            look.matches
            and (self._states is None or look.state in self._states)
            and (self._queues is None or look.queue in self._queues)
            and (since is None or look.created_at >= since)
            and (self._where.tags is None or self._where.ids is None or self._has_tag(look.seq))
            and (self._where.faults is None or self.phases[0].line == "faulted" or self._has_fault(look.seq))
        )

    def too_old(self, phase: Phase, look: Look) -> bool:
        """Whether nothing further along the line can have been created since."""
        since = self._where.since
        if since is None or phase.line not in ("newest", "ended"):
            return False
        moment = look.created_at if phase.aged is None else look.key[phase.aged]
        return moment < since - SLACK

    def _line(self, name: str, state: int | None, queue: int | None, after: tuple[int, ...]) -> Iterator[Look]:
        bind: dict[str, Any] = {"state": state, "queue": queue, "text": self._where.text}
        bind |= zip("abc", after, strict=False)
        sql, width = _SQL[name].replace("{look}", self._look), len(after)
        for row in self._db.execute(sql, bind):
            # A line may hold both kinds of waiting jobs; the phase wants one.
            look = Look(row[:width], *row[width:])
            yield look if state is None or look.state == state else look._replace(matches=0)

    def _faulted(self, fault: str, after: tuple[int, ...]) -> Iterator[Look]:
        bind = {"fault": fault, "text": self._where.text, **dict(zip("ab", after, strict=True))}
        for row in self._db.execute(_SQL["faulted"].replace("{look}", self._look), bind):
            yield Look(row[:2], *row[2:])

    def _by_seq(self, seqs: Any, after: tuple[int, ...]) -> Iterator[Look]:
        sql = _SQL["look"].replace("{look}", self._look)
        for seq in seqs:
            if seq < after[0]:
                row = self._db.execute(sql, {"a": seq, "text": self._where.text}).fetchone()
                if row is not None:
                    yield Look((seq,), *row)

    def _ids(self) -> set[int]:
        return {seq for id in self._where.ids or () if (seq := seq_of(self._db, id)) is not None}

    def _tagged(self, after: tuple[int, ...]) -> Iterator[int]:
        lines = [
            (seq for (seq,) in self._db.execute(_SQL["tagged"], {"tag": tag, "a": after[0]}))
            for tag in dict.fromkeys(self._where.tags or ())
        ]
        last = None
        for seq in heapq.merge(*lines, reverse=True):
            if seq != last:
                yield seq
            last = seq

    def _has_fault(self, seq: int) -> bool:
        return any(self._db.execute(_SQL["has_fault"], (seq, fault)).fetchone() for fault in self._where.faults or ())

    def _has_tag(self, seq: int) -> bool:
        return any(
            self._db.execute("SELECT 1 FROM tag WHERE tag = ? AND job = ?", (tag, seq)).fetchone()
            for tag in self._where.tags or ()
        )


def walk(search: Search, place: int, after: tuple[int, ...] | None) -> Generator[tuple[int, Look], None, None]:
    """All rows of a search from a place on, each with the number of its phase; matching or not."""
    for number in range(place, len(search.phases)):
        phase = search.phases[number]
        for look in search.rows(phase, after or phase.start):
            if search.too_old(phase, look):
                break
            yield number, look
        after = None


def find(db: Database, where: Where, limit: int, cursor: str | None) -> Page:
    place, after = _parse(cursor, phases(where))
    limit = max(1, limit)
    with db.reading:
        search = Search(db, where)
        seqs: list[int] = []
        onward = None
        here: list[int] = []
        rows = walk(search, place, after)
        for looked, (number, look) in enumerate(rows):
            if len(seqs) >= limit or looked - len(seqs) >= LOOK:
                onward = ",".join([str(int(part)) for part in here])
                break
            here = [number, *look.key]
            if search.matches(look):
                seqs.append(look.seq)
        rows.close()  # its cursors must not outlive the transaction
        return Page(tuple([job_at(db, seq) for seq in seqs]), onward)


def _parse(cursor: str | None, phases: Sequence[Phase]) -> tuple[int, tuple[int, ...] | None]:
    """Where to go on: the number of a phase, and a key on its line. A cursor may come from a URL."""
    if cursor is None:
        return 0, None
    try:
        place, *key = [int(part) for part in cursor.split(",")]
        if (
            any(abs(part) > _END for part in key)
            or not 0 <= place < len(phases)
            or len(key) != len(phases[place].start)
        ):
            raise ValueError
    except ValueError as error:
        raise BadInput(f"{cursor[:40]!r} is not a cursor of this list") from error
    return place, tuple(key)
