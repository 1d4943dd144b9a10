"""Whatever is sent to the API, it answers as its description says, and never with a fault."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from desk import Desk
from hypothesis import HealthCheck, Phase, given, settings
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
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    desk = Desk(tmp_path_factory.mktemp("fuzzed"), config="[dashboard]\nenqueue = true\n")
    for n in range(3):
        desk.enqueue(f"job {n}", max_retries=0, id=f"job-{n}", queue="mail")
    desk.run("dead", 2)
    yield schemathesis.openapi.from_wsgi(
        "/api/v1/openapi.json", desk.flask, headers={"Host": HOST}, base_url=f"http://{HOST}"
    )
    desk.close()


@pytest.mark.parametrize(("path", "method"), OPERATIONS, ids=lambda word: word)
def test_every_answer_is_a_described_one(schema: Any, path: str, method: str) -> None:
    operation = schema[path][method.upper()]

    @given(
        case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
        | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
        if operation.body or list(operation.iter_parameters())
        else operation.as_strategy()
    )
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def sent(case: schemathesis.Case) -> None:
        case.call_and_validate(headers={"Host": HOST, "Accept-Encoding": "identity"}, checks=CHECKS)

    sent()
