"""A pool to measure: started, proved to work, and ended however the measurement goes; a backlog for one to drain; and
what its processes cost.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness import Scratch, must, scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

TICKS = os.sysconf("SC_CLK_TCK")


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
            await_job(place, first)
            yield place, pool
        finally:
            pool.terminate()
            try:
                pool.wait(2)
            except subprocess.TimeoutExpired:
                pool.terminate()  # jobs still run: end them
            try:
                pool.wait(30)
            except subprocess.TimeoutExpired:
                pool.kill()
                pool.wait()
            log.close()


def await_job(place: Scratch, id: str, seconds: int = 60) -> None:
    """Until a job has completed; SystemExit with the pool's log if it does not."""
    argv = place.queuectl("wait", id, "--timeout", str(seconds))
    if subprocess.run(argv, env=place.env, check=False).returncode != 0:
        raise SystemExit((place.path / "worker.log").read_text(errors="replace") or f"job {id} did not complete")


def drained(place: Scratch, jobs: int, *, workers: int = 2, command: str = "/bin/true", config: str = "") -> float:
    """Seconds that *workers* need for *jobs* jobs, from the first start to the last end; SystemExit if some failed.

    *config* is what the configuration file says; with none there is no file.
    """
    if config:
        path = place.path / "bench.toml"
        path.write_text(config, encoding="utf-8")
        place.env["QUEUECTL_CONFIG"] = str(path)
    lines = place.path / "jobs"
    lines.write_text(f"{command}\n" * jobs, encoding="utf-8")
    must(place.queuectl("enqueue", "--file", str(lines)), env=place.env)
    argv = place.queuectl("worker", "start", "--count", str(workers), "--until-empty")
    with (place.path / "worker.log").open("wb") as log:
        done = subprocess.run(argv, env=place.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)
    if done.returncode != 0:
        said = (place.path / "worker.log").read_text(errors="replace")
        raise SystemExit(said or f"the pool ended with {done.returncode}")
    return _span(place, jobs)


def _span(place: Scratch, jobs: int) -> float:
    """From the first start to the last end, as the list tells. A figure for work not done would be worth nothing."""
    argv = place.queuectl("list", "--limit", str(jobs), "--json")
    shown = subprocess.run(argv, env=place.env, capture_output=True, check=True)
    rows = [row for row in json.loads(shown.stdout) if row["state"] == "completed"]
    if len(rows) != jobs:
        raise SystemExit(f"{len(rows)} of {jobs} jobs completed; the time means nothing")
    ends = [(datetime.fromisoformat(row["ended_at"]).timestamp(), row["duration_sec"]) for row in rows]
    return float(max(end for end, _ in ends) - min(end - duration for end, duration in ends))


def tree(pid: int) -> list[int]:
    """A process and everything below it."""
    found = [pid]
    for each in found:
        try:
            text = Path(f"/proc/{each}/task/{each}/children").read_text()
        except OSError:
            continue
        found += [int(word) for word in text.split()]
    return found


def cpu_seconds(pids: list[int], *, waited: bool = True) -> float:
    """User and system time so far of these processes, with that of the children they have waited for."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(int(field) for field in fields[11 : 15 if waited else 13])
    return total / TICKS


def pss_mib(pids: list[int]) -> float:
    """Memory with shared pages split among those who share them."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024
