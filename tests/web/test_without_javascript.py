"""Every page and every action in a browser that runs no scripts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
from desk import Dashboard
from driver import Driver, until


@pytest.fixture
def bare(browser: Any) -> Iterator[Any]:
    """A page in which no script runs."""
    context = browser.new_context(java_script_enabled=False, viewport={"width": 1280, "height": 800})
    yield context.new_page()
    context.close()


@pytest.fixture
def permissive(driver: Driver) -> Iterator[Dashboard]:
    """A dashboard that takes new jobs."""
    (driver.folder / "queue.db.toml").write_text("[dashboard]\nenqueue = true\n")
    made = Dashboard(driver)
    yield made
    made.close()


def said(page: Any) -> str:
    return str(page.locator(".said").first.inner_text())


def counts(driver: Driver) -> dict[str, int]:
    return {state: n for state, n in driver.json("status")["counts"].items() if n and state != "dlq"}


def test_jobs_are_acted_on_one_by_one_and_all_at_once(driver: Driver, dashboard: Dashboard, bare: Any) -> None:
    page = bare
    for n in range(8):
        driver.enqueue(f"echo {n}", id=f"row-{n}", run_at="tomorrow 8:00")

    page.goto(f"{dashboard.url}/jobs/row-0")
    page.get_by_role("button", name="Cancel").click()
    assert "It is cancelled" in said(page)
    page.get_by_role("button", name="Retry now").click()
    assert "It will run again" in said(page)
    page.get_by_role("button", name="Delete").click()
    assert "Job row-0 is deleted" in said(page)
    assert counts(driver) == {"pending": 7}

    page.get_by_role("button", name="Cancel…").click()
    assert "No job is selected" in said(page)
    page.get_by_label("job row-1").check()
    page.get_by_label("job row-2").check()
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_role("heading", name="Cancel 2 jobs?").wait_for()
    page.get_by_role("link", name="Back").click()
    assert counts(driver) == {"pending": 7}
    page.get_by_label("job row-1").check()
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_role("button", name="Cancel 1 job").click()
    assert "1 job cancelled" in said(page)

    for action, question, after in (
        ("Cancel…", "Cancel 6 jobs", {"cancelled": 7}),
        ("Retry…", "Retry 7 jobs", {"pending": 7}),
        ("Delete…", "Delete 7 jobs", {}),
    ):
        page.goto(f"{dashboard.url}/jobs")
        page.locator("select[name=scope]").select_option("all")
        page.get_by_role("button", name=action).click()
        page.get_by_role("button", name=question).click()
        until(lambda: ": done" in page.locator("h1").inner_text() or not page.reload(), "all of them are done")
        assert counts(driver) == after
        page.get_by_role("link", name="Back").click()
        page.wait_for_url("**/jobs")


def test_dead_jobs_are_retried_and_deleted_by_group(driver: Driver, dashboard: Dashboard, bare: Any) -> None:
    page = bare
    lines = [f'{{"command": "exit {3 + n % 2}", "max_retries": 0}}' for n in range(10)]
    driver.run("enqueue", "--file", "-", input="\n".join(lines))
    driver.run("worker", "start", "--until-empty", code=1)
    page.goto(f"{dashboard.url}/dlq")
    page.locator("tr", has_text="exit 4").get_by_role("button", name="Retry").click()
    page.get_by_role("button", name="Retry 5 jobs").click()
    until(lambda: counts(driver) == {"pending": 5, "dead": 5}, "the group waits again")
    page.goto(f"{dashboard.url}/dlq")
    page.get_by_role("button", name="Delete all").click()
    page.get_by_role("button", name="Delete 5 jobs").click()
    until(lambda: counts(driver) == {"pending": 5}, "the rest is gone")


def test_queues_and_pools_are_steered(driver: Driver, dashboard: Dashboard, bare: Any) -> None:
    page = bare
    pool = driver.start("--count", "1")
    os.mkfifo(driver.folder / "pipe")
    id = driver.enqueue("read line < pipe")
    driver.worker_of(id)
    page.goto(f"{dashboard.url}/queues")
    page.get_by_text("Set…").click()
    page.get_by_label("Why default is paused").fill("the disk is full")
    page.get_by_role("button", name="Pause").click()
    assert "the disk is full" in page.locator("#queue-default").inner_text()
    page.get_by_text("Set…").click()
    page.get_by_role("button", name="Resume").click()
    assert "open" in page.locator("#queue-default").inner_text()
    page.get_by_text("Set…").click()
    page.get_by_label("Most running at once").fill("7")
    page.get_by_role("button", name="Limit").click()
    assert page.locator("#queue-default [data-label=limit]").inner_text() == "7"

    page.goto(f"{dashboard.url}/workers")
    page.get_by_role("button", name="Drain").click()
    assert "takes no more jobs" in said(page)
    (driver.folder / "pipe").write_text("done\n")
    assert pool.end() == 0
    page.goto(f"{dashboard.url}/system")
    page.get_by_role("button", name="Examine").click()
    assert "integrity" in page.locator("main").inner_text()


def test_jobs_are_put_in_and_again_with_edits(driver: Driver, permissive: Dashboard, bare: Any) -> None:
    page = bare
    page.goto(permissive.url)
    page.get_by_role("link", name="New job").click()
    page.get_by_label("Command").fill("echo one | wc")
    page.get_by_label("Queue").fill("mail")
    page.get_by_label("Retries").fill("many")
    page.get_by_role("button", name="Enqueue").click()
    assert "max_retries is a whole number" in said(page)
    assert page.get_by_label("Command").input_value() == "echo one | wc"
    page.get_by_label("Retries").fill("7")
    page.get_by_role("button", name="Enqueue").click()
    page.get_by_role("heading", name="pending").wait_for()
    page.get_by_role("link", name="Run again with edits").click()
    page.get_by_label("Command").fill("echo two | wc")
    page.get_by_role("button", name="Enqueue").click()
    page.get_by_role("heading", name="pending").wait_for()
    jobs = driver.json("list")
    assert sorted((job["command"], job["queue"], job["max_retries"]) for job in jobs) == [
        ("echo one | wc", "mail", 7),
        ("echo two | wc", "mail", 7),
    ]


def test_lists_are_filtered_and_paged_and_the_theme_is_chosen(driver: Driver, dashboard: Dashboard, bare: Any) -> None:
    page = bare
    lines = (f'{{"command": "echo {n}", "queue": "{"ab"[n % 2]}", "run_at": "tomorrow 8:00"}}' for n in range(120))
    driver.run("enqueue", "--file", "-", input="\n".join(lines))
    page.goto(f"{dashboard.url}/jobs")
    page.get_by_label("Filter").fill("queue:a")
    page.get_by_role("button", name="Filter").click()
    assert page.locator("#rows tbody tr").count() == 50
    page.get_by_role("link", name="Next page").click()
    assert page.locator("#rows tbody tr").count() == 10
    page.get_by_role("link", name="First page").click()
    page.get_by_role("link", name=re.compile("pending")).click()
    assert "state:pending queue:a" in page.get_by_label("Filter").input_value()
    page.get_by_role("link", name=re.compile("dead")).click()
    assert "No job matches" in page.locator("main").inner_text()

    page.get_by_role("button", name="Dark colours").click()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.goto(f"{dashboard.url}/stats")
    page.get_by_role("link", name="24h").click()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.get_by_role("button", name="Light colours").click()
    assert page.locator("html").get_attribute("data-theme") == "light"
    for path in ("/", "/jobs", "/queues", "/workers", "/dlq", "/stats", "/system", "/jobs/1"):
        page.goto(dashboard.url + path)
        assert not page.locator(".needs-js:visible").count(), path


def test_output_is_read_from_its_end_backwards(driver: Driver, dashboard: Dashboard, bare: Any) -> None:
    page = bare
    driver.enqueue("seq 30000", id="long")
    driver.run("worker", "start", "--until-empty")
    page.goto(f"{dashboard.url}/jobs/long")
    output = page.locator("pre[data-stream=stdout]")
    assert output.inner_text().endswith("29999\n30000\n")
    page.get_by_role("link", name="earlier").click()
    assert "30000" not in output.inner_text()
    page.get_by_role("link", name="latest").click()
    assert output.inner_text().endswith("30000\n")
    with page.expect_download() as download:
        page.get_by_role("link", name="raw").click()
    assert download.value.path().read_bytes() == b"".join(b"%d\n" % n for n in range(1, 30001))
