"""A pool to measure: started, proved to work, and ended however the measurement goes."""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING

from benchmarks.harness import Scratch, scratch

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def running(workers: int) -> Iterator[tuple[Scratch, subprocess.Popen[bytes]]]:
    """A scratch database with ``worker start`` on it that has already completed a job."""
    with scratch() as place:
        log = (place.path / "worker.log").open("wb")
        argv = place.queuectl("worker", "start", "--count", str(workers))
        pool = subprocess.Popen(argv, env=place.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            first = subprocess.run(
                place.queuectl("enqueue", "--", "/bin/true"), env=place.env, capture_output=True, text=True, check=True
            ).stdout.strip()
            done = subprocess.run(place.queuectl("wait", first, "--timeout", "30"), env=place.env, check=False)
            if done.returncode != 0:
                raise SystemExit((place.path / "worker.log").read_text(errors="replace"))
            yield place, pool
        finally:
            pool.terminate()
            try:
                pool.wait(30)
            except subprocess.TimeoutExpired:
                pool.kill()
                pool.wait()
            log.close()
