"""News comes to an open page, and what somebody reads or does there stays as it is.

Each test lets a refresh happen, proves that it did (the news is there, or is said to be held), and looks again.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from desk import Dashboard
from driver import Driver, until

ROWS = 60


def opened(page: Any, url: str) -> None:
    """Go there, and wait until the page listens."""
    page.goto(url)
    page.locator("#live-state", has_text=re.compile("live")).wait_for()


def news(driver: Driver, page: Any, text: str = "echo the news") -> None:
    """Something happens, and the page has it."""
    driver.enqueue(text, id="news", queue="other")
    page.locator("#live", has_text="other" if "/queues" in page.url else text).wait_for(timeout=5000)


def held(driver: Driver, page: Any) -> None:
    """Something happens, and the page has been told but does not show it."""
    driver.enqueue("echo the news", id="news", queue="other")
    page.locator("#live-state", has_text="news held").wait_for(timeout=5000)
    assert "echo the news" not in page.locator("#live").inner_text()


@pytest.fixture
def rows(driver: Driver) -> None:
    """More jobs than fit on a screen, none of which runs."""
    lines = (f'{{"command": "echo row {n}", "id": "row-{n}", "run_at": "tomorrow 8:00"}}' for n in range(ROWS))
    driver.run("enqueue", "--file", "-", input="\n".join(lines))


def test_open_details_stay_open(driver: Driver, dashboard: Dashboard, page: Any) -> None:
    driver.enqueue("echo one", id="one", run_at="tomorrow 8:00")
    opened(page, f"{dashboard.url}/queues")
    page.get_by_text("Set…").click()
    news(driver, page)
    assert page.locator("#queue-default details[open]").count() == 1
    assert page.locator("#queue-other details[open]").count() == 0

    opened(page, f"{dashboard.url}/jobs/one")
    page.get_by_text("As a command line").click()
    driver.run("queue", "pause", "default")
    driver.run("cancel", "one")
    page.locator("h1", has_text="cancelled").wait_for()
    assert page.locator("details[open] #cli").is_visible()


@pytest.mark.usefixtures("rows")
def test_selected_text_stays_selected_and_the_news_comes_after(driver: Driver, dashboard: Dashboard, page: Any) -> None:
    opened(page, f"{dashboard.url}/jobs")
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#rows td.command code'))")
    selected = page.evaluate("String(getSelection())")
    assert selected == f"echo row {ROWS - 1}"
    held(driver, page)
    assert page.evaluate("String(getSelection())") == selected
    page.evaluate("getSelection().removeAllRanges()")
    page.locator("#live", has_text="echo the news").wait_for(timeout=5000)


@pytest.mark.usefixtures("rows")
def test_the_row_under_the_eye_stays_where_it_is(driver: Driver, dashboard: Dashboard, page: Any) -> None:
    opened(page, f"{dashboard.url}/jobs")
    row = page.locator("tr", has=page.get_by_text("echo row 35", exact=True))
    row.evaluate("row => scrollTo(0, row.offsetTop)")
    until(lambda: page.evaluate("scrollY") > 300, "it is scrolled")
    before = row.bounding_box()["y"]
    news(driver, page)
    assert abs(row.bounding_box()["y"] - before) < 2


def test_the_place_in_an_output_is_kept(driver: Driver, dashboard: Dashboard, page: Any) -> None:
    driver.enqueue("seq 5000", id="one")
    driver.run("worker", "start", "--until-empty")
    opened(page, f"{dashboard.url}/jobs/one")
    output = page.locator("pre[data-stream=stdout]")
    output.evaluate("pre => { pre.scrollTop = 1234; }")
    driver.run("retry", "one")
    page.locator("h1", has_text="pending").wait_for()
    assert output.evaluate("pre => pre.scrollTop") == 1234


@pytest.mark.usefixtures("rows")
def test_the_focus_stays_on_what_has_it(driver: Driver, dashboard: Dashboard, page: Any) -> None:
    opened(page, f"{dashboard.url}/jobs")
    for target in (page.get_by_role("link", name="row-50", exact=True), page.get_by_role("button", name="Retry…")):
        target.focus()
        driver.run("queue", "pause", "other")
        news(driver, page)
        assert target.evaluate("element => element === document.activeElement")
        driver.run("delete", "--yes", "news")
        page.get_by_text("echo the news").wait_for(state="detached", timeout=5000)
    assert target.evaluate("element => element === document.activeElement")


@pytest.mark.usefixtures("rows")
def test_ticked_rows_stay_ticked_and_the_choice_beside_them_too(
    driver: Driver, dashboard: Dashboard, page: Any
) -> None:
    opened(page, f"{dashboard.url}/jobs")
    page.get_by_label("job row-58").check()
    page.locator("#tick-all").check()
    page.get_by_label("job row-57").uncheck()
    page.locator("select[name=scope]").select_option("all")
    held(driver, page)
    assert page.locator("#rows input[name=job]:checked").count() == 49
    assert page.locator("select[name=scope]").input_value() == "all"
    page.locator("#tick-all").uncheck()
    page.locator("#live", has_text="echo the news").wait_for(timeout=5000)


@pytest.mark.usefixtures("rows")
def test_a_half_typed_filter_stays_as_it_is(driver: Driver, dashboard: Dashboard, page: Any) -> None:
    opened(page, f"{dashboard.url}/jobs")
    page.keyboard.press("/")
    page.keyboard.type("state:de")
    news(driver, page)
    assert page.locator("#q").input_value() == "state:de"
    assert page.evaluate("[document.activeElement.id, document.activeElement.selectionStart]") == ["q", 8]
    page.keyboard.type("ad")
    assert page.locator("#q").input_value() == "state:dead"


def test_a_half_typed_reason_stays_and_the_news_comes_after(driver: Driver, dashboard: Dashboard, page: Any) -> None:
    driver.enqueue("echo one", id="one", run_at="tomorrow 8:00")
    opened(page, f"{dashboard.url}/queues")
    page.get_by_text("Set…").click()
    page.get_by_label("Why default is paused").fill("the disk is")
    driver.enqueue("echo the news", queue="other")
    page.locator("#live-state", has_text="news held").wait_for(timeout=5000)
    assert page.get_by_label("Why default is paused").input_value() == "the disk is"
    page.get_by_label("Why default is paused").blur()
    page.locator("#queue-other").wait_for(timeout=5000)
    assert page.get_by_label("Why default is paused").input_value() == "the disk is"


@pytest.mark.usefixtures("rows")
def test_the_chosen_row_stays_the_chosen_one(driver: Driver, dashboard: Dashboard, page: Any) -> None:
    opened(page, f"{dashboard.url}/jobs")
    for key in "jjj":
        page.keyboard.press(key)
    assert "row-57" in page.locator("tr.here").inner_text()
    news(driver, page)
    assert "row-57" in page.locator("tr.here").inner_text()
    page.keyboard.press("k")
    assert "row-58" in page.locator("tr.here").inner_text()


def test_what_was_scrolled_in_a_running_output_is_not_pulled_away(
    driver: Driver, dashboard: Dashboard, page: Any
) -> None:
    driver.start("--count", "1")
    (driver.folder / "go").touch()
    id = driver.enqueue(
        "seq 3000; while [ ! -e more ]; do sleep 0.05; done; echo late; while [ -e go ]; do sleep 0.05; done"
    )
    driver.worker_of(id)
    opened(page, f"{dashboard.url}/jobs/{id}")
    output = page.locator("pre[data-stream=stdout]")
    output.filter(has_text="3000").wait_for()
    output.hover()
    page.mouse.wheel(0, -400)
    until(lambda: not page.locator("#follow").is_checked(), "it does not follow any more")
    until(lambda: output.evaluate("pre => pre.scrollHeight - pre.scrollTop - pre.clientHeight") > 300, "it is scrolled")
    place = output.evaluate("pre => pre.scrollTop")
    (driver.folder / "more").touch()
    output.filter(has_text="late").wait_for(timeout=5000)
    assert output.evaluate("pre => pre.scrollTop") == place
    (driver.folder / "go").unlink()
    page.locator("h1", has_text="completed").wait_for()
