"""The guards, and what becomes of each when it is taken away: the tests have to notice every one.

A mutant is a file, a text that stands in it exactly once, and what stands there instead. One that does not apply is an
error: the guard has moved, and its mutant has to move with it.
"""

# ruff: noqa: E501 (a mutant is one line)
from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    guard: str
    file: str
    text: str
    instead: str


class Suite(NamedTuple):
    """Mutants, and the arguments of pytest that have to fail for each."""

    name: str
    tests: tuple[str, ...]
    mutants: tuple[Mutant, ...]


def of(file: str, *mutants: tuple[str, str, str]) -> tuple[Mutant, ...]:
    return tuple([Mutant(guard, file, text, instead) for guard, text, instead in mutants])


SQLITE = (
    *of(
        "queuectl/builtin/sqlite/exchange.py",
        ("token", "if state != PROCESSING or held != token:", "if state != PROCESSING:"),
        ("state", "if state != PROCESSING or held != token:", "if held != token:"),
        ("token: a repeat", "return applied_before(db, seq, token)", "return False"),
        ("token: no repeat", "return applied_before(db, seq, token)", "return True"),
        ("token: a repeated release", 'db.execute(_SQL["release"], (seq, token))', "pass"),
        ("cancel", "if cancel and new in (PENDING, FAILED):", "if False:"),
        ("pause", "        if paused:\n", "        if False:\n"),
        ("limit", "ready if cap is None else min(ready, cap - processing)", "ready"),
        ("limit: within a turn", "processing += changed[STATE_PLACE + PROCESSING]", "pass"),
        ("limit: across lines", "places[queue] -= 1", "pass"),
        ("limit: of one line", "_line(db, queue, min(want, most))", "_line(db, queue, want)"),
        ("ceiling of a turn", "most = queues.get(db.queue_names[queue], 0)", "most = None"),
        ("due: a retry", "due = READY if run_at <= now else LATER", "due = READY"),
        ("due: promotion", 'if head is None or head[0] > now:\n        return None if', 'if True:\n        return None if'),
        ("place of a release", "if not settlement.released:\n            run_at", "if True:\n            run_at"),
        ("number of a release", "attempts -= 1", "pass"),
    ),
    *of(
        "queuectl/builtin/sqlite/sql/exchange.sql",
        ("token: rises with a claim", "token = token + 1, pool = ?", "token = token + 0, pool = ?"),
        ("attempts rise with a claim", "attempts = attempts + 1", "attempts = attempts + 0"),
        ("due: only what is", "due = 2 AND run_at <= ? ORDER", "due = 2 AND run_at >= ? * 0 ORDER"),
        ("cancel: gone when settled", "pool = NULL, cancel = 0", "pool = NULL, cancel = cancel"),
        ("order of a line", "queue = ? ORDER BY rank, run_at, seq LIMIT ?;", "queue = ? ORDER BY run_at, seq LIMIT ?;"),
        ("lease: renewed by a turn", "UPDATE SET lease_until = excluded.lease_until", "UPDATE SET lease_until = lease_until"),
    ),
    *of(
        "queuectl/builtin/sqlite/pools.py",
        ("dead or lease: spares the living", "(other in dead or (other not in alive and", "(other in dead or (True and"),
        ("dead or lease: waits for the lease", "leases.get(other, 0) <= now", "True"),
        ("dead or lease: the lease is enough", "leases.get(other, 0) <= now", "False"),
        ("dead or lease: the dead at once", "(other in dead or (other", "(False or (other"),
        ("dead or lease: not one's own", "if other != pool and (", "if ("),
        ("dead or lease: who left", '"end_lease" if holds else "forget"', '"forget"'),
        ("dead or lease: at most so many", "(pool, other, limit - len(seqs))", "(pool, other, 1000)"),
        ("token: what is lost", "if (each.id, each.token) not in rows]", "if each.id not in [key[0] for key in rows]]"),
        ("token: what is found", "if key not in believed]", "if False]"),
        ("cancel: is told", "for key, (_, cancel) in rows.items() if cancel]", "for key, (_, cancel) in rows.items() if False]"),
        ("lease: renewed by a heartbeat",
         'db.execute(_SQL["renew"], (pool, now + round(1000 * lease)))\n        rows', "rows"),
    ),
    *of(
        "queuectl/builtin/sqlite/sql/pools.sql",
        ("token: rises with an adoption", "SET pool = ?, token = token + 1", "SET pool = ?, token = token + 0"),
    ),
    *of(
        "queuectl/builtin/sqlite/enqueueing.py",
        ("unique", "if job.unique_key is not None and (holder", "if False and (holder"),
        ("unique: within a call", "if key in self._keys:", "if False:"),
        ("id", "if id in self._ids or self._db", "if self._db"),
        ("id: in the file", 'or self._db.execute(_SQL["has_id"], (id,)).fetchone():', "or False:"),
        ("id: a number is issued", "if id.isdecimal() and id.isascii():", "if False:"),
        ("number: never again", "if seq != first:", "if False:"),
        ("due: not before", "due = READY if run_at <= now else LATER", "due = READY"),
    ),
    *of(
        "queuectl/builtin/sqlite/changing.py",
        ("state: what an action applies to", "if was not in APPLIES[action]:", "if False:"),
        ("cancel: a running job is marked", "        if state == PROCESSING:\n", "        if False:\n"),
        ("cancel: once", "            if cancel:\n", "            if False:\n"),
        ("unique: a retry", "if not db.conn.changes():", "if False:"),
    ),
    *of(
        "queuectl/builtin/sqlite/sql/changing.sql",
        ("seed", "SELECT id FROM queue WHERE name = ?", "SELECT id FROM queue WHERE name = ? AND 0"),
        ("token: kept when an id is free again", "WHERE gone.token > meta.tokens", "WHERE 0"),
        ("unique: a retry replaces nothing", "UPDATE OR IGNORE job", "UPDATE OR REPLACE job"),
        ("prune: only what is older", "updated_at < ?", "updated_at < ? * 2"),
    ),
    *of(
        "queuectl/builtin/sqlite/database.py",
        ("another file", "        if file != self._file:\n", "        if False:\n"),
    ),
)  # fmt: skip

MEMORY = of(
    "queuectl/testing/memory.py",
    ("token", "if job.state is not State.PROCESSING or job.token != token:", "if job.state is not State.PROCESSING:"),
    ("state", "if job.state is not State.PROCESSING or job.token != token:", "if job.token != token:"),
    ("token: a repeat", "applied_before = any(attempt.token == token", "applied_before = any(False"),
    ("token: a repeated release", "or (job.seq, token) in shelf.released", ""),
    ("token: rises with a claim", "attempts=job.attempts + 1, token=job.token + 1", "attempts=job.attempts + 1, token=job.token"),
    ("token: rises with an adoption", "job._replace(pool=pool, token=job.token + 1)", "job._replace(pool=pool)"),
    ("token: what is lost", "if (each.id, each.token) not in ours)", "if each.id not in [key[0] for key in ours])"),
    ("token: what is found", "if key not in believed)", "if False)"),
    ("cancel", "if job.cancel and state in WAITING:", "if False:"),
    ("cancel: a running job is marked", "elif job.state is not State.PROCESSING:", "elif True:"),
    ("cancel: once", "        elif job.cancel:\n", "        elif False:\n"),
    ("pause", "and not queue.paused", ""),
    ("limit", "(queue.limit is None or running[name] + taken[name] < queue.limit)", "True"),
    ("limit: within a turn", "running[name] + taken[name] < queue.limit", "running[name] < queue.limit"),
    ("ceiling of a turn", "(most is None or taken[name] < most)", "True"),
    ("dead or lease: spares the living", "(other not in alive and leases", "(leases"),
    ("dead or lease: waits for the lease", "leases.get(other, 0) <= now)", "True)"),
    ("dead or lease: the dead at once", "if other in dead or (", "if ("),
    ("dead or lease: not one's own", "- {pool})", "- set())"),
    ("unique", "if (holder := self._holder(spec.unique_key)) is not None:", "if False:"),
    ("unique: a retry", "if job.state in FINISHED and self._holder(job.spec.unique_key):", "if False:"),
    ("id", "if given.count(id) > 1 or self._find(id):", "if given.count(id) > 1:"),
    ("token: kept when an id is free again", "if job.spec.id is not None:\n            shelf.token", "if False:\n            shelf.token"),
    ("seed", "if seed and name in self._shelf.queues:", "if False:"),
    ("place of a release", "changed = job._replace(\n", "job = job._replace(run_at=now)\n        changed = job._replace(\n"),
    ("prune: only what is older", "and job.updated_at < before", ""),
)  # fmt: skip

TRANSITIONS = of(
    "queuectl/core/transitions.py",
    ("tries", "return job.tries + 1 <= job.settings.max_retries", "return job.tries <= job.settings.max_retries"),
    ("tries: counted", "tries, losses = job.tries + 1, 0", "tries, losses = job.tries, 0"),
    ("poison", "if losses >= POISON:", "if losses > POISON:"),
    ("poison: only if seen", "losses = job.losses + swept", "losses = job.losses + 1"),
    ("cancel", "if job.cancel and (state in WAITING or outcome.kind is OutcomeKind.LOST):", "if False:"),
    ("cancel: a release", "    if job.cancel:\n        state, reason = State.CANCELLED", "    if False:\n        state, reason = State.CANCELLED"),
    ("verdict", "    if verdict not in VERDICTS:\n", "    if False:\n"),
    ("the policy gives up", "if decided and delay is None:", "if False:"),
    ("a delay that is none", "not math.isfinite(delay) or delay < 0", "False"),
    ("the longest delay", "min(delay, LONGEST_DELAY)", "delay"),
)  # fmt: skip

POOL = (
    *of(
        "queuectl/work/ledger.py",
        ("token: what is forgotten", "if held is not None and held.token == claim.token:", "if held is not None:"),
        ("want", "want = max(0, room - waiting)", "want = max(0, room)"),
        ("want: nothing at a stop", "        if self.stopping:\n", "        if False:\n"),
    ),
    *of(
        "queuectl/work/pace.py",
        ("ready: while jobs are short", "self._streak + 1 if seconds <= SHORT else 0", "self._streak + 1"),
        ("ready: for no longer than it may", "min(self.stale_at, now + STALE)", "now + STALE"),
        ("ready: not behind what is long", "are not short.\"\"\"\n        self._streak = 0", "are not short.\"\"\""),
        ("ready: no more than may", "min(self._lanes - 1, max(1, int(READY / self._each)))", "self._lanes - 1"),
    ),
)  # fmt: skip

TAKEOVER = of(
    "queuectl/work/takeover.py",
    ("inherited: written down first", "self._inheritance.expect()", "pass"),
    ("inherited: is read", "same_boot and not elsewhere(claim)", "same_boot"),
    ("inherited: an answer that was lost", "before, self._unheard = self._unheard, True", "before = False"),
    ("trees: before a claim", "            self._end_trees(None)\n", "            pass\n"),
    ("trees: before files", "            self._end_left(record)  # its job", "            # its job"),
    ("files of the adopted", "or record.id in adopted or", "or"),
)  # fmt: skip

SUITES = (
    Suite(
        "SQLite",
        (
            "tests/contracts/test_sqlite.py",
            "tests/faults/test_database_gone.py",
            "-k",
            "TestSQLiteStorageWithNormalDurability or nothing_is_stored_in_a_file",
        ),
        SQLITE,
    ),
    Suite("the reference", ("tests/contracts/test_memory.py",), MEMORY),
    Suite("transitions", ("tests/unit/test_transitions.py",), TRANSITIONS),
    Suite("the pool", ("tests/unit/test_pool_decisions.py", "tests/unit/test_pace.py"), POOL),
    Suite(
        "taking over",
        (
            "tests/work/test_takeover_cleaning.py",
            "tests/faults/test_deaths.py",
            "tests/faults/test_points.py",
            "-k",
            "takeover_cleaning or dead_left or inheriting",
        ),
        TAKEOVER,
    ),
)
