"""Lines of an export: what goes out comes in again, and whatever else comes in is refused or harmless."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl.api.errors import BadInput
from queuectl.core.exportlines import decode, encode
from queuectl.core.moving import Arrival, Begin, End, Moved, Piece, QueueSet, records
from queuectl.testing.memory import MemoryStorage
from queuectl.testing.subjects.moving import filled


def lines() -> list[str]:
    storage = MemoryStorage()
    filled(storage)
    return [encode(record) for record in records(storage)]


LINES = lines()


def test_what_goes_out_comes_in_again() -> None:
    storage = MemoryStorage()
    filled(storage)
    told = list(records(storage))
    assert {type(record) for record in told} == {Begin, QueueSet, Moved, Piece, End}
    for record in told:
        line = encode(record)
        assert decode(line) == record
        assert decode(line.encode()) == record
        assert line.isascii()
        assert "\n" not in line


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a document there is something."""
    found = [path] if path else []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        found += places(each, (*path, key))
    return found


hostile = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=9)
    | st.sampled_from(["", "\0", "\ud800", "{}", "[]", "null", "-1", "../x", "processing"])
    | st.builds(list)
    | st.builds(dict)
    | st.integers(1 << 40, 1 << 70)
)


@given(st.data())
def test_a_value_that_is_something_else_is_refused_or_can_be_stored(data: st.DataObject) -> None:
    """Never another exception, and what is taken comes out as it went in."""
    document = json.loads(data.draw(st.sampled_from(LINES)))
    path = data.draw(st.sampled_from(places(document)))
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    if data.draw(st.booleans()):
        inner[path[-1]] = data.draw(hostile)
    else:
        del inner[path[-1]]
    try:
        record = decode(json.dumps(document))
    except BadInput as error:
        assert "\n" not in str(error)
        return
    assert decode(encode(record)) == record
    if isinstance(record, Moved):
        storage = MemoryStorage()
        Arrival(storage).add(record)


@given(st.binary(max_size=50) | st.text(max_size=50).map(str.encode))
def test_what_is_no_line_is_refused(line: bytes) -> None:
    with pytest.raises(BadInput):
        decode(line)
