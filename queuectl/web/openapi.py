"""The description of ``/api/v1``: OpenAPI 3.1, and the only place where an answer is declared. Tests hold it to it."""

from __future__ import annotations

from typing import Any

import queuectl
from queuectl.api.model import State
from queuectl.core.figures import ENDINGS

TEXT: dict[str, Any] = {"type": "string"}
MOMENT: dict[str, Any] = {"type": "string", "format": "date-time"}
WHOLE: dict[str, Any] = {"type": "integer"}
REAL: dict[str, Any] = {"type": "number"}
YES: dict[str, Any] = {"type": "boolean"}

WHAT = {
    400: "What was asked for cannot be understood.",
    401: "A token is needed, or this one is not known.",
    403: "Not allowed: read-only, from another site, or off in the configuration.",
    404: "There is no such thing.",
    409: "It conflicts with what is stored: the id is taken, or the job's state does not allow it.",
    413: "The body is longer than 1 MiB.",
    415: "The body is not JSON.",
    416: "The range lies outside of what there is.",
    422: "A plugin refused the job.",
    429: "Too many wrong tokens: wait a minute.",
    503: "The storage is busy or away, or all live views are taken: try again soon.",
}
ALWAYS = (400, 401, 403, 429, 503)
CHANGES = (*ALWAYS, 413, 415)


def document(root: str = "") -> dict[str, Any]:
    """The whole description; *root* is where the dashboard is mounted."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "QueueCTL",
            "version": queuectl.__version__,
            "description": "The job queue over HTTP. Shapes are those of `--json`; errors are RFC 9457 documents.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": f"{root}/api/v1"}],
        "security": [{}, {"token": []}],
        "paths": _paths(),
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": _schemas(),
        },
    }


# --- Pieces ---------------------------------------------------------------------------------------


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _maybe(schema: dict[str, Any]) -> dict[str, Any]:
    if "type" in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def _list(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": schema}


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _given(*needed: str, **properties: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": properties}
    return {**made, "required": list(needed)} if needed else made


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _problems(*codes: int) -> dict[str, Any]:
    return {
        str(code): {"description": WHAT[code], "content": {"application/problem+json": {"schema": _ref("Problem")}}}
        for code in sorted(set(codes))
    }


def _get(id: str, summary: str, schema: dict[str, Any], *parameters: dict[str, Any], also: tuple[int, ...] = ()) -> Any:
    return {
        "operationId": id,
        "summary": summary,
        "parameters": list(parameters),
        "responses": {
            "200": {"description": "As asked for.", "content": _json(schema)},
            **_problems(*ALWAYS, *also),
        },
    }


def _post(
    id: str,
    summary: str,
    body: dict[str, Any],
    answers: dict[int, dict[str, Any]],
    *parameters: dict[str, Any],
    also: tuple[int, ...] = (),
    required: bool = False,
) -> Any:
    return {
        "operationId": id,
        "summary": summary,
        "parameters": list(parameters),
        "requestBody": {"required": required, "content": _json(body)},
        "responses": {
            **{str(code): {"description": "Done.", "content": _json(schema)} for code, schema in answers.items()},
            **_problems(*CHANGES, *also),
        },
    }


def _query(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _path(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": description}


JOB_ID = _path("id", {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"}, "The id of a job.")
QUEUE = _path("name", {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"}, "The name of a queue.")
ATTEMPT = _path("attempt", {"type": "integer", "minimum": 1, "maximum": 1_000_000}, "The number of an attempt.")
STREAM = _path("stream", {"type": "string", "enum": ["stdout", "stderr"]}, "Which of the two.")
FILTER = _query("filter", {"type": "string", "maxLength": 1000}, "state: queue: tag: id: exit: since:, and text.")
LISTED = (
    FILTER,
    _query("limit", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}, "Jobs of a page."),
    _query("cursor", TEXT, "Where to go on, as the Link header of the page before says."),
)
NOTE = _given(note={"type": "string", "maxLength": 200})


# --- Paths ----------------------------------------------------------------------------------------


def _paths() -> dict[str, Any]:
    job, jobs = _ref("Job"), _list(_ref("Job"))
    return {
        "/jobs": {
            "get": _get("listJobs", "Jobs, newest first", jobs, *LISTED),
            "post": _post(
                "enqueue",
                "Put in one job, or several: all of them or none",
                {"oneOf": [_ref("NewJob"), {**_list(_ref("NewJob")), "minItems": 1}]},
                {
                    200: {"oneOf": [_ref("Receipt"), _list(_ref("Receipt"))]},
                    201: {"oneOf": [_ref("Receipt"), _list(_ref("Receipt"))]},
                },
                {
                    "name": "Idempotency-Key",
                    "in": "header",
                    "schema": {"type": "string", "minLength": 1, "maxLength": 256},
                    "description": "A repeat with the same key stores nothing and answers the same ids.",
                },
                also=(409, 422),
                required=True,
            ),
        },
        "/dlq": {"get": _get("listDead", "Dead jobs, latest first", jobs, *LISTED)},
        "/jobs/{id}": {"get": _get("showJob", "A job and what happened to it", _ref("JobDetail"), JOB_ID, also=(404,))},
        "/jobs/{id}/cancel": {
            "post": _post("cancelJob", "Cancel it, waiting or running", NOTE, {200: job}, JOB_ID, also=(404, 409))
        },
        "/jobs/{id}/retry": {"post": _post("retryJob", "Run it again", NOTE, {200: job}, JOB_ID, also=(404, 409))},
        "/jobs/{id}/delete": {
            "post": _post(
                "deleteJob",
                "Delete it, with history and output",
                NOTE,
                {200: _object(id=TEXT, deleted=YES)},
                JOB_ID,
                also=(404, 409),
            )
        },
        "/jobs/{id}/output/{attempt}/{stream}": {"get": _output()},
        "/bulk": {"post": _bulk()},
        "/bulk/{id}": {
            "get": _get("showBulk", "How far it got", _ref("Bulk"), _path("id", TEXT, "Its id."), also=(404,))
        },
        "/queues": {"get": _get("listQueues", "Every queue", _list(_ref("Queue")))},
        "/queues/{name}": {"get": _get("showQueue", "One queue", _ref("Queue"), QUEUE, also=(404,))},
        "/queues/{name}/pause": {
            "post": _post(
                "pauseQueue",
                "Let no further job of it start",
                _given(reason={"type": "string", "maxLength": 200}),
                {200: _ref("Queue")},
                QUEUE,
            )
        },
        "/queues/{name}/resume": {
            "post": _post("resumeQueue", "Let its jobs start again", _given(), {200: _ref("Queue")}, QUEUE)
        },
        "/queues/{name}/limit": {
            "post": _post(
                "limitQueue",
                "Most of its jobs running at once; null: no limit",
                _given("concurrency", concurrency={"type": ["integer", "null"], "minimum": 1, "maximum": 1_000_000}),
                {200: _ref("Queue")},
                QUEUE,
                required=True,
            )
        },
        "/workers": {"get": _get("listWorkers", "The workers of this host", _list(_ref("Worker")))},
        "/stat": {"get": _get("stat", "Everything at one glance", _ref("Stat"))},
        "/metrics": {
            "get": _get(
                "metrics",
                "Totals, success rate, percentiles",
                _ref("Metrics"),
                _query("since", TEXT, "From when: 1h, 2026-12-01 …; the last 24 hours if not given."),
                _query("queue", _list(TEXT), "Only these queues."),
            )
        },
        "/openapi.json": {"get": _get("openapi", "This description", {"type": "object"})},
    }


def _output() -> dict[str, Any]:
    plain = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "operationId": "output",
        "summary": "What an attempt wrote, whole, a range of it, or as it is written",
        "parameters": [
            JOB_ID,
            ATTEMPT,
            STREAM,
            {"name": "Range", "in": "header", "schema": {"type": "string"}, "description": "bytes=FIRST-LAST"},
            _query("follow", YES, "Go on until the attempt has ended."),
        ],
        "responses": {
            "200": {"description": "The bytes as they were written.", "content": plain},
            "206": {"description": "A part: Content-Range says which.", "content": plain},
            **_problems(*ALWAYS, 404, 416),
        },
    }


def _bulk() -> dict[str, Any]:
    counted = _object(id=_maybe(TEXT), matched=WHOLE, at_least=YES)
    made: dict[str, Any] = _post(
        "bulk",
        "Do something to everything that a filter matches",
        _given(
            "action",
            "filter",
            action={"type": "string", "enum": ["retry", "cancel", "delete"]},
            filter={"type": "string", "maxLength": 1000},
            dry_run={**YES, "description": "Only count."},
        ),
        {200: counted, 202: counted},
        required=True,
    )
    return made


# --- Shapes ---------------------------------------------------------------------------------------


def _schemas() -> dict[str, Any]:
    job = _job()
    counts = {state.value: WHOLE for state in State}
    return {
        "Problem": _object(type=TEXT, title=TEXT, status=WHOLE, detail=TEXT),
        "NewJob": {
            "type": "object",
            "description": "docs/reference/json.md has every key; `command` or `argv` must be there.",
            "properties": {
                "command": {"type": "string", "minLength": 1},
                "argv": {"type": "array", "items": TEXT, "minItems": 1},
                "id": {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9._:-]{0,127}$"},
                "queue": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"},
                "priority": {"type": "integer", "minimum": -1000, "maximum": 1000},
                "max_retries": {"type": "integer", "minimum": 0, "maximum": 1000},
                "tags": {"type": "array", "items": TEXT, "maxItems": 32},
                "unique": {"type": "string", "minLength": 1, "maxLength": 256},
            },
        },
        "Receipt": _object(id=TEXT, created=YES),
        "Job": _object(**job),
        "JobDetail": _object(
            **job, waits=_maybe(TEXT), attempt_history=_list(_ref("Attempt")), events=_list(_ref("Event"))
        ),
        "Attempt": _object(
            number=WHOLE, ended=TEXT, exit_code=_maybe(WHOLE), started_at=_maybe(MOMENT), ended_at=_maybe(MOMENT),
            duration_sec=REAL, detail=TEXT, state=TEXT, next_run_at=_maybe(MOMENT), stdout_bytes=WHOLE,
            stderr_bytes=WHOLE, processes_left=WHOLE, pool=TEXT,
        ),
        "Event": _object(at=MOMENT, action=TEXT, actor=TEXT, note=TEXT),
        "Queue": _object(
            name=TEXT, **counts, ready=WHOLE, oldest_due=_maybe(MOMENT), paused=YES, pause_reason=TEXT,
            concurrency=_maybe(WHOLE),
        ),
        "Worker": _object(
            id=TEXT, pid=WHOLE, pool=TEXT, state=TEXT, job=_maybe(TEXT), attempt=_maybe(WHOLE),
            started_at=_maybe(MOMENT), job_started_at=_maybe(MOMENT),
        ),
        "Stat": _object(
            counts=_object(**counts, dlq=WHOLE), avg_duration_sec=_maybe(REAL), queues=_list(_ref("Queue")),
            workers=_list(_ref("Worker")), outbox=_list(_ref("Outbox")),
        ),
        "Outbox": _object(
            notifier=TEXT, waiting=WHOLE, oldest_at=_maybe(MOMENT), next_try_at=_maybe(MOMENT), delivered=WHOLE,
            dropped=WHOLE, error=_maybe(TEXT), error_at=_maybe(MOMENT),
        ),
        "Metrics": _object(
            since=MOMENT, until=MOMENT, totals=_object(**counts, dlq=WHOLE, total=WHOLE, attempts=WHOLE),
            enqueued=WHOLE, attempts=_object(**dict.fromkeys(ENDINGS, WHOLE)), success_rate=_maybe(REAL),
            avg_duration_sec=_maybe(REAL), wait=_ref("Summary"), run=_ref("Summary"),
            outbox=_object(waiting=WHOLE, delivered=WHOLE, dropped=WHOLE),
        ),
        "Summary": _object(count=WHOLE, **{name: _maybe(REAL) for name in ("avg", "p50", "p95", "p99", "max")}),
        "Bulk": _object(
            id=TEXT, action=TEXT, filter=TEXT, state=TEXT, matched=WHOLE, at_least=YES, looked_at=WHOLE,
            changed=WHOLE, error=_maybe(TEXT),
        ),
    }  # fmt: skip


def _job() -> dict[str, Any]:
    return {
        "id": TEXT,
        "command": TEXT,
        "argv": _maybe(_list(TEXT)),
        "state": {"type": "string", "enum": [state.value for state in State]},
        "reason": TEXT,
        "queue": TEXT,
        "priority": WHOLE,
        "attempts": WHOLE,
        "tries": WHOLE,
        "losses": WHOLE,
        "max_retries": WHOLE,
        "run_at": MOMENT,
        "created_at": MOMENT,
        "updated_at": MOMENT,
        "ended_at": _maybe(MOMENT),
        "timeout_sec": _maybe(REAL),
        "exit_code": _maybe(WHOLE),
        "duration_sec": _maybe(REAL),
        "tags": _list(TEXT),
        "unique_key": _maybe(TEXT),
        "cwd": _maybe(TEXT),
        "env": {"type": "object", "additionalProperties": TEXT},
        "executor": TEXT,
        "backoff": TEXT,
        "cancel": YES,
        "pool": _maybe(TEXT),
    }
