"""The conformance suite for executors.

Subclass it in your tests and say how your executor is made::

    import pytest
    from queuectl.testing.executor import ExecutorSuite

    class TestNice(ExecutorSuite):
        @pytest.fixture
        def open_executor(self):
            return lambda: NiceExecutor({"level": 10})

The function is called in a process that is prepared as a worker is: a subreaper, without other children, with some
signals ignored. Jobs must see the files of the test's folder under the same path, and find ``sh`` and
Python (``python``). An executor that does not run jobs as processes of this host sets ``here = False``.

Each test says in its docstring what it demands, and why.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from queuectl.api.errors import StartFailed
from queuectl.api.executor import Executor
from queuectl.api.model import Outcome, OutcomeKind
from queuectl.testing.descriptors import await_closed, open_descriptors
from queuectl.testing.workbench import Running, Signpost, Workbench, in_worker

if sys.platform == "win32":
    raise ImportError("executors run in workers, and those need Linux or macOS")

#: A job that makes a tree. Every process of it holds a lock on LOCK, and says at READY that it is in position.
TREE = """
import fcntl, os, signal, sys

kind, leader, lock, ready = sys.argv[1:]
held = os.open(lock, os.O_RDWR)
fcntl.flock(held, fcntl.LOCK_SH)

def in_position():
    with open(ready, "wb", buffering=0) as post:
        post.write(b"x")

def stay():
    in_position()
    while True:
        signal.pause()

def deaf():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)

if kind == "alone":
    pass
elif os.fork() == 0:
    if kind in ("setsid", "daemon", "deaf"):
        os.setsid()
    if kind in ("orphan", "daemon", "deaf") and os.fork() > 0:
        os._exit(0)
    if kind == "daemon":
        null = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(null, number)
    if kind == "deaf":
        deaf()
    stay()
if leader == "deaf":
    deaf()
if leader == "leaves":
    with open(lock + ".go", "rb"):
        os._exit(3)
stay()
"""
#: Signals 32 and 33 belong to the C library: nobody can set them, and its posix_spawn hands them down ignored.
C_LIBRARY = 1 << 31 | 1 << 32
KINDS = ("child", "orphan", "setsid", "daemon", "deaf")


class ExecutorSuite:
    """What every executor has to hold."""

    #: Whether jobs are processes of this host: with its files, its environment and just three descriptors.
    here: ClassVar[bool] = True
    #: Whether ``clean`` ends what a run left whose worker died. Where it does not, the keeper does.
    cleans: ClassVar[bool] = False
    #: Whether ``attach`` takes up a run that outlived its worker.
    attaches: ClassVar[bool] = False
    #: Whether an end by a signal can be told from an exit code of 128 and more, which shells use for it. Behind an init
    #: (``tini``), or in an engine that says 128 + n for both, it cannot.
    tells_signals: ClassVar[bool] = True
    #: Whether words and variables may have any byte but NUL. Where they are to be Unicode, others are refused.
    takes_bytes: ClassVar[bool] = True
    #: How many jobs a test runs in a row.
    many: ClassVar[int] = 100
    #: The words that run Python where jobs run.
    python: ClassVar[tuple[str, ...]] = (sys.executable, "-I", "-S")

    @pytest.fixture
    def open_executor(self) -> Callable[[], Executor]:
        """How the executor is made. Called in the worker, more than once."""
        raise NotImplementedError("give your suite a fixture `open_executor` that returns a function")

    def _was_ended_by(self, number: int | None, outcome: Outcome) -> None:
        """It ended by signal *number* (None: any), told in the way that the executor claims."""
        if self.tells_signals:
            assert outcome.kind is OutcomeKind.SIGNALLED and number in (None, outcome.code), outcome
        else:
            told = outcome.exit_code or 0
            assert told > 128 and number in (None, told - 128), outcome

    # -- how it ended -----------------------------------------------------------------------------

    @pytest.mark.parametrize("code", [0, 1, 2, 7, 124, 126, 127, 128, 130, 137, 255])
    @in_worker
    def test_the_exit_code_is_told(self, bench: Workbench, code: int) -> None:
        """Whatever a job exits with is its outcome: also those that shells use to tell of signals."""
        for command in (f"exit {code}", ["sh", "-c", f"exit {code}"]):
            outcome = bench.run(command).outcome
            assert (outcome.kind, outcome.code, outcome.left) == (OutcomeKind.EXITED, code, 0)

    @pytest.mark.parametrize("number", [1, 2, 9, 13, 15])
    @in_worker
    def test_a_signal_is_told_apart_from_an_exit(self, bench: Workbench, number: int) -> None:
        """A job ended by a signal did not exit. HUP, INT and PIPE are ignored in the worker, but not in jobs."""
        outcome = bench.run(["sh", "-c", f"kill -{number} $$; sleep 60"]).outcome
        self._was_ended_by(number, outcome)

    @in_worker
    def test_what_a_child_of_the_job_exits_with_is_not_the_jobs_outcome(self, bench: Workbench) -> None:
        """Only the command itself counts; what it started and left is nobody's result."""
        outcome = bench.run("(exit 9) & wait; exit 4").outcome
        assert (outcome.kind, outcome.code) == (OutcomeKind.EXITED, 4)

    # -- what cannot be started -------------------------------------------------------------------

    @in_worker
    def test_a_program_that_is_not_there_is_127(self, bench: Workbench) -> None:
        """Directly or by a shell, with and without a path: what a shell would say."""
        for command in (
            ["no-such-program"],
            ["/no/such/program", "x"],
            "no-such-program x",
            "no-such-program | cat; exit 127",
        ):
            assert code_of(bench, command) == 127

    @in_worker
    def test_a_file_that_may_not_be_executed_is_126(self, bench: Workbench) -> None:
        """It is there, so it is not 127: the user looks for another mistake."""
        plain = bench.folder / "plain"
        plain.write_text("true\n")
        plain.chmod(0o600)
        for command in ([str(plain)], str(plain), [str(bench.folder)]):
            assert code_of(bench, command) == 126

    @pytest.mark.parametrize("argv", [[""], ["nul\0byte"], ["true", "nul\0byte"]], ids=ascii)
    @in_worker
    def test_an_impossible_command_fails_to_start(self, bench: Workbench, argv: list[str]) -> None:
        """It is refused with ``StartFailed``; any other exception would be blamed on the executor."""
        with pytest.raises(StartFailed) as caught:
            bench.start(argv)
        assert caught.value.code in (126, 127) and str(caught.value)

    @in_worker
    def test_a_directory_that_is_not_there_fails_to_start(self, bench: Workbench) -> None:
        """Nothing runs, least of all somewhere else. (The worker looks first; it may go in between.)"""
        for cwd in (bench.folder / "missing", Path("/dev/null")):
            with pytest.raises(StartFailed):
                bench.start("touch was-here", cwd=str(cwd))
        assert not os.path.exists("was-here")

    @in_worker
    def test_after_a_failed_start_the_executor_goes_on(self, bench: Workbench) -> None:
        """One bad job does not spoil a worker."""
        here = os.getcwd()
        assert code_of(bench, ["no-such-program"]) == 127
        with pytest.raises(StartFailed):
            bench.start(["nul\0byte"])
        with pytest.raises(StartFailed):
            bench.start("true", cwd=str(bench.folder / "missing"))
        assert os.getcwd() == here
        assert bench.run("echo still here").stdout == b"still here\n"

    # -- what it is given -------------------------------------------------------------------------

    @in_worker
    def test_an_argv_reaches_the_program_as_it_is(self, bench: Workbench) -> None:
        """No shell, no splitting, no expansion: blanks, quotes, newlines, patterns, empty words, any byte but NUL."""
        words = ["a b", "", "'", '"', "$HOME", "`id`", "*", "\\", "new\nline", "-n", "ü", "x" * 50_000]
        words += ["\udcff"] * self.takes_bytes
        ended = bench.run(["sh", "-c", 'printf "%s\\0" "$@"', "sh", *words])
        assert [os.fsdecode(word) for word in ended.stdout.split(b"\0")[:-1]] == words

    @pytest.mark.parametrize(
        ("line", "output"),
        [
            ("echo a b", b"a b\n"),
            ("printf '%s|' a  'b c'", b"a|b c|"),
            ("echo $((6 * 7))", b"42\n"),
            ("echo one | tr n k; echo two >&2", b"oke\n"),
            ("for i in 1 2 3; do printf $i; done", b"123"),
            ("X=5; echo $X", b"5\n"),
            ("X=5 sh -c 'echo $X'", b"5\n"),
            ("cat <<E\nhere\nE", b"here\n"),
            ("true && ! false && echo yes", b"yes\n"),
            ("echo 'quoted # not a comment' # a comment", b"quoted # not a comment\n"),
            ("echo ~ | grep -c '~'; true", b"0\n"),
            ("  echo   padded  ", b"padded\n"),
            ("test -d / && echo dir", b"dir\n"),
            ("", b""),
            ("# only a comment", b""),
        ],
    )
    @in_worker
    def test_a_shell_line_means_what_a_shell_says(self, bench: Workbench, line: str, output: bytes) -> None:
        """An executor may do without the shell where that makes no difference. Here are differences."""
        ended = bench.run(line, own_env={"HOME": "/somewhere", **bench.mark()})
        assert ended.stdout == output
        assert ended.outcome.code == 0

    @in_worker
    def test_output_goes_to_its_two_descriptors(self, bench: Workbench) -> None:
        """Each stream to its own, all of it, and nothing else in between."""
        ended = bench.run("echo to stdout; echo to stderr >&2; printf more")
        assert (ended.stdout, ended.stderr) == (b"to stdout\nmore", b"to stderr\n")

    @in_worker
    def test_big_output_arrives_whole(self, bench: Workbench) -> None:
        """Megabytes on both streams at once: nothing fills up, nobody waits for a reader."""
        script = "import os\nfor _ in range(64):\n os.write(1, b'o' * 65536); os.write(2, b'e' * 65536)"
        ended = bench.run([*self.python, "-c", script])
        assert ended.outcome.code == 0
        assert (ended.stdout, ended.stderr) == (b"o" * (64 << 16), b"e" * (64 << 16))

    @in_worker
    def test_binary_output_arrives_unchanged(self, bench: Workbench) -> None:
        """Output is bytes: no decoding, no newline translation, no terminal."""
        ended = bench.run([*self.python, "-c", "import os; os.write(1, bytes(range(256)) * 4 + b'\\r\\n')"])
        assert ended.stdout == bytes(range(256)) * 4 + b"\r\n"

    @pytest.mark.parametrize("name", ["plain", "with blank", "ümläut", "new\nline", "-dash", "$HOME"], ids=ascii)
    @in_worker
    def test_the_job_runs_in_its_directory(self, bench: Workbench, name: str) -> None:
        """Exactly there; and the worker stays where it was."""
        folder = bench.folder / name
        folder.mkdir()
        here = os.getcwd()
        for command in (["pwd", "-P"], "pwd -P; true"):
            assert bench.run(command, cwd=str(folder)).stdout == os.fsencode(os.path.realpath(folder)) + b"\n"
        assert os.getcwd() == here

    @in_worker
    def test_a_relative_program_is_looked_for_in_the_jobs_directory(self, bench: Workbench) -> None:
        """``./build.sh`` means the one beside the job, not one beside the worker."""
        script = bench.folder / "build.sh"
        script.write_text("#!/bin/sh\necho built\n")
        script.chmod(0o700)
        for command in (["./build.sh"], "./build.sh"):
            assert bench.run(command, cwd=str(bench.folder)).stdout == b"built\n"

    @in_worker
    def test_the_environment_is_exactly_what_is_given(self, bench: Workbench) -> None:
        """Complete and nothing more: no variable of the worker, with whatever secret, reaches a job."""
        os.environ["WORKERS_SECRET"] = "hush"
        own = {"A": "1", "EMPTY": "", "EQUALS": "a=b=c", "LINES": "two\nlines", "ü": "ä", **bench.mark()}
        own |= {"BYTES": "\udcff"} if self.takes_bytes else {}
        env = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C"}
        ended = bench.run(["env", "-0"], env=env, own_env=own)
        pairs = [os.fsdecode(item).partition("=") for item in ended.stdout.split(b"\0")[:-1]]
        seen = {name: value for name, _, value in pairs}
        assert "WORKERS_SECRET" not in seen
        if self.here:
            assert seen == {**env, **own}
        else:
            assert own.items() <= seen.items()

    @in_worker
    def test_what_is_not_text_is_refused_rather_than_changed(self, bench: Workbench) -> None:
        """A word that became another on its way would be a wrong command, run without a complaint."""
        if self.takes_bytes:
            pytest.skip("it takes any byte")
        for command, own in ((["printf", "\udcff"], {}), (["true"], {"BYTES": "\udcff"})):
            with pytest.raises(StartFailed) as caught:
                bench.start(command, own_env=own)
            assert str(caught.value)

    @in_worker
    def test_programs_are_found_by_the_jobs_own_path(self, bench: Workbench) -> None:
        """Not by the worker's: a job that was enqueued from a virtual environment runs in it."""
        if not self.here:
            pytest.skip("its jobs have a PATH of their own")
        folder = bench.folder / "bin"
        folder.mkdir()
        (folder / "mytool").write_text("#!/bin/sh\necho mine\n")
        (folder / "mytool").chmod(0o700)
        path = f"{folder}:{os.environ.get('PATH', os.defpath)}"
        for command in (["mytool"], "mytool", "mytool | cat"):
            assert bench.run(command, env={"PATH": path}).stdout == b"mine\n"
        assert code_of(bench, ["mytool"]) == 127

    @in_worker
    def test_stdin_is_empty(self, bench: Workbench) -> None:
        """A job that asks for input gets none, at once, instead of waiting or taking the worker's."""
        for command in (["cat"], "cat; echo done >&2"):
            ended = bench.run(command)
            assert (ended.outcome.code, ended.stdout) == (0, b"")

    @in_worker
    def test_a_job_has_three_descriptors_and_default_signals(self, bench: Workbench) -> None:
        """0, 1, 2 and nothing of the worker's; nothing ignored, nothing blocked, though the worker has both."""
        if not (self.here and sys.platform == "linux"):
            pytest.skip("this is looked up in /proc of this host")
        ended = bench.run(["ls", "/proc/self/fd"])
        assert ended.stdout.split() == [b"0", b"1", b"2", b"3"], "3 is the one that ls has opened itself"
        ended = bench.run(["grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status"])
        blocked, ignored = (int(line.split()[1], 16) for line in ended.stdout.splitlines())
        assert blocked == 0
        assert ignored & ~C_LIBRARY == 0, f"signals {ignored:#x} are ignored"

    # -- while it runs ----------------------------------------------------------------------------

    @in_worker
    def test_a_running_job_has_no_outcome(self, bench: Workbench) -> None:
        """``collect`` says None at once, again and again, and ``fileno`` is quiet."""
        tree = Tree(self, bench, "alone")
        begin = time.monotonic()
        for _ in range(20):
            assert tree.running.handle.collect() is None
        assert time.monotonic() - begin < 5
        assert not tree.running.wait(0)
        tree.running.handle.stop(force=True)
        tree.running.end()

    @in_worker
    def test_the_end_makes_its_descriptor_readable(self, bench: Workbench) -> None:
        """The worker sleeps on ``fileno()``: it must say so when the job has ended, without being asked."""
        running = bench.start("exit 0")
        assert running.wait(20)
        running.end()

    @in_worker
    def test_a_suspended_job_still_runs_and_can_be_ended(self, bench: Workbench) -> None:
        """SIGSTOP is no end; and a polite request is heard by one that is stopped."""
        ready = bench.signpost()
        seen = "[ ! -e /proc/$$/status ] || grep -q '^State:.T' /proc/$$/status"
        script = f"(until {seen}; do sleep 0.01; done; printf x > {ready}) & kill -STOP $$; exit 5"
        running = bench.start(["sh", "-c", script])
        ready.wait()
        assert running.handle.collect() is None
        running.handle.stop()
        self._was_ended_by(15, running.end().outcome)

    @in_worker
    def test_a_run_has_a_name_that_others_can_use(self, bench: Workbench) -> None:
        """``ident`` is recorded: one short line of plain text, and no other run has it."""
        idents = []
        for number in range(3):
            tree = Tree(self, bench, "alone", name=f"tree{number}")
            idents.append(tree.running.handle.ident)
            tree.running.handle.stop(force=True)
            tree.running.end()
        assert len(set(idents)) == 3
        assert all(ident and ident.isprintable() and ident.isascii() and len(ident) <= 200 for ident in idents)

    # -- the end of a tree ------------------------------------------------------------------------

    @pytest.mark.parametrize("kind", KINDS)
    @in_worker
    def test_what_a_job_leaves_is_ended_with_it(self, bench: Workbench, kind: str) -> None:
        """A job ends by itself and leaves something running: in its group, orphaned, in a session of its own,
        a daemon, deaf. When its outcome is there, nothing of it lives; and the outcome is the job's own.
        """
        tree = Tree(self, bench, kind, leader="leaves")
        outcome = tree.running.end().outcome
        assert (outcome.kind, outcome.code, outcome.left) == (OutcomeKind.EXITED, 3, 0)
        assert tree.is_gone()

    @pytest.mark.parametrize("kind", ("alone", *KINDS))
    @in_worker
    def test_stop_by_force_ends_the_whole_tree(self, bench: Workbench, kind: str) -> None:
        """Timeout, cancel and stop count on it, however the job was built."""
        tree = Tree(self, bench, kind, leader="deaf")
        tree.running.handle.stop(force=True)
        outcome = tree.running.end().outcome
        self._was_ended_by(None, outcome)
        assert outcome.left == 0 and tree.is_gone()

    @pytest.mark.parametrize("kind", ("alone", *KINDS))
    @in_worker
    def test_a_polite_stop_ends_whoever_listens(self, bench: Workbench, kind: str) -> None:
        """A leader that does not refuse ends by it, and then all that it left ends too."""
        tree = Tree(self, bench, kind)
        tree.running.handle.stop()
        outcome = tree.running.end().outcome
        self._was_ended_by(15, outcome)
        assert outcome.left == 0 and tree.is_gone()

    @in_worker
    def test_a_job_may_answer_a_polite_stop(self, bench: Workbench) -> None:
        """It gets SIGTERM, not SIGKILL: it can clean up, say so, and choose its exit code."""
        ready = bench.signpost()
        script = f"trap 'echo cleaned up; exit 6' TERM; printf x > {ready}; while :; do sleep 0.05; done"
        running = bench.start(["sh", "-c", script])
        ready.wait()
        running.handle.stop()
        ended = running.end()
        assert (ended.outcome.kind, ended.outcome.code) == (OutcomeKind.EXITED, 6)
        assert ended.stdout == b"cleaned up\n"

    @in_worker
    def test_a_deaf_job_outlives_a_polite_stop(self, bench: Workbench) -> None:
        """Polite means polite: the worker decides when the grace is over."""
        ready = bench.signpost()
        script = (
            "import os, signal, sys\n"
            "post = os.open(sys.argv[1], os.O_WRONLY)\n"
            "signal.signal(signal.SIGTERM, lambda *_: os.write(post, b'x'))\n"
            "os.write(post, b'x')\n"
            "while True: signal.pause()"
        )
        running = bench.start([*self.python, "-c", script, str(ready)])
        ready.wait()
        running.handle.stop()
        ready.wait()
        assert running.handle.collect() is None
        running.handle.stop(force=True)
        self._was_ended_by(9, running.end().outcome)

    @in_worker
    def test_stopping_may_be_repeated_and_come_too_late(self, bench: Workbench) -> None:
        """``stop`` never raises: twice, by force after politely, after the end, after it was collected."""
        tree = Tree(self, bench, "alone")
        for force in (False, False, True, True):
            tree.running.handle.stop(force=force)
        tree.running.wait()
        tree.running.handle.stop(force=True)
        tree.running.end()
        tree.running.handle.stop()
        tree.running.handle.stop(force=True)
        assert bench.run("echo fine").stdout == b"fine\n"

    # -- a long life ------------------------------------------------------------------------------

    @in_worker
    def test_no_descriptor_is_left_open(self, bench: Workbench) -> None:
        """A worker runs thousands of jobs: after each, also one that could not start, all is closed."""

        def round() -> None:
            bench.run("true; true")
            bench.run(["true"])
            assert code_of(bench, ["no-such-program"]) == 127
            with pytest.raises(StartFailed):
                bench.start(["nul\0byte"])
            tree = Tree(self, bench, "child", name=f"round{time.monotonic_ns()}")
            tree.running.handle.stop(force=True)
            tree.running.end()
            tree.close()

        round()
        before = open_descriptors()
        for _ in range(5):
            round()
        await_closed(before)

    @in_worker
    def test_many_jobs_in_a_row(self, bench: Workbench) -> None:
        """Each has its own outcome and output; nothing of one shows in the next."""
        for number in range(self.many):
            ended = bench.run(f"echo {number}; exit {number % 3}")
            assert (ended.outcome.code, ended.stdout) == (number % 3, b"%d\n" % number)

    @in_worker
    def test_closing_may_be_repeated(self, bench: Workbench) -> None:
        """``close`` is idempotent, and needs no job to have run."""
        executor = bench.open_executor()
        executor.close()
        executor.close()
        bench.run("true")
        bench.executor.close()
        bench.executor.close()

    # -- after a worker's death -------------------------------------------------------------------

    @pytest.mark.parametrize("ident", ["", "nonsense", "pid:0", "pid:1", "pid:-1", "pid:x", "pid:99999999", "a:b:c"])
    @in_worker
    def test_cleaning_an_unknown_run_harms_nobody(self, bench: Workbench, ident: str) -> None:
        """Records may be old, torn or another executor's. What is not a run of ours is left alone, and no error."""
        tree = Tree(self, bench, "child")
        assert bench.open_executor().clean(ident) is False
        assert bench.attach(ident) is None
        assert tree.running.handle.collect() is None
        tree.running.handle.stop(force=True)
        tree.running.end()

    @in_worker
    def test_clean_ends_what_a_dead_worker_left(self, bench: Workbench) -> None:
        """Its worker is gone; another process, with an executor of its own, ends the run by its recorded name."""
        if not self.cleans:
            pytest.skip("cleans is not claimed: the keeper ends what is left")
        tree, ident = self._orphaned(bench)
        assert bench.open_executor().clean(ident) is True
        assert tree.is_gone()
        assert bench.open_executor().clean(ident) is False

    @in_worker
    def test_attach_takes_up_a_run_that_outlived_its_worker(self, bench: Workbench) -> None:
        """The run goes on, and its end is told as if its first worker had seen it."""
        if not self.attaches:
            pytest.skip("attaches is not claimed: a run ends with its worker")
        tree, ident = self._orphaned(bench)
        running = bench.attach(ident)
        assert running is not None and running.handle.ident == ident
        assert running.handle.collect() is None
        running.handle.stop(force=True)
        self._was_ended_by(None, running.end().outcome)
        assert tree.is_gone()

    @in_worker
    def test_what_ended_without_a_worker_is_told_with_its_output(self, bench: Workbench) -> None:
        """Its worker was killed while it ran, and it ended before anybody took it up: nothing of that is lost, as
        often as it is asked for, until the outcome is recorded somewhere and the run may be forgotten.
        """
        if not self.attaches:
            pytest.skip("attaches is not claimed: a run ends with its worker")
        ready, go = bench.signpost(), bench.folder / "go"
        os.mkfifo(go)
        script = f"echo first; printf x > {ready}; read word < {go}; echo $word; echo last >&2; exit 5"

        def start() -> Running:
            running = bench.start(script)
            ready.wait()
            return running

        ident = self._left_running(start)
        held = os.open(go, os.O_RDWR)
        os.write(held, b"second\n")
        for last in (False, True):
            running = bench.attach(ident)
            assert running is not None
            ended = running.end()
            assert (ended.outcome.kind, ended.outcome.code) == (OutcomeKind.EXITED, 5)
            assert (ended.stdout, ended.stderr) == (b"first\nsecond\n", b"last\n")
            if last:
                running.handle.forget()
        bench.close()
        assert bench.attach(ident) is None

    def _left_running(self, start: Callable[[], Running]) -> str:
        """A run whose worker was killed as soon as *start* had returned; its name."""
        read, write = os.pipe()
        worker = os.fork()
        if worker == 0:
            running = start()
            os.write(write, running.handle.ident.encode())
            os.kill(os.getpid(), 9)
        os.close(write)
        os.waitpid(worker, 0)
        ident = os.read(read, 1000).decode()
        os.close(read)
        return ident

    @in_worker
    def test_a_run_is_named_before_it_starts(self, bench: Workbench) -> None:
        """The name is recorded first: a worker may die while it starts a run, and that is found by it all the same."""
        if not self.attaches:
            pytest.skip("attaches is not claimed: nobody looks for a run by its name")
        running = bench.start("true")
        assert running.handle.ident == bench.expected
        running.end()

    def _orphaned(self, bench: Workbench) -> tuple[Tree, str]:
        """A tree whose worker was killed, and the name of the run."""
        tree = Tree.__new__(Tree)
        tree.prepare(bench, "orphaned")

        def start() -> Running:
            tree.start(self, bench, "child", "stays")
            return tree.running

        return tree, self._left_running(start)


class Tree:
    """A running tree of processes, and proof of whether anything of it lives.

    Every process of it holds a shared lock on a file. When the file can be locked exclusively, all are gone.
    """

    running: Running

    def __init__(
        self, suite: ExecutorSuite, bench: Workbench, kind: str, *, leader: str = "stays", name: str = "tree"
    ) -> None:
        self.prepare(bench, name)
        self.start(suite, bench, kind, leader)

    def prepare(self, bench: Workbench, name: str) -> None:
        self.lock = bench.folder / f"{name}.lock"
        self.lock.touch()
        self.ready: Signpost = bench.signpost(f"{name}.ready")
        self.go = Path(f"{self.lock}.go")
        os.mkfifo(self.go)

    def start(self, suite: ExecutorSuite, bench: Workbench, kind: str, leader: str) -> None:
        self.running = bench.start([*suite.python, "-c", TREE, kind, leader, str(self.lock), str(self.ready)])
        members = (kind != "alone") + (leader != "leaves")
        self.ready.wait(members)
        if leader == "leaves":
            os.close(os.open(self.go, os.O_WRONLY))  # now it may

    def is_gone(self) -> bool:
        with open(self.lock) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    def close(self) -> None:
        self.ready.close()


def code_of(bench: Workbench, command: str | list[str]) -> int | None:
    """What a shell would report for the command, whether it failed to start or was a shell that failed to."""
    try:
        outcome: Outcome = bench.run(command).outcome
    except StartFailed as error:
        assert str(error), "a person reads why it failed"
        return error.code
    return outcome.exit_code
