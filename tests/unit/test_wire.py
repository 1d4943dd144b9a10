"""Records survive the wire: as they were, from older versions and from newer ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from queuectl.api.model import Claim, Event, Job, NewJob, Outcome, OutcomeKind, State
from queuectl.core import wire
from queuectl.testing.fakes import make_job
from queuectl.work.frames import LONGEST, BrokenFrame, Reader, frame, message

text = some.text(some.characters(codec=None), max_size=20)  # lone surrogates too: they are bytes of a file name
numbers = some.integers(0, 2**53)
specs = some.builds(
    NewJob,
    text,
    argv=some.none() | some.lists(text, max_size=3).map(tuple),
    id=some.none() | text,
    queue=text,
    priority=some.integers(-1000, 1000),
    run_at=some.none() | numbers,
    unique_key=some.none() | text,
    tags=some.lists(text, max_size=3).map(tuple),
    cwd=some.none() | text,
    env=some.dictionaries(text, text, max_size=3),
    settings=text,
    environment=text,
)
outcomes = some.builds(
    Outcome, some.sampled_from(OutcomeKind), some.none() | some.integers(0, 255), numbers, numbers, text, numbers
)
jobs = some.builds(
    Job,
    text,
    numbers,
    specs,
    some.sampled_from(State),
    numbers,
    numbers,
    numbers,
    cancel=some.booleans(),
    reason=text,
    pool=some.none() | text,
    outcome=some.none() | outcomes,
)


def through(value: Any) -> Any:
    return json.loads(json.dumps(value))


@given(jobs, numbers, some.none() | outcomes)
def test_what_is_packed_is_unpacked_as_it_was(job: Job, token: int, outcome: Outcome | None) -> None:
    claim, event = Claim(job, token), Event("failed", token, job, outcome)
    assert wire.unpack_job(through(wire.pack_job(job))) == job
    assert wire.unpack_claim(through(wire.pack_claim(claim))) == claim
    assert wire.unpack_event(through(wire.pack_event(event))) == event
    assert wire.unpack_outcome(through(wire.pack_outcome(outcome))) == outcome


def test_enums_and_tuples_come_back_as_such() -> None:
    job = make_job(argv=("a", "b"), tags=("t",), state=State.FAILED, outcome=Outcome(OutcomeKind.TIMEOUT))
    back = wire.unpack_job(through(wire.pack_job(job)))
    assert back.state is State.FAILED and back.outcome is not None and back.outcome.kind is OutcomeKind.TIMEOUT
    assert isinstance(back.spec.argv, tuple) and isinstance(back.spec.tags, tuple)


def test_fields_of_a_newer_version_are_left_out() -> None:
    job = make_job(outcome=Outcome(OutcomeKind.EXITED, 0))
    packed = wire.pack_job(job)
    packed[Job._fields.index("spec")].append("new in NewJob")
    packed[Job._fields.index("outcome")].append("new in Outcome")
    assert wire.unpack_job([*packed, "new in Job"]) == job


def test_fields_that_an_older_version_did_not_send_have_their_defaults() -> None:
    packed = wire.pack_job(make_job())[: Job._fields.index("attempts")]
    packed[Job._fields.index("spec")] = ["true"]
    job = wire.unpack_job(packed)
    assert (job.spec, job.attempts, job.outcome) == (NewJob("true"), 0, None)


@given(some.lists(some.lists(text | numbers), max_size=5), some.lists(some.integers(1, 50), max_size=20))
def test_messages_arrive_whole_however_they_are_cut(values: list[list[Any]], cuts: list[int]) -> None:
    data = b"".join(map(message, values))
    reader, got = Reader(), []
    for cut in [*cuts, len(data)]:
        got += list(reader.feed(data[:cut]))
        data = data[cut:]
    assert got == values


@pytest.mark.parametrize("data", [(LONGEST + 1).to_bytes(4, "big"), frame(b"{"), frame(b"\xff"), b"GET / HTTP/1.1\r\n"])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(BrokenFrame):
        list(Reader().feed(data))
