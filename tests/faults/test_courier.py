"""The courier: whatever a receiver does, the pool keeps its pace and nothing is lost without being counted."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from queuectl.api.model import Event, Job, NewJob, Outcome, OutcomeKind, State
from queuectl.work.courier import BACKLOG_EVENTS, CourierLink

SCRIPT = str(Path(__file__).with_name("courier_with.py"))
Start = Callable[..., "Driver"]


def event(number: int, command: str = "true") -> Event:
    outcome = Outcome(OutcomeKind.EXITED, 0, 1000, 2000)
    job = Job(str(number), number, NewJob(command), State.COMPLETED, 0, 0, 2000, attempts=1, outcome=outcome)
    return Event("completed", 2000, job, outcome)


class Driver:
    """A loop as the pool's: one poll, and never a call that takes long."""

    def __init__(self, journal: Path, words: list[str], **options: Any) -> None:
        self.journal = journal
        self.log: list[str] = []
        self.slowest = 0.0
        options = {"deadline": 0.5, "pause": 0.01, "bench": 0.2, **options}
        self.link = CourierLink(words, log=self.log.append, **options)
        self._timed(self.link.start)

    def _timed(self, call: Callable[..., object], *arguments: object) -> None:
        begin = time.process_time()
        call(*arguments)
        self.slowest = max(self.slowest, time.process_time() - begin)

    def send(self, *numbers: int) -> None:
        self._timed(self.link.send, [event(number) for number in numbers])

    def until(self, holds: Callable[[], bool], seconds: float = 20.0) -> None:
        """Go round until something holds."""
        end = time.monotonic() + seconds
        while not holds():
            now = time.monotonic()
            assert now < end, f"it never came to hold; the log: {self.log}; the journal: {self.told()}"
            due = self.link.next_deadline()
            poll = select.poll()
            for fd, mask in self.link.wants():
                poll.register(fd, mask)
            wait = min(end, due if due is not None else end, now + 0.05) - now  # the journal has no descriptor
            for fd, mask in poll.poll(max(0.0, wait) * 1000 + 1):
                self._timed(self.link.handle, fd, mask)
            self._timed(self.link.tick)

    def told(self, name: str | None = None) -> list[tuple[str, list[int]]]:
        """What the journal says: who was told of which jobs, in order."""
        lines = self.journal.read_text().splitlines() if self.journal.exists() else []
        rows = [(words[0], [int(word) for word in words[1:]]) for words in map(str.split, lines)]
        return [row for row in rows if name in (None, row[0])]

    def numbers(self, name: str) -> list[int]:
        return [number for _, numbers in self.told(name) for number in numbers]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    drivers: list[Driver] = []

    def begin(*names: str, **options: float) -> Driver:
        journal = tmp_path / f"journal{len(drivers)}"
        drivers.append(Driver(journal, [str(journal), *names], program=("-P", SCRIPT), **options))
        return drivers[-1]

    yield begin
    for driver in drivers:
        driver.link.close(1.0)
        assert not driver.link.wants()


def test_every_receiver_is_told_of_every_event_in_order(start: Start) -> None:
    driver = start("one", "two")
    for number in range(2000):
        driver.send(number)
    driver.until(lambda: len(driver.numbers("two")) == 2000)
    assert driver.numbers("one") == driver.numbers("two") == list(range(2000))
    assert not driver.link.lost and not driver.link.dropped and not driver.link.replaced


def test_the_first_event_goes_at_once_and_those_that_follow_closely_go_together(start: Start) -> None:
    driver = start("one", gather=0.5)
    driver.send(0)
    driver.until(lambda: driver.numbers("one") == [0] and driver.link._flight is None)
    for number in range(1, 100):
        driver.send(number)
    driver.until(lambda: driver.numbers("one") == list(range(100)))
    assert [len(numbers) for _, numbers in driver.told()] == [1, 99]


def test_one_that_was_closed_can_be_started_again(start: Start) -> None:
    """As by a pool that was told to restart, and could not."""
    driver = start("one", gather=0.5)
    driver.send(0)
    driver.link.close(5.0)
    driver.link.start()
    driver.send(1)
    driver.until(lambda: driver.numbers("one") == [0, 1] and driver.link._flight is None)
    driver.send(2)
    driver.send(3)
    driver.until(lambda: driver.numbers("one") == [0, 1, 2, 3])
    assert [numbers for _, numbers in driver.told()] == [[0], [1], [2, 3]]
    assert not driver.link.lost and not driver.link.dropped and not driver.link.replaced


def test_what_waits_to_go_together_is_not_held_back_at_the_end(start: Start) -> None:
    driver = start("one", gather=1000.0)
    driver.send(0)
    driver.until(lambda: driver.numbers("one") == [0] and driver.link._flight is None)
    driver.send(1, 2)
    driver.link.close(5.0)
    assert driver.numbers("one") == [0, 1, 2]


def test_events_sent_before_it_is_ready_are_not_lost(start: Start) -> None:
    driver = start("one")
    driver.send(1, 2, 3)
    driver.until(lambda: driver.numbers("one") == [1, 2, 3])


@pytest.mark.parametrize("bad", ["raises", "leaves", "prints", "rubbish"])
def test_a_fault_that_returns_costs_nobody_else_anything(start: Start, bad: str) -> None:
    driver = start(bad, "good")
    driver.send(1, 2)
    driver.until(lambda: driver.numbers("good") == [1, 2])
    driver.send(3)
    driver.until(lambda: driver.numbers("good") == [1, 2, 3] and driver.link._flight is None)
    assert driver.link.replaced == 0
    failed = bad in ("raises", "leaves")
    assert driver.link.lost[bad] == (3 if failed else 0)
    assert driver.link.faults[bad] == (2 if failed else 0)


@pytest.mark.parametrize("pidfds", [True, False], ids=["pidfd", "no-pidfd"])
@pytest.mark.parametrize("bad", ["hangs", "exits"])
def test_one_that_takes_the_courier_with_it_is_named_and_the_others_are_told(
    start: Start, monkeypatch: pytest.MonkeyPatch, bad: str, pidfds: bool
) -> None:
    if not pidfds:
        monkeypatch.setenv("QUEUECTL_NO_PIDFD", "1")
    driver = start("before", bad, "after")
    driver.send(1, 2)
    driver.until(lambda: driver.numbers("after") == [1, 2])
    assert driver.numbers("before") == driver.numbers(bad) == [1, 2]
    assert driver.link.replaced == 1
    assert driver.link.lost == {bad: 2}
    assert f"{bad}, which misses 2 events" in driver.log[0]
    assert ("took longer than 0.5 s" if bad == "hangs" else "exit 3") in driver.log[0]


def test_one_that_hangs_again_and_again_sits_out_longer_each_time(start: Start) -> None:
    driver = start("hangs", "good", deadline=0.2, bench=0.05)
    for number in range(1, 5):
        driver.send(number)
        driver.until(lambda n=number: n in driver.numbers("good"))  # type: ignore[misc]
    driver.until(lambda: driver.link._strikes["hangs"].times >= 3 or driver.send(99) is not None)
    assert driver.link.lost["hangs"] >= 3
    assert driver.numbers("good")[:4] == [1, 2, 3, 4]


def test_one_that_recovers_is_told_again(start: Start) -> None:
    driver = start("hangs-on-13", bench=0.05)
    driver.send(13)
    driver.until(lambda: driver.link.replaced == 1)
    driver.send(14)
    driver.until(lambda: driver.numbers("hangs-on-13") == [13, 14] and driver.link._flight is None)
    assert driver.link.lost == {"hangs-on-13": 1}
    assert not driver.link._strikes


def test_a_child_that_keeps_the_line_open_does_not_hide_the_couriers_death(start: Start) -> None:
    driver = start("forks", "exits", bench=0.01)
    driver.send(1)
    driver.until(lambda: driver.link.replaced == 1)
    assert "exit 3" in driver.log[0]


@pytest.mark.parametrize("pidfds", [True, False], ids=["pidfd", "no-pidfd"])
def test_a_courier_that_is_killed_is_replaced(start: Start, monkeypatch: pytest.MonkeyPatch, pidfds: bool) -> None:
    if not pidfds:
        monkeypatch.setenv("QUEUECTL_NO_PIDFD", "1")
    driver = start("good")
    driver.send(1)
    driver.until(lambda: driver.numbers("good") == [1] and driver.link._flight is None)
    assert driver.link._process is not None
    os.kill(driver.link._process.pid, 9)
    driver.until(lambda: driver.link.replaced == 1)
    driver.send(2)
    driver.until(lambda: driver.numbers("good") == [1, 2])
    assert not driver.link.lost


def test_one_that_dies_at_its_start_is_tried_ever_more_seldom(start: Start) -> None:
    driver = start("dies-young", pause=0.02)
    driver.send(1)
    driver.until(lambda: driver.link.replaced == 4)
    again = driver.link.next_deadline()
    assert again is not None and again - time.monotonic() > 0.1
    assert [line.rpartition(" in ")[2] for line in driver.log] == ["0.0 s", "0.0 s", "0.1 s", "0.2 s"]


def test_one_that_is_never_ready_is_replaced(start: Start) -> None:
    driver = start("never-ready", startup=0.3)
    driver.until(lambda: driver.link.replaced == 1)
    assert "was not ready in time" in driver.log[0]


def test_the_backlog_is_bounded_and_what_is_dropped_is_counted(start: Start) -> None:
    driver = start("hangs", deadline=60)
    total = BACKLOG_EVENTS + 100
    driver.link.send([event(number) for number in range(total)])
    assert driver.link.sent == total and driver.link.dropped == 100
    driver.link.send([event(number, "x" * 1_000_000) for number in range(20)])
    assert driver.link._backlog_bytes <= 8 << 20


def test_with_nobody_to_tell_the_courier_ends_and_no_other_is_started(start: Start) -> None:
    driver = start("nobody")
    driver.send(1)
    driver.until(lambda: not driver.link.wants())
    driver.send(2)
    assert driver.link.next_deadline() is None or driver.link._process is None
    assert driver.link.replaced == 0 and driver.log == []


def test_the_pool_never_waits(start: Start) -> None:
    driver = start("hangs", "exits", "good", deadline=0.2, bench=0.01)
    for number in range(500):
        driver.send(number)
    driver.until(lambda: driver.link.replaced >= 2)
    assert driver.slowest < 0.25  # of CPU: a start of a process on a busy machine, no more


def test_closing_delivers_what_waits(start: Start) -> None:
    driver = start("one")
    driver.send(*range(100))
    driver.link.close(20)
    assert driver.numbers("one") == list(range(100))
    assert driver.log == []


def test_closing_is_bounded_and_says_what_was_lost(start: Start) -> None:
    driver = start("hangs", deadline=60)
    driver.send(1)
    driver.until(lambda: driver.numbers("hangs") == [1])
    driver.send(2, 3)
    begin = time.monotonic()
    driver.link.close(0.3)
    assert time.monotonic() - begin < 5
    assert driver.log == [
        "courier: of 3 events 2 were dropped, hangs missed 1",
        "courier: did not end in time and was killed",
    ]


def test_it_ends_with_the_pool_even_while_a_receiver_hangs(start: Start) -> None:
    driver = start("hangs", deadline=0.4)
    driver.send(1)
    driver.until(lambda: driver.numbers("hangs") == [1])
    link = driver.link
    assert link._process is not None and link._socket is not None
    process = link._process
    link._socket.close()  # as if the pool had been killed: nobody is left to end the courier
    link._socket = None
    assert process.wait(10) != 0
    os.close(link._pidfd)
    link._pidfd, link._process = -1, None
    link._closed, link._flight = True, None


PLUGIN = """
import os, signal
from queuectl.api import Notifier, Provider, hookimpl

class Bad(Notifier):
    def __init__(self, options, context):
        if context.name == "hangs-at-open":
            signal.pause()
        if context.name == "raises-at-open":
            raise RuntimeError("no such host")
        self.name = context.name
    def notify(self, events):
        if self.name == "exits":
            os._exit(3)

@hookimpl
def queuectl_notifiers():
    yield Provider("bad", Bad)

@hookimpl
def queuectl_events(events):
    with open(os.environ["JOURNAL"], "a") as file:
        file.write(" ".join(["hook", *(event.job.id for event in events)]) + "\\n")

@hookimpl
def queuectl_shutdown():
    with open(os.environ["JOURNAL"], "a") as file:
        file.write("shutdown\\n")
"""


def test_the_configured_notifiers_and_hooks_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL", str(tmp_path / "journal"))
    (tmp_path / "bad.py").write_text(PLUGIN)
    (tmp_path / "queuectl.toml").write_text(
        f"""
        [queuectl]
        notifiers = ["hangs-at-open", "raises-at-open", "exits", "events"]
        [notifier]
        hangs-at-open = {{ use = "bad" }}
        raises-at-open = {{ use = "bad" }}
        exits = {{ use = "bad" }}
        events = {{ use = "log", path = "{tmp_path}/events.log" }}
        [plugins]
        files = ["./bad.py"]
        """
    )
    words = ["--config", str(tmp_path / "queuectl.toml")]
    driver = Driver(tmp_path / "journal", words, home=str(tmp_path), deadline=0.5)
    link = driver.link
    link.send([event(1), event(2)])
    link.close(30)
    assert driver.numbers("hook") == [1, 2]
    assert "shutdown" in dict(driver.told())
    assert (tmp_path / "events.log").read_text().count("completed") == 4  # action and state of two events
    assert link.lost == {"notifier hangs-at-open": 2, "notifier raises-at-open": 2, "notifier exits": 2}
    assert link.replaced == 2


def test_a_configuration_that_cannot_be_used_is_said_in_a_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "queuectl.toml").write_text('[queuectl]\nnotifiers = ["lgo"]\n')
    driver = Driver(tmp_path / "journal", ["--config", str(tmp_path / "queuectl.toml")], home=str(tmp_path))
    driver.until(lambda: driver.link.replaced == 1)
    driver.link.close(0)
    err = capfd.readouterr().err
    assert "lgo" in err and "Traceback" not in err
    assert "exit 78" in driver.log[0]
