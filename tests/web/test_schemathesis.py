"""Whatever is sent to the API, it answers as its description says, and never with a fault."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from desk import Desk
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import booleans
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from queuectl.web.openapi import document

HOST = "localhost:8765"
EXAMPLES = 25
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


OPERATIONS = [(path, method) for path, item in document()["paths"].items() for method in item]


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    desk = Desk(tmp_path_factory.mktemp("fuzzed"), config="[dashboard]\nenqueue = true\n")
    for n in range(3):
        desk.enqueue(f"job {n}", max_retries=0, id=f"job-{n}", queue="mail")
    desk.run("dead", 2)
    yield desk
    desk.close()


@pytest.fixture(scope="module")
def schema(fuzzed: Desk) -> Any:
    return schemathesis.openapi.from_wsgi(
        "/api/v1/openapi.json", fuzzed.flask, headers={"Host": HOST}, base_url=f"http://{HOST}"
    )


def known_to(desk: Desk, operation: str) -> dict[str, Any]:
    """Parts of an address under which there is something, in the state that the operation is for."""
    if operation == "showBulk":
        begun = desk.api("POST", "/bulk", {"action": "cancel", "filter": "queue:none"})
        batch = desk.site.batches.get(begun.json["id"])
        assert batch is not None and batch.done.wait(20)  # few may go on at a time
        return {"id": batch.id}
    if operation == "output":
        return {"id": "job-0", "attempt": 1, "stream": "stdout"}
    id = desk.enqueue()
    if operation == "retryJob":
        desk.queue.cancel(id)
    return {"id": id, "name": "mail"}


@pytest.mark.parametrize(("path", "method"), OPERATIONS, ids=lambda word: word)
def test_every_answer_is_a_described_one(fuzzed: Desk, schema: Any, path: str, method: str) -> None:
    """Also those to what cannot be meant; and each operation has done what it is for at least once."""
    operation = schema[path][method.upper()]
    answered: set[int] = set()

    @given(
        case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
        | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
        if operation.body or list(operation.iter_parameters())
        else operation.as_strategy(),
        known=booleans(),
    )
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def sent(case: schemathesis.Case, known: bool) -> None:
        if known:
            there = known_to(fuzzed, document()["paths"][path][method]["operationId"])
            case.path_parameters.update({name: there[name] for name in case.path_parameters if name in there})
        response = case.call_and_validate(headers={"Host": HOST, "Accept-Encoding": "identity"}, checks=CHECKS)
        answered.add(response.status_code)

    sent()
    assert any(code < 300 for code in answered), answered
