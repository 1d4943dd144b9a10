"""The executor contract: turns a claim into a running thing and ends it, with everything it started.

An executor lives in a worker, a process that runs one job at a time. It is imported when that worker gets its first
job for it. It sees a :class:`Run` and nothing else: no configuration, no storage, no secrets but its own options.
The worker owns the clocks: it asks for the end at the timeout, waits the grace, and asks again by force.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .model import Claim, Outcome


class Run(NamedTuple):
    """One thing to run.

    Exactly one of ``argv`` and ``shell`` is given. ``env`` is complete and meant for this host: an executor that runs
    the job here uses it as it is. One that runs it elsewhere (a container, another host) starts from ``own_env``: what
    the job, the environment hooks and the core itself gave.
    """

    claim: Claim
    argv: tuple[str, ...] | None
    shell: str | None  # a line for /bin/sh -c
    env: Mapping[str, str]
    own_env: Mapping[str, str]
    cwd: str | None  # exists on this host, or None
    stdout: int  # descriptors to write to; the caller closes them after start()
    stderr: int
    options: Mapping[str, Any]  # the job's own, checked against ``job_options``
    log: Callable[[str], None]  # one line for the worker's log


class Handle(abc.ABC):
    """A started job."""

    #: How others can find this run, recorded at once: ``pid:812``, ``container:4f1c…``.
    ident: str

    @abc.abstractmethod
    def fileno(self) -> int:
        """A descriptor that polls readable once the job may have ended (a pidfd, a pipe, a socket)."""

    @abc.abstractmethod
    def stop(self, force: bool = False) -> None:
        """Ask the job *and everything it started* to end; by *force* means now. Returns at once, never raises."""

    @abc.abstractmethod
    def collect(self) -> Outcome | None:
        """How it ended, or None while it runs. Waits for nothing but the end of what an ended job left behind.

        With an outcome the handle is spent: no process of the job lives (or ``left`` says how many do) and its
        descriptors are closed. ``kind`` is EXITED or SIGNALLED; the worker knows better when it asked for the end.
        ``started_at`` and ``ended_at`` may be 0: the worker then uses its own clock. Where jobs run elsewhere, the kind
        may also be START_FAILED (``start`` had only asked for it), INTERRUPTED (ended by what it ran in) or LOST (it is
        gone, and nobody can say how it ended).
        """

    def forget(self) -> None:
        """The outcome is recorded: what was kept for the case that this worker dies may go. Returns soon."""


class Executor(abc.ABC):
    """Runs jobs. One instance per worker and configured name; never shared between threads."""

    @abc.abstractmethod
    def start(self, run: Run) -> Handle:
        """Begin to run. Raise ``StartFailed`` if it cannot be started: that is an outcome like any other."""

    def ident(self, run: Run) -> str:
        """The name that the handle of this run will have, if runs outlive their worker; "" (default): they do not.

        It is recorded before ``start``, so that a run can be found whose worker dies at any moment. When one has died,
        another worker takes the run up by ``attach``; if that cannot be, it calls ``clean``, and the attempt is lost.
        """
        return ""

    def clean(self, ident: str) -> bool:
        """End what a run left whose worker died, before its attempt is called lost. True if there was something."""
        return False

    def attach(self, ident: str, run: Run) -> Handle | None:
        """Take up a run that outlived its worker, or None if there is none, or it cannot be.

        *run* is as ``start`` got it, but for its descriptors: they are new, and get what the run has written from its
        beginning, as far as that was kept elsewhere. A run that has ended meanwhile is told with its outcome, at the
        first ``collect``. Where it cannot be known now whether it runs, there is a handle, which finds out.
        """
        return None

    def close(self) -> None:
        """Release everything. Idempotent."""
