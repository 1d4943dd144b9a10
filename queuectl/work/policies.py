"""What others decide about an attempt: its executor, its backoff, its environment, its verdict.

Built-in components are called directly; a plugin's is opened when it is first needed, and given up when it takes too
long.
"""

from __future__ import annotations

import json
import os
import random
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from queuectl.core import transitions
from queuectl.core.patience import impatient
from queuectl.core.rundir import run_mark

from .setup import is_ours
from .supervisor import VARIABLES as SUPERVISOR

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from queuectl.api.backoff import Backoff
    from queuectl.api.executor import Executor
    from queuectl.api.model import Claim, Outcome
    from queuectl.core.plugins import Plugins

    from .setup import Setup

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")


class Policies:
    """Of one worker, for all of its jobs."""

    def __init__(self, setup: Setup, log: Callable[[str], None]) -> None:
        self._setup = setup
        self._log = log
        self._opened: dict[str, Any] = {}
        self._plugins: Plugins | None = None
        self._ready = False
        self._rng = random.Random(os.urandom(8))

    def executor(self, recipe: list[Any]) -> Executor:
        opened: Executor = self._open("executor", recipe)
        return opened

    def decide(self, claim: Claim, outcome: Outcome, backoff: list[Any]) -> tuple[str | None, float | None]:
        """Verdict and delay for an attempt; (None, None) where there is nothing to decide."""
        if outcome.kind not in transitions.COUNTED:
            return None, None
        job = claim.job
        verdict = self._verdict(claim, outcome) or transitions.verdict_of(outcome)
        if verdict != "retry" or not transitions.may_retry(job):
            return verdict, None
        failed = job._replace(tries=job.tries + 1, outcome=outcome)
        try:
            policy: Backoff = self._open("backoff", backoff)
            delay = self._guarded(lambda: policy.delay(failed, outcome, self._rng))
            if delay is None:
                return verdict, None
            if not isinstance(delay, int | float) or not 0 <= delay < 1e9:
                raise ValueError(f"it answered {delay!r}")
            return verdict, float(delay)
        except Exception as error:
            self._log(f"backoff {job.settings.backoff!r} failed, the built-in rule is used: {sentence(error)}")
            return verdict, transitions.default_delay(failed)

    def environment(self, claim: Claim, worker: str) -> dict[str, str]:
        """What the job, the plugins and core itself give, in rising precedence."""
        job = claim.job
        own = dict(job.spec.env)
        if (plugins := self._hooks()) is not None:
            try:
                own.update(self._guarded(lambda: plugins.environment(claim)) or {})
            except Exception as error:
                self._log(f"the environment hook failed: {sentence(error)}")
        own = {name: value for name, value in own.items() if not name.startswith("QUEUECTL_")}
        if job.spec.cwd is not None:
            own["PWD"] = job.spec.cwd
        own["QUEUECTL_JOB_ID"] = job.id
        own["QUEUECTL_ATTEMPT"] = str(job.attempts)
        own["QUEUECTL_TRY"] = str(job.tries + 1)
        own["QUEUECTL_MAX_TRIES"] = str(job.settings.max_retries + 1)
        own["QUEUECTL_QUEUE"] = job.spec.queue
        name, _, value = run_mark(worker, job.id, job.attempts).partition("=")
        own[name] = value
        return own

    def _verdict(self, claim: Claim, outcome: Outcome) -> str | None:
        plugins = self._hooks()
        if plugins is None:
            return None
        try:
            answer: str | None = self._guarded(lambda: plugins.verdict(claim.job, outcome))
        except Exception as error:
            self._log(f"the verdict hook failed, the built-in rule is used: {sentence(error)}")
            return None
        if answer is not None and answer not in transitions.VERDICTS:
            self._log(f"a verdict hook answered {answer!r}, the built-in rule is used")
            return None
        return answer

    def _open(self, kind: str, recipe: list[Any]) -> Any:
        key = f"{kind} {recipe}"
        opened = self._opened.get(key)
        if opened is None:
            from queuectl.core.plugins import Recipe, open_recipe

            parsed = Recipe(*recipe)
            if not is_ours(parsed.module):
                self._prepare()
            opened = self._opened[key] = open_recipe(parsed, kind, self._setup.home, self._log)
        return opened

    def _hooks(self) -> Plugins | None:
        """The plugins that have a say about attempts, loaded at the first job; None if there are none."""
        if self._setup.hooks and self._plugins is None:
            self._prepare()
            from queuectl.core.app import App

            self._plugins = App.reopen(self._setup.arguments).plugins
            self._plugins.around = self._guarded  # each by itself: one that hangs does not use up the others' time
        return self._plugins

    def _prepare(self) -> None:
        """Before the first import of foreign code: the site folder's .pth files, which editable installs use."""
        if not self._ready:
            self._ready = True
            import site

            site.main()

    def _guarded(self, call: Callable[[], Any]) -> Any:
        """Call a plugin, giving up when it takes too long. SystemExit is a fault like any other."""
        if not self._setup.hooks and self._plugins is None and not self._ready:
            return call()
        try:
            return impatient(call)
        except SystemExit as error:
            raise RuntimeError("it called exit") from error

    def close(self) -> None:
        for opened in self._opened.values():
            close = getattr(opened, "close", None)
            if close is not None:
                try:
                    close()
                except Exception as error:
                    self._log(f"closing failed: {sentence(error)}")
        if self._plugins is not None:
            try:
                self._guarded(self._plugins.shutdown)
            except Exception as error:
                self._log(f"the shutdown hook failed: {sentence(error)}")


@lru_cache(maxsize=1)
def base_environment(hidden: tuple[str, ...]) -> Mapping[str, str]:
    """The worker's own environment, without what is ours, what is secret and what our supervisor said to us."""
    hidden = (*hidden, *SUPERVISOR)
    return {
        name: value for name, value in os.environ.items() if not name.startswith("QUEUECTL_") and name not in hidden
    }


@lru_cache(maxsize=64)
def captured(text: str) -> Mapping[str, str]:
    """The variables that were captured when the job was enqueued."""
    data: dict[str, str] = json.loads(text) if text else {}
    return data


def sentence(error: BaseException) -> str:
    """An error on one line, for a log."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
