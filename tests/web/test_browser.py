"""The dashboard in a real browser, over real workers: what is seen, how soon, and what a click does."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from desk import Dashboard
from driver import Driver, processes_with, until

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")
PAGES = (
    "/",
    "/jobs",
    "/jobs/one",
    "/jobs/dies",
    "/queues",
    "/workers",
    "/dlq",
    "/stats?range=1h",
    "/system",
    "/new",
    "/gone",
)
#: Milliseconds within which news is seen; measured: 80 to 300.
SOON = 1000


def awaits(page: Any, text: str, where: str = "#live", timeout: float = 10_000) -> None:
    page.locator(where, has_text=re.compile(text)).first.wait_for(timeout=timeout)


def test_a_job_that_is_enqueued_appears_on_the_open_overview(driver: Driver, dashboard: Dashboard, page: Any) -> None:
    page.goto(dashboard.url)
    awaits(page, "live", "#live-state")
    driver.enqueue("echo from the command line")
    awaits(page, "echo from the command line", timeout=SOON)
    assert page.locator(".tile.pending b").inner_text() == "1"


def test_a_line_of_a_running_job_is_seen_as_it_is_written(driver: Driver, dashboard: Dashboard, page: Any) -> None:
    driver.start("--count", "1")
    fifo = driver.folder / "pipe"
    os.mkfifo(fifo)
    id = driver.enqueue("for i in 1 2; do read line < pipe; echo got $line; done; echo the end >&2")
    driver.worker_of(id)
    page.goto(f"{dashboard.url}/jobs/{id}")
    awaits(page, "live", "#live-state")
    fifo.write_text("first\n")
    awaits(page, "got first", "pre[data-stream=stdout]", SOON)
    fifo.write_text("second\n")
    awaits(page, "got second", "pre[data-stream=stdout]", SOON)
    awaits(page, "completed", "h1", 5000)
    awaits(page, "the end", ".stderr pre")


def test_cancel_ends_the_whole_tree(driver: Driver, dashboard: Dashboard, page: Any) -> None:
    driver.start("--count", "1")
    id = driver.enqueue("sleep 4321.5 & setsid sleep 4321.5 & wait")
    until(lambda: len(processes_with("4321.5")) >= 2, "it runs")
    page.goto(f"{dashboard.url}/jobs/{id}")
    page.get_by_role("button", name="Cancel").click()
    awaits(page, "cancelled", "h1")
    until(lambda: not processes_with("sleep\x004321.5"), "nothing of it is left")


def test_a_thousand_dead_jobs_are_retried_with_progress(driver: Driver, dashboard: Dashboard, page: Any) -> None:
    lines = "\n".join(f'{{"command": "exit 3 # {n}", "max_retries": 0}}' for n in range(1000))
    driver.run("enqueue", "--file", "-", input=lines)
    driver.run("worker", "start", "--count", "4", "--until-empty", code=1)
    page.goto(f"{dashboard.url}/dlq")
    assert "1,000" in page.locator("#rows tbody tr").first.inner_text().replace("\u2009", ",")
    page.get_by_role("button", name="Retry all").click()
    page.get_by_role("button", name=re.compile("Retry 1.000 jobs")).click()
    awaits(page, "1.000 jobs will run again")
    assert page.locator("progress").get_attribute("value") == "1000"
    assert driver.json("status")["counts"]["pending"] == 1000


def test_what_is_being_read_stays_as_it_is(driver: Driver, dashboard: Dashboard, page: Any) -> None:
    for n in range(3):
        driver.enqueue(f"echo row {n}", id=f"row-{n}", run_at="tomorrow 8:00")
    page.goto(f"{dashboard.url}/jobs")
    awaits(page, "live", "#live-state")
    page.get_by_label("job row-1").check()
    driver.enqueue("echo news", id="news")
    awaits(page, "news held", "#live-state")
    assert page.get_by_label("job row-1").is_checked() and not page.locator("text=echo news").count()
    page.get_by_label("job row-1").uncheck()
    awaits(page, "echo news")

    page.goto(f"{dashboard.url}/queues")
    awaits(page, "live", "#live-state")
    page.get_by_text("Set…").click()
    driver.enqueue("echo more", queue="other")
    awaits(page, "other")
    assert page.locator("details[open]").count() == 1


def test_keys_lead_around(driver: Driver, dashboard: Dashboard, page: Any) -> None:
    for n in range(3):
        driver.enqueue(f"echo {n}", id=f"row-{n}")
    page.goto(dashboard.url)
    page.keyboard.press("g")
    page.keyboard.press("j")
    page.wait_for_url("**/jobs")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("x")
    assert page.get_by_label("job row-1").is_checked()
    page.keyboard.press("x")
    page.keyboard.press("?")
    assert page.get_by_role("dialog").is_visible()
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/row-1")


def test_everything_works_without_javascript(driver: Driver, dashboard: Dashboard, browser: Any) -> None:
    for n in range(3):
        driver.enqueue(f"echo {n}", id=f"row-{n}")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{dashboard.url}/jobs?q=state:pending")
    page.get_by_label("job row-1").check()
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_role("button", name="Cancel 1 job").click()
    assert "1 job cancelled" in page.inner_text("main")
    page.locator("select[name=scope]").select_option("all")
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("button", name="Delete 2 jobs").click()
    page.goto(f"{dashboard.url}/jobs")
    until(lambda: page.reload() and page.locator("#rows tbody tr").count() == 1, "two are gone")
    page.goto(f"{dashboard.url}/queues")
    page.get_by_text("Set…").click()
    page.get_by_role("button", name="Pause").click()
    assert "paused" in page.inner_text("#live")
    page.goto(f"{dashboard.url}/jobs/row-1")
    page.get_by_role("button", name="Retry now").click()
    assert "It will run again" in page.inner_text("main")
    assert not page.locator(".needs-js:visible").count()
    context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_page(driver: Driver, browser: Any, theme: Any) -> None:
    (driver.folder / "queue.db.toml").write_text("[dashboard]\nenqueue = true\n")
    driver.enqueue("echo one; echo oops >&2", id="one", tags=["a", "b"], env={"A": "b"})
    driver.enqueue("exit 3", id="dies", max_retries=0)
    driver.run("worker", "start", "--until-empty", code=1)
    driver.enqueue("sleep 30", queue="slow")
    driver.enqueue("echo later", run_at="tomorrow 8:00", queue="mail")
    driver.run("queue", "pause", "mail", "--reason", "down")
    driver.start("--count", "2")
    dashboard = Dashboard(driver)
    found = []
    for width in (1280, 390):
        context = browser.new_context(color_scheme=theme, viewport={"width": width, "height": 800}, bypass_csp=True)
        page = context.new_page()
        for path in PAGES:
            page.goto(dashboard.url + path)
            page.evaluate(AXE)
            result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
            found += [
                (path, width, each["id"], [node["html"][:160] for node in each["nodes"][:3]])
                for each in result["violations"]
                if each["impact"] in ("serious", "critical")
            ]
        context.close()
    dashboard.close()
    assert not found, "\n".join(map(str, found))


def test_drain_lets_a_pool_end_what_it_runs(driver: Driver, dashboard: Dashboard, page: Any) -> None:
    pool = driver.start("--count", "1")
    fifo = driver.folder / "pipe"
    os.mkfifo(fifo)
    id = driver.enqueue("read line < pipe")
    driver.worker_of(id)
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(f"{dashboard.url}/workers")
    page.get_by_role("button", name="Drain").click()
    awaits(page, "takes no more jobs", "main")
    fifo.write_text("done\n")
    assert pool.end() == 0
    assert driver.job(id)["state"] == "completed"
    awaits(page, "No worker is running")
