"""Follows one run: its container is made, started, listened to, stopped when that is asked for, and seen to its end.

All of that is done by a thread, since the engine may take its time: the worker never waits for it. Whatever the engine
does meanwhile, the container's name leads back to it. When the engine is gone, nothing is known: the thread waits until
it is back, looks at the container, and only then decides.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from queuectl.api.errors import StartFailed
from queuectl.api.executor import Handle
from queuectl.api.model import Outcome, OutcomeKind

from .engine import SILENCE, Away, Refused, cannot_start

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .engine import Engine
    from .frames import Output
    from .plan import Plan

if sys.platform == "win32":
    raise ImportError("workers need Linux or macOS")

KIND = "container:"
KILL, TERM = 9, 15
#: Exit codes of what an engine ends when it stops, when it starts again, and when its host went down.
ENDED_BY_ENGINE = (128 + KILL, 128 + TERM, 255)
#: What came to more than this may have been rotated out of the engine's log: no counting from its beginning then.
COUNTABLE = 4 << 20


class Settings(NamedTuple):
    """What following a run needs of the options."""

    patience: float
    log_size: int
    memory: int


class Container(Handle):
    """A run in a container. *plan* is None where another worker began it."""

    def __init__(
        self,
        engine: Engine,
        name: str,
        plan: Plan | None,
        output: Output,
        settings: Settings,
        *,
        earlier: Mapping[str, str] | None = None,
        log: Callable[[str], None],
        leave: Callable[[str], None],
    ) -> None:
        self.ident = KIND + name
        self._engine = engine
        self._name = name
        self._plan = plan
        self._output = output
        self._settings = settings
        self._earlier = earlier  # labels of what earlier attempts of the job may have left
        self._log = log
        self._leave = leave
        self._asked = 0  # the signal that was asked for
        self._sent = 0
        self._began = plan is None  # whether the container may have been started
        self._lost_at = 0.0  # when the engine was last found gone, on the wall clock
        self._missed = False  # whether it ended while nobody looked: the engine was away, or its worker dead
        self._outcome: Outcome | None = None
        self._spent = False
        self._end_read, self._end_write = os.pipe()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        os.set_blocking(self._wake_read, False)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    # -- the worker's side ------------------------------------------------------------------------

    def fileno(self) -> int:
        return self._end_read

    def stop(self, force: bool = False) -> None:
        if self._spent:
            return
        self._asked = max(self._asked, KILL if force else TERM, key=(0, TERM, KILL).index)
        try:
            os.write(self._wake_write, b"!")
        except OSError:  # it is full of wake-ups
            pass

    def collect(self) -> Outcome | None:
        if self._outcome is None or self._spent:
            return self._outcome
        self._spent = True
        self._thread.join()
        for descriptor in (self._end_read, self._wake_read, self._wake_write):
            os.close(descriptor)
        return self._outcome

    def forget(self) -> None:
        self._leave(self._name)

    def settle(self, seconds: float) -> None:
        """Wait for an outcome that is known to be near."""
        self._thread.join(seconds)

    # -- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            outcome = self._live()
        except StartFailed as error:
            self._say(f"queuectl: {error}\n")
            outcome = Outcome(OutcomeKind.START_FAILED, error.code, detail=str(error))
        except Exception as error:  # a thread has nobody above it
            text = f"the executor failed: {type(error).__name__}: {error}"
            outcome = Outcome(OutcomeKind.START_FAILED if not self._began else OutcomeKind.LOST, 126, detail=text)
        self._output.close()
        self._outcome = outcome
        os.close(self._end_write)

    def _live(self) -> Outcome:
        """From the beginning, or from wherever the container is, to its end. The engine may go away at any step."""
        away_since: float | None = None
        pause = 0.05
        while True:
            try:
                state = self._engine.state(self._name) if self._began or away_since is not None else None
                away_since, pause = None, 0.05
                if state is None and self._began:
                    return Outcome(OutcomeKind.LOST, detail="its container is gone")
                if state is None or state["Status"] == "created":
                    if self._began:
                        return self._not_again()
                    if self._asked:
                        return Outcome(OutcomeKind.SIGNALLED, self._asked)  # it never ran
                    self._begin()
                else:
                    self._take_up(state)
                return self._see_the_end()
            except Away as error:
                now = time.monotonic()
                if away_since is None:
                    away_since, self._lost_at = now, time.time()
                    self._log(f"{error}; waiting for it")
                if self._asked and not self._began:
                    return Outcome(OutcomeKind.SIGNALLED, self._asked)  # it never will
                if now - away_since >= self._settings.patience:
                    return self._given_up(str(error))
                self._sleep(pause)
                pause = min(pause * 1.5, 1.0)

    def _not_again(self) -> Outcome:
        """It was asked for, and the engine cannot say whether it runs, or ran: no attempt runs twice."""
        if not self._engine.remove(self._name):
            self._log(f"{self._name} may still run: its engine has forgotten it")
        return Outcome(OutcomeKind.INTERRUPTED, detail="its engine or worker died while it was started")

    def _given_up(self, error: str) -> Outcome:
        text = f"{error} (waited {self._settings.patience:g} s)"
        if self._began:
            return Outcome(OutcomeKind.LOST, detail=text)
        raise StartFailed(text, 126)

    def _begin(self) -> None:
        """Make it, listen, start it; in this order, so that no word is missed."""
        plan = self._plan
        assert plan is not None
        if self._earlier is not None:
            self._end_earlier(self._earlier)
        try:
            if plan.pull == "always":
                self._engine.pull(plan.image, self._is_wanted)
            self._create(plan)
            stream = self._engine.attach(self._name)
            try:
                self._began = True  # from here on it may run, whatever we hear
                self._engine.start(self._name)
                self._send()
                self._pump(stream)
            finally:
                stream.close()
        except Refused as error:
            raise cannot_start(error) from error

    def _create(self, plan: Plan) -> None:
        try:
            self._engine.create(plan, self._settings.log_size)
        except Refused as error:
            if error.status != 404 or plan.pull == "never":
                raise
            self._log(f"fetching image {plan.image}")
            self._engine.pull(plan.image, self._is_wanted)
            self._engine.create(plan, self._settings.log_size)

    def _is_wanted(self) -> bool:
        return not self._asked

    def _end_earlier(self, labels: Mapping[str, str]) -> None:
        """No two attempts overlap: end what an earlier one left whose worker died before it could be named."""
        for found in self._engine.containers(labels):
            self._log(f"removing {found['Names'][0].lstrip('/')}, left by an earlier attempt")
            self._engine.remove(found["Id"])
        self._earlier = None

    def _pump(self, stream: Any) -> None:
        """Pass on what it writes, and signals, until it has closed both streams."""
        frames = self._output.onward()
        while True:
            readable, woken = stream.wait(self._wake_read, SILENCE)
            if woken:
                self._send()
            if readable:
                data = stream.read()
                if not data:
                    return
                frames.feed(data)
            elif not woken and not _is_running(self._engine.state(self._name)):
                return

    def _take_up(self, state: Mapping[str, Any]) -> None:
        """Go on with a container that runs, or has ended, while nobody looked."""
        self._missed = not _is_running(state)
        self._listen(running=not self._missed)
        if self._missed and self._lost_at:
            self._say("queuectl: it ended while its engine was away, which keeps nothing of what it said then\n")

    def _listen(self, running: bool) -> None:
        """Get its output from the engine's log, from where we were cut off."""
        counts = self._output.counts
        countable = max(counts.values()) < COUNTABLE
        frames = self._output.again() if countable else self._output.onward()
        if running:
            self._send(again=True)
            reader = threading.Thread(target=self._follow_log, args=(frames, countable), daemon=True)
            reader.start()
            while reader.is_alive():
                self._sleep(0.25)
                self._send()
                if not _is_running(self._engine.state(self._name)):
                    reader.join(SILENCE)
                    break
            frames.closed = True
            return
        self._read_log(frames, countable, follow=False)

    def _follow_log(self, frames: Any, countable: bool) -> None:
        try:
            self._read_log(frames, countable, follow=True)
        except Away:
            pass  # the other thread sees it too

    def _read_log(self, frames: Any, countable: bool, follow: bool) -> None:
        try:
            for piece in self._engine.logs(self._name, follow, 0.0 if countable else self._lost_at):
                frames.feed(piece)
        except Refused as error:
            self._log(f"its output cannot be read: {error}")

    def _see_the_end(self) -> Outcome:
        """It has closed its output: usually it has ended, or is about to."""
        while True:
            state = self._engine.state(self._name)
            if state is None:
                return Outcome(OutcomeKind.LOST, detail="its container is gone")
            if not _is_running(state):
                return self._outcome_of(state)
            self._send()
            self._engine.await_end(self._name, 1.0)

    def _outcome_of(self, state: Mapping[str, Any]) -> Outcome:
        code = int(state["ExitCode"])
        ended_at = _millis(state.get("FinishedAt")) if self._plan is None else 0
        if self._sent and code in (128 + KILL, 128 + TERM):
            return Outcome(OutcomeKind.SIGNALLED, code - 128, ended_at=ended_at)
        if state.get("OOMKilled"):
            limit = f"the limit is {_size(self._settings.memory)}"
            if code == 128 + KILL:
                return Outcome(OutcomeKind.SIGNALLED, KILL, ended_at=ended_at, detail=f"out of memory, {limit}")
            if code:
                detail = f"something in it ran out of memory, {limit}"
                return Outcome(OutcomeKind.EXITED, code, ended_at=ended_at, detail=detail)
        if self._missed and code in ENDED_BY_ENGINE:
            return Outcome(OutcomeKind.INTERRUPTED, ended_at=ended_at, detail="ended with its engine")
        return Outcome(OutcomeKind.EXITED, code, ended_at=ended_at)

    # -- small things -----------------------------------------------------------------------------

    def _send(self, again: bool = False) -> None:
        """Send the signal that was asked for, once, or *again* to an engine that may have forgotten it."""
        self._drain()
        asked = self._asked
        if not asked or (asked == self._sent and asked != KILL and not again):
            return
        self._sent = asked
        self._engine.kill(self._name, "SIGKILL" if asked == KILL else "SIGTERM")
        if asked == TERM:
            self._engine.kill(self._name, "SIGCONT")  # one that is stopped hears it too

    def _sleep(self, seconds: float) -> None:
        """Wait, unless somebody asks for something."""
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        poll.poll(seconds * 1000)
        self._drain()

    def _drain(self) -> None:
        try:
            while os.read(self._wake_read, 512):
                pass
        except BlockingIOError:
            pass

    def _say(self, line: str) -> None:
        data = line.encode(errors="backslashreplace")
        self._output.onward().feed(bytes((2, 0, 0, 0)) + len(data).to_bytes(4, "big") + data)


def _is_running(state: Mapping[str, Any] | None) -> bool:
    return state is not None and state["Status"] in ("running", "paused", "restarting", "stopping")


def _millis(text: str | None) -> int:
    """The engine's time in milliseconds; 0 for none. Its nanoseconds are more than Python reads."""
    if not text or text.startswith("0001"):
        return 0
    seconds, _, fraction = text.rstrip("Z").partition(".")
    try:
        moment = datetime.fromisoformat(seconds + "+00:00")
    except ValueError:
        return 0
    return round(moment.timestamp() * 1000) + int((fraction + "000")[:3] if fraction[:3].isdigit() else 0)


def _size(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size} bytes"
