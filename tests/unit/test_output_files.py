"""The two files of a worker: the same from job to job, and never one that anybody else has or had."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from queuectl.work.output import Limits, Stream

TICK = 0.02  # seconds: some kernels stamp files by a clock that ticks so seldom


def job(stream: Stream, act: Callable[[int], None]) -> tuple[int, bytes | None]:
    """What is kept of one that does *act* with its descriptor."""
    descriptor = stream.open_for_job()
    time.sleep(TICK)
    act(descriptor)
    os.close(descriptor)
    return stream.finish()


def prints(text: bytes) -> Callable[[int], None]:
    def act(descriptor: int) -> None:
        assert os.write(descriptor, text) == len(text)

    return act


def nothing(_descriptor: int) -> None:
    pass


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "worker.out"


@pytest.fixture
def stream(path: Path) -> Iterator[Stream]:
    made = Stream(str(path), Limits())
    yield made
    made.remove()


def test_a_job_finds_the_file_of_the_last_one_empty(stream: Stream, path: Path) -> None:
    first = path.stat().st_ino
    for text in (b"one\n", b"", b"", b"three\n"):
        assert job(stream, prints(text)) == (len(text), text)
        stream.reset()
        assert (path.stat().st_ino, path.stat().st_size) == (first, 0)


def test_a_file_that_somebody_follows_is_theirs(stream: Stream, path: Path) -> None:
    for text in (b"", b"one\n"):
        job(stream, prints(text))
        with path.open("rb") as follower:
            stream.reset()
            job(stream, prints(b"two\n"))
            assert follower.read() == text
        stream.reset()


@pytest.mark.parametrize("text", [b"", b"one\n"], ids=["silently", "after it printed"])
@pytest.mark.parametrize("how", ["moved", "linked"])
def test_a_file_with_another_name_is_not_used_again(stream: Stream, path: Path, text: bytes, how: str) -> None:
    other = path.with_name("mine")

    def act(descriptor: int) -> None:
        os.write(descriptor, text)
        os.rename(path, other) if how == "moved" else os.link(path, other)

    assert job(stream, act) == (len(text), text)
    stream.reset()
    assert job(stream, prints(b"two\n")) == (4, b"two\n")
    assert (other.read_bytes(), path.read_bytes()) == (text, b"two\n")


def test_a_file_that_is_gone_when_a_job_begins_is_made_anew(stream: Stream, path: Path) -> None:
    job(stream, nothing)
    stream.reset()
    path.unlink()
    assert job(stream, prints(b"two\n")) == (4, b"two\n")
    assert path.read_bytes() == b"two\n"
