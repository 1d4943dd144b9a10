"""axe finds nothing serious on any page, full and empty, in both themes, on a desk and a phone; none is too wide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from desk import OPERATOR, Dashboard
from driver import Driver

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")
CONFIG = """
[dashboard]
enqueue = true
"""
PLUGIN = """
import flask
from queuectl.api import Panel, hookimpl

@hookimpl
def queuectl_blueprints(storage):
    pages = flask.Blueprint("shop", __name__)

    @pages.get("/")
    def index():
        return flask.render_template_string("{% extends 'page.html' %}{% block content %}<h1>Shop</h1>{% endblock %}")

    @pages.get("/fault")
    def fault():
        raise RuntimeError("no shop today")

    yield pages

@hookimpl
def queuectl_panels(storage):
    yield Panel("Stock", lambda: "<p>three</p>")
    yield Panel("Broken", lambda: 1 / 0)
"""
FULL = (
    "/",
    "/jobs",
    "/jobs?q=state:pendign",
    "/jobs?q=tag:none",
    "/jobs/one",
    "/jobs/dies",
    "/jobs/runs",
    "/queues",
    "/workers",
    "/dlq",
    "/stats?range=1h",
    "/system",
    "/new",
    "/x/shop/",
    "/x/shop/fault",
    "/gone",
)
#: What is no list, is not there, and fails.
ANSWERS = {"/jobs?q=state:pendign": 400, "/gone": 404, "/x/shop/fault": 500}
EMPTY = ("/", "/jobs", "/queues", "/workers", "/dlq", "/stats")
#: What depends on colours is looked at in both themes, the rest once.
RULES = {"light": "{}", "dark": "{runOnly: ['color-contrast', 'link-in-text-block']}"}


class Found:
    """What axe has found, page by page."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.looked_at = 0
        self.serious: list[str] = []

    def look(self, name: str) -> None:
        """Let axe see what is there now: in both themes, at both widths."""
        self.page.evaluate(AXE)
        for width in (1280, 390):
            self.page.set_viewport_size({"width": width, "height": 800})
            for theme, rules in RULES.items():
                self.page.emulate_media(color_scheme=theme)
                result = self.page.evaluate(f"axe.run(document, {{...{rules}, resultTypes: ['violations']}})")
                self.looked_at += 1
                if not self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"):
                    self.serious.append(f"{name} {theme} {width}: is wider than the screen")
                self.serious += [
                    f"{name} {theme} {width}: {each['id']}: {[node['html'][:160] for node in each['nodes'][:3]]}"
                    for each in result["violations"]
                    if each["impact"] in ("serious", "critical")
                ]


@pytest.fixture
def found(browser: Any) -> Any:
    context = browser.new_context(bypass_csp=True, reduced_motion="reduce")
    yield Found(context.new_page())
    context.close()


def test_axe_finds_nothing_serious_on_pages_that_are_full(driver: Driver, found: Found) -> None:
    (driver.folder / "shop.py").write_text(PLUGIN)
    (driver.folder / "shop.toml").write_text(f'{CONFIG}[plugins]\nfiles = ["shop.py"]\n')
    driver.env["QUEUECTL_CONFIG"] = str(driver.folder / "shop.toml")  # named, or its plugins would not be loaded
    driver.enqueue("echo one; echo oops >&2", id="one", tags=["a", "b"], env={"A": "b"})
    driver.enqueue("exit 3", id="dies", max_retries=1, backoff="fixed", backoff_options={"delay": 0.1})
    driver.run("worker", "start", "--until-empty", code=1)
    driver.enqueue("echo line; sleep 60", id="runs", queue="slow")
    driver.enqueue("echo later", run_at="tomorrow 8:00", queue="mail")
    driver.run("queue", "pause", "mail", "--reason", "down")
    driver.start("--count", "2")
    driver.await_state("runs", "processing")
    dashboard = Dashboard(driver)
    page = found.page
    for path in FULL:
        shown = page.goto(dashboard.url + path)
        assert shown.status == ANSWERS.get(path, 200), path
        found.look(path)
    page.goto(f"{dashboard.url}/queues")
    page.get_by_text("Set…").first.click()
    found.look("setting a queue")
    page.keyboard.press("?")
    found.look("the keys")
    page.goto(f"{dashboard.url}/system")
    page.get_by_role("button", name="Examine").click()
    found.look("the doctor")
    page.goto(f"{dashboard.url}/dlq")
    page.get_by_role("button", name="Delete all").click()
    found.look("a question")
    page.get_by_role("button", name="Delete 1 job").click()
    found.look("a batch")
    dashboard.close(faults=1)
    assert found.looked_at == 4 * (len(FULL) + 5)
    assert not found.serious, "\n".join(found.serious)


def test_axe_finds_nothing_serious_on_pages_that_are_empty_or_closed(driver: Driver, found: Found) -> None:
    (driver.folder / "tokens").write_text(f"operator olga {OPERATOR}\n")
    (driver.folder / "tokens").chmod(0o600)
    dashboard = Dashboard(driver, "--token-file", "tokens")
    page = found.page
    page.goto(dashboard.url)
    found.look("login")
    page.get_by_label("Token").fill("x" * 40)
    page.get_by_role("button", name="Log in").click()
    found.look("a wrong token")
    page.get_by_label("Token").fill(OPERATOR)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("button", name="Log out").wait_for()
    for path in (*EMPTY, "/new"):
        page.goto(dashboard.url + path)
        found.look(f"empty {path}")
    dashboard.close()
    assert not found.serious, "\n".join(found.serious)
