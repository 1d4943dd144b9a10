"""Whatever a job, a worker or a plugin is called and whatever it prints: a page shows it, and does nothing it says."""

from __future__ import annotations

import json
import os
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from desk import Dashboard, Served
from driver import Driver
from hostile_words import HOSTILE

from queuectl.api.model import INLINE_OUTPUT, Action, NewJob, Pool, Where
from queuectl.core.app import App
from queuectl.core.rundir import IDENTITY_SIZE
from queuectl.testing.subjects.subject import dead, hand_in, take
from queuectl.web.words import now_ms

#: What no page of ours has.
NEVER = "img, iframe, object, embed, base, math, template, [onerror], [onload], [onfocus], #live [hx-get]"

#: A plugin whose very name is hostile, as the name of a file may be.
NAME = HOSTILE[1]
PLUGIN = """
import flask
from queuectl.api import Panel, hookimpl

@hookimpl
def queuectl_panels(storage):
    yield Panel({title!r}, lambda: 1 / 0)

@hookimpl
def queuectl_blueprints(storage):
    pages = flask.Blueprint("shop", __name__)
    pages.get("/")(lambda: flask.render_template_string("{{% extends 'page.html' %}}"))
    yield pages
    raise ValueError({title!r})
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A dashboard over a storage in which every text is hostile."""
    folder: Path = tmp_path_factory.mktemp("hostile")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        (folder / f"{NAME}.py").write_text(PLUGIN.format(title=HOSTILE[0]), encoding="utf-8")
        (folder / "q.toml").write_text(
            f"[plugins]\nfiles = [{json.dumps(NAME + '.py')}]\n[dashboard]\nenqueue = true\n", encoding="utf-8"
        )
        app = App.open(str(folder / "q.toml"), str(folder / "queue.db"))
        fill(app)
        served = Served(app)
        yield served
        served.close()


def fill(app: App) -> None:
    storage, now = app.storage, now_ms()
    jobs = [
        NewJob(
            word,
            id=ids_of(n, word),
            queue=word[:60],
            tags=(word[:100],),
            cwd=f"/{word[:100]}",
            unique_key=word[:100],
            env={"A" + word[:50]: word[:200]},
        )
        for n, word in enumerate(HOSTILE)
    ]
    plain = [NewJob(word, id=f"plain-{n}") for n, word in enumerate(HOSTILE)]
    storage.enqueue([*jobs, *plain], now=now)
    storage.join(Pool(HOSTILE[0][:80], HOSTILE[1][:80], 7, now, (HOSTILE[2],), 1, version=HOSTILE[3]), lease=3600)
    claims = take(storage, 1000, now=now)
    for claim in claims:
        word = claim.job.spec.command
        written = (word.encode("utf-8", "surrogatepass") * (INLINE_OUTPUT // len(word) + 1))[-INLINE_OUTPUT:]
        settlement = dead(claim, stdout=written, stderr=b"\xff\xfe" + word.encode("utf-8", "replace")[:1000])
        assert settlement.outcome is not None
        outcome = settlement.outcome._replace(detail=word[:300], stdout_size=len(written), stderr_size=1002)
        hand_in(storage, settlement._replace(outcome=outcome, reason=f"exit 1: {word[:300]}"), now=now)
    some = tuple(f"plain-{n}" for n in range(0, len(HOSTILE), 2))
    storage.apply(Action.RETRY, Where(ids=some), actor=HOSTILE[0], note=HOSTILE[1], now=now)
    for word in HOSTILE:
        storage.set_queue(word[:60], paused=True, reason=word[:200], actor=word[:50])
    known = {"id": HOSTILE[0][:60], "pool": HOSTILE[0][:80], "pid": 7, "inode": 0, "boot": "b", "namespace": 0}
    record = json.dumps({**known, "started_at": now}).encode()
    Path(app.run_dir, "w.lock").write_bytes(record.ljust(IDENTITY_SIZE, b"\0"))


def ids_of(n: int, word: str) -> str:
    return f"{n}-{word[:100]}"


def paths(served: Served) -> list[str]:
    """Every address, each with hostile texts wherever it takes one: a new page is among them by itself."""
    found = []
    for rule in served.server.flask.url_map.iter_rules():
        if "GET" not in (rule.methods or ()) or rule.endpoint in ("static", "live.events", "live.follow", "job.raw"):
            continue
        words = HOSTILE if "<id>" in rule.rule and rule.endpoint == "job.show" else HOSTILE[:3]
        for n, word in enumerate(words):
            names = {"id": ids_of(n, word), "name": word[:60], "pool": word[:60], "attempt": "1", "stream": "stdout"}
            found.append(filled_in(rule.rule, names))
    found += [f"/jobs/plain-{n}" for n in range(0, len(HOSTILE), 4)] + ["/new?from=plain-1"]
    asked = ("/stats?range=1h&queue=", "/jobs?after=", "/login?next=/", "/batches/", "/jobs/1?attempt=", "/")
    programs = ("/api/v1/jobs?filter=", "/api/v1/queues/")
    for n, word in enumerate(HOSTILE):
        text = quote(word[:200], safe="")
        found += [f"{path}{text}" for path in ("/jobs?q=", asked[n % len(asked)], programs[n % len(programs)])]
    return list(dict.fromkeys(found))


def filled_in(rule: str, names: dict[str, str]) -> str:
    return re.sub(r"<(?:[^:<>]+:)?(\w+)>", lambda part: quote(names[part[1]], safe=""), rule)


class Watched:
    """A page of a browser in which something went wrong as soon as anything of what is shown is obeyed."""

    def __init__(self, browser: Any, home: str) -> None:
        self.troubles: list[str] = []
        self._context = browser.new_context()
        self.page = self._context.new_page()
        self.page.on("pageerror", self.note)
        self.page.on("dialog", self.refuse)
        self.page.on("console", lambda said: self.note(said.text) if "Security Policy" in said.text else None)
        self.page.on("request", lambda asked: None if asked.url.startswith(home) else self.note(asked.url))
        self.page.on("popup", lambda popup: self.note(f"opened {popup.url}"))

    def note(self, what: object) -> None:
        self.troubles.append(f"{self.page.url}: {what}")

    def refuse(self, dialog: Any) -> None:
        self.note(dialog.message)
        dialog.dismiss()

    def look(self) -> None:
        """Nothing of what is shown has run, or become a part of the page."""
        if canary := self.page.evaluate("window.canary"):
            self.note(f"canary {canary}")
        if self.page.evaluate(f"document.querySelectorAll('{NEVER}').length"):
            self.note("an element of theirs")

    def close(self) -> None:
        self._context.close()
        assert not self.troubles, self.troubles


@pytest.fixture
def watched(hostile: Served, browser: Any) -> Iterator[Watched]:
    made = Watched(browser, hostile.url)
    yield made
    made.close()


def test_the_canary_would_fire(browser: Any) -> None:
    """Else the tests below would show nothing: as a page of their own most of these texts run."""
    context = browser.new_context()
    page = context.new_page()
    fired = []
    for word in (HOSTILE[0], HOSTILE[1], HOSTILE[2], HOSTILE[3], HOSTILE[-1]):
        page.goto("about:blank")
        page.set_content(f"<title>{word[:2000]}</title><p title='{word[:2000]}'>{word[:2000]}")
        fired.append(page.evaluate("window.canary"))
    context.close()
    assert all(fired), fired


def test_no_hostile_text_runs_on_any_page(hostile: Served, watched: Watched) -> None:
    asked = paths(hostile)
    assert len(asked) > 100
    for path in asked:
        response = watched.page.goto(hostile.url + path, wait_until="commit" if "/api/" in path else "load")
        assert response.status in (200, 400, 404), (path, response.status)
        watched.look()


def test_no_hostile_text_runs_when_a_page_is_refreshed(hostile: Served, watched: Watched) -> None:
    """Morphing goes another way into the document than loading."""
    page = watched.page
    for path in ("/", "/jobs", "/jobs?q=state:dead", "/dlq", "/queues", "/workers", "/jobs/plain-1"):
        page.goto(hostile.url + path)
        page.locator("#live-state", has_text="live").wait_for()
        with page.expect_response(lambda answer: answer.request.resource_type == "fetch") as fetched:
            hostile.app.storage.enqueue([NewJob("echo news")])
        assert fetched.value.status == 200
        page.locator("#live-state:not(.held)").wait_for()
        watched.look()


def test_no_hostile_text_runs_as_it_is_asked_about_or_done(hostile: Served, watched: Watched) -> None:
    """The pages behind buttons: the question before an action on all, what became of it, what was said, the doctor."""
    page = watched.page
    for word in (HOSTILE[0], HOSTILE[1], HOSTILE[8]):
        page.goto(f"{hostile.url}/jobs?q={quote('text:' + word if ':' in word else word, safe='')}")
        watched.look()
    page.goto(f"{hostile.url}/jobs?q={quote('state:dead ' + HOSTILE[0], safe='')}")
    page.locator("select[name=scope]").select_option("all")
    page.get_by_role("button", name="Retry…").click()
    watched.look()
    page.get_by_role("button", name=re.compile("Retry .* job")).click()
    page.locator("progress").wait_for()
    watched.look()
    page.goto(f"{hostile.url}/system")
    page.get_by_role("button", name="Examine").click()
    page.get_by_text("integrity").first.wait_for()
    watched.look()
    page.goto(f"{hostile.url}/new")
    page.locator("[name=command]").fill(HOSTILE[1])
    page.locator("[name=queue]").fill(HOSTILE[0])
    page.locator("main form button").last.click()
    page.get_by_role("alert").or_(page.locator(".said.error")).first.wait_for()
    watched.look()


def test_output_is_never_shown_by_the_browser_itself(hostile: Served) -> None:
    """A browser that sniffs would make a page of it: it is told not to, and to save it."""
    for n in range(len(HOSTILE)):
        with urllib.request.urlopen(f"{hostile.url}/jobs/plain-{n}/output/1/stdout") as answer:
            assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
            assert answer.headers["Content-Disposition"].startswith("attachment")
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert len(answer.read()) == INLINE_OUTPUT


def test_no_hostile_line_runs_while_a_log_is_followed(driver: Driver, dashboard: Dashboard, browser: Any) -> None:
    """A real job prints all of it, as the page is open: lines come by a stream, and the overview says the last one."""
    driver.start("--count", "1")
    os.mkfifo(driver.folder / "pipe")
    words = "".join(f"{word}\n" for word in HOSTILE)
    (driver.folder / "words").write_text(words, encoding="utf-8")
    id = driver.enqueue("exec 3< pipe; read line <&3; cat words; cat words >&2; echo all said; read line <&3; true")
    driver.worker_of(id)
    watched = Watched(browser, dashboard.url)
    page = watched.page
    page.goto(f"{dashboard.url}/jobs/{id}")
    page.locator("#live-state", has_text="live").wait_for()
    with (driver.folder / "pipe").open("w", buffering=1) as lines:
        lines.write("go\n")
        page.locator("pre[data-stream=stdout]", has_text="all said").wait_for()
        watched.look()
        shown = page.locator("pre[data-stream=stdout]").inner_text()
        assert "window.canary=1</script>" in shown and "\x1b" not in shown and "\u202e" not in shown
        page.goto(dashboard.url)
        page.locator("samp").first.wait_for()
        watched.look()
    page.goto(f"{dashboard.url}/jobs/{id}")
    page.locator("h1", has_text="completed").wait_for()
    watched.look()
    watched.close()


def test_what_would_mislead_a_reader_is_made_visible(hostile: Served) -> None:
    for path in ("/jobs", "/dlq", "/", "/jobs/plain-5", "/workers", "/queues", "/system"):
        with urllib.request.urlopen(hostile.url + path) as answer:
            text = answer.read().decode()
        text = re.sub(r'value="[^"]*"', "", text)  # what goes back to the server is what it was
        found = re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
        assert found is None, (path, text[max(0, found.start() - 200) : found.start() + 40] if found else "")
