"""A service is told, or it is said in a sentence why not: in time, whatever it does, and without its secrets."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from apprise_mail import MailServer
from queuectl_apprise import OPTIONS, queuectl_notifiers
from queuectl_apprise.notifier import Apprise

from queuectl.api.errors import NotDelivered
from queuectl.api.notifier import Notifier
from queuectl.api.providers import REQUIRED, Context
from queuectl.testing.fakes import make_event
from queuectl.testing.notifier import NotifierSuite
from queuectl.testing.receiver import Receiver

Receivers = Callable[[str], Receiver]
Open = Callable[..., Apprise]


def opened(url: str, **options: Any) -> Apprise:
    (provider,) = queuectl_notifiers()
    defaults = {option.name: option.default for option in provider.options if option.default is not REQUIRED}
    notifier = provider.open({**defaults, "url": url, **options}, Context("ops", None, "/", print))
    assert isinstance(notifier, Apprise)
    return notifier


@pytest.fixture
def open() -> Iterator[Open]:
    made: list[Apprise] = []

    def make(url: str, **options: Any) -> Apprise:
        made.append(opened(url, **options))
        return made[-1]

    yield make
    for notifier in made:
        notifier.close()


def post(receiver: Receiver) -> str:
    """Apprise's address of a receiver, with secrets in each place that may hold one."""
    return f"json://joe:s3cret@127.0.0.1:{receiver.port}/t0ken?+x-key=k3y"


def complaint(notifier: Notifier) -> str:
    with pytest.raises(NotDelivered) as caught:
        notifier.notify([make_event("dead")])
    said = str(caught.value)
    assert "\n" not in said and not any(secret in said for secret in ("s3cret", "t0ken", "k3y", "joe"))
    return said


class TestApprise(NotifierSuite):
    @pytest.fixture
    def receiver(self, receiver_of: Receivers) -> Receiver:
        return receiver_of("fine")

    @pytest.fixture
    def notifier(self, receiver: Receiver, open: Open) -> Notifier:
        return open(post(receiver), body="{id} {reason} {tags} {command}")

    @pytest.fixture
    def delivered(self, receiver: Receiver) -> Callable[[], Sequence[str]]:
        return lambda: [document["message"] for document in receiver.documents]


def test_a_mail_says_what_happened(open: Open, mail_server: MailServer) -> None:
    notifier = open(mail_server.url)
    notifier.notify([make_event("dead", id="7", queue="mail", reason="exit 1", attempts=4)])
    (mail,) = mail_server.mails
    assert (mail["subject"], mail["to"]) == ("dead: job 7 (mail)", "ops@example.org")
    assert mail["from"] == "queue@example.org"
    assert mail.get_content().splitlines() == [
        "job 7 of queue mail", "dead at 2026-01-01 00:00:00 UTC: exit 1", "attempts: 4, exit code: 0",
    ]  # fmt: skip


def test_what_a_job_is_called_cannot_become_a_header_of_a_mail(open: Open, mail_server: MailServer) -> None:
    text = "x\r\nBcc: everybody@example.org\r\n\r\nhello"
    open(mail_server.url, title="{reason}").notify([make_event("dead", reason=text)])
    (mail,) = mail_server.mails
    assert mail["bcc"] is None and "\\r\\nBcc: everybody" in mail["subject"]


def test_what_the_owner_of_the_template_wrote_is_kept_and_how_bad_it_is_is_shown(
    open: Open, receiver_of: Receivers
) -> None:
    receiver = receiver_of("fine")
    notifier = open(post(receiver), title="Queue {queue}: 100 % {", body="{id}\n{0} {id!r} {job.id}")
    for kind in ("dead", "completed", "retried"):
        notifier.notify([make_event(kind, id="{reason}", queue="mail")])
    assert {(d["title"], d["message"]) for d in receiver.documents} == {
        ("Queue mail: 100 % {", "{reason}\n{0} {id!r} {job.id}")
    }
    assert [document["type"] for document in receiver.documents] == ["failure", "success", "info"]


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("error", "JSON did not take it: it answered 500"),
        ("redirect", "JSON did not take it: it answered 302"),
        ("closes", "JSON did not take it: the connection failed"),
        ("rubbish", "JSON did not take it: the connection failed"),
        ("flood-head", "JSON did not take it: the connection failed"),
        ("hangs", "JSON did not take it within 0.5 s"),
        ("drips", "JSON did not take it within 0.5 s"),
        ("drips-body", "JSON did not take it within 0.5 s"),
        ("continues", "JSON did not take it within 0.5 s"),
    ],
)
def test_a_receiver_that_does_not_take_it_is_a_sentence_in_time_and_is_told_once_it_does(
    open: Open, receiver_of: Receivers, mode: str, said: str
) -> None:
    receiver = receiver_of(mode)
    notifier = open(post(receiver), timeout=0.5)
    begin = time.monotonic()
    assert complaint(notifier) == said
    assert time.monotonic() - begin < 10
    receiver.mode = "fine"
    notifier.notify([make_event("completed", id="after")])
    assert "job after" in receiver.documents[-1]["message"]


def test_an_answer_of_ten_gigabytes_is_given_up_before_it_has_taken_the_memory(
    open: Open, receiver_of: Receivers
) -> None:
    notifier = open(post(receiver_of("flood")), timeout=20)
    assert complaint(notifier) == "JSON did not take it: it gave no reason that can be shown"


def test_a_mail_server_that_says_no_or_nothing_is_a_sentence_in_time(open: Open, mail_server: MailServer) -> None:
    notifier = open(mail_server.url, timeout=0.5)
    mail_server.answer = "550 who are you, s3cret"
    assert complaint(notifier) == "E-Mail did not take it: it gave no reason that can be shown"
    mail_server.answer = None
    assert complaint(notifier) == "E-Mail did not take it within 0.5 s"
    mail_server.answer = "250 OK"
    notifier.notify([make_event("completed", id="after")])
    assert [mail["subject"] for mail in mail_server.mails] == ["completed: job after (default)"]


def test_a_mail_server_that_never_greets_is_a_sentence_in_time(open: Open, receiver_of: Receivers) -> None:
    url = f"mailto://joe:s3cret@127.0.0.1:{receiver_of('hangs').port}?from=a@example.org&to=b@example.org&mode=insecure"
    assert complaint(open(url, timeout=0.5)) == "E-Mail did not take it within 0.5 s"


def test_nobody_there_is_a_sentence(open: Open) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"json://joe:s3cret@127.0.0.1:{taken.getsockname()[1]}/t0ken"
        assert complaint(open(url)) == "JSON did not take it: the connection failed"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nosuch://joe:s3cret@x/t0ken", "the url is of no service that Apprise knows, or it is not complete"),
        ("json://", "the url is of no service that Apprise knows, or it is not complete"),
        ("slack://t0ken", "the service cannot be made of the url: it raised {kind}"),
    ],
)
def test_an_address_of_no_service_is_a_sentence_without_it(open: Open, url: str, said: str) -> None:
    """A service that refuses what an address has is told by what it raised: a TypeError, or Apprise's kind of it."""
    answers = {said.format(kind=kind) for kind in ("TypeError", "AppriseImproperlyConfigured")}
    assert complaint(open(url)) in answers


def test_a_process_that_is_killed_costs_one_try(open: Open, receiver_of: Receivers) -> None:
    receiver = receiver_of("fine")
    notifier = open(post(receiver))
    notifier.notify([make_event()])
    pid = notifier._teller.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert complaint(notifier) == "JSON ended the process that spoke to it"
    notifier.notify([make_event(id="after")])
    assert "job after" in receiver.documents[-1]["message"] and notifier._teller.pid != pid


class Interrupted(BaseException):
    """As the courier does when a notifier has had its time."""


def test_an_interrupted_call_leaves_no_process_and_no_answer_behind(open: Open, receiver_of: Receivers) -> None:
    receiver = receiver_of("hangs")
    notifier = open(post(receiver), timeout=60)

    def interrupt(*_: object) -> None:
        if receiver.requests:
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
        with pytest.raises(Interrupted):
            notifier.notify([make_event()])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert notifier._teller.pid is None
    receiver.mode = "fine"
    notifier.notify([make_event(id="after")])
    assert "job after" in receiver.documents[-1]["message"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("url", "mailto", "expected an address of one service"),
        ("url", "json://a\nb", "expected an address of one service"),
        ("title", "{job}", "there is no {job}; there are kind, id,"),
        ("body", " ", "expected some text"),
    ],
)
def test_an_option_that_cannot_be_is_a_complaint(name: str, value: str, said: str) -> None:
    check = next(option.check for option in OPTIONS if option.name == name)
    assert check is not None and said in (check(value) or "")


def test_options_that_the_readme_shows_are_fine() -> None:
    checks = {option.name: option.check for option in OPTIONS if option.check}
    for name, value in (
        ("url", "mailtos://user:password@example.org?to=ops@example.org"),
        ("url", "slack://TokenA/TokenB/TokenC/#ops"),
        ("title", "{kind}: {id}"),
        ("body", "{queue}: {reason} after {attempts} attempts"),
    ):
        assert checks[name](value) is None
