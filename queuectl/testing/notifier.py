"""The conformance suite for notifiers.

Subclass it in your tests and say how your notifier is made; if what it delivered can be looked at, say how::

    import pytest
    from queuectl.testing.notifier import NotifierSuite

    class TestMail(NotifierSuite):
        @pytest.fixture
        def notifier(self, mail_server):
            return Mail({"server": mail_server.address})

        @pytest.fixture
        def delivered(self, mail_server):
            return lambda: [mail.text for mail in mail_server.mails]

Each test says in its docstring what it demands, and why.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import ClassVar

import pytest

from queuectl.api.model import EVENT_KINDS, Event, Outcome, OutcomeKind, State
from queuectl.api.notifier import Notifier
from queuectl.testing.descriptors import FOLDER, await_closed, open_descriptors
from queuectl.testing.fakes import FAILURE, NEW_YEAR, SUCCESS, make_event

#: Texts that try to be more than text where they end up: in a line, a terminal, a page, a header, a shell.
HOSTILE = (
    "two\nlines",
    "carriage\rreturn\r\nInjected-Header: 1",
    "\x1b]0;title\x07\x1b[2J\x7f\x9b31m",
    "nul\0byte",
    "\u2028line separator\u2029\u202ertl",
    "lone surrogate \udcff",
    "<script>alert(1)</script> & \"quotes\" 'too'",
    "$(touch owned) `touch owned` ; touch owned",
    '{"json": true}',
    "😀" * 1000,
    "x" * 100_000,
    "",
)


def hostile_event(text: str) -> Event:
    """A failed job that has *text* wherever a user can put one."""
    outcome = Outcome(OutcomeKind.EXITED, 1, NEW_YEAR, NEW_YEAR + 5, detail=text)
    return make_event(
        "failed",
        outcome=outcome,
        command=text or "true",
        id=text or "1",
        queue="default",
        tags=(text,),
        cwd=text,
        reason=text,
        env={"X": text},
        unique_key=text,
    )


class NotifierSuite:
    """What every notifier has to hold while it can reach whom it tells."""

    #: Seconds that a batch of a thousand events may take. The courier ends a notifier at its own deadline (30 s).
    quick_enough: ClassVar[float] = 10.0

    @pytest.fixture
    def notifier(self) -> Notifier:
        """The notifier under test, opened, with its receiver in reach."""
        raise NotImplementedError("give your suite a fixture `notifier` that returns the notifier to test")

    @pytest.fixture
    def delivered(self) -> Callable[[], Sequence[str]] | None:
        """A function that returns one text for each event delivered so far, oldest first; None: it cannot be seen."""
        return None

    def test_it_takes_every_kind_of_event(self, notifier: Notifier) -> None:
        """Also those it has nothing to say about, and kinds that a later version may add."""
        for kind in (*EVENT_KINDS, "kind-of-the-future"):
            notifier.notify([make_event(kind, outcome=None if kind in ("enqueued", "started", "retried") else SUCCESS)])
        notifier.close()

    def test_it_takes_events_without_an_outcome(self, notifier: Notifier) -> None:
        """A job that was enqueued, or cancelled before it ran, has none."""
        for kind in ("enqueued", "cancelled"):
            notifier.notify([make_event(kind, outcome=None, attempts=0)])
        notifier.close()

    @pytest.mark.parametrize("kind", OutcomeKind)
    def test_it_takes_every_kind_of_outcome(self, notifier: Notifier, kind: OutcomeKind) -> None:
        """With a code and without: only an exit, a signal and a failed start have one."""
        for code in (None, 9):
            state = State.COMPLETED if code == 0 else State.FAILED
            notifier.notify([make_event(state.value, outcome=Outcome(kind, code, detail="some detail"))])
        notifier.close()

    def test_it_takes_an_empty_batch(self, notifier: Notifier) -> None:
        """Filters may leave nothing."""
        notifier.notify([])
        notifier.close()

    @pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:12]))
    def test_it_takes_hostile_text(
        self, notifier: Notifier, delivered: Callable[[], Sequence[str]] | None, text: str
    ) -> None:
        """Commands, ids, tags and reasons are the user's: any of them may hold any character, and lots.

        None may raise, and none may break out of its event: what follows still arrives as one event.
        """
        notifier.notify([hostile_event(text), make_event("completed", id="after")])
        notifier.close()
        if delivered is not None:
            assert len(delivered()) == 2, "hostile text changed how many events arrived"
            assert "after" in delivered()[1]

    def test_it_takes_strange_times(self, notifier: Notifier) -> None:
        """A clock may be wrong: at zero, or far in the future, or run backwards during an attempt."""
        for at in (0, NEW_YEAR, 4_102_444_800_000, 253_402_300_800_000):
            notifier.notify([make_event("failed", at=at, outcome=FAILURE._replace(started_at=at, ended_at=0))])
        notifier.close()

    def test_order_is_kept(self, notifier: Notifier, delivered: Callable[[], Sequence[str]] | None) -> None:
        """Events arrive oldest first, within a batch and from one batch to the next."""
        if delivered is None:
            pytest.skip("what was delivered cannot be seen: no fixture `delivered`")
        names = [f"job-{number}-" for number in range(20)]
        notifier.notify([make_event(id=name) for name in names[:12]])
        notifier.notify([make_event(id=name) for name in names[12:]])
        notifier.close()
        texts = delivered()
        assert len(texts) == 20
        assert all(name in text for name, text in zip(names, texts, strict=True))

    def test_a_big_batch_is_quick_enough(self, notifier: Notifier) -> None:
        """After a pause in which much happened, a batch may hold hundreds of events."""
        events = [make_event(id=str(number)) for number in range(1000)]
        begin = time.monotonic()
        notifier.notify(events)
        notifier.close()
        assert time.monotonic() - begin < self.quick_enough

    def test_closing_twice_is_harmless(self, notifier: Notifier) -> None:
        """``close`` is idempotent, and works before anything was told."""
        notifier.close()
        notifier.close()

    def test_no_descriptor_is_left_open(self, notifier: Notifier) -> None:
        """The courier lives for weeks. Soon after ``close`` nothing is open that was not before the first batch; a
        receiver that runs beside the test may take a moment to hang up."""
        if not os.path.isdir(FOLDER):
            pytest.skip("open descriptors cannot be counted here")
        before = open_descriptors()
        for number in range(20):
            notifier.notify([make_event(id=str(number))])
        notifier.close()
        await_closed(before)

    def test_events_are_left_alone(self, notifier: Notifier) -> None:
        """The same batch goes to the next notifier."""
        events = [make_event("failed", outcome=FAILURE, tags=("a",), env={"X": "1"})]
        before = repr(events)
        notifier.notify(events)
        notifier.close()
        assert repr(events) == before
