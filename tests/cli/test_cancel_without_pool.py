"""``cancel`` where nobody is there to end the job: it is marked, that is said, and the next pool does it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from commandline import Cli


def test_without_a_pool_the_job_is_marked_and_the_next_pool_ends_it(cli: Cli, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    cli.ok("enqueue", "--id", "j", "-c", f"touch {flag}; sleep 300")
    pool = cli.popen("worker", "start", "--count", "1", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not flag.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    pool.kill()
    pool.wait()

    done = cli("cancel", "j")
    assert done.code == 0
    assert "marked to be cancelled" in done.err
    assert "no pool is alive" in done.err
    assert cli("show", "j", "--json").json["cancel"] is True

    for worker in cli("status", "--json").json["workers"]:
        os.kill(worker["pid"], signal.SIGTERM)
    assert cli("worker", "start", "--count", "1", "--until-empty").code == 0
    assert cli("show", "j", "--json").json["state"] == "cancelled"
