"""Rules of the gate: who is answered, who may change something, and what keeps output from running in a browser."""

from __future__ import annotations

import hmac
import os
import re
import socket
from pathlib import Path
from urllib.parse import quote

import pytest
from desk import OPERATOR, ORIGIN, VIEWER, Desk, Served

from queuectl.api.errors import BadInput, ConfigError
from queuectl.cli.dashboard import command
from queuectl.core.app import App
from queuectl.web.gate import Hosts, hosts_of
from queuectl.web.server import Server
from queuectl.web.visitors import Failures, Sessions, Visitor, read_tokens

LIVE = ("live.events", "live.follow")  # they go on for ever; their headers are those of every answer
SITE = {"Sec-Fetch-Site": "same-origin"}


# --- The Host: rule S-A ---------------------------------------------------------------------------


def ask(port: int, *lines: str, path: str = "/healthz") -> int:
    """The status of a request that is written by hand."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall("\r\n".join([f"GET {path} HTTP/1.1", *lines, "Connection: close", "", ""]).encode())
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
    return int(answer.split()[1])


def test_only_names_of_ours_are_answered(served: Served) -> None:
    port = served.port
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", f"LOCALHOST:{port}"):
        assert ask(port, f"Host: {host}") == 200, host
    for host in (
        "evil.example",
        f"evil.example:{port}",
        "localhost",
        f"localhost.:{port}",
        f"localhost:{port + 1}",
        "",
    ):
        assert ask(port, f"Host: {host}") == 421, host
    assert ask(port) == 421, "no Host at all"
    assert ask(port, f"Host: localhost:{port}", "Host: evil.example") in (400, 421), "two Hosts"
    assert ask(port, "Host: evil.example", "X-Forwarded-Host: localhost", path="/nothing") == 421


def test_the_name_is_looked_at_before_anything_else(desk: Desk) -> None:
    """On every address, of whatever kind: what it would have answered does not matter, and nothing is done."""
    id = desk.enqueue()
    for rule in desk.flask.url_map.iter_rules():
        path = filled(rule.rule, id)
        for method in ("GET", "POST"):
            response = desk.client.open(path, method=method, base_url="http://evil.example", headers=SITE)
            assert response.status_code == 421, (method, path)
            assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert desk.queue.get(id).state.value == "pending"


def filled(rule: str, id: str) -> str:
    """An address of this rule."""
    path = rule.replace("<int:attempt>", "1").replace("<any(cancel, retry, delete):action>", "cancel")
    path = path.replace("<any(stdout, stderr):stream>", "stdout").replace("<path:filename>", "app.css")
    return path.replace("<id>", id).replace("<name>", "default").replace("<pool>", "p")


def test_unless_told_otherwise_it_listens_on_loopback_alone(served: Served) -> None:
    assert ask(served.port, f"Host: localhost:{served.port}") == 200
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", served.port), 10).close()
    (host,) = [option for option in command.params if option.name == "host"]
    assert host.default == "127.0.0.1"


def test_beyond_this_machine_addresses_and_configured_names_are_answered() -> None:
    hosts = hosts_of("0.0.0.0", 8000, "box", ["queue.example.org", "q.example.org:8443"])
    good = ("10.1.2.3:8000", "[fe80::1]:8000", "box:8000", "queue.example.org", "Q.example.org:8443", "localhost:8000")
    for host in good:
        assert hosts.allow(host), host
    for host in (
        "10.1.2.3",
        "evil.example:8000",
        "queue.example.org:8000",
        "10.1.2.3:80",
        "[zz]:8000",
        ":8000",
        "[",
        "]",
    ):
        assert not hosts.allow(host), host
    assert Hosts(frozenset(), 80, addresses=True).allow("10.1.2.3")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "box.example"])
def test_beyond_this_machine_it_does_not_start_without_a_token(tmp_path: Path, host: str) -> None:
    app = App.open(None, str(tmp_path / "q.db"))
    with pytest.raises(BadInput, match="--token-file"):
        Server(app, host, 0, say=print)
    app.close()


# --- Changes: rule S-B; with a real browser in test_other_sites -------------------------------------


def changes(desk: Desk) -> list[str]:
    return [rule.rule for rule in desk.flask.url_map.iter_rules() if "POST" in (rule.methods or ())]


def test_no_address_changes_anything_by_get(desk: Desk) -> None:
    id = desk.enqueue()
    rules = list(desk.flask.url_map.iter_rules())
    seen = {rule.rule for rule in rules if "GET" in (rule.methods or ())}
    for rule in rules:
        if rule.rule not in seen:
            path = filled(rule.rule, id)
            for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH"):
                response = desk.client.open(path, method=method, base_url=ORIGIN, headers=SITE)
                assert response.status_code in (403, 405, 415), (method, path, response.status_code)
    assert len(changes(desk)) > 15
    assert desk.queue.get(id).state.value == "pending"


def test_a_method_in_a_header_or_field_is_not_one(desk: Desk) -> None:
    id = desk.enqueue()
    desk.get(f"/jobs/{id}?_method=POST", headers={"X-HTTP-Method-Override": "POST", **SITE})
    response = desk.get(f"/jobs/{id}/cancel", headers={"X-HTTP-Method-Override": "POST", **SITE})
    assert response.status_code == 405
    assert desk.queue.get(id).state.value == "pending"


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "same-origin", "Origin": ORIGIN}, True),
        ({"Origin": ORIGIN}, True),
        ({"Origin": ORIGIN.upper().replace("HTTP", "http")}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": ORIGIN}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "http://localhost:9999"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://[bad"}, False),
        ({}, False),
    ],
)
def test_a_form_comes_from_one_of_our_pages(desk: Desk, headers: dict[str, str], allowed: bool) -> None:
    id = desk.enqueue()
    with desk.flask.test_request_context(base_url=ORIGIN):
        csrf = desk.gate.csrf()
    response = desk.client.post(f"/jobs/{id}/cancel", base_url=ORIGIN, data={"csrf": csrf}, headers=headers)
    assert response.status_code == (302 if allowed else 403)
    assert desk.queue.get(id).state.value == ("cancelled" if allowed else "pending")


def test_a_form_carries_what_only_our_pages_know(desk: Desk) -> None:
    id = desk.enqueue()
    for csrf in ("", "x", "é"):
        response = desk.client.post(f"/jobs/{id}/cancel", base_url=ORIGIN, data={"csrf": csrf}, headers=SITE)
        assert response.status_code == 403
    assert desk.post(f"/jobs/{id}/cancel").status_code == 302


def test_a_form_is_good_for_the_session_that_it_was_made_for(guarded: Desk) -> None:
    id = guarded.enqueue()
    guarded.post("/login", {"token": VIEWER})
    of_the_viewer = csrf_in(guarded.page("/"))
    guarded.post("/login", {"token": OPERATOR})
    of_the_operator = csrf_in(guarded.page("/"))
    for csrf, code in ((of_the_viewer, 403), (of_the_operator, 302)):
        response = guarded.client.post(
            f"/jobs/{id}/cancel", base_url=ORIGIN, data={"csrf": csrf}, headers={"Origin": ORIGIN}
        )
        assert response.status_code == code


def csrf_in(html: str) -> str:
    found = re.search(r'name="csrf" value="(\w{40})"', html)
    assert found
    return found[1]


@pytest.mark.parametrize(
    ("content", "headers", "code"),
    [
        ("application/json", {}, 200),
        ("application/json", SITE, 200),
        ("application/json", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("application/json", {"Origin": "https://evil.example"}, 403),
        ("text/plain", {}, 415),
        ("application/x-www-form-urlencoded", SITE, 415),
        ("multipart/form-data", {}, 415),
        (None, {}, 415),
    ],
)
def test_the_api_takes_json_and_nothing_a_form_can_send(
    desk: Desk, content: str | None, headers: dict[str, str], code: int
) -> None:
    id = desk.enqueue()
    response = desk.client.post(
        f"/api/v1/jobs/{id}/cancel", base_url=ORIGIN, data=b"{}", content_type=content, headers=headers
    )
    assert response.status_code == code
    assert desk.queue.get(id).state.value == ("cancelled" if code == 200 else "pending")


def test_with_tokens_the_api_changes_nothing_for_a_cookie(guarded: Desk) -> None:
    id = guarded.enqueue()
    assert guarded.post("/login", {"token": OPERATOR}).status_code == 302
    assert guarded.api("GET", "/jobs").status_code == 200
    assert guarded.api("POST", f"/jobs/{id}/cancel", {}, headers=SITE).status_code == 401
    assert guarded.api("POST", f"/jobs/{id}/cancel", {}, token=OPERATOR).status_code == 200


def test_nobody_is_invited_from_another_origin(desk: Desk) -> None:
    for method in ("GET", "OPTIONS"):
        response = desk.client.open("/api/v1/jobs", method=method, base_url=ORIGIN, headers={"Origin": "https://evil"})
        assert not [name for name, _ in response.headers if name.lower().startswith("access-control")]


# --- Who: roles and the audit, and what rule S-I says of sessions and guesses -------------------------


def test_without_a_token_there_is_nothing_but_the_door(guarded: Desk) -> None:
    for rule in guarded.flask.url_map.iter_rules():
        if rule.arguments or "GET" not in (rule.methods or ()):
            continue
        response = guarded.get(rule.rule)
        if rule.endpoint in ("door.login", "probes.healthz", "probes.readyz"):
            assert response.status_code == 200, rule.rule
        elif rule.rule.startswith("/api/") or rule.endpoint == "probes.metrics":
            assert response.status_code == 401, rule.rule
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
        else:
            assert response.status_code == 302 and "/login" in response.headers["Location"], rule.rule


def test_a_session_begins_with_a_token_and_ends_with_leaving(guarded: Desk) -> None:
    assert guarded.post("/login", {"token": "wrong" * 9}).status_code == 401
    response = guarded.post("/login", {"token": OPERATOR, "next": "/queues"})
    assert response.headers["Location"] == "/queues"
    cookie = response.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and OPERATOR not in cookie
    assert "olga" in guarded.page("/")
    guarded.post("/logout")
    assert guarded.get("/").status_code == 302


@pytest.mark.parametrize(
    "onward", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:x", "/\nx"]
)
def test_the_door_leads_nowhere_else(guarded: Desk, onward: str) -> None:
    assert guarded.post("/login", {"token": OPERATOR, "next": onward}).headers["Location"] == "/"


def test_a_viewer_sees_everything_and_changes_nothing(guarded: Desk) -> None:
    id = guarded.enqueue()
    guarded.post("/login", {"token": VIEWER})
    assert 'class="tick"' not in guarded.page("/jobs")
    assert guarded.post(f"/jobs/{id}/cancel").status_code == 403
    assert guarded.post("/queues/default/pause").status_code == 403
    assert guarded.api("POST", f"/jobs/{id}/cancel", {}, token=VIEWER).status_code == 403
    assert guarded.post("/theme", {"theme": "dark"}).status_code == 302
    assert guarded.queue.get(id).state.value == "pending"


def test_read_only_makes_everybody_a_viewer(tmp_path: Path) -> None:
    desk = Desk(tmp_path, tokens=True, read_only=True)
    id = desk.enqueue()
    assert desk.api("POST", f"/jobs/{id}/cancel", {}, token=OPERATOR).status_code == 403
    assert desk.api("GET", f"/jobs/{id}", token=OPERATOR).status_code == 200
    desk.close()


def test_who_did_it_is_kept(guarded: Desk) -> None:
    id = guarded.enqueue()
    guarded.api("POST", f"/jobs/{id}/cancel", {"note": "by mistake"}, token=OPERATOR)
    (audit,) = guarded.queue.history(id).audits
    assert (audit.action, audit.actor, audit.note) == ("cancel", "web:olga", "by mistake")


def test_who_guesses_is_stopped(guarded: Desk) -> None:
    codes = [guarded.api("GET", "/jobs", token=f"guess {n}").status_code for n in range(12)]
    assert codes == [401] * 10 + [429] * 2
    assert guarded.api("GET", "/jobs", token=OPERATOR).status_code == 429


def test_failures_and_sessions_are_forgotten_with_time() -> None:
    now = [0.0]
    failures, sessions = Failures(lambda: now[0]), Sessions(lambda: now[0])
    id = sessions.begin(Visitor("a", "viewer"))
    for _ in range(10):
        failures.count("::1")
    assert failures.too_many("::1") and not failures.too_many("::2") and sessions.find(id)
    now[0] = 61
    assert not failures.too_many("::1")
    now[0] = 13 * 3600
    assert sessions.find(id) is None


# --- Tokens: rule S-I -----------------------------------------------------------------------------


def test_new_tokens_are_shown_once_and_kept_as_hashes(tmp_path: Path) -> None:
    path, said = tmp_path / "tokens", []
    tokens = read_tokens(str(path), said.append)
    shown = {line.split()[0]: line.rpartition(" ")[2] for line in said if "token:" in line}
    assert path.stat().st_mode & 0o777 == 0o600
    for role, token in shown.items():
        assert len(token) >= 43 and token not in path.read_text()
        assert tokens.find(token) == read_tokens(str(path), said.append).find(token) == Visitor(role, role)
    assert len(said) == 3 and tokens.find("nobody's") is None


def test_a_wrong_token_takes_as_long_as_a_right_one(guarded: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each known one is compared, in constant time; so is what a form carries."""
    compared: list[int] = []
    constant = hmac.compare_digest

    def watched(a: bytes, b: bytes) -> bool:
        compared.append(len(a))
        return constant(a, b)

    monkeypatch.setattr("queuectl.web.visitors.hmac.compare_digest", watched)
    assert guarded.gate.tokens is not None
    for token in (OPERATOR, VIEWER, "x" * 40, ""):
        compared.clear()
        guarded.gate.tokens.find(token)
        assert compared == [32, 32], "hashes are compared, and all of them"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no token"),
        ("operator olga", "expected a role"),
        ("king olga " + "x" * 40, "expected a role"),
        ("viewer v short", "at least 32"),
        ("viewer v sha256:12", "64 hexadecimal"),
    ],
)
def test_a_token_file_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=complaint):
        read_tokens(str(path), print)


def test_a_token_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"viewer v {'x' * 40}\n")
    path.chmod(0o644)
    if os.name == "posix":
        with pytest.raises(ConfigError, match="chmod 600"):
            read_tokens(str(path), print)


# --- What every answer has: rule S-C; with a real browser in test_hostile -----------------------------


def test_every_answer_forbids_foreign_code(desk: Desk) -> None:
    """Every address, answers that refuse and such that find nothing among them."""
    id = desk.enqueue()
    desk.run()
    paths = [filled(rule.rule, id) for rule in desk.flask.url_map.iter_rules() if rule.endpoint not in LIVE]
    for path in (*paths, "/nothing", "/api/v1/nothing", "/jobs?q=no:such", "/jobs/none"):
        for method in ("GET", "POST"):
            response = desk.client.open(path, method=method, base_url=ORIGIN, buffered=True)
            headers = response.headers
            policy = headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
            assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer"
            if not path.startswith("/static/"):
                assert headers["Cache-Control"] == "no-store", path


def test_no_page_has_code_or_style_in_it(desk: Desk) -> None:
    id = desk.enqueue()
    for path in ("/", "/jobs", f"/jobs/{id}", "/queues", "/workers", "/dlq", "/stats", "/system", "/nothing"):
        html = desk.get(path).text
        assert not re.search(r"\s(on[a-z]+|style)\s*=", html), path
        assert not re.search(r"<style|<script(?![^>]* src=)|javascript:", html), path


def test_output_is_a_file_to_be_saved_and_never_a_page(desk: Desk) -> None:
    desk.enqueue()
    (id,) = desk.run()
    headers = desk.get(f"/jobs/{id}/output/1/stdout").headers
    assert headers["Content-Type"].startswith("text/plain") and headers["Content-Disposition"].startswith("attachment")
    assert desk.get(f"/api/v1/jobs/{id}/output/1/stdout").headers["Content-Type"].startswith("text/plain")


def test_values_that_look_like_secrets_are_dots(desk: Desk) -> None:
    id = desk.enqueue(env={"API_TOKEN": "hunter2", "PLAIN": "seen", "DB": "pg://me:hunter2@db/x"})
    for text in (desk.page(f"/jobs/{id}"), desk.api("GET", f"/jobs/{id}").text, desk.page("/jobs")):
        assert "hunter2" not in text
    assert "seen" in desk.page(f"/jobs/{id}") and "pg://••••@db/x" in desk.page(f"/jobs/{id}")


# --- What is asked of the storage: rule S-F; test_architecture has that no statement is made of text ---------------


@pytest.mark.parametrize(
    "text", ["' OR 1=1 --", "'; DROP TABLE job; --", "%", "_", "\\", "a\x00b", "1) UNION SELECT 1 --", "*", "💥" * 50]
)
@pytest.mark.parametrize("key", ["", "tag:", "id:", "queue:", "fault:", "state:", "exit:", "since:"])
def test_no_filter_is_more_than_a_value(desk: Desk, key: str, text: str) -> None:
    """It finds what has this text, nothing else, or is refused; and the jobs are all still there."""
    desk.enqueue("zebra", id="zebra", tags=["t"])
    asked = quote(key + text.replace(" ", "+"), safe="")
    for path in (f"/jobs?q={asked}", f"/api/v1/jobs?filter={asked}", f"/api/v1/dlq?filter={asked}"):
        response = desk.get(path)
        assert response.status_code in (200, 400), (path, response.status_code)
        assert "zebra" not in response.text, path
    for cursor in (text, f"1,{text}", "9" * 30):
        assert desk.get(f"/jobs?after={quote(cursor, safe='')}").status_code in (200, 400)
        assert desk.get(f"/api/v1/jobs?cursor={quote(cursor, safe='')}").status_code in (200, 400)
    assert [job.id for job in desk.app.storage.find().jobs] == ["zebra"]
