"""Write ``docs/images/``: every page of the dashboard, light, dark and on a phone, over a shop's queue (``shop.py``).

.venv/bin/python tools/screenshots.py                            all of them
.venv/bin/python tools/screenshots.py jobs dlq                   some
.venv/bin/python tools/screenshots.py --kind wide --to look --whole  to look at: another size, whole pages
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import shop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
KINDS = {
    "light": (1280, 800, "light"),
    "dark": (1280, 800, "dark"),
    "phone": (390, 780, "light"),
    "wide": (1920, 1080, "light"),
}
CONFIG = """\
[dashboard]
enqueue = true

[plugins]
files = ["stock.py"]
"""
PLUGIN = '''
"""How much of what is in stock: a page and a box of a plugin."""
import flask
from queuectl.api import Panel, hookimpl

PAGE = """{% extends "page.html" %}{% block title %}Stock{% endblock %}{% block content %}
<h1>Stock</h1><section class="card"><p>Counted <b>20 minutes ago</b>: three articles are short.</p></section>
{% endblock %}"""


@hookimpl
def queuectl_blueprints(storage):
    pages = flask.Blueprint("stock", __name__)

    @pages.get("/")
    def index():
        return flask.render_template_string(PAGE)

    @pages.get("/broken")
    def broken():
        raise RuntimeError("no shelf")

    yield pages


@hookimpl
def queuectl_panels(storage):
    yield Panel("Short of stock", lambda: "<p>Three articles, <b>two</b> of them ordered.</p>")
'''


class Shot(NamedTuple):
    """One picture: a page, and what is done on it before."""

    path: str
    act: Callable[[Any], None] | None = None
    scene: str = "shop"
    kinds: tuple[str, ...] = ("light", "dark", "phone")


def _asks(page: Any) -> None:
    page.get_by_role("button", name="Retry all").click()


def _ticks(page: Any) -> None:
    for box in page.locator("#rows input[name=job]").all()[:3]:
        box.check()


def _keys(page: Any) -> None:
    page.keyboard.press("?")


def _sets(page: Any) -> None:
    page.get_by_text("Set…").nth(1).click()


LIGHT = ("light",)
ALL = tuple(KINDS)
SHOTS = {
    "overview": Shot("/", kinds=ALL),
    "jobs": Shot("/jobs", _ticks, kinds=ALL),
    "jobs-dead": Shot("/jobs?q=state:dead", kinds=LIGHT),
    "job": Shot("/jobs/nightly-report"),
    "job-dead": Shot("/jobs/winter-prices"),
    "job-done": Shot("/jobs/retried-index"),
    "queues": Shot("/queues", _sets),
    "workers": Shot("/workers"),
    "dlq": Shot("/dlq"),
    "ask": Shot("/dlq", _asks),
    "metrics": Shot("/stats?range=1h"),
    "metrics-week": Shot("/stats?range=7d", kinds=LIGHT),
    "system": Shot("/system"),
    "new": Shot("/new"),
    "plugin": Shot("/x/stock/"),
    "keys": Shot("/jobs", _keys, kinds=LIGHT),
    "missing": Shot("/jobs/4712-b", kinds=LIGHT),
    "refused": Shot("/new", scene="empty", kinds=LIGHT),
    "fault": Shot("/x/stock/broken", kinds=LIGHT),
    "login": Shot("/login", scene="door"),
    "overview-empty": Shot("/", scene="empty", kinds=LIGHT),
    "jobs-empty": Shot("/jobs", scene="empty", kinds=LIGHT),
    "queues-empty": Shot("/queues", scene="empty", kinds=LIGHT),
    "workers-empty": Shot("/workers", scene="empty", kinds=LIGHT),
    "dlq-empty": Shot("/dlq", scene="empty", kinds=LIGHT),
    "metrics-empty": Shot("/stats", scene="empty", kinds=LIGHT),
    "nothing-found": Shot("/jobs?q=queue:mail exit:137 since:2h", kinds=LIGHT),
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Pictures of every page of the dashboard.")
    parser.add_argument("names", nargs="*", choices=[[], *SHOTS], metavar="NAME", help=", ".join(SHOTS))
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="default: those that docs/images has")
    parser.add_argument("--to", type=Path, default=IMAGES, metavar="FOLDER")
    parser.add_argument("--whole", action="store_true", help="whole pages, not what is seen at once")
    given = parser.parse_args()
    given.to.mkdir(parents=True, exist_ok=True)
    folder = place()
    scene = Scene(folder)
    try:
        scene.prepare()
        shoot(scene, given.names or list(SHOTS), given.kind, given.to, given.whole)
    finally:
        scene.close()
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def place() -> Path:
    """A folder whose name may be seen in a picture, where it can be had."""
    folder = Path("/srv/shop")
    try:
        folder.mkdir()
    except OSError:
        return Path(tempfile.mkdtemp())
    return folder


class Scene:
    """A busy queue with workers, an empty one, and one with a door; a dashboard for each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))
        self.env = {**os.environ, "HOME": str(folder), "PYTHONPATH": path, "TZ": "UTC", "USER": "ada"}
        self.processes: list[subprocess.Popen[bytes]] = []
        self.urls: dict[str, str] = {}

    def queuectl(self, *words: str, text: str | None = None) -> None:
        subprocess.run(
            [sys.executable, "-m", "queuectl", *words], cwd=self.folder, env=self.env, input=text, text=True,
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def start(self, *words: str) -> Path:
        log = self.folder / ".logs" / f"{len(self.processes)}.log"
        log.parent.mkdir(exist_ok=True)
        with log.open("wb") as stderr:
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "queuectl", *words], cwd=self.folder, env=self.env, stderr=stderr
                )
            )
        return log

    def prepare(self) -> None:
        from queuectl.core.app import App

        shop.furnish(self.folder)
        (self.folder / "queuectl.toml").write_text(CONFIG)
        (self.folder / "plain.toml").write_text("")
        (self.folder / "stock.py").write_text(PLUGIN)
        shop_words = ("--config", "queuectl.toml", "--db", "queue.db")
        app = App.open(None, str(self.folder / "queue.db"))
        shop.live(app.storage, time.time_ns() // 1_000_000)
        app.close()
        for name, number in (("images", "4"), ("search", "2"), ("reports", "1")):
            self.queuectl(*shop_words, "queue", "set", name, "--concurrency", number)
        self.queuectl(*shop_words, "queue", "pause", "backup", "--reason", "the disk is being replaced")
        self.start(*shop_words, "worker", "start", "--count", "6")
        self.queuectl(*shop_words, "enqueue", "--file", "-", text="\n".join(map(json.dumps, shop.PRESENT)))
        logs = {"shop": self.start(*shop_words, "dashboard", "--port", "0")}
        plain = ("--config", "plain.toml", "--db", "empty.db")
        logs["empty"] = self.start(*plain, "dashboard", "--port", "0")
        logs["door"] = self.start(*plain, "dashboard", "--port", "0", "--token-file", "tokens")
        self.queuectl(*shop_words, "enqueue", "--file", "-", text="\n".join(map(json.dumps, shop.WAITING)))
        self.queuectl(*shop_words, "enqueue", "--file", "-", text="\n".join(map(json.dumps, shop.LATEST)))
        time.sleep(4)
        for name, log in logs.items():
            found = re.search(r"dashboard at (\S+)", log.read_text())
            assert found, log.read_text()
            self.urls[name] = found[1].rstrip("/")

    def close(self) -> None:
        for process in reversed(self.processes):
            process.send_signal(signal.SIGQUIT if process is self.processes[0] else signal.SIGTERM)
            process.wait(20)


def shoot(scene: Scene, names: list[str], kinds: list[str] | None, folder: Path, whole: bool) -> None:
    for page, kind in _pages(kinds or list(KINDS)):
        for name in names:
            shot = SHOTS[name]
            if kinds is None and kind not in shot.kinds:
                continue
            page.goto(scene.urls[shot.scene] + shot.path)
            if shot.act is not None:
                shot.act(page)
            page.wait_for_timeout(600)
            page.screenshot(path=folder / f"{name}-{kind}.png", full_page=whole)


def _pages(kinds: list[str]) -> Iterator[tuple[Any, str]]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        for kind in kinds:
            width, height, scheme = KINDS[kind]
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
            yield context.new_page(), kind
            context.close()
        browser.close()


if __name__ == "__main__":
    sys.exit(main())
