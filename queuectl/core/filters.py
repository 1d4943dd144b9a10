"""The filter of jobs: one grammar for ``queuectl list``, the HTTP API and the dashboard's box.

    state:dead queue:mail tag:nightly exit:137 since:2h rsync
    fault:1f0c0a5b4e7d2c31

Words with a known name before the colon must match exactly; several of one name mean any of them, different names
must all match. Everything else is text that the command contains. Quotes keep words together: ``"a b"``,
``tag:"a b"``.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, NamedTuple

from queuectl.api.errors import BadInput
from queuectl.api.model import Fault, State, Where, fault_of
from queuectl.api.storage import Ability
from queuectl.core.options import nearest
from queuectl.core.times import parse_duration, parse_when

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from queuectl.api.model import Job, Page
    from queuectl.api.storage import Storage

NAMES = ("state", "queue", "tag", "id", "exit", "fault", "since", "text")
LONGEST = 1000
#: Pages that one look goes through where a filter is not the storage's own (``exit:``).
LOOKS = 5
#: Dead jobs that are looked at for groups, where the storage does not keep them.
GROUPED = 1000

_STATES = {state.value: state for state in State}
_STATES |= {"dlq": State.DEAD, "running": State.PROCESSING, "canceled": State.CANCELLED}
_WORD = re.compile(r'(?:(?P<name>[a-z]+):)?(?:"(?P<quoted>[^"]*)"|(?P<bare>\S+))')


class Filter(NamedTuple):
    """A filter as it was understood."""

    where: Where = Where()
    exits: tuple[int, ...] = ()

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return self == Filter()

    def matches(self, job: Job) -> bool:
        """What a storage may not look at itself."""
        wanted = self.where.faults
        return (not self.exits or (job.outcome is not None and job.outcome.exit_code in self.exits)) and (
            wanted is None or (job.state is State.DEAD and fault_of(job.spec.command, job.reason) in wanted)
        )

    def page(self, storage: Storage, limit: int, cursor: str | None = None) -> Page:
        """One page of jobs; like ``Storage.find`` it may be short, even empty, and still have a cursor."""
        where = self.where
        if where.faults is not None and Ability.FAULTS not in storage.abilities:
            states = (State.DEAD,) if where.states is None else tuple({State.DEAD}.intersection(where.states))
            where = where._replace(faults=None, states=states)
        elif not self.exits:
            return storage.find(where, limit=limit, cursor=cursor)
        jobs: list[Job] = []
        for _ in range(LOOKS):
            page = storage.find(where, limit=max(limit, 200), cursor=cursor)
            for at, job in enumerate(page.jobs):
                if self.matches(job):
                    jobs.append(job)
                    if len(jobs) == limit and at + 1 < len(page.jobs):
                        onward = storage.find(where, limit=at + 1, cursor=cursor).cursor  # behind this one
                        return page._replace(jobs=tuple(jobs), cursor=onward)
            cursor = page.cursor
            if cursor is None or len(jobs) >= limit:
                break
        return page._replace(jobs=tuple(jobs), cursor=cursor)

    def all(self, storage: Storage, limit: int | None = None, size: int = 300) -> Iterator[Job]:
        """Every job that matches, page by page, at most *limit*."""
        cursor, found = None, 0
        while True:
            page = self.page(storage, size, cursor)
            for job in page.jobs:
                if limit is not None and found >= limit:
                    return
                found += 1
                yield job
            cursor = page.cursor
            if cursor is None:
                return


def parse(text: str, now: int | None = None) -> Filter:
    """The filter that *text* means. BadInput for what cannot be one."""
    if len(text) > LONGEST or "\0" in text:
        raise BadInput(f"a filter has at most {LONGEST} characters")
    found: dict[str, list[str]] = {}
    for match in _WORD.finditer(text):
        name, value = match["name"], match["quoted"] if match["quoted"] is not None else match["bare"]
        if name not in NAMES:
            name, value = "text", match[0] if name is not None else value
        if value:
            found.setdefault(name, []).append(value)
    return Filter(
        Where(
            ids=_several(found.get("id")),
            queues=_several(found.get("queue")),
            states=tuple(states(_several(found["state"]) or ())) if "state" in found else None,
            tags=_several(found.get("tag")),
            since=since(found["since"][-1], now) if "since" in found else None,
            text=" ".join(found["text"]) if "text" in found else None,
            faults=_several(found.get("fault")),
        ),
        tuple([_exit(value) for value in _several(found.get("exit")) or ()]),
    )


def _several(values: list[str] | None) -> tuple[str, ...] | None:
    if values is None:
        return None
    return tuple(dict.fromkeys(part for value in values for part in value.split(",") if part))


def _exit(text: str) -> int:
    if not re.fullmatch(r"\d{1,3}", text, re.ASCII):
        raise BadInput(f"exit: takes an exit code from 0 to 255, not {text[:40]!r}")
    return int(text)


def states(names: Iterable[str]) -> list[State]:
    """The states that people name; ``dlq`` is the list of the dead, ``running`` and ``canceled`` are understood."""
    found = []
    for name in names:
        for part in name.lower().split(","):
            if part not in _STATES:
                near = nearest(part, _STATES)
                hint = f"; did you mean {near!r}?" if near else f": there are {', '.join(State)}"
                raise BadInput(f"there is no state {part[:40]!r}{hint}")
            found.append(_STATES[part])
    return list(dict.fromkeys(found))


def since(text: str, now: int | None = None, what: str = "since") -> int:
    """Milliseconds since the epoch: a moment, or a duration that goes back from now."""
    now = time.time_ns() // 1_000_000 if now is None else now
    try:
        return now - round(1000 * parse_duration(text, what))
    except BadInput:
        moment = parse_when(text, now, what)
    return moment - 86_400_000 if moment > now and "-" not in text and "to" not in text else moment


def word(name: str, value: str) -> str:
    """*value* as a word of a filter."""
    return f'{name}:"{value}"' if re.search(r"\s", value) else f"{name}:{value}"


def faults(storage: Storage, limit: int) -> tuple[list[Fault], bool]:
    """Dead jobs in groups, the largest first, and whether these are all: else those of the latest that died."""
    if Ability.FAULTS in storage.abilities:
        return list(storage.faults(limit=limit)), True
    groups: dict[str, list[Job]] = {}
    latest = storage.find(Where(states=(State.DEAD,)), limit=GROUPED)
    for job in latest.jobs:
        groups.setdefault(fault_of(job.spec.command, job.reason), []).append(job)
    found = [
        Fault(fault, len(jobs), jobs[-1].updated_at, jobs[0].updated_at, jobs[0]) for fault, jobs in groups.items()
    ]
    return sorted(found, key=lambda group: (-group.n, -group.last_at))[:limit], latest.cursor is None
