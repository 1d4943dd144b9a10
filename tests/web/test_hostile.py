"""Whatever a job, a worker or a plugin is called and whatever it prints: a page shows it, and does nothing it says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from desk import Served
from hostile_words import HOSTILE

from queuectl.api.model import Action, NewJob, Pool, Where
from queuectl.core.app import App
from queuectl.core.rundir import IDENTITY_SIZE
from queuectl.testing.subjects.subject import dead, hand_in, take
from queuectl.web.words import now_ms

#: What no page of ours has.
NEVER = "img, iframe, object, embed, base, math, template, [onerror], [onload], [onfocus], #live [hx-get]"

PLUGIN = """
from queuectl.api import Panel, hookimpl

@hookimpl
def queuectl_panels(storage):
    yield Panel({title!r}, lambda: 1 / 0)
    raise ValueError({title!r})
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A dashboard over a storage in which every text is hostile."""
    folder: Path = tmp_path_factory.mktemp("hostile")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        (folder / "p.py").write_text(PLUGIN.format(title=HOSTILE[0]), encoding="utf-8")
        (folder / "q.toml").write_text(
            '[plugins]\nfiles = ["p.py"]\n[dashboard]\nenqueue = true\n[queues."default"]\n', encoding="utf-8"
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
            id=f"{n}-{word[:100]}",
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
        settlement = dead(claim, stdout=word.encode("utf-8", "surrogatepass"), stderr=word.encode("utf-8", "replace"))
        assert settlement.outcome is not None
        outcome = settlement.outcome._replace(detail=word[:300])
        hand_in(storage, settlement._replace(outcome=outcome, reason=f"exit 1: {word[:300]}"), now=now)
    some = tuple(f"plain-{n}" for n in range(0, len(HOSTILE), 2))
    storage.apply(Action.RETRY, Where(ids=some), actor=HOSTILE[0], note=HOSTILE[1], now=now)
    for word in HOSTILE:
        storage.set_queue(word[:60], paused=True, reason=word[:200], actor=word[:50])
    known = {"id": HOSTILE[0][:60], "pool": HOSTILE[0][:80], "pid": 7, "inode": 0, "boot": "b", "namespace": 0}
    record = json.dumps({**known, "started_at": now}).encode()
    Path(app.run_dir, "w.lock").write_bytes(record.ljust(IDENTITY_SIZE, b"\0"))


def paths(served: Served) -> list[str]:
    from urllib.parse import quote

    many = ["/", "/jobs", "/jobs?q=state:dead", "/queues", "/workers", "/dlq", "/stats", "/system", "/new?from=plain-1"]
    many += [f"/jobs/plain-{n}" for n in range(len(HOSTILE))]
    many += [f"/jobs?q={quote(word[:200])}" for word in HOSTILE]
    many += [f"/stats?queue={quote(word[:60])}" for word in HOSTILE[:4]]
    many += [f"/jobs/{quote(f'{n}-{word[:100]}', safe='')}" for n, word in enumerate(HOSTILE[:6])]
    return many


def test_no_hostile_text_runs_on_any_page(hostile: Served, browser: Any) -> None:
    context = browser.new_context()
    page = context.new_page()
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(f"{page.url}: {error}"))
    page.on("dialog", lambda dialog: (troubles.append(f"{page.url}: {dialog.message}"), dialog.dismiss()))
    page.on(
        "console", lambda said: troubles.append(f"{page.url}: {said.text}") if "Security Policy" in said.text else None
    )
    page.on("request", lambda asked: troubles.append(asked.url) if not asked.url.startswith(hostile.url) else None)
    for path in paths(hostile):
        response = page.goto(hostile.url + path)
        assert response.status in (200, 400, 404), (path, response.status)
        assert page.evaluate("window.canary") is None, path
        assert not page.evaluate(f"document.querySelectorAll('{NEVER}').length"), path
    context.close()
    assert not troubles, troubles


def test_no_hostile_text_runs_when_a_page_is_refreshed(hostile: Served, browser: Any) -> None:
    """Morphing goes another way into the document than loading."""
    context = browser.new_context()
    page = context.new_page()
    for path in ("/", "/jobs", "/dlq", "/queues", "/workers", "/jobs/plain-1"):
        page.goto(hostile.url + path)
        page.locator("#live-state", has_text="live").wait_for()
        with page.expect_response(lambda answer: answer.request.resource_type == "fetch") as fetched:
            hostile.app.storage.enqueue([NewJob("echo news")])
        assert fetched.value.status == 200
        page.locator("#live-state:not(.held)").wait_for()
        assert page.evaluate("window.canary") is None, path
    context.close()


def test_what_would_mislead_a_reader_is_made_visible(hostile: Served) -> None:
    import urllib.request

    for path in ("/jobs", "/dlq", "/", "/jobs/plain-5", "/workers", "/queues"):
        with urllib.request.urlopen(hostile.url + path) as answer:
            text = answer.read().decode()
        text = re.sub(r'value="[^"]*"', "", text)  # what goes back to the server is what it was
        found = re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
        assert found is None, (path, text[max(0, found.start() - 200) : found.start() + 40] if found else "")
