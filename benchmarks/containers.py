"""What a job in a container costs beside ``docker run`` of the same image, one after the other on one engine.

The engine is that of the plugin's tests: a containerd and a dockerd of our own, which only root can start. Both sides
get the same rights, mounts and command (``true``). A job adds the queue, an attached stream and the removal of its
container when its result is stored; ``docker run`` adds a client process each time.
"""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT, Report, interleave, must, parser, ratio, scratch
from benchmarks.pools import drained

JOBS = 20


def job(engine: Any, jobs: int) -> float:
    """Seconds a job: one worker, from the first start to the last end."""
    with scratch() as place:
        lines = [f"{name} = {json.dumps(value)}" for name, value in engine.options().items()]
        config = "\n".join(['[queuectl]\nexecutor = "docker"\n[executor.docker]', *lines, ""])
        return drained(place, jobs, workers=1, command="true", config=config) / jobs


def docker_run(engine: Any, jobs: int) -> float:
    """Seconds a ``docker run``, with what our containers are given."""
    given = engine.options()
    words = ["docker", "--host", engine.host, "run", "--rm", "--network", "none", "--init", "--read-only"]
    words += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", "65534:65534", "--tmpfs", "/tmp"]
    words += ["--memory", "512m", "--memory-swap", "512m", "--pids-limit", "256"]
    words += [word for mount in given["mounts"] for word in ("--volume", mount)]
    with scratch() as place:
        return sum(must([*words, given["image"], "true"], env=place.env).wall for _ in range(jobs)) / jobs


def main() -> int:
    """Print the seconds of each and the median of the per-round ratios."""
    options = parser("A job in a container beside docker run.", rounds=5).parse_args()
    report = Report("containers", f"{JOBS} × true in a container, one worker", options)
    sys.path += [str(ROOT / "plugins/queuectl-docker/tests"), str(ROOT / "tests")]
    try:
        found = importlib.import_module("dockerd").find_engine(Path(tempfile.mkdtemp(prefix="queuectl-bench-")))
    except ImportError as error:
        found = f"it needs {error.name}"
    if not isinstance(found, str) and shutil.which("docker") is None:
        found = "there is no docker command"
    if isinstance(found, str):
        report.missing("containers", found)
        return report.finish()
    try:
        found.start()
        found.load_image()
        jobs, rounds = (3, 1) if options.quick else (JOBS, options.rounds)
        cases = {"a job": partial(job, found, jobs), "docker run": partial(docker_run, found, jobs)}
        times = interleave(cases, rounds=rounds, report=report)
        for name in cases:
            report.add(f"{name}: seconds", sorted(times[name])[len(times[name]) // 2], "s")
        report.add("a job / docker run", ratio(times, "a job", "docker run"), "×", at_most=1.15)
    finally:
        found.close()
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
