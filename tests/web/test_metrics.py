"""/metrics for Prometheus, and the probes."""

from __future__ import annotations

import re
from pathlib import Path

from desk import Desk
from prometheus_client.parser import text_string_to_metric_families

from queuectl.api.model import Route
from queuectl.core.figures import ENDINGS
from queuectl.testing.subjects.subject import job, put
from queuectl.web.exposition import Totals
from queuectl.web.words import now_ms

ROOT = Path(__file__).resolve().parents[2]


def scrape(desk: Desk) -> dict[tuple[str, ...], float]:
    """Every sample by name and the values of its labels."""
    response = desk.get("/metrics")
    assert response.status_code == 200 and response.headers["Content-Type"].startswith("text/plain")
    families = list(text_string_to_metric_families(response.text))
    assert not [family.name for family in families if not family.documentation]
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value for family in families for sample in family.samples
    }


def test_one_scrape_tells_the_whole(desk: Desk) -> None:
    for _ in range(3):
        desk.enqueue(queue="mail", max_retries=0)
    desk.run("completed", 2)
    desk.run("dead", 1)
    desk.enqueue(queue="mail")
    desk.queue.pause("mail")
    desk.queue.limit("mail", 4)
    found = scrape(desk)
    assert found["queuectl_jobs", "mail", "pending"] == 1 and found["queuectl_jobs", "dead", "mail"] == 1
    assert found["queuectl_queue_paused", "mail"] == 1 and found["queuectl_queue_concurrency_limit", "mail"] == 4
    assert found["queuectl_jobs_enqueued_total", "mail"] == 4 and found["queuectl_queue_in_use", "mail"] == 0
    assert found["queuectl_storage_size_bytes", "database"] > 0 and found["queuectl_worker_slots_busy",] == 0
    assert found["queuectl_jobs_started_total", "mail"] == 3
    assert found["queuectl_jobs_finished_total", "completed", "mail"] == 2
    assert found["queuectl_jobs_dead_total", "mail"] == 1 and found["queuectl_job_retries_total", "mail"] == 0
    assert found["queuectl_job_run_seconds_count", "completed", "mail"] == 2
    assert found["queuectl_job_wait_seconds_bucket", "+Inf", "mail"] == 3
    assert found["queuectl_queue_oldest_age_seconds", "mail"] >= 0


def test_a_counter_is_there_before_its_first_event(desk: Desk) -> None:
    """A rate sees nothing of a series that begins with one."""
    desk.enqueue(queue="mail")
    found = scrape(desk)
    for outcome in ENDINGS:
        assert found["queuectl_jobs_finished_total", outcome, "mail"] == 0, outcome
    for name in ("queuectl_jobs_started_total", "queuectl_jobs_dead_total", "queuectl_job_retries_total"):
        assert found[name, "mail"] == 0, name
    assert found["queuectl_job_run_seconds_count", "completed", "mail"] == 0
    assert found["queuectl_job_wait_seconds_bucket", "+Inf", "mail"] == 0


def test_counters_outlive_the_process_and_what_is_pruned(desk: Desk, tmp_path: Path) -> None:
    day = 86_400_000
    put(desk.app.storage, job(), now=now_ms() - 100 * day)
    desk.run("completed", ago=99 * day)
    before = scrape(desk)["queuectl_jobs_finished_total", "completed", "default"]
    desk.app.storage.prune(0)  # minutes of more than 90 days ago are summed up
    assert {sample.minute for sample in desk.app.storage.samples(0, now_ms())} == {0}
    other = Desk(tmp_path)
    assert scrape(desk)["queuectl_jobs_finished_total", "completed", "default"] == before == 1
    assert scrape(other)["queuectl_jobs_finished_total", "completed", "default"] == before
    other.close()


def test_a_scrape_reads_what_is_new(desk: Desk) -> None:
    desk.enqueue()
    desk.run("completed")
    totals, now = Totals(), now_ms()
    first = totals.read(desk.app.storage, now)
    later = totals.read(desk.app.storage, now + 600_000)
    assert first == later and first.total() == 3
    asked = []

    class Watched:
        def summed(self, since: int, until: int, width: int) -> list[object]:
            asked.append((until - since) // 60_000)
            return []

    totals.read(Watched(), now + 660_000)  # type: ignore[arg-type]
    assert max(asked) <= 5


def test_who_asks_for_openmetrics_gets_it(desk: Desk) -> None:
    response = desk.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert response.headers["Content-Type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")


def test_metrics_need_a_token_where_there_are_tokens(guarded: Desk) -> None:
    assert guarded.get("/metrics").status_code == 401
    assert guarded.get("/metrics", headers={"Authorization": "Bearer " + "v" * 40}).status_code == 200


def test_the_probes_say_whether_it_answers_and_whether_the_storage_does(desk: Desk) -> None:
    assert desk.get("/healthz").text == "ok\n" and desk.get("/readyz").text == "ready\n"
    assert desk.get("/readyz?verbose").json == {"ready": True, "checks": {"storage": "ok"}}
    (desk.folder / "queue.db").unlink()
    assert desk.get("/healthz").status_code == 200
    response = desk.get("/readyz?verbose")
    assert response.status_code == 503 and "deleted" in response.json["checks"]["storage"]


def test_the_examples_and_the_reference_name_metrics_that_there_are(desk: Desk) -> None:
    desk.enqueue(queue="q")
    desk.queue.limit("q", 1)
    desk.run("dead")
    desk.queue.app.storage.enqueue([job()], deliveries=[Route("hook")])
    there = {name for name, *_ in scrape(desk)} | {"queuectl_plugin_errors_total"}
    for path in ("examples/monitoring/alerts.yaml", "examples/monitoring/grafana.json", "docs/reference/http-api.md"):
        text = (ROOT / path).read_text(encoding="utf-8")
        named = set(re.findall(r"\bqueuectl_[a-z_]+", text)) - {"queuectl_blueprints"}
        known = there | {name.removesuffix("_count") for name in there}
        assert named and not named - known, (path, named - known)
