"""Rule S-H: what is secret is looked for in everything that is served and written while a queue works, and is nowhere.

Each secret is a word that nothing else contains. All addresses are asked for, by whoever may see the most, so a new
page is searched without anybody thinking of it.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest
from desk import ORIGIN, Dashboard, Desk
from driver import Driver, until

from queuectl.core.app import App
from queuectl.web.gate import hosts_of
from queuectl.web.site import create_site

#: Of the configuration: nobody needs to see these again.
CONFIGURED = {
    "the storage's password": "canary-storage-password",
    "the password in the storage's address": "canary-in-the-address",
    "the password in an address of the environment": "canary-of-the-environment",
    "a notifier's address": "canary-in-the-path",
    "a notifier's key": "canary-key-of-signatures",
    "a notifier's header": "canary-authorization",
    "a plugin's token": "canary-of-a-plugin",
}
#: Of a job: whoever put it in has to be able to give it, so its storage has it; nothing shows it.
OF_A_JOB = {"a job's token": "canary-token-of-a-job", "the password in a job's address": "canary-dsn-of-a-job"}
#: Of the dashboard: only hashes are kept.
TOKENS = {"operator": "canary-operator-" + "o" * 32, "viewer": "canary-viewer-" + "v" * 32}
GUESS = "canary-guess-" + "g" * 32

CONFIG = """
[dashboard]
enqueue = true
[routes.hook]
to = ["hook"]
events = ["dead"]
[storage.redis]
url = "redis://me:canary-in-the-address@127.0.0.1:1/0"
password = "canary-storage-password"
[notifier.hook]
use = "webhook"
url = "http://127.0.0.1:1/canary-in-the-path"
secret = "canary-key-of-signatures"
authorization = "Bearer canary-authorization"
allow_private = ["127.0.0.1"]
[plugin.absent]
api_token = "canary-of-a-plugin"
"""


class House:
    """A queue at work with a dashboard before it, and everything that it answers."""

    def __init__(self, driver: Driver, desk: Desk) -> None:
        self.driver = driver
        self.said: dict[str, bytes] = {}
        tokens = driver.folder / "tokens"
        tokens.write_text("".join(f"{role} {role} {token}\n" for role, token in TOKENS.items()))
        tokens.chmod(0o600)
        self.dashboard = Dashboard(driver, "--token-file", str(tokens))
        tokens.unlink()  # what was given by hand; what is written from now on is searched
        self.host = self.dashboard.url.removeprefix("http://")
        self.rules = [rule.rule for rule in desk.flask.url_map.iter_rules() if "GET" in (rule.methods or ())]

    def ask(self, path: str, method: str = "GET", token: str = TOKENS["operator"], body: object = None) -> bytes:
        """What is answered, with its headers; kept to be searched."""
        connection = http.client.HTTPConnection(self.host, timeout=20)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        data = str(answer.getheaders()).encode() + answer.read()
        connection.close()
        self.said[f"{method} {path}"] = data
        return data

    def listen(self, path: str) -> threading.Thread:
        """Keep what a stream says until the server ends."""
        connection = http.client.HTTPConnection(self.host, timeout=60)
        connection.request("GET", path, headers={"Authorization": f"Bearer {TOKENS['viewer']}"})
        answer = connection.getresponse()

        def read() -> None:
            self.said[path] = b""
            while line := answer.readline():
                self.said[path] += line

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        return thread


def addresses(rules: list[str], id: str) -> Iterator[str]:
    filled = {"id": id, "name": "default", "attempt": "1", "stream": "stdout", "filename": "live.js", "pool": "p"}
    for rule in rules:
        if not rule.endswith(("/events", "/follow")):
            yield re.sub(r"<(?:[^:<>]+:)?(\w+)>", lambda part: quote(filled[part[1]]), rule)
    yield from (f"/new?from={id}", f"/jobs?q={quote('no:such')}", "/stats?range=7d", "/readyz?verbose=1")
    yield from (f"/jobs/{id}?attempt=1", "/nothing", "/api/v1/nothing", f"/api/v1/jobs/{id}/output/1/stderr")


def test_secrets_are_in_nothing_that_is_served_or_written(driver: Driver, desk: Desk) -> None:
    (driver.folder / "queue.db.toml").write_text(CONFIG)
    driver.env["QUEUECTL_STORAGE_REDIS_URL"] = "redis://me:canary-of-the-environment@127.0.0.1:1/0"
    house = House(driver, desk)
    pool = driver.start("--count", "1")
    streams = [house.listen("/events")]
    os.mkfifo(driver.folder / "pipe")
    env = {
        "API_TOKEN": OF_A_JOB["a job's token"],
        "DATABASE": f"pg://me:{OF_A_JOB['the password in a job' + chr(39) + 's address']}@db/x",
        "PLAIN": "seen",
    }
    id = driver.enqueue("read line < pipe; env | grep -c canary; env >&2; exit 3", env={"SHOWN": "1"}, max_retries=0)
    hidden = driver.enqueue("test -n $API_TOKEN", env=env)
    streams.append(house.listen(f"/jobs/{id}/follow?attempt=1"))
    driver.worker_of(id)
    (driver.folder / "pipe").write_text("go\n")
    driver.await_state(id, "dead")
    driver.await_state(hidden, "completed")
    until(lambda: b"change" in house.said["/events"], "the stream has said something")

    for job in (id, hidden):
        for path in addresses(house.rules, job):
            house.ask(path)
    house.ask("/api/v1/bulk", "POST", body={"action": "retry", "filter": "state:dead", "dry_run": True})
    house.ask("/api/v1/jobs", "POST", body={"command": "true", "env": {"API_TOKEN": OF_A_JOB["a job's token"]}, "x": 1})
    house.ask("/", token=GUESS)
    assert b"seen" in house.ask(f"/jobs/{hidden}") and len(house.said) > 40
    for words in (("show", hidden), ("list",), ("status",), ("config", "list"), ("doctor",)):
        done = driver.run(*words, "--json", code=None)
        house.said[" ".join(words)] = (done.stdout + done.stderr).encode()
    house.dashboard.close()
    assert pool.popen.poll() is None
    pool.signal(15)
    pool.end()
    for stream in streams:
        stream.join(20)

    written = files_below(driver.folder, but=("queue.db.toml",))
    assert {"dashboard.log", "pool-0.log", "queue.db"} <= {Path(name).name for name in written}
    assert b"hook" in written[str(driver.folder / "pool-0.log")], "the notifier could not be reached, and that was said"
    everywhere = {**house.said, **written}
    for secrets in (CONFIGURED, TOKENS, {"a guess": GUESS}):
        assert not found(secrets, everywhere)
    assert not found(OF_A_JOB, {place: data for place, data in everywhere.items() if "queue.db" not in place})


def files_below(folder: Path, *, but: tuple[str, ...]) -> dict[str, bytes]:
    """Everything in a folder, by path."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name not in but}


def found(secrets: Mapping[str, str], places: Mapping[str, bytes]) -> list[tuple[str, str]]:
    return [
        (what, where) for what, secret in secrets.items() for where, said in places.items() if secret.encode() in said
    ]


@pytest.mark.parametrize("where", ["address", "option"])
def test_a_storage_that_cannot_be_reached_is_said_without_its_password(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], where: str
) -> None:
    """On every page, to every probe, and in the server's log."""
    word = CONFIGURED["the storage's password"]
    inside, beside = (f"me:{word}@", "") if where == "address" else ("", f'password = "{word}"\n')
    config = (
        f'[queuectl]\nstorage = "redis"\n[storage.redis]\nurl = "redis://{inside}127.0.0.1:1/0"\npatience = 0\n{beside}'
    )
    (tmp_path / "q.toml").write_text(config)
    app = App.open(str(tmp_path / "q.toml"), None)
    flask, site = create_site(app, hosts_of("127.0.0.1", 8765, "here", ()))
    client = flask.test_client()
    said = {}
    rules = [rule.rule for rule in flask.url_map.iter_rules() if "GET" in (rule.methods or ())]
    for path in addresses(rules, "1"):
        answer = client.get(path, base_url=ORIGIN, buffered=True)
        assert answer.status_code != 500, (path, answer.text)
        said[path] = answer.data + str(answer.headers).encode()
    site.close()
    assert b"127.0.0.1:1" in said["/"] and b"127.0.0.1:1" in said["/readyz?verbose=1"]
    said["the log"] = "".join(capfd.readouterr()).encode()
    assert not found({"the password": word}, said)
