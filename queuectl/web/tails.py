"""The last line of what jobs wrote: in a list it says more of why one failed than its exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from queuectl.api.model import INLINE_OUTPUT, State
from queuectl.core.outputs import STREAMS, Live
from queuectl.web.words import line, output_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from queuectl.api.model import Job
    from queuectl.api.storage import Storage

#: Bytes at the end of a stream in which a last line is looked for.
LOOKED_AT = 600
SHORT = 200


class Running(NamedTuple):
    """A job that runs, and what it wrote last."""

    job: Job
    says: str


def running(run_dir: str, jobs: Iterable[Job]) -> list[Running]:
    """Jobs with the last line of their output so far, where they run on this host."""
    found = []
    for job in jobs:
        live = Live.open(run_dir, job)
        says = ""
        if live is not None:
            try:
                says = next(filter(None, (_of_live(live, stream) for stream in STREAMS)), "")
            finally:
                live.close()
        found.append(Running(job, says))
    return found


def _of_live(live: Live, stream: str) -> str:
    size = live.size(stream)
    return last_line(live.read_at(stream, max(0, size - LOOKED_AT), LOOKED_AT)) if size else ""


def failed(storage: Storage, jobs: Iterable[Job]) -> Mapping[str, str]:
    """The last line on stderr, else on stdout, of the latest attempt of each that failed, by id."""
    found = {}
    for job in jobs:
        if job.state in (State.FAILED, State.DEAD) and job.outcome is not None:
            sizes = (("stderr", job.outcome.stderr_size), ("stdout", job.outcome.stdout_size))
            says = next(filter(None, (_of_stored(storage, job, stream, size) for stream, size in sizes if size)), "")
            if says:
                found[job.id] = says
    return found


def _of_stored(storage: Storage, job: Job, stream: str, written: int) -> str:
    kept = written if written <= INLINE_OUTPUT else storage.output_size(job.id, job.attempts, stream)
    return last_line(storage.read_output(job.id, job.attempts, stream, max(0, kept - LOOKED_AT), LOOKED_AT))


def last_line(data: bytes) -> str:
    """The last line that has something on it, cut at its front if it is long."""
    for text in reversed(output_text(data).splitlines()):
        if text.strip():
            return line(text.strip(), SHORT)
    return ""
