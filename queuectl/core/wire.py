"""Records as plain lists, and back: how the pool tells its workers and its courier about jobs.

A record is packed as the list of its fields, so that one ``json.dumps`` makes a message of it and no field is named in
each. Fields are only ever added at the end of a record: a reader cuts off those it does not know, from a newer
version, and takes the default for those that an older one did not send.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from queuectl.api.model import Claim, Event, Job, NewJob, Outcome, OutcomeKind, State

if TYPE_CHECKING:
    from collections.abc import Sequence

_SPEC = len(NewJob._fields)
_JOB = len(Job._fields)
_OUTCOME = len(Outcome._fields)

# Where the fields stand that JSON would not bring back as they were.
_ARGV, _TAGS = NewJob._fields.index("argv"), NewJob._fields.index("tags")
_JOB_SPEC, _JOB_STATE, _JOB_OUTCOME = (Job._fields.index(name) for name in ("spec", "state", "outcome"))


def pack_spec(spec: NewJob) -> list[Any]:
    """A list of JSON values; the mappings and tuples in it are those of *spec* itself."""
    return list(spec)


def unpack_spec(data: Sequence[Any]) -> NewJob:
    fields = list(data[:_SPEC])
    if len(fields) > _ARGV and fields[_ARGV] is not None:
        fields[_ARGV] = tuple(fields[_ARGV])
    if len(fields) > _TAGS:
        fields[_TAGS] = tuple(fields[_TAGS])
    return NewJob(*fields)


def pack_outcome(outcome: Outcome | None) -> list[Any] | None:
    return None if outcome is None else list(outcome)


def unpack_outcome(data: Sequence[Any] | None) -> Outcome | None:
    if data is None:
        return None
    return Outcome(OutcomeKind(data[0]), *data[1:_OUTCOME])


def pack_job(job: Job) -> list[Any]:
    fields: list[Any] = list(job)
    fields[_JOB_SPEC] = pack_spec(job.spec)
    fields[_JOB_OUTCOME] = pack_outcome(job.outcome)
    return fields


def unpack_job(data: Sequence[Any]) -> Job:
    fields = list(data[:_JOB])
    fields[_JOB_SPEC] = unpack_spec(fields[_JOB_SPEC])
    fields[_JOB_STATE] = State(fields[_JOB_STATE])
    if len(fields) > _JOB_OUTCOME:
        fields[_JOB_OUTCOME] = unpack_outcome(fields[_JOB_OUTCOME])
    return Job(*fields)


def pack_claim(claim: Claim) -> list[Any]:
    return [pack_job(claim.job), claim.token]


def unpack_claim(data: Sequence[Any]) -> Claim:
    return Claim(unpack_job(data[0]), data[1])


def pack_event(event: Event) -> list[Any]:
    return [event.kind, event.at, pack_job(event.job), pack_outcome(event.outcome), event.delivery]


def unpack_event(data: Sequence[Any]) -> Event:
    return Event(data[0], data[1], unpack_job(data[2]), unpack_outcome(data[3]), *data[4:5])
