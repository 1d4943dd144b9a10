"""Every page without a browser: what it says, and what its forms do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from desk import Desk, text_of

from queuectl.api.model import Action, State
from queuectl.web.batches import Batch
from queuectl.web.charts import round_up
from queuectl.web.words import STATES, rough

PAGES = ("/", "/jobs", "/queues", "/workers", "/dlq", "/stats", "/stats?range=7d", "/system")


@pytest.mark.parametrize("path", PAGES)
def test_an_empty_storage_has_every_page_and_says_what_to_do(desk: Desk, path: str) -> None:
    desk.page(path)
    if path in ("/", "/jobs", "/queues"):
        assert "queuectl enqueue" in desk.page(path)
    if path == "/workers":
        assert "queuectl worker start" in desk.page(path)


def test_the_overview_has_counts_what_is_next_and_what_fails(desk: Desk) -> None:
    desk.enqueue("rsync there")
    desk.run("completed")
    desk.enqueue("curl 41", max_retries=0)
    desk.run("dead")
    desk.enqueue("echo next")
    text = text_of(desk.page("/"))
    assert re.search(r"pending 1 .*dead 1 .*completed 1", text), text
    assert "echo next" in text and "curl 41" in text


def test_the_list_is_filtered_by_one_line(desk: Desk) -> None:
    desk.enqueue("alpha", queue="mail", tags=["t"])
    desk.enqueue("beta")
    assert "alpha" in desk.page("/jobs?q=queue:mail") and "beta" not in desk.page("/jobs?q=queue:mail")
    assert "beta" in desk.page("/jobs?q=bet") and "alpha" not in desk.page("/jobs?q=bet")
    assert "No job matches" in desk.page("/jobs?q=tag:no")
    response = desk.get("/jobs?q=state:pendign")
    assert response.status_code == 400 and "did you mean" in response.text


def test_a_job_that_is_due_says_why_it_waits(desk: Desk) -> None:
    desk.enqueue("one", queue="held")
    desk.queue.pause("held", "the disk")
    assert "queue paused: the disk" in text_of(desk.page("/jobs"))
    assert "1 job waits in queues that are paused" in text_of(desk.page("/"))
    desk.enqueue("two")
    assert "waits for a free worker" in text_of(desk.page("/jobs"))
    overview = text_of(desk.page("/"))
    assert "1 more waits in queues that are paused" in overview and "two" in overview


def test_every_state_has_its_place_on_pages() -> None:
    assert sorted(STATES) == sorted(state.value for state in State)


def test_a_scale_ends_at_a_round_number_with_a_whole_half() -> None:
    assert [round_up(n) for n in (0, 1, 3, 10, 11, 43, 99, 101, 12_345)] == [2, 2, 4, 10, 20, 60, 100, 200, 20_000]


def test_a_time_at_a_glance_has_two_digits_at_most() -> None:
    minute, hour = 60_000, 3_600_000
    moments = (0, 99_999, 100_000, 99 * minute, 100 * minute, 47 * hour, 48 * hour)
    assert [rough(ms) for ms in moments] == ["1 s", "99 s", "2 min", "99 min", "2 h", "47 h", "2 d"]


def test_a_long_list_has_pages(desk: Desk) -> None:
    for n in range(120):
        desk.enqueue(f"job-{n:03}")
    found, path = [], "/jobs?q=job-"
    while path:
        html = desk.page(path)
        found += re.findall(r"<code>(job-\d+)</code>", html)
        onward = re.search(r'rel="next" href="([^"]+)"', html)
        path = onward[1].replace("&amp;", "&") if onward else ""
    assert found == [f"job-{n:03}" for n in reversed(range(120))]


def test_a_job_has_its_attempts_events_and_output(desk: Desk) -> None:
    id = desk.enqueue("do this", env={"A": "b"}, tags=["x y"], cwd="/srv")
    desk.run("failed")
    desk.post(f"/jobs/{id}/retry")
    desk.run("dead")
    text = text_of(desk.page(f"/jobs/{id}"))
    for word in ("do this", "A=b", "x y", "/srv", "retry", "web", "exit 4", "Output of attempt 2"):
        assert word in text, word
    assert "Output of attempt 1" in text_of(desk.page(f"/jobs/{id}?attempt=1"))
    assert desk.get(f"/jobs/{id}?attempt=3").status_code == 404
    assert desk.get("/jobs/nobody").status_code == 404


def test_actions_on_one_job(desk: Desk) -> None:
    id = desk.enqueue()
    assert "It is cancelled" in desk.post(f"/jobs/{id}/cancel", follow_redirects=True).text
    assert "cannot be cancelled" in desk.post(f"/jobs/{id}/cancel", follow_redirects=True).text
    assert "It will run again" in desk.post(f"/jobs/{id}/retry", follow_redirects=True).text
    assert desk.queue.get(id).state is State.PENDING
    assert "is deleted" in desk.post(f"/jobs/{id}/delete", follow_redirects=True).text
    assert desk.get(f"/jobs/{id}").status_code == 404


def test_ticked_jobs_are_asked_about_and_then_done(desk: Desk) -> None:
    ids = [desk.enqueue(f"n{n}") for n in range(3)]
    asked = desk.post("/bulk/ask", {"action": "cancel", "job": ids[:2], "scope": "some", "next": "/jobs"})
    assert "Cancel 2 jobs?" in asked.text
    assert all(desk.queue.get(id).state is State.PENDING for id in ids)
    done = desk.post("/bulk/act", {"action": "cancel", "job": ids[:2], "next": "/jobs"}, follow_redirects=True)
    assert "2 jobs cancelled" in done.text
    assert [desk.queue.get(id).state for id in ids] == [State.CANCELLED, State.CANCELLED, State.PENDING]
    assert "No job is selected" in desk.post("/bulk/ask", {"action": "retry"}, follow_redirects=True).text
    assert desk.post("/bulk/act", {"action": "retry"}).status_code == 400
    assert desk.post("/bulk/ask", {"action": "explode", "scope": "all"}).status_code == 400


def test_everything_that_matches_is_counted_first_and_done_in_a_batch(desk: Desk) -> None:
    for n in range(700):
        desk.enqueue(f"curl {n}", queue="mail" if n % 2 else "web", max_retries=0)
    desk.run("dead", 1000)
    asked = desk.post("/bulk/ask", {"action": "retry", "q": "state:dead queue:mail", "scope": "all"})
    assert "Retry 350 jobs?" in asked.text
    response = desk.post("/bulk/act", {"action": "retry", "q": "state:dead queue:mail", "scope": "all"})
    id = response.headers["Location"].partition("/batches/")[2].partition("?")[0]
    batch = desk.site.batches.get(id)
    assert batch is not None and batch.done.wait(30)
    assert (batch.changed, batch.state, batch.actor) == (350, "done", "web")
    assert "350 jobs will run again" in text_of(desk.page(f"/batches/{id}"))
    stat = {stat.name: stat.counts for stat in desk.queue.stat()}
    assert stat["mail"][State.PENDING] == 350 and stat["web"][State.DEAD] == 350
    assert desk.get("/batches/none").status_code == 404


def test_what_takes_long_to_count_is_counted_no_further(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What no index serves is looked for among all jobs: nobody waits for that before a question is asked."""
    for n in range(700):
        desk.enqueue(f"job {n}.")
    asked = {"action": "cancel", "scope": "all"}
    monkeypatch.setattr("queuectl.web.pages.jobs.COUNT_SECONDS", 60.0)
    assert "Cancel 700 jobs?" in text_of(desk.post("/bulk/ask", {**asked, "q": "job"}).text)
    monkeypatch.setattr("queuectl.web.pages.jobs.COUNT_SECONDS", -1.0)
    assert "Cancel at least 300 jobs?" in desk.post("/bulk/ask", {**asked, "q": "job"}).text
    monkeypatch.setattr("queuectl.builtin.sqlite.looking.LOOK", 100)
    page = desk.post("/bulk/ask", {**asked, "q": '"job 699."'}).text
    assert "Cancel all such jobs?" in page and "More than could be counted" in page and "<button" in page
    begun = desk.post("/bulk/act", {**asked, "q": '"job 699."'})
    id = begun.headers["Location"].partition("/batches/")[2].partition("?")[0]
    batch = desk.site.batches.get(id)
    assert batch is not None and batch.done.wait(30) and batch.changed == 1
    assert "1 job cancelled." in text_of(desk.page(f"/batches/{id}"))


def test_a_batch_shows_how_far_it_is_and_can_be_stopped(desk: Desk) -> None:
    batch = Batch(Action.RETRY, "state:dead", 1000, False, "web")
    batch.looked, batch.changed = 400, 390
    desk.site.batches._known[batch.id] = batch
    html = desk.page(f"/batches/{batch.id}")
    assert re.search(r'<progress[^>]*value="400"[^>]*>', html) and 'max="1000"' in html and "390" in text_of(html)
    assert 'data-topics="clock"' in html, "it is asked for again, without anything having to happen"
    desk.post(f"/batches/{batch.id}/stop")
    assert batch.stopping
    batch.done.set()
    assert "stopped" in text_of(desk.page(f"/batches/{batch.id}")) and "clock" not in desk.page(f"/batches/{batch.id}")


def test_queues_are_paused_resumed_and_limited(desk: Desk) -> None:
    desk.enqueue(queue="mail")
    desk.post("/queues/mail/pause", {"reason": "server is down"})
    assert "server is down" in desk.page("/queues")
    desk.post("/queues/mail/limit", {"concurrency": "3"})
    (stat,) = desk.queue.stat()
    assert (stat.paused, stat.pause_reason, stat.limit) == (True, "server is down", 3)
    desk.post("/queues/mail/resume")
    desk.post("/queues/mail/limit", {"concurrency": ""})
    (stat,) = desk.queue.stat()
    assert (stat.paused, stat.limit) == (False, None)
    for bad in ("0", "-1", "x", "9" * 20):
        assert desk.post("/queues/mail/limit", {"concurrency": bad}).status_code == 400


def test_the_dead_are_grouped_and_a_group_is_acted_on(desk: Desk) -> None:
    for n in range(5):
        desk.enqueue(f"curl {n}", max_retries=0)
    desk.enqueue("other", max_retries=0)
    desk.run("dead")
    html = desk.page("/dlq")
    fault = re.findall(r'name="q" value="(fault:[0-9a-f]+)"', html)
    assert len(fault) == 2 and html.index("curl") < html.index("other")
    assert "Retry 5 jobs?" in desk.post("/bulk/ask", {"action": "retry", "q": fault[0], "scope": "all"}).text
    assert len(re.findall(r'<td class="tick"><input', desk.page(f"/jobs?q={fault[0]}"))) == 5


def test_metrics_are_of_the_chosen_time_and_queue(desk: Desk) -> None:
    desk.enqueue(queue="a")
    desk.enqueue(queue="b")
    desk.run("completed")
    for path in ("/stats", "/stats?range=24h", "/stats?range=7d", "/stats?range=nonsense"):
        assert "success rate 100.0 %" in text_of(desk.page(path)), path
    assert "completed 2" in text_of(desk.page("/stats")) and "completed 1" in text_of(desk.page("/stats?queue=a"))


def test_the_system_page_has_plugins_configuration_and_the_doctor(desk: Desk) -> None:
    html = desk.page("/system")
    assert "dashboard.enqueue" in html and "storage sqlite" in html
    assert "integrity" in desk.post("/system/doctor").text


def test_putting_jobs_in_is_off_unless_configured(desk: Desk, tmp_path: Path) -> None:
    assert desk.get("/new").status_code == 403 and desk.post("/new", {"command": "x"}).status_code == 403
    assert "New job" not in desk.page("/")
    other = tmp_path / "other"
    other.mkdir()
    open_desk = Desk(other, config="[dashboard]\nenqueue = true\n")
    assert "New job" in open_desk.page("/")
    bad = open_desk.post("/new", {"command": "x", "priority": "high"})
    assert bad.status_code == 400 and "priority" in bad.text
    made = open_desk.post("/new", {"command": "echo hi | wc", "priority": "7", "tags": "a, b"})
    job = open_desk.queue.get(made.headers["Location"].rpartition("/")[2])
    assert (job.spec.command, job.spec.priority, job.spec.tags) == ("echo hi | wc", 7, ("a", "b"))
    assert "echo hi | wc" in open_desk.page(f"/new?from={job.id}")
    open_desk.close()


def test_the_theme_is_kept_and_means_nothing_else(desk: Desk) -> None:
    assert "data-theme" not in desk.page("/")
    desk.post("/theme", {"theme": "dark", "next": "/jobs"})
    assert 'data-theme="dark"' in desk.page("/")
    desk.post("/theme", {"theme": "x"})
    assert "data-theme" not in desk.page("/")


def test_below_a_prefix_every_link_has_it(desk: Desk) -> None:
    desk.enqueue("x")
    desk.run("dead")
    for path in (*PAGES, "/jobs?q=state:dead"):
        html = desk.client.get(path, base_url="http://localhost:8765/queue", buffered=True).text
        links = re.findall(r'(?:href|src|action)="(/[^"]*)"', html)
        assert links and not [link for link in links if not link.startswith("/queue/")], path


@pytest.mark.parametrize("path", PAGES)
def test_a_first_load_is_small(desk: Desk, path: str) -> None:
    """A page with all that it names, as a browser that has nothing yet gets it."""
    for n in range(60):
        desk.enqueue(f"some command with words {n}")
    gzipped = {"Accept-Encoding": "gzip"}
    assets = re.findall(r'(?:href|src)="(/static/[^"]+)"', desk.page(path))
    assert len(assets) >= 4
    total = 0
    for each in (path, *assets):
        response = desk.get(each, headers=gzipped)
        assert response.headers.get("Content-Encoding") == "gzip" or len(response.data) < 1500, each
        total += len(response.data)
    assert total < 60_000


def test_what_is_shown_of_output_begins_at_a_line_near_the_end(desk: Desk) -> None:
    import time

    from queuectl.testing.subjects.subject import completed, hand_in, take

    id = desk.enqueue("seq 40000")
    now = time.time_ns() // 1_000_000
    (claim,) = take(desk.app.storage, now=now)
    lines = b"".join(b"line %d\n" % n for n in range(40_000))
    desk.app.storage.put_output(claim.job, 1, "stdout", 0, lines)
    hand_in(desk.app.storage, completed(claim), now=now)
    html = desk.page(f"/jobs/{id}")
    assert "line 39999" in html and "line 100\n" not in html
    earlier = re.search(r'href="([^"]*stdout=\d+[^"]*)"', html)
    assert earlier and "line 39999" not in desk.page(earlier[1].partition("#")[0].replace("&amp;", "&"))
    assert desk.get(f"/jobs/{id}/output/1/stdout").data == lines


def test_lists_say_what_failed_jobs_wrote_last(desk: Desk) -> None:
    from queuectl.testing.subjects.subject import dead, hand_in, take
    from queuectl.web.words import now_ms

    for n in range(2):
        desk.enqueue(f"fetch {n}", max_retries=0)
    long = b"x" * 100_000 + b"\nthe end of a long one\n\n"
    first, second = take(desk.app.storage, 2, now=now_ms())
    desk.app.storage.put_output(second.job, 1, "stderr", 0, long)
    settled = dead(second)
    assert settled.outcome is not None
    settled = settled._replace(stderr=None, outcome=settled.outcome._replace(stderr_size=len(long)))
    written = dead(first, stdout=b"working\n", stderr=b"\x1b[31mcurl: (7) <refused>\x1b[0m\n  \n")
    assert written.outcome is not None
    written = written._replace(outcome=written.outcome._replace(stdout_size=8, stderr_size=36))
    hand_in(desk.app.storage, written, settled, now=now_ms())
    for path in ("/jobs", "/dlq", "/"):
        said = re.findall(r"<samp>(.*?)</samp>", desk.page(path))
        assert "the end of a long one" in said, path
        assert ("curl: (7) &lt;refused&gt;" in said) == (path == "/jobs"), path


def test_the_overview_says_that_no_pool_looks_at_a_queue(desk: Desk) -> None:
    from queuectl.api.model import Pool
    from queuectl.web.words import now_ms

    desk.enqueue(queue="mail")
    desk.app.storage.join(Pool("p", "far", 7, now_ms(), ("web",), 2), lease=60)
    assert "no pool looks at it" in text_of(desk.page("/"))
    desk.app.storage.join(Pool("p", "far", 7, now_ms(), (), 2), lease=60)
    assert "no pool looks at it" not in text_of(desk.page("/"))


def test_a_rate_is_of_the_latest_minutes(desk: Desk) -> None:
    for _ in range(15):
        desk.enqueue(queue="mail")
    desk.run("completed", 10, ago=120_000)
    desk.run("completed", 5, ago=600_000)
    assert re.search(r"mail .* 2\.0", text_of(desk.page("/queues")))


def test_the_workers_page_says_when_a_pool_was_heard_from(desk: Desk) -> None:
    from queuectl.api.model import Pool
    from queuectl.web.words import now_ms

    desk.app.storage.join(Pool("p", "far", 7, now_ms(), (), 2), lease=desk.app.lease - 20)
    assert "Heard from 20 s ago" in text_of(desk.page("/workers"))
    desk.app.storage.join(Pool("p", "far", 7, now_ms(), (), 2), lease=desk.app.lease + 90)
    assert "lease ends in" in text_of(desk.page("/workers"))
