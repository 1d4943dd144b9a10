"""A suite is worth what it notices: for each rule, an implementation that breaks it and nothing else fails its test."""

# ruff: noqa: ARG005 - a policy names what it is asked with, whether or not its one expression needs it

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from queuectl.api.backoff import Backoff
from queuectl.api.errors import StartFailed
from queuectl.api.executor import Executor, Handle, Run
from queuectl.api.model import Event, Job, Outcome, OutcomeKind
from queuectl.api.notifier import Notifier
from queuectl.builtin.subprocess.executor import SubprocessExecutor
from queuectl.testing.backoff import OUTCOMES, BackoffSuite
from queuectl.testing.executor import ExecutorSuite
from queuectl.testing.notifier import NotifierSuite

#: Seconds that are waited for what a broken one never does.
SHORT = 0.5

# --- Executors -----------------------------------------------------------------------------------


class Wrapped(Handle):
    """A handle that passes everything on; subclasses break one thing."""

    def __init__(self, inner: Handle) -> None:
        self.inner = inner
        self.ident = inner.ident

    def fileno(self) -> int:
        return self.inner.fileno()

    def stop(self, force: bool = False) -> None:
        self.inner.stop(force)

    def collect(self) -> Outcome | None:
        return self.inner.collect()


class Wrapping(SubprocessExecutor):
    """The built-in executor with another handle."""

    handle: type[Wrapped] = Wrapped

    def start(self, run: Run) -> Handle:
        return self.handle(super().start(run))


class Swallows(Wrapped):
    """Every exit is a success."""

    def collect(self) -> Outcome | None:
        outcome = self.inner.collect()
        return outcome and outcome._replace(code=0)


class Flattens(Wrapped):
    """A signal is told as an exit code, as shells do."""

    def collect(self) -> Outcome | None:
        outcome = self.inner.collect()
        if outcome is not None and outcome.kind is OutcomeKind.SIGNALLED:
            return Outcome(OutcomeKind.EXITED, outcome.exit_code)
        return outcome


class Brutal(Wrapped):
    """Every stop is by force."""

    def stop(self, force: bool = False) -> None:
        self.inner.stop(True)


class Touchy(Wrapped):
    """A stop that comes too late raises."""

    def stop(self, force: bool = False) -> None:
        os.kill(int(self.ident.partition(":")[2]), signal.SIGKILL if force else signal.SIGTERM)


class Nameless(Wrapped):
    def __init__(self, inner: Handle) -> None:
        super().__init__(inner)
        self.ident = "process"


class LeavesOrphans(Wrapped):
    """Only the leader is waited for."""

    def collect(self) -> Outcome | None:
        pid, status = os.waitpid(int(self.ident.partition(":")[2]), os.WNOHANG)
        if pid == 0:
            return None
        os.close(self.inner.fileno())
        code = os.waitstatus_to_exitcode(status)
        return Outcome(OutcomeKind.EXITED, code) if code >= 0 else Outcome(OutcomeKind.SIGNALLED, -code)


class Leaky(Wrapped):
    """A descriptor stays open for each run."""

    def __init__(self, inner: Handle) -> None:
        super().__init__(inner)
        os.dup(inner.fileno())


class Quiet(Wrapped):
    """Its descriptor never says that the job has ended."""

    _pipe: tuple[int, int] | None = None

    def fileno(self) -> int:
        if Quiet._pipe is None:
            Quiet._pipe = os.pipe()
        return Quiet._pipe[0]


class Changed(SubprocessExecutor):
    """The built-in executor with another run; subclasses change one thing."""

    def start(self, run: Run) -> Handle:
        return super().start(self.change(run))

    def change(self, run: Run) -> Run:
        raise NotImplementedError


class Talkative(Changed):
    """The worker's environment comes along."""

    def change(self, run: Run) -> Run:
        return run._replace(env={**os.environ, **run.env})


class Lost(Changed):
    """The directory is forgotten."""

    def change(self, run: Run) -> Run:
        return run._replace(cwd=None)


class Merging(Changed):
    """Both streams go to one."""

    def change(self, run: Run) -> Run:
        return run._replace(stderr=run.stdout)


class Splitting(Changed):
    """An argv is joined and split again."""

    def change(self, run: Run) -> Run:
        return run if run.argv is None else run._replace(argv=None, shell=" ".join(run.argv))


class NoShell(Changed):
    """A shell line is split at blanks."""

    def change(self, run: Run) -> Run:
        return run if run.shell is None else run._replace(shell=None, argv=tuple(run.shell.split()) or ("true",))


class Wandering(SubprocessExecutor):
    """The worker stays where its job ran."""

    def start(self, run: Run) -> Handle:
        handle = super().start(run)
        if run.cwd is not None:
            os.chdir(run.cwd)
        return handle


class Raising(SubprocessExecutor):
    """What cannot be started is any exception."""

    def start(self, run: Run) -> Handle:
        try:
            return super().start(run)
        except StartFailed as error:
            raise FileNotFoundError(str(error)) from None


class Inheriting(SubprocessExecutor):
    """A job gets the worker's signals, its stdin and its descriptors."""

    def _spawn_here(self, program: str, argv: tuple[str, ...], run: Run) -> int:
        for fd in (run.stdout, run.stderr, self._null):
            os.set_inheritable(fd, True)
        actions = ((os.POSIX_SPAWN_DUP2, run.stdout, 1), (os.POSIX_SPAWN_DUP2, run.stderr, 2))
        return os.posix_spawn(program, argv, run.env, file_actions=actions, setsid=True)


class Trusting(SubprocessExecutor):
    """clean kills whatever it is told to."""

    def clean(self, ident: str) -> bool:
        return ident.startswith("pid:")


class Mortal(SubprocessExecutor):
    """It takes the worker with it."""

    def start(self, run: Run) -> Handle:
        os._exit(1)


def wrapping(kind: type[Wrapped]) -> type[Executor]:
    return type(kind.__name__, (Wrapping,), {"handle": kind})


BROKEN_EXECUTORS: Sequence[tuple[type[Executor], str, Mapping[str, Any]]] = [
    (wrapping(Swallows), "test_the_exit_code_is_told", {"code": 1}),
    (wrapping(Flattens), "test_a_signal_is_told_apart_from_an_exit", {"number": 9}),
    (wrapping(Brutal), "test_a_job_may_answer_a_polite_stop", {}),
    (wrapping(Brutal), "test_a_polite_stop_ends_whoever_listens", {"kind": "child"}),
    (wrapping(Touchy), "test_stopping_may_be_repeated_and_come_too_late", {}),
    (wrapping(Nameless), "test_a_run_has_a_name_that_others_can_use", {}),
    (wrapping(LeavesOrphans), "test_what_a_job_leaves_is_ended_with_it", {"kind": "child"}),
    (wrapping(LeavesOrphans), "test_what_a_job_leaves_is_ended_with_it", {"kind": "daemon"}),
    (wrapping(LeavesOrphans), "test_stop_by_force_ends_the_whole_tree", {"kind": "setsid"}),
    (wrapping(Leaky), "test_no_descriptor_is_left_open", {}),
    (wrapping(Quiet), "test_the_end_makes_its_descriptor_readable", {}),
    (Talkative, "test_the_environment_is_exactly_what_is_given", {}),
    (Lost, "test_the_job_runs_in_its_directory", {"name": "plain"}),
    (Merging, "test_output_goes_to_its_two_descriptors", {}),
    (Splitting, "test_an_argv_reaches_the_program_as_it_is", {}),
    (NoShell, "test_a_shell_line_means_what_a_shell_says", {"line": "echo $((6 * 7))", "output": b"42\n"}),
    (Wandering, "test_the_job_runs_in_its_directory", {"name": "plain"}),
    (Raising, "test_an_impossible_command_fails_to_start", {"argv": ["nul\0byte"]}),
    (Raising, "test_a_program_that_is_not_there_is_127", {}),
    (Inheriting, "test_a_job_has_three_descriptors_and_default_signals", {}),
    (Trusting, "test_cleaning_an_unknown_run_harms_nobody", {"ident": "pid:1"}),
    (Mortal, "test_many_jobs_in_a_row", {}),
]


@pytest.mark.parametrize(
    ("executor", "test", "arguments"),
    [pytest.param(*row, id=f"{row[0].__name__}-{row[1].removeprefix('test_')}") for row in BROKEN_EXECUTORS],
)
def test_a_broken_executor_is_noticed(
    executor: type[Executor], test: str, arguments: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queuectl.testing.workbench.Running.wait", _quick_wait)
    monkeypatch.setattr("queuectl.testing.descriptors.CLOSED_WITHIN", SHORT)
    with pytest.raises(pytest.fail.Exception):
        getattr(ExecutorSuite(), test)(open_executor=executor, tmp_path=tmp_path, **arguments)


class Codes(Wrapped):
    """What died of a signal exited with 128 and its number, as behind an init."""

    def collect(self) -> Outcome | None:
        outcome = self.inner.collect()
        if outcome is None or outcome.kind is not OutcomeKind.SIGNALLED:
            return outcome
        return outcome._replace(kind=OutcomeKind.EXITED, code=outcome.exit_code)


class BehindAnInit(Wrapping):
    handle = Codes


class CodesSuite(ExecutorSuite):
    __test__ = False
    tells_signals = False


@pytest.mark.parametrize(
    ("test", "arguments"),
    [
        ("test_a_signal_is_told_apart_from_an_exit", {"number": 15}),
        ("test_a_suspended_job_still_runs_and_can_be_ended", {}),
        ("test_stop_by_force_ends_the_whole_tree", {"kind": "child"}),
        ("test_a_polite_stop_ends_whoever_listens", {"kind": "child"}),
        ("test_a_deaf_job_outlives_a_polite_stop", {}),
    ],
)
def test_an_executor_that_cannot_tell_signals_is_held_to_what_it_claims(
    test: str, arguments: Mapping[str, Any], tmp_path: Path
) -> None:
    getattr(CodesSuite(), test)(open_executor=BehindAnInit, tmp_path=tmp_path, **arguments)
    again = tmp_path / "again"
    again.mkdir()
    with pytest.raises(pytest.fail.Exception, match="EXITED"):
        getattr(ExecutorSuite(), test)(open_executor=BehindAnInit, tmp_path=again, **arguments)


def _quick_wait(self: Any, seconds: float = 2.0) -> bool:
    from queuectl.testing.workbench import readable

    return readable(self.handle.fileno(), min(seconds, 2.0))


# --- Backoff -------------------------------------------------------------------------------------


class Rule(Backoff):
    """A policy of one expression."""

    def __init__(self, rule: Callable[[Job, Random], Any]) -> None:
        self._rule = rule
        self.asked = 0

    def delay(self, job: Job, outcome: Outcome, rng: Random) -> float | None:
        self.asked += 1
        answer: float | None = self._rule(job, rng)
        return answer


class Remembering(Backoff):
    def __init__(self) -> None:
        self._asked = 0.0

    def delay(self, job: Job, outcome: Outcome, rng: Random) -> float | None:
        self._asked += 1
        return self._asked


SENSIBLE = "test_the_answer_is_a_sensible_number_or_none"
BROKEN_POLICIES: Sequence[tuple[str, Backoff, str, Mapping[str, Any]]] = [
    ("negative", Rule(lambda job, rng: -1.0), SENSIBLE, {"tries": 1, "outcome": OUTCOMES[0]}),
    ("nan", Rule(lambda job, rng: float("nan")), SENSIBLE, {"tries": 1, "outcome": OUTCOMES[0]}),
    ("infinite", Rule(lambda job, rng: float("inf")), SENSIBLE, {"tries": 1, "outcome": OUTCOMES[0]}),
    ("text", Rule(lambda job, rng: "5"), SENSIBLE, {"tries": 1, "outcome": OUTCOMES[0]}),
    ("truth", Rule(lambda job, rng: True), SENSIBLE, {"tries": 1, "outcome": OUTCOMES[0]}),
    ("overflow", Rule(lambda job, rng: 2.0**job.tries), SENSIBLE, {"tries": 1025, "outcome": OUTCOMES[0]}),
    ("overflow", Rule(lambda job, rng: 2.0**job.tries), "test_huge_numbers_of_tries_do_not_overflow", {"tries": 2**31}),
    ("own chance", Rule(lambda job, rng: random.random()), "test_the_same_luck_gives_the_same_answer", {}),
    ("memory", Remembering(), "test_being_asked_changes_nothing", {}),
    ("hidden chance", Rule(lambda job, rng: rng.random()), "test_chance_spreads_delays", {}),
]


@pytest.mark.parametrize(
    ("backoff", "test", "arguments"),
    [pytest.param(*row[1:], id=f"{row[0]}-{row[2].removeprefix('test_')}") for row in BROKEN_POLICIES],
)
def test_a_broken_policy_is_noticed(backoff: Backoff, test: str, arguments: Mapping[str, Any]) -> None:
    with pytest.raises((AssertionError, OverflowError)):
        getattr(BackoffSuite(), test)(backoff, **arguments)


@pytest.mark.parametrize(
    ("claims", "test"),
    [
        ({"monotone": True}, "test_later_tries_wait_no_less"),
        ({"random": True}, "test_chance_spreads_delays"),
    ],
)
def test_a_claim_that_does_not_hold_is_noticed(claims: dict[str, bool], test: str) -> None:
    suite = type("Suite", (BackoffSuite,), claims)()
    with pytest.raises(AssertionError):
        getattr(suite, test)(Rule(lambda job, rng: 100.0 / job.tries))


# --- Notifiers -----------------------------------------------------------------------------------


class Lines(Notifier):
    """Writes a line for each event to a file; subclasses break one thing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def notify(self, events: Sequence[Event]) -> None:
        with open(self.path, "a", encoding="utf-8", errors="surrogateescape", newline="") as file:
            for event in events:
                file.write(self.line(event))

    def line(self, event: Event) -> str:
        return ascii(event.job.id) + "\n"


class Injectable(Lines):
    def line(self, event: Event) -> str:
        return event.job.id + "\n"


class Assuming(Lines):
    def line(self, event: Event) -> str:
        assert event.outcome is not None
        return f"{event.outcome.code}\n"


class Picky(Lines):
    def line(self, event: Event) -> str:
        return {"completed": "good\n", "failed": "bad\n"}[event.kind]


class Backwards(Lines):
    def notify(self, events: Sequence[Event]) -> None:
        super().notify(list(reversed(events)))


class Holding(Lines):
    def notify(self, events: Sequence[Event]) -> None:
        os.open(self.path, os.O_WRONLY | os.O_CREAT)


BROKEN_NOTIFIERS: Sequence[tuple[type[Lines], str, Mapping[str, Any]]] = [
    (Injectable, "test_it_takes_hostile_text", {"text": "two\nlines"}),
    (Assuming, "test_it_takes_events_without_an_outcome", {}),
    (Picky, "test_it_takes_every_kind_of_event", {}),
    (Backwards, "test_order_is_kept", {}),
    (Holding, "test_no_descriptor_is_left_open", {}),
]


@pytest.mark.parametrize(
    ("notifier", "test", "arguments"),
    [pytest.param(*row, id=f"{row[0].__name__}-{row[1].removeprefix('test_')}") for row in BROKEN_NOTIFIERS],
)
def test_a_broken_notifier_is_noticed(
    notifier: type[Lines], test: str, arguments: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queuectl.testing.descriptors.CLOSED_WITHIN", SHORT)
    path = tmp_path / "lines"

    def delivered() -> list[str]:
        return path.read_text(encoding="utf-8", errors="surrogateescape").split("\n")[:-1]

    if test in ("test_it_takes_hostile_text", "test_order_is_kept"):
        arguments = {**arguments, "delivered": delivered}
    with pytest.raises((AssertionError, KeyError)):
        getattr(NotifierSuite(), test)(notifier(path), **arguments)


def test_the_unbroken_one_passes(tmp_path: Path) -> None:
    suite = NotifierSuite()
    suite.test_order_is_kept(Lines(tmp_path / "lines"), lambda: (tmp_path / "lines").read_text().split("\n")[:-1])
