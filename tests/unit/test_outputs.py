"""Reading what jobs wrote: the last lines, and a running job's files with their holes."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl.core import outputs
from queuectl.core.outputs import Live, tail_offset


@given(
    st.binary(max_size=200).map(lambda b: bytes(10 if x % 3 == 0 else x for x in b)),
    st.integers(0, 30),
    st.integers(1, 9),
)
def test_the_tail_is_what_tail_says_however_it_is_read(data: bytes, lines: int, piece: int) -> None:
    before, outputs.PIECE = outputs.PIECE, piece
    try:
        offset = tail_offset(len(data), lambda at, n: data[at : at + n], lines)
    finally:
        outputs.PIECE = before
    parts = data.split(b"\n")
    whole = [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])
    assert data[offset:] == b"".join(whole[max(0, len(whole) - lines) :] if lines else [])


def test_what_was_written_since_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"abc")
    live = Live({"stdout": path.open("rb", buffering=0)})
    assert b"".join(live.fresh("stdout")) == b"abc"
    with path.open("ab") as file:
        file.write(b"def")
    assert b"".join(live.fresh("stdout")) == b"def"
    assert list(live.fresh("stdout")) == []
    live.close()
    live.close()


def test_a_hole_is_told_and_not_read(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"h" * 65536 + b"x" * (1 << 20) + b"t" * 65536)
    fd = os.open(path, os.O_RDWR)
    libc = ctypes.CDLL(None, use_errno=True)
    failed = libc.fallocate(fd, 3, ctypes.c_long(65536), ctypes.c_long(1 << 20))
    if failed:
        os.close(fd)
        pytest.skip("this file system cannot punch holes")
    os.close(fd)
    live = Live({"stdout": path.open("rb", buffering=0)})
    assert b"".join(live.fresh("stdout")) == b"h" * 65536 + b"\n[1048576 bytes were not kept]\n" + b"t" * 65536
    live.close()
