"""JSON messages on a stream socket: four bytes of length, then the text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A longer message is a fault of the other side, not something to wait for.
LONGEST = 64 << 20


class BrokenFrame(Exception):
    """The other side does not speak our protocol."""


def frame(text: bytes) -> bytes:
    return len(text).to_bytes(4, "big") + text


def message(value: Any) -> bytes:
    return frame(json.dumps(value, separators=(",", ":")).encode("ascii"))


class Reader:
    """Cuts what arrives into messages."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[Any]:
        """The messages that *data* completes."""
        self._data += data
        while len(self._data) >= 4:
            size = int.from_bytes(self._data[:4], "big")
            if size > LONGEST:
                raise BrokenFrame(f"a message of {size} bytes")
            if len(self._data) < 4 + size:
                return
            text = bytes(self._data[4 : 4 + size])
            del self._data[: 4 + size]
            try:
                yield json.loads(text)
            except ValueError as error:
                raise BrokenFrame(str(error)) from None
