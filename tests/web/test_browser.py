"""The dashboard in a real browser, over real workers: what is seen, how soon, and what a click does."""

from __future__ import annotations

import fcntl
import os
import re
import time
from pathlib import Path
from typing import Any

from desk import Dashboard
from driver import Driver, processes_with, until

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


def test_what_happens_before_the_news_reaches_a_page_is_seen_too(
    driver: Driver, dashboard: Dashboard, page: Any
) -> None:
    held: list[Any] = []
    page.route("**/events", lambda route: held.append(route))  # noqa: PLW0108 - it writes a mark on what it is given
    page.goto(f"{dashboard.url}/jobs")
    until(lambda: page.evaluate("1") and held, "it has asked for news")
    driver.enqueue("echo meanwhile")
    held[0].continue_()
    awaits(page, "echo meanwhile")


def test_a_line_of_a_running_job_is_seen_as_it_is_written(driver: Driver, dashboard: Dashboard, page: Any) -> None:
    driver.start("--count", "1")
    fifo = driver.folder / "pipe"
    os.mkfifo(fifo)
    id = driver.enqueue("exec 3< pipe; for i in 1 2; do read line <&3; echo got $line; done; echo the end >&2")
    driver.worker_of(id)
    page.goto(f"{dashboard.url}/jobs/{id}")
    awaits(page, "live", "#live-state")
    with fifo.open("w", buffering=1) as lines:
        lines.write("first\n")
        awaits(page, "got first", "pre[data-stream=stdout]", SOON)
        for followed in (False, True):
            page.keyboard.press("f")
            assert page.locator("#follow").is_checked() is followed
        lines.write("second\n")
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
    with Path(f"{driver.db}.lock").open("rb+") as lock:  # so that it can be seen while it goes on
        fcntl.flock(lock, fcntl.LOCK_EX)
        page.get_by_role("button", name=re.compile("Retry 1.000 jobs")).click()
        awaits(page, "Retry: running", "h1")
        progress = page.locator("progress")
        assert (progress.get_attribute("value"), progress.get_attribute("max")) == ("0", "1000")
        assert page.get_by_role("button", name="Stop").is_visible()
    awaits(page, "1.000 jobs will run again")
    assert progress.get_attribute("value") == "1000"
    assert "Retry: done" in page.locator("h1").inner_text() and not page.get_by_role("button", name="Stop").count()
    assert driver.json("status")["counts"]["pending"] == 1000


def test_keys_lead_around(driver: Driver, dashboard: Dashboard, page: Any) -> None:
    for n in range(3):
        driver.enqueue(f"echo {n}", id=f"row-{n}")
    page.goto(dashboard.url)
    for key, path in (
        ("q", "/queues"),
        ("w", "/workers"),
        ("d", "/dlq"),
        ("m", "/stats"),
        ("y", "/system"),
        ("o", "/"),
    ):
        page.keyboard.press("g")
        page.keyboard.press(key)
        page.wait_for_url(dashboard.url + path)
    page.keyboard.press("g")
    page.keyboard.press("j")
    page.wait_for_url("**/jobs")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.type("j?")  # no keys but letters there
    assert page.locator("#q").input_value() == "j?" and not page.get_by_role("dialog").is_visible()
    page.keyboard.press("Escape")
    for key in "jjjk":
        page.keyboard.press(key)
    page.keyboard.press("x")
    assert page.get_by_label("job row-1").is_checked()
    page.keyboard.press("x")
    page.keyboard.press("?")
    assert page.get_by_role("dialog").is_visible()
    page.keyboard.press("Escape")
    assert not page.get_by_role("dialog").is_visible()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/row-1")


def test_times_go_on_while_nothing_happens(driver: Driver, dashboard: Dashboard, page: Any) -> None:
    driver.start("--count", "1")
    driver.enqueue("true", id="over")
    driver.await_state("over", "completed")
    driver.enqueue("sleep 60", id="runs")
    driver.worker_of("runs")
    page.clock.install()
    page.goto(f"{dashboard.url}/jobs")
    awaits(page, "live", "#live-state")
    over, runs = (page.locator("#rows tr", has_text=id) for id in ("over", "runs"))
    assert re.search(r"(now|\d s ago)$", over.inner_text().strip()), over.inner_text()
    page.clock.fast_forward(3_780_000)
    until(lambda: "63 min ago" in over.inner_text(), "it has aged")
    until(lambda: re.search(r"1 h 3 min\s+63 min ago", runs.inner_text()), "it has gone on")


def test_an_open_page_does_not_keep_the_dashboard_from_ending(driver: Driver, browser: Any) -> None:
    dashboard = Dashboard(driver)
    page = browser.new_page()
    page.goto(dashboard.url)
    awaits(page, "live", "#live-state")
    begun = time.monotonic()
    dashboard.close()
    assert time.monotonic() - begun < 4  # the server by itself would wait for five
    page.close()


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
