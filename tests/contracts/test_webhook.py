"""The built-in notifier ``webhook``: its contract, its signatures, its one deadline, and where it will not go."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from needed import missing

from queuectl.api.errors import NotDelivered
from queuectl.api.notifier import Notifier
from queuectl.api.providers import REQUIRED, Context, Provider
from queuectl.builtin import webhook
from queuectl.builtin.webhook.address import complaint_about_networks, complaint_about_url, may_be_told, networks
from queuectl.testing.fakes import make_event
from queuectl.testing.notifier import NotifierSuite
from queuectl.testing.receiver import Receiver

LOOPBACK = ["127.0.0.0/8", "::1"]
OPEN: list[Notifier] = []


def opened(**options: Any) -> Notifier:
    provider: Provider[Notifier] = next(iter(webhook.queuectl_notifiers()))
    defaults = {option.name: option.default for option in provider.options if option.default is not REQUIRED}
    given = {"secret": "s3cret", "allow_private": LOOPBACK, "timeout": 1.0, **options}
    notifier = provider.open({**defaults, **given}, Context("hook", None, "/", print))
    OPEN.append(notifier)
    return notifier


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


class TestWebhook(NotifierSuite):
    @pytest.fixture
    def notifier(self, receiver: Receiver) -> Notifier:
        return opened(url=receiver.url, command=True, timeout=10.0)

    @pytest.fixture
    def delivered(self, receiver: Receiver) -> Callable[[], Sequence[str]]:
        return lambda: [request.body.decode("ascii") for request in receiver.requests]


# -- what is sent ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(b"POST / HTTP/1.1\r\nContent-Le", id="head"),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", id="no-body"),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n{}", id="half-a-body"),
    ],
)
def test_a_receiver_has_not_got_what_its_sender_died_in_the_middle_of(receiver: Receiver, part: bytes) -> None:
    with socket.create_connection(("127.0.0.1", receiver.port), 20) as line:
        line.sendall(part)
        line.shutdown(socket.SHUT_WR)
        assert line.recv(1) == b""
    assert receiver.requests == []


def test_a_receiver_that_knows_the_secret_can_check_who_sent_it_and_when(receiver: Receiver) -> None:
    opened(url=receiver.url).notify([make_event()._replace(delivery="store-7")])
    (request,) = receiver.requests
    assert request.head == "POST /hook?to=ops HTTP/1.1"
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert request.headers["webhook-id"] == "store-7"
    moment = request.headers["webhook-timestamp"]
    assert abs(int(moment) - time.time()) < 30
    mac = hmac.new(b"s3cret", f"store-7.{moment}.".encode() + request.body, hashlib.sha256)
    assert request.headers["webhook-signature"] == f"v1,{base64.b64encode(mac.digest()).decode()}"


def test_a_secret_may_be_given_as_the_specification_writes_it(receiver: Receiver) -> None:
    key = bytes(range(24))
    opened(url=receiver.url, secret=f"whsec_{base64.b64encode(key).decode()}").notify([make_event()])
    (request,) = receiver.requests
    text = f"{request.id}.{request.headers['webhook-timestamp']}.".encode() + request.body
    mac = hmac.new(key, text, hashlib.sha256).digest()
    assert request.headers["webhook-signature"] == f"v1,{base64.b64encode(mac).decode()}"


def test_it_says_what_happened_and_the_command_only_when_asked(receiver: Receiver) -> None:
    event = make_event("failed", id="7", queue="mail", command="curl -u me:hunter2 https://x", env={"KEY": "hunter3"})
    opened(url=receiver.url).notify([event])
    opened(url=receiver.url, command=True).notify([event])
    without, with_command = receiver.documents
    assert without["type"] == "job.failed" and without["job"]["id"] == "7" and without["job"]["queue"] == "mail"
    assert with_command["job"].pop("command") == "curl -u me:hunter2 https://x"
    assert {**with_command, "delivery": ""} == {**without, "delivery": ""}
    assert b"hunter" not in receiver.requests[0].body and b"hunter3" not in receiver.requests[1].body


def test_a_further_header_can_let_it_in(receiver: Receiver) -> None:
    opened(url=receiver.url, authorization="Bearer abc").notify([make_event()])
    assert receiver.requests[0].headers["authorization"] == "Bearer abc"


def test_a_connection_is_kept_and_made_anew_when_the_receiver_has_closed_it(receiver: Receiver) -> None:
    notifier = opened(url=receiver.url)
    notifier.notify([make_event() for _ in range(5)])
    assert receiver.connections == 1
    for line in list(receiver._open):
        line.shutdown(socket.SHUT_RDWR)
    notifier.notify([make_event()])
    assert receiver.connections == 2 and len(receiver.requests) == 6
    receiver.mode = "fine-and-gone"
    notifier.notify([make_event(), make_event()])
    assert len(receiver.requests) == 8


# -- what goes wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("error", "answered 500"),
        ("redirect", "answered 302; redirects are not followed"),
        ("closes", "ended the connection"),
        ("rubbish", "does not speak HTTP as it should"),
        ("flood-head", "its answer had no end"),
        ("hangs", "did not answer within 0.5 s"),
        ("drips", "did not answer within 0.5 s"),
        ("continues", "its answer had no end"),
    ],
)
def test_a_receiver_that_does_not_take_it_is_a_sentence_and_takes_no_longer_than_its_deadline(
    receiver: Receiver, mode: str, said: str
) -> None:
    receiver.mode = mode
    begin = time.monotonic()
    with pytest.raises(NotDelivered) as caught:
        opened(url=receiver.url, timeout=0.5).notify([make_event()])
    assert time.monotonic() - begin < 2
    text = str(caught.value)
    assert text.startswith("127.0.0.1") and "secret" not in text
    assert said in text, text


@pytest.mark.parametrize("mode", ["flood", "drips-body"])
def test_the_status_says_all_and_no_body_is_waited_for(receiver: Receiver, mode: str) -> None:
    """Ten gigabytes, or a byte now and then: it has been told, and the connection is not used again."""
    receiver.mode = mode
    notifier = opened(url=receiver.url, timeout=5.0)
    begin = time.monotonic()
    notifier.notify([make_event(), make_event()])
    assert time.monotonic() - begin < 3
    assert len(receiver.requests) == receiver.connections == 2
    notifier.close()


def test_nobody_there_is_a_sentence(receiver: Receiver) -> None:
    url = receiver.url
    receiver.close()
    with pytest.raises(NotDelivered, match=r"127\.0\.0\.1 refused the connection"):
        opened(url=url).notify([make_event()])


def test_a_name_that_does_not_exist_is_a_sentence() -> None:
    with pytest.raises(NotDelivered, match=r"the name no-such-host\.invalid cannot be resolved"):
        opened(url="http://no-such-host.invalid/").notify([make_event()])


def test_a_name_server_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments, **_more: time.sleep(5))
    begin = time.monotonic()
    with pytest.raises(NotDelivered, match=r"within 0\.3 s"):
        opened(url="http://example.org/", timeout=0.3).notify([make_event()])
    assert time.monotonic() - begin < 2


def test_a_receiver_that_does_not_speak_tls_is_a_sentence(receiver: Receiver) -> None:
    receiver.mode = "greets"
    with pytest.raises(NotDelivered, match="does not speak HTTPS as it should"):
        opened(url=receiver.url.replace("http:", "https:")).notify([make_event()])


def certified(folder: Path, name: str) -> ssl.SSLContext:
    """What a server has whose certificate, for *name*, is signed by itself: ``certificate.pem`` in *folder*."""
    if shutil.which("openssl") is None:
        missing("there is no openssl to make a certificate with")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    words = "openssl req -x509 -nodes -days 1 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -subj /CN=test".split()
    words += ["-addext", f"subjectAltName={name}", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(words, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


@pytest.mark.parametrize(
    ("name", "trusted", "said"),
    [
        pytest.param("IP:127.0.0.1", False, "self-signed certificate", id="signed-by-nobody-we-trust"),
        pytest.param("DNS:example.org", True, "IP address mismatch", id="somebody-elses"),
    ],
)
def test_a_certificate_that_is_not_valid_is_a_sentence_and_nothing_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, trusted: bool, said: str
) -> None:
    receiver = Receiver(tls=certified(tmp_path, name))
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    notifier = opened(url=receiver.url)
    for told in (1, 2):  # it is not delivered, so it is tried again
        with pytest.raises(NotDelivered) as caught:
            notifier.notify([make_event()._replace(delivery="store-7")])
        text = str(caught.value)
        assert text.startswith("the certificate of 127.0.0.1 is not valid: ") and said in text and "\n" not in text
        assert (receiver.connections, receiver.requests) == (told, [])
    receiver.close()


def test_over_tls_a_receiver_with_a_valid_certificate_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    receiver = Receiver(tls=certified(tmp_path, "IP:127.0.0.1"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    opened(url=receiver.url).notify([make_event()._replace(delivery="store-7"), make_event()])
    assert receiver.requests[0].id == "store-7" and len(receiver.requests) == 2 and receiver.connections == 1
    receiver.close()


# -- where it will not go -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "[::ffff:127.0.0.1]", "0.0.0.0"],
)
def test_what_is_not_public_is_refused_however_it_is_written(receiver: Receiver, host: str) -> None:
    with pytest.raises(NotDelivered, match=r"which is not public|cannot be resolved"):
        opened(url=f"http://{host}:{receiver.port}/", allow_private=[]).notify([make_event()])
    assert receiver.connections == 0


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("0.0.0.0", False),
        ("::", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("::10.0.0.1", False),
        ("64:ff9b::10.0.0.1", False),
        ("2002:0a00:0001::1", False),
    ],
)
def test_only_public_addresses_are_told_unless_they_were_allowed(address: str, public: bool) -> None:
    parsed = ipaddress.ip_address(address)
    assert may_be_told(parsed, ()) is public
    assert may_be_told(parsed, networks(["0.0.0.0/0", "::/0"]))


def test_one_address_that_is_not_public_refuses_all_and_the_name_is_asked_once(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    """A name that leads somewhere else the second time leads nowhere."""
    asked = []

    def answer(*_arguments: Any, **_more: Any) -> list[Any]:
        asked.append(1)
        return [(socket.AF_INET, 1, 6, "", (host, receiver.port)) for host in ("203.0.114.1", "127.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    with pytest.raises(NotDelivered, match=r"has the address 127\.0\.0\.1"):
        opened(url="http://example.org/", allow_private=[]).notify([make_event()])
    assert len(asked) == 1 and receiver.connections == 0
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *_a, **_m: [(socket.AF_INET, 1, 6, "", ("127.0.0.1", receiver.port))]
    )
    opened(url="http://example.org/").notify([make_event()])
    assert receiver.requests[0].headers["host"] == "example.org"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://x/", "http"),
        ("file:///etc/passwd", "http"),
        ("http:///x", "http"),
        ("http://me:pw@x/", "authorization"),
        ("http://x/a b", "spaces"),
        ("http://x/\r\nX: y", "spaces"),
        ("http://ü/", "ASCII"),
        ("http://x:99999/", "Port"),
    ],
)
def test_a_url_that_cannot_be_used_is_a_complaint(url: str, said: str) -> None:
    assert said.lower() in (complaint_about_url(url) or "").lower()


def test_a_network_that_is_none_is_a_complaint() -> None:
    assert complaint_about_networks(["10.0.0.0/8", "::1", "127.0.0.1"]) is None
    assert "'ten'" in (complaint_about_networks(["ten"]) or "")
