"""The power is cut: a file system that is shut down in the middle of a mixed load, and mounted again."""

from __future__ import annotations

import fcntl
import os
import random
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from load import Acknowledged, Say, work
from targets import SEED, report, target

from queuectl.api.errors import StorageError
from queuectl.builtin.sqlite.storage import SQLiteStorage
from queuectl.testing.subjects.race import Child

#: Of ext4: nothing that is not on the disk yet gets there, and everything from now on fails.
SHUTDOWN, WITHOUT_FLUSHING = 0x8004587D, 2


class Disk:
    """A small ext4 in a file."""

    def __init__(self, folder: Path) -> None:
        self.image, self.point = folder / "disk.img", folder / "disk"
        self.point.mkdir()
        self.mounted = False
        with self.image.open("wb") as file:
            file.truncate(64 << 20)
        if not (run("mkfs.ext4", "-q", "-F", str(self.image)) and self.mount()):
            pytest.skip("may not mount a file system in a file here")

    def mount(self) -> bool:
        self.mounted = run("mount", "-o", "loop", str(self.image), str(self.point))
        return self.mounted

    def cut(self) -> None:
        fd = os.open(self.point, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", WITHOUT_FLUSHING))
        finally:
            os.close(fd)

    def unmount(self) -> None:
        if self.mounted:
            assert run("umount", str(self.point)) or run("umount", "-l", str(self.point))
            self.mounted = False

    def mend(self, *, check: bool = True) -> None:
        """Mount it anew, as soon as nobody has a file of it open, nor its mount in a namespace of their own: until then
        it is the same failed disk."""
        end = time.monotonic() + 30
        while True:
            if run("umount", str(self.point)):
                if check:
                    run("e2fsck", "-fy", str(self.image))
                assert self.mount()
                if self.can_be_written():
                    return
            assert time.monotonic() < end, "somebody still uses the disk"
            time.sleep(0.05)

    def can_be_written(self) -> bool:
        probe = self.point / "probe"
        try:
            probe.touch()
            probe.unlink()
        except OSError:
            return False
        return True


def run(*words: str) -> bool:
    try:
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root may cut the power of a file system")
    made = Disk(tmp_path)
    yield made
    made.unmount()


@pytest.mark.timeout(3600)
def test_what_was_acknowledged_survives_a_power_cut(disk: Disk) -> None:
    path = str(disk.point / "queue.db")
    wanted = target(3, 200)
    known = Acknowledged()
    with report("power cuts in the middle of a mixed load", wanted) as figure:
        figure.ran = 0
        for number in range(wanted):
            rng = random.Random(f"{SEED} {number}")
            figure.ran += 1
            child = Child(partial(load, path, rng.random()))
            said = child.words(rng.randrange(3, 40))
            time.sleep(rng.random() * 0.005)  # at any moment of the next call
            cut_at = time.monotonic_ns()
            disk.cut()
            said += child.words()
            assert child.join() == 0, "the failing disk was not said in a sentence"
            known.hear([word for word, at in said if at < cut_at or word[0] == "deleting"])  # type: ignore[misc]
            disk.mend(check=False)
            storage = SQLiteStorage(path)
            known.check(storage)
            storage.close()
            figure.held += 1
    assert known.enqueued and known.settled


def load(path: str, seed: float, say: Say) -> None:
    """Until the disk fails, which is an error with a sentence.

    Each word has its moment: who lives on after the power was cut, as no real process does, may hear anything. (A sync
    that is under way in ext4 when it is shut down can return as if it had been done.)
    """

    def stamped(word: object) -> None:
        say([word, time.monotonic_ns()])

    try:
        storage = SQLiteStorage(path)
        work(storage, random.Random(seed), stamped, lambda: True)
    except StorageError as error:
        assert path in str(error)
