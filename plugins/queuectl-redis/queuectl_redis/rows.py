"""Rows and records: what stands in the server, and what it means."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from queuectl.api.errors import StorageInvalid
from queuectl.api.model import (
    Attempt,
    Audit,
    Claim,
    Delivery,
    Event,
    Job,
    NewJob,
    Outcome,
    OutcomeKind,
    State,
    targets_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from queuectl.api.model import Route

#: The number of a state is its place here, as it is in ``lua/base.lua``.
STATES = (State.PENDING, State.FAILED, State.PROCESSING, State.COMPLETED, State.DEAD, State.CANCELLED)
NUMBER = {state: number for number, state in enumerate(STATES)}
CUT = "\x1f"  # between the parts of an attempt or an audit
SHARED_FROM = 64  # bytes of captured environment from which on jobs share it


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def maybe(text: str | bytes | None) -> str | bytes:
    """What may be missing: '' if it is, else with a '=' before it."""
    if text is None:
        return ""
    return b"=" + text if isinstance(text, bytes) else "=" + text


# -- jobs -----------------------------------------------------------------------------------------


def spec_text(job: NewJob, shared: bool) -> bytes:
    """What was asked for, with the command as it stands, so that a search finds it."""
    command = job.command.encode("utf-8", "surrogatepass")
    more: dict[str, Any] = {}
    if job.argv is not None:
        more["argv"] = job.argv
    if job.run_at is not None:
        more["run_at"] = job.run_at
    if job.cwd is not None:
        more["cwd"] = job.cwd
    if job.env:
        more["env"] = dict(job.env)
    if job.settings != "{}":
        more["settings"] = job.settings
    if job.environment != "{}" and not shared:
        more["environment"] = job.environment
    return b"%d:%b%b" % (len(command), command, json.dumps(more, separators=(",", ":")).encode())


def command_of(spec: bytes) -> str:
    size, _, rest = spec.partition(b":")
    return text_of(rest[: int(size)])


class Batch:
    """New jobs as words of a step: long texts once, before the jobs that share them."""

    def __init__(self) -> None:
        self.texts: dict[str, int] = {}

    def words(self, job: NewJob, routes: Sequence[Route] = ()) -> list[Any]:
        targets = targets_of(routes, "enqueued", job) if routes else ()
        shared = len(job.environment) > SHARED_FROM
        place: Any = ""
        if shared:
            place = self.texts.setdefault(job.environment, len(self.texts) + 1)
        return [
            maybe(job.id), job.queue, -job.priority, "" if job.run_at is None else job.run_at, maybe(job.unique_key),
            len(job.tags), *job.tags, len(targets), *targets, place, spec_text(job, shared),
        ]  # fmt: skip

    def head(self) -> list[Any]:
        return [len(self.texts), *self.texts]


def job_of(row: Sequence[Any]) -> Job:
    """The job of a row, as ``lua/jobs.lua`` tells it."""
    try:
        return _job_of(row)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise StorageInvalid(f"a job in the Redis server is damaged: {row[:1]!r}: {error}") from error


def _job_of(row: Sequence[Any]) -> Job:
    (
        seq, queue, state, rank, run_at, created, updated, attempts, tries, losses, token, pool, cancel, reason, given,
        key, _digest, _ended, _due, tags, _fault, attempt, spec, environment,
    ) = row  # fmt: skip
    number = int(seq)
    command, more = _spec_of(spec)
    asked = NewJob(
        command,
        tuple(more["argv"]) if "argv" in more else None,
        None if given is None else text_of(given),
        text_of(queue),
        -int(rank),
        more.get("run_at"),
        None if key is None else text_of(key),
        tuple(json.loads(text_of(tags))) if tags else (),
        more.get("cwd"),
        more.get("env", {}),
        more.get("settings", "{}"),
        more.get("environment", "{}") if environment is None else text_of(environment),
    )
    return Job(
        str(number) if given is None else text_of(given),
        number,
        asked,
        STATES[int(state)],
        int(run_at),
        int(created),
        int(updated),
        int(attempts or 0),
        int(tries or 0),
        int(losses or 0),
        int(token or 0),
        None if pool is None else text_of(pool),
        cancel is not None,
        "" if reason is None else text_of(reason),
        None if attempt is None else _outcome_of(text_of(attempt).split(CUT, 4)[4]),
    )


def _spec_of(spec: bytes) -> tuple[str, dict[str, Any]]:
    size, _, rest = spec.partition(b":")
    length = int(size)
    return text_of(rest[:length]), json.loads(rest[length:])


def claim_of(row: Sequence[Any]) -> Claim:
    job = job_of(row)
    return Claim(job, job.token)


# -- attempts -------------------------------------------------------------------------------------


def outcome_text(outcome: Outcome) -> str:
    """Short, since every attempt has one: what is at its default at the end is left out."""
    kind, code, started, ended, *rest = outcome
    fields = [kind.value, code, started, ended - started, *rest]
    defaults = ["", None, 0, 0, "", 0, 0, 0]
    while len(fields) > 1 and fields[-1] == defaults[len(fields) - 1]:
        fields.pop()
    return json.dumps(fields, separators=(",", ":"))


def _outcome_of(text: str) -> Outcome:
    fields: list[Any] = json.loads(text)
    defaults: list[Any] = ["", None, 0, 0]
    kind, code, started, took = [*fields[:4], *defaults[len(fields) :]]
    return Outcome(OutcomeKind(kind), code, started, started + took, *fields[4:])


def attempt_text(attempt: Attempt) -> str:
    due = "" if attempt.run_at is None else str(attempt.run_at)
    parts = (str(attempt.token), attempt.pool, str(NUMBER[attempt.state]), due, outcome_text(attempt.outcome))
    return CUT.join(parts)


def attempt_of(number: int, data: bytes) -> Attempt:
    token, pool, state, run_at, outcome = text_of(data).split(CUT, 4)
    return Attempt(number, int(token), pool, STATES[int(state)], _outcome_of(outcome), int(run_at) if run_at else None)


def audit_text(action: str, actor: str, note: str) -> str:
    """Without its moment, which the step puts before it."""
    return json.dumps([action, actor, note], separators=(",", ":"))


def audit_of(data: bytes) -> Audit:
    at, _, text = data.decode().partition(CUT)
    return Audit(int(at), *json.loads(text))


# -- the outbox -----------------------------------------------------------------------------------


def delivery_of(id: bytes, fields: Sequence[bytes | None]) -> Delivery:
    """A delivery: with its event as it was given, or made of the job as it was then."""
    target, event, kind, at, row, tries = fields
    assert target is not None and at is not None
    if event is not None:
        made = Event.parse(event)
    else:
        assert kind is not None and row is not None
        told = [None if part is False else part.encode("utf-8", "surrogatepass") for part in json.loads(text_of(row))]
        made = Event(kind.decode(), int(at), job_of(told))
    return Delivery(text_of(target), made, int(id), int(at), int(tries or 0))
