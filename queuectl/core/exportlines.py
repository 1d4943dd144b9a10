"""The lines of an export: one JSON object each, with everything that is kept, as it is kept.

``docs/reference/json.md`` describes them. What comes in may have been written by anybody: each value is checked here,
since storages are not made to be told nonsense.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

from queuectl.api.errors import BadInput
from queuectl.api.model import (
    PRIORITY_HIGHEST,
    PRIORITY_LOWEST,
    Attempt,
    Audit,
    History,
    Job,
    NewJob,
    Outcome,
    OutcomeKind,
    Settings,
    State,
)
from queuectl.core.moving import VERSION, Begin, End, Moved, Piece, QueueSet
from queuectl.core.outputs import STREAMS
from queuectl.core.specs import check_id, check_queue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from queuectl.core.moving import Record


def encode(record: Record) -> str:
    """One line, without its end."""
    return json.dumps(_shape(record), separators=(",", ":"))


def _shape(record: Record) -> dict[str, Any]:
    if isinstance(record, Moved):
        job = {key: value for key, value in record.job._asdict().items() if key != "outcome"}
        job["spec"] = record.job.spec._asdict() | {"env": dict(record.job.spec.env)}
        attempts = [each._asdict() | {"outcome": each.outcome._asdict()} for each in record.history.attempts]
        return {
            "kind": "job",
            **job,
            "attempt_history": attempts,
            "audits": [a._asdict() for a in record.history.audits],
        }
    if isinstance(record, Piece):
        return {"kind": "output", **record._asdict(), "data": base64.b64encode(record.data).decode("ascii")}
    kinds: dict[type[Any], str] = {Begin: "export", QueueSet: "queue", End: "end"}
    return {"kind": kinds[type(record)], **record._asdict()}


def decode(line: str | bytes) -> Record:
    """The record of a line; BadInput says what is wrong with it. Keys that are not known are ignored."""
    try:
        data = json.loads(line)
    except UnicodeDecodeError:
        raise BadInput("this is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise BadInput(f"this is not JSON: {error.msg.lower()} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"this is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise BadInput("this is not a line of an export: an object was expected")
    kind = data.get("kind")
    make = _MAKERS.get(kind) if isinstance(kind, str) else None
    if make is None:
        raise BadInput("this is not a line of an export: its kind is none of " + ", ".join(_MAKERS))
    return make(data)


# What may stand under a key. Where a record has a default the key may be missing.

_MOST = (1 << 53) - 1


def _is(kind: type[Any], what: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if type(value) is not kind:
            raise BadInput(f"{what} was expected")
        return value

    return check


def _number(least: int = 0, most: int = _MOST) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise BadInput(f"a number from {least} to {most} was expected")
        return value

    return check


def _maybe(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else check(value)


def _word(kind: type[State | OutcomeKind]) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        try:
            return kind(value)
        except ValueError:
            raise BadInput(f"one of {', '.join(kind)} was expected") from None

    return check


def _word_of_a_system(value: Any) -> str:
    """What is handed to the system: a text without NUL. Half of a pair stands for a byte that is not UTF-8."""
    if not isinstance(value, str) or "\0" in value:
        raise BadInput("a text without NUL was expected")
    return value


def _text(value: Any) -> str:
    """What people read: storages keep it as UTF-8."""
    word = _word_of_a_system(value)
    try:
        word.encode()
    except UnicodeEncodeError:
        raise BadInput("a text of whole characters was expected") from None
    return word


def _list_of(check: Callable[[Any], str]) -> Callable[[Any], tuple[str, ...]]:
    def check_all(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise BadInput("a list of texts was expected")
        return tuple([check(item) for item in value])

    return check_all


def _words(value: Any) -> tuple[str, ...]:
    words = _list_of(_word_of_a_system)(value)
    if not words:
        raise BadInput("at least one word was expected")
    return words


def _variables(value: Any) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise BadInput("an object of texts was expected")
    for name, text in value.items():
        _word_of_a_system(text)
        if not name or "=" in name or "\0" in name:
            raise BadInput(f"{name[:40]!r} is no name of a variable")
    return value


def _inner(value: Any) -> dict[str, Any]:
    """The JSON object that a text has in it."""
    try:
        if isinstance(value, str) and isinstance(data := json.loads(value), dict):
            return data
    except (ValueError, RecursionError):
        pass
    raise BadInput("a text with a JSON object in it was expected")


def _settings(value: Any) -> str:
    _fields(_inner(value), _SETTINGS, "settings", Settings._field_defaults)
    return str(value)


def _environment(value: Any) -> str:
    _variables(_inner(value))
    return str(value)


def _bytes(value: Any) -> bytes:
    try:
        data = base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except (binascii.Error, ValueError):
        data = b""
    if not data:
        raise BadInput("bytes in base64 were expected")
    return data


def _stream(value: Any) -> Any:
    if value not in STREAMS:
        raise BadInput("stdout or stderr was expected")
    return value


def _span(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < _MOST:
        raise BadInput("a number of seconds was expected")
    return float(value)


_TEXT, _FLAG, _MOMENT = _text, _is(bool, "true or false"), _number()
_ATTEMPT_NUMBER = _number(1, (1 << 20) - 1)
_SPEC = {
    "command": _word_of_a_system, "argv": _maybe(_words), "id": _maybe(check_id), "queue": check_queue,
    "priority": _number(PRIORITY_LOWEST, PRIORITY_HIGHEST), "run_at": _maybe(_MOMENT), "unique_key": _maybe(_TEXT),
    "tags": _list_of(_text), "cwd": _maybe(_word_of_a_system), "env": _variables,
    "settings": _settings, "environment": _environment,
}  # fmt: skip
_SETTINGS = {
    "max_retries": _number(), "timeout": _maybe(_span), "grace": _span,
    "executor": _TEXT, "executor_options": _is(dict, "an object"),
    "backoff": _TEXT, "backoff_options": _is(dict, "an object"),
}  # fmt: skip
_JOB = {
    "id": _TEXT, "seq": _number(1, (1 << 42) - 1), "state": _word(State), "run_at": _MOMENT, "created_at": _MOMENT,
    "updated_at": _MOMENT, "attempts": _number(0, (1 << 20) - 1), "tries": _number(), "losses": _number(),
    "token": _number(), "pool": _maybe(_TEXT), "cancel": _FLAG, "reason": _TEXT,
}  # fmt: skip
_OUTCOME = {
    "kind": _word(OutcomeKind), "code": _maybe(_number(-_MOST)), "started_at": _MOMENT, "ended_at": _MOMENT,
    "detail": _TEXT, "stdout_size": _number(), "stderr_size": _number(), "left": _number(),
}  # fmt: skip
_ATTEMPT = {
    "number": _ATTEMPT_NUMBER, "token": _number(), "pool": _TEXT, "state": _word(State), "run_at": _maybe(_MOMENT),
}  # fmt: skip
_AUDIT = {"at": _MOMENT, "action": _TEXT, "actor": _TEXT, "note": _TEXT}
_PIECE = {
    "id": _TEXT, "attempt": _ATTEMPT_NUMBER, "stream": _stream, "offset": _number(), "size": _number(1), "data": _bytes,
}  # fmt: skip
_QUEUE = {"name": check_queue, "paused": _FLAG, "pause_reason": _TEXT, "limit": _maybe(_number(1))}


def _fields(data: Any, checks: Mapping[str, Callable[[Any], Any]], what: str, defaults: Mapping[str, Any]) -> Any:
    """The checked values of *data* by key."""
    if not isinstance(data, dict):
        raise BadInput(f"{what}: an object was expected")
    found = {}
    for key, check in checks.items():
        if key in data:
            try:
                found[key] = check(data[key])
            except BadInput as error:
                raise BadInput(f"{what}, {key}: {error}") from None
        elif key not in defaults:
            raise BadInput(f"{what}: {key} is missing")
    return found


def _list(data: Any, what: str) -> list[Any]:
    if not isinstance(data, list):
        raise BadInput(f"{what}: a list was expected")
    return data


def _job(data: dict[str, Any]) -> Moved:
    fields = _fields(data, _JOB, "job", Job._field_defaults)
    spec = NewJob(**_fields(data.get("spec"), _SPEC, "spec", NewJob._field_defaults))
    attempts = tuple([_attempt(each) for each in _list(data.get("attempt_history", []), "attempt_history")])
    numbers = [attempt.number for attempt in attempts]
    if numbers != sorted(set(numbers)) or (numbers and numbers[-1] > fields.get("attempts", 0)):
        raise BadInput("attempt_history: the numbers must rise, and none can be higher than attempts")
    audits = [Audit(**_fields(each, _AUDIT, "audits", {})) for each in _list(data.get("audits", []), "audits")]
    id = fields["id"]
    if spec.id != id if spec.id is not None else not _is_issued(id):
        raise BadInput(f"job: {id!r} is no issued id, and not the one in spec")
    if fields["state"] is State.PROCESSING and not fields.get("attempts"):
        raise BadInput("job: one that runs has an attempt")
    if fields.get("cancel") and fields["state"] is not State.PROCESSING:
        raise BadInput("job: only one that runs can be about to be cancelled")
    outcome = attempts[-1].outcome if attempts else None
    return Moved(Job(spec=spec, outcome=outcome, **fields), History(attempts, tuple(audits)))


def _is_issued(id: str) -> bool:
    return id.isascii() and id.isdecimal() and id[0] != "0" and len(id) <= 12


def _attempt(data: Any) -> Attempt:
    fields = _fields(data, _ATTEMPT, "attempt_history", Attempt._field_defaults)
    outcome = _fields(data.get("outcome"), _OUTCOME, "outcome", Outcome._field_defaults)
    return Attempt(outcome=Outcome(**outcome), **fields)


def _begin(data: dict[str, Any]) -> Begin:
    begin = Begin(**_fields(data, {"version": _number(1), "at": _MOMENT, "storage": _TEXT}, "export", {}))
    if begin.version > VERSION:
        raise BadInput(
            f"this was exported by a newer QueueCTL (version {begin.version} of the format); upgrade QueueCTL"
        )
    return begin


_MAKERS: Mapping[str, Callable[[dict[str, Any]], Record]] = {
    "export": _begin,
    "queue": lambda data: QueueSet(**_fields(data, _QUEUE, "queue", {})),
    "job": _job,
    "output": lambda data: Piece(**_fields(data, _PIECE, "output", {})),
    "end": lambda data: End(**_fields(data, {"jobs": _number()}, "end", {})),
}
