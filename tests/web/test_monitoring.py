"""The alert rules and the Grafana dashboard of ``examples/monitoring`` ask for what ``/metrics`` really tells.

Each expression is parsed as Prometheus does (``promql-parser``), and each selector in it is held to a scrape of a
queue in which everything happens: the metric is there, has these labels and values, and is of the kind that it is
taken for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser as promql
import pytest
import yaml  # type: ignore[import-untyped]
from desk import Desk
from prometheus_client.parser import text_string_to_metric_families

from queuectl.api.model import Route
from queuectl.testing.subjects.subject import job

MONITORING = Path(__file__).resolve().parents[2] / "examples" / "monitoring"
#: What Grafana fills in before it asks.
GRAFANA = {"$__rate_interval": "1m", "$__interval": "15s", "$__range": "1h", "$queue": ".*"}
#: Of Prometheus itself.
ITS_OWN = {"up": {"job"}}


class Series(NamedTuple):
    """A metric as a scrape has it."""

    kind: str
    labels: dict[str, set[str]]


class Use(NamedTuple):
    """A selector in an expression, and what is made of it."""

    name: str
    matchers: list[tuple[str, str, str]]
    rated: bool
    is_new: bool  # a series that was not there some time ago


def alerts() -> dict[str, str]:
    groups = yaml.safe_load((MONITORING / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def panels() -> dict[str, str]:
    """Every query of the dashboard, those of its variables too, with Grafana's own words filled in."""
    found = {}
    dashboard = json.loads((MONITORING / "grafana.json").read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            found[f"{panel['title']} {target['refId']}"] = target["expr"]
    for text, filled in GRAFANA.items():
        found = {name: expression.replace(text, filled) for name, expression in found.items()}
    assert not [name for name, expression in found.items() if "$" in expression]
    return found


EXPRESSIONS = alerts() | panels()


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Series]]:
    """Every name that a scrape of a busy queue has, histograms by their parts."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("monitored")
        patch.setenv("HOME", str(folder))
        desk = Desk(folder)
        for ending in ("completed", "failed", "dead"):
            desk.enqueue(queue="mail", max_retries=0 if ending == "dead" else 3)
            desk.run(ending)
        desk.enqueue(queue="mail")
        desk.queue.limit("mail", 2)
        desk.app.storage.enqueue([job()], deliveries=[Route("hook")])
        found = {}
        for family in text_string_to_metric_families(desk.get("/metrics").text):
            for sample in family.samples:
                labels = found.setdefault(sample.name, Series(family.type, {})).labels
                for name, value in sample.labels.items():
                    labels.setdefault(name, set()).add(value)
        desk.close()
        yield found


def uses_of(expression: str) -> list[Use]:
    found: list[Use] = []
    calls: list[str] = [""]
    young = re.findall(r"\((\w+) unless \1 offset \w+\)", expression)

    def look(part: Any) -> None:
        if isinstance(part, promql.Call):
            calls.append(part.func.name)
        elif isinstance(part, promql.VectorSelector):
            matchers = [(m.name, str(m.op), m.value) for m in part.matchers.matchers]
            found.append(Use(part.name, matchers, calls[-1] in ("rate", "irate", "increase"), part.name in young))

    def leave(part: Any) -> None:
        if isinstance(part, promql.Call):
            calls.pop()

    promql.walk(promql.parse(expression), look, leave)
    assert found, expression
    return found


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_every_expression_asks_for_what_is_told(scraped: dict[str, Series], where: str) -> None:
    for use in uses_of(EXPRESSIONS[where]):
        if use.name in ITS_OWN:
            assert {name for name, *_ in use.matchers} <= ITS_OWN[use.name]
            continue
        assert use.name in scraped, f"no scrape has {use.name}"
        series = scraped[use.name]
        for name, op, value in use.matchers:
            assert name in series.labels, f"{use.name} has no label {name}, but {sorted(series.labels)}"
            pattern = re.escape(value) if op in ("MatchOp.Equal", "MatchOp.NotEqual") else value
            assert any(re.fullmatch(pattern, known) for known in series.labels[name]), (use.name, name, value)
        counts = series.kind == "counter" or use.name.endswith(("_bucket", "_count", "_sum"))
        assert counts == use.rated or use.is_new, f"{use.name} is a {series.kind}"


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_what_is_grouped_or_joined_by_is_a_label_of_all_that_is_in_it(scraped: dict[str, Series], where: str) -> None:
    def look(part: Any) -> None:
        labels: list[str] = []
        if isinstance(part, promql.AggregateExpr) and part.modifier is not None:
            labels = list(part.modifier.labels)
        elif isinstance(part, promql.BinaryExpr) and part.modifier is not None and part.modifier.matching is not None:
            labels = list(part.modifier.matching.labels)
        for name in re.findall(r"\bqueuectl_\w+", part.prettify()) if labels else ():
            assert set(labels) <= set(scraped[name].labels), (labels, name)

    promql.walk(promql.parse(EXPRESSIONS[where]), look)


def test_what_an_alert_says_is_there_to_be_said() -> None:
    """A text that names a label which its expression takes away comes out empty."""
    groups = yaml.safe_load((MONITORING / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    for rule in [rule for group in groups for rule in group["rules"]]:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"} and rule["annotations"]["summary"]
        for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
            kept = re.search(rf"^sum by \({label}\)", rule["expr"].strip()) or not rule["expr"].startswith("sum")
            assert kept, rule["alert"]


def test_every_panel_of_the_dashboard_has_a_query_and_a_place() -> None:
    dashboard = json.loads((MONITORING / "grafana.json").read_text(encoding="utf-8"))
    places = [tuple(panel["gridPos"].values()) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places) >= 6 and dashboard["title"] and dashboard["uid"]
    assert all(panel["targets"] and panel["title"] for panel in dashboard["panels"] if panel["type"] != "row")


def test_every_metric_of_a_scrape_is_in_the_reference(scraped: dict[str, Series]) -> None:
    text = (MONITORING.parents[1] / "docs" / "reference" / "http-api.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(queuectl_\w+)`", text))
    told = {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in scraped}
    assert not told - named
