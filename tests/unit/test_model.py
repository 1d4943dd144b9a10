"""Records that a storage keeps as text come back as they were, and bear what a newer version adds."""

from __future__ import annotations

import json
from types import MappingProxyType

import pytest

from queuectl.api.model import Event, NewJob, Outcome, OutcomeKind, Settings
from queuectl.testing.fakes import make_job

ASKED = NewJob("true", ("true", "\udcff"), tags=("a", "b"), env=MappingProxyType({"A": "\u00e9"}), cwd="/")
ENDED = Outcome(OutcomeKind.SIGNALLED, 9, 10, 20, "killed")


@pytest.mark.parametrize(
    "event",
    [
        Event("enqueued", 1, make_job("true")),
        Event("failed", 2, make_job("true")._replace(spec=ASKED, outcome=ENDED), ENDED),
    ],
    ids=["plain", "everything"],
)
def test_an_event_comes_back_from_its_text(event: Event) -> None:
    assert Event.parse(event.text()) == Event.parse(event.text().encode()) == event


def test_which_delivery_it_is_is_the_outboxs_to_say() -> None:
    event = Event("enqueued", 1, make_job("true"))
    assert event._replace(delivery="7").text() == event.text()


def test_what_a_newer_version_added_is_ignored() -> None:
    event = Event("failed", 2, make_job("true")._replace(outcome=ENDED), ENDED)
    data = json.loads(event.text())
    for part in (data, data["job"], data["job"]["spec"], data["job"]["outcome"], data["outcome"]):
        part["news"] = 1
    assert Event.parse(json.dumps(data)) == event
    settings = Settings(max_retries=7)
    assert Settings.parse(json.dumps(json.loads(settings.text()) | {"news": 1})) == settings
