"""The HTTP API: what it answers, and that it says so."""

from __future__ import annotations

import http.client
import json
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from desk import OPERATOR, Dashboard, Desk
from driver import Driver
from flask import Flask

from queuectl.api.model import State
from queuectl.core import shapes
from queuectl.web.openapi import document


@pytest.fixture
def open_desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path, config="[dashboard]\nenqueue = true\n")
    yield made
    made.close()


def test_one_job_and_several_are_put_in(open_desk: Desk) -> None:
    one = open_desk.api("POST", "/jobs", {"command": "echo one", "priority": 3})
    assert one.status_code == 201 and one.json == {"id": "1", "created": True}
    two = open_desk.api("POST", "/jobs", [{"argv": ["echo", "2"]}, {"command": "echo 3", "unique": "k"}])
    assert [receipt["id"] for receipt in two.json] == ["2", "3"]
    again = open_desk.api("POST", "/jobs", {"command": "echo 4", "unique": "k"})
    assert again.status_code == 200 and again.json == {"id": "3", "created": False}
    assert open_desk.queue.get("1").spec.priority == 3


@pytest.mark.parametrize(
    "body", ["{", "[]", "[1]", "7", '{"command": "a", "command": "b"}', '{"comand": "x"}', '{"command": NaN}', "\xff"]
)
def test_what_is_no_job_is_refused_in_a_sentence(open_desk: Desk, body: str) -> None:
    response = open_desk.client.post(
        "/api/v1/jobs", base_url="http://localhost:8765", data=body.encode("latin-1"), content_type="application/json"
    )
    assert response.status_code == 400 and response.mimetype == "application/problem+json"
    assert set(response.json) == {"type", "title", "status", "detail"} and response.json["status"] == 400


def test_a_repeat_with_the_same_key_stores_nothing(open_desk: Desk) -> None:
    key = {"Idempotency-Key": "order 17"}
    first = open_desk.api("POST", "/jobs", [{"command": "a"}, {"command": "b"}], headers=key)
    again = open_desk.api("POST", "/jobs", [{"command": "a"}, {"command": "b"}], headers=key)
    assert first.status_code == 201 and again.status_code == 200
    assert [r["id"] for r in first.json] == [r["id"] for r in again.json] and not again.json[0]["created"]
    other = open_desk.api("POST", "/jobs", [{"command": "c"}, {"command": "b"}], headers=key)
    assert other.status_code == 409
    assert len(open_desk.app.storage.find().jobs) == 2


def test_repeats_at_one_moment_and_at_another_server_store_nothing_either(open_desk: Desk, tmp_path: Path) -> None:
    """What a key stands for is in the storage: nothing is remembered by a server."""
    other = Desk(tmp_path, config="[dashboard]\nenqueue = true\n")
    together = threading.Barrier(8)
    codes: list[int] = []

    def send(flask: Flask) -> None:
        together.wait(20)
        answer = flask.test_client().post(
            "/api/v1/jobs",
            base_url="http://localhost:8765",
            json=[{"command": "a"}, {"command": "b"}],
            headers={"Idempotency-Key": "at once"},
        )
        codes.append(answer.status_code)

    threads = [threading.Thread(target=send, args=((open_desk, other)[n % 2].flask,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(codes) == [200] * 7 + [201]
    assert [job.spec.command for job in open_desk.app.storage.find().jobs] == ["b", "a"]
    other.close()


def test_putting_in_is_off_unless_configured(desk: Desk) -> None:
    assert desk.api("POST", "/jobs", {"command": "x"}).status_code == 403


def test_jobs_come_in_pages_linked_by_a_header(desk: Desk) -> None:
    for n in range(7):
        desk.enqueue(f"n{n}")
    found, path = [], "/jobs?limit=3&filter=n"
    while path:
        response = desk.api("GET", path)
        found += [job["command"] for job in response.json]
        link = re.match(r'</api/v1([^>]+)>; rel="next"', response.headers.get("Link", ""))
        path = link[1] if link else ""
    assert found == [f"n{n}" for n in reversed(range(7))]
    assert desk.api("GET", "/jobs?limit=0").status_code == desk.api("GET", "/jobs?cursor=x").status_code == 400


def test_the_shapes_are_those_of_the_command_line(desk: Desk) -> None:
    id = desk.enqueue("x", env={"MY_KEY": "s"})
    desk.run("dead")
    job = desk.queue.get(id)
    assert desk.api("GET", "/jobs").json == [shapes.job_shape(job)] == desk.api("GET", "/dlq").json
    assert desk.api("GET", f"/jobs/{id}").json == shapes.detail_shape(job, desk.queue.history(id), None)
    (stat,) = desk.queue.stat()
    assert desk.api("GET", "/queues").json == [shapes.queue_shape(stat)]
    assert desk.api("GET", "/stat").json["counts"]["dead"] == 1
    assert desk.api("GET", "/metrics?since=1h").json["attempts"]["dead"] == 1


def test_the_description_has_every_key_of_every_shape(desk: Desk) -> None:
    schemas = document()["components"]["schemas"]
    id = desk.enqueue()
    desk.run()
    desk.post(f"/jobs/{id}/retry")
    for name, answer in (
        ("JobDetail", desk.api("GET", f"/jobs/{id}").json),
        ("Job", desk.api("GET", "/jobs").json[0]),
        ("Attempt", desk.api("GET", f"/jobs/{id}").json["attempt_history"][0]),
        ("Event", desk.api("GET", f"/jobs/{id}").json["events"][0]),
        ("Queue", desk.api("GET", "/queues").json[0]),
        ("Stat", desk.api("GET", "/stat").json),
        ("Metrics", desk.api("GET", "/metrics").json),
    ):
        assert set(answer) == set(schemas[name]["properties"]), name


def test_every_route_is_described_and_every_description_is_a_route(desk: Desk) -> None:
    described = {
        (method.upper(), re.sub(r"\{\w+\}", "{}", path))
        for path, item in document()["paths"].items()
        for method in item
    }
    routes = {
        (method, re.sub(r"<[^>]+>", "{}", rule.rule.removeprefix("/api/v1")))
        for rule in desk.flask.url_map.iter_rules()
        for method in rule.methods or ()
        if rule.rule.startswith("/api/v1/") and method in ("GET", "POST")
    }
    assert described == routes


def test_jobs_are_cancelled_retried_and_deleted(desk: Desk) -> None:
    id = desk.enqueue()
    assert desk.api("POST", f"/jobs/{id}/cancel", {"note": "n"}).json["state"] == "cancelled"
    assert desk.api("POST", f"/jobs/{id}/cancel").status_code == 409
    assert desk.api("POST", f"/jobs/{id}/retry").json["state"] == "pending"
    assert desk.api("POST", f"/jobs/{id}/delete").json == {"id": id, "deleted": True}
    assert desk.api("GET", f"/jobs/{id}").status_code == 404
    assert desk.api("POST", f"/jobs/{id}/retry", {"notes": "x"}).status_code in (400, 404)


def test_everything_that_matches_is_counted_and_then_done(desk: Desk) -> None:
    for _ in range(5):
        desk.enqueue(max_retries=0)
    desk.run("dead")
    asked = {"action": "retry", "filter": "state:dead"}
    assert desk.api("POST", "/bulk", {**asked, "dry_run": True}).json == {"id": None, "matched": 5, "at_least": False}
    begun = desk.api("POST", "/bulk", asked)
    assert begun.status_code == 202
    batch = desk.site.batches.get(begun.json["id"])
    assert batch is not None and batch.done.wait(20)
    shown = desk.client.get(begun.headers["Location"], base_url="http://localhost:8765").json
    assert (shown["state"], shown["changed"]) == ("done", 5)
    assert desk.queue.get("1").state is State.PENDING
    assert desk.api("POST", "/bulk", {"action": "explode", "filter": ""}).status_code == 400
    assert desk.api("POST", "/bulk", {"action": "retry"}).status_code == 400


def test_output_is_given_whole_and_by_range(desk: Desk) -> None:
    import time

    from queuectl.testing.subjects.subject import completed, hand_in, take

    id = desk.enqueue()
    now = time.time_ns() // 1_000_000
    (claim,) = take(desk.app.storage, now=now)
    hand_in(desk.app.storage, completed(claim, stdout=b"0123456789"), now=now)
    path = f"/jobs/{id}/output/1/stdout"
    assert desk.api("GET", path).data == b"0123456789"
    for asked, code, data in (
        ("bytes=2-4", 206, b"234"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-2", 206, b"89"),
        ("bytes=5-99", 206, b"56789"),
        ("lines=1-2", 200, b"0123456789"),
    ):
        response = desk.api("GET", path, headers={"Range": asked})
        assert (response.status_code, response.data) == (code, data), asked
    assert desk.api("GET", path, headers={"Range": "bytes=10-"}).status_code == 416
    assert desk.api("GET", f"{path}?follow=true").data == b"0123456789"
    assert desk.api("GET", f"/jobs/{id}/output/2/stdout").status_code == 404
    assert desk.api("GET", f"/jobs/{id}/output/1/stdin").status_code == 404


def test_queues_over_http(desk: Desk) -> None:
    desk.enqueue(queue="mail")
    assert desk.api("POST", "/queues/mail/pause", {"reason": "down"}).json["pause_reason"] == "down"
    assert desk.api("POST", "/queues/mail/resume").json["paused"] is False
    assert desk.api("POST", "/queues/mail/limit", {"concurrency": 2}).json["concurrency"] == 2
    assert desk.api("POST", "/queues/mail/limit", {"concurrency": None}).json["concurrency"] is None
    for bad in (0, True, "2", 1.5):
        assert desk.api("POST", "/queues/mail/limit", {"concurrency": bad}).status_code == 400, bad
    assert desk.api("GET", "/queues/nothing").status_code == 404


def test_what_is_not_there_is_a_problem_document(guarded: Desk) -> None:
    for path in ("/nothing", "/jobs/1/nothing"):
        response = guarded.api("GET", path, token=OPERATOR)
        assert response.status_code == 404 and response.mimetype == "application/problem+json"
    response = guarded.api("DELETE", "/jobs", token=OPERATOR, headers={"Content-Type": "application/json"})
    assert response.status_code == 405 and "GET" in response.headers["Allow"]
    big = guarded.api("POST", "/jobs", {"command": "x" * (2 << 20)}, token=OPERATOR)
    assert big.status_code in (403, 413)


def test_the_description_can_be_had(desk: Desk) -> None:
    found = json.loads(desk.api("GET", "/openapi.json").text)
    assert found["openapi"].startswith("3.1") and found["servers"] == [{"url": "/api/v1"}]


def test_output_is_streamed_as_it_is_written(driver: Driver, dashboard: Dashboard) -> None:
    """By a real job; a range of what there is so far can be had meanwhile, and the stream ends with the job."""
    driver.start("--count", "1")
    os.mkfifo(driver.folder / "pipe")
    id = driver.enqueue("exec 3< pipe; while read line <&3; do echo got $line; done")
    driver.worker_of(id)
    path = f"/api/v1/jobs/{id}/output/1/stdout"
    following, asking = (http.client.HTTPConnection(dashboard.url.removeprefix("http://"), timeout=20) for _ in "12")
    with (driver.folder / "pipe").open("w", buffering=1) as lines:
        lines.write("first\n")
        following.request("GET", f"{path}?follow=true")
        answer = following.getresponse()
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
        assert answer.readline() == b"got first\n"
        lines.write("second\n")
        assert answer.readline() == b"got second\n"
        asking.request("GET", path, headers={"Range": "bytes=4-8"})
        part = asking.getresponse()
        assert (part.status, part.headers["Content-Range"], part.read()) == (206, "bytes 4-8/21", b"first")
    assert answer.read() == b""
    following.close()
    asking.close()


def test_a_storage_that_is_gone_is_a_problem_document_that_says_when_to_ask_again(desk: Desk) -> None:
    desk.enqueue()
    desk.page("/")
    (desk.folder / "queue.db").unlink()
    for method, path in (("GET", "/jobs"), ("GET", "/stat"), ("GET", "/metrics"), ("POST", "/jobs/1/cancel")):
        response = desk.api(method, path)
        assert response.status_code == 503 and response.mimetype == "application/problem+json", path
        assert response.headers["Retry-After"] and "deleted" in response.json["detail"]
    assert desk.get("/jobs").status_code == 503, "and for people a page"
