"""``doctor`` finds what was broken on purpose, names it, and says what to do."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from commandline import Cli
from driver import Driver


def checks(cli: Cli, *where: str, code: int = 0) -> dict[str, dict[str, Any]]:
    """The worst finding of each check."""
    done = cli(*where, "doctor", "--json")
    assert done.code == code, done
    order = ("ok", "warning", "error")
    worst: dict[str, dict[str, Any]] = {}
    for check in sorted(done.json["checks"], key=lambda check: order.index(check["level"])):
        worst[check["id"]] = check
        assert check["level"] == "ok" or check["advice"], check
    assert done.json["ok"] == (code == 0)
    return worst


def test_a_healthy_storage_has_nothing_but_ok(cli: Cli) -> None:
    found = checks(cli)
    assert {check["level"] for check in found.values()} == {"ok"}
    assert set(found) == {
        "config", "plugins", "sqlite-version", "file-system", "locks", "integrity", "counts", "claims", "records",
        "workers", "queues", "outbox", "space", "clock",
    }  # fmt: skip
    assert len(cli.ok("doctor").splitlines()) == len(found)


def test_a_configuration_that_cannot_be_used(cli: Cli) -> None:
    config = cli.home / "q.toml"
    config.write_text('[queuectl]\nstorage = "sqlite"\nbackof = "fixed"\n')
    assert "backof" in checks(cli, "--config", str(config), code=1)["config"]["text"]
    config.write_text('[queuectl]\nbackoff = "nowhere"\n')
    assert checks(cli, "--config", str(config), code=1)["config"]["level"] == "error"


def test_a_database_that_is_none(cli: Cli, tmp_path: Path) -> None:
    db = tmp_path / "q.db"
    db.write_bytes(b"not a database, but long enough to be looked at as if it were one" * 20)
    assert "not a database" in checks(cli, "--db", str(db), code=1)["storage"]["text"]


def test_a_database_that_is_damaged(cli: Cli, tmp_path: Path) -> None:
    db = tmp_path / "q.db"
    cli.ok("--db", str(db), "enqueue", "-", stdin="true\n" * 3000)
    with db.open("r+b") as file:
        for page in range(10, 30):
            file.seek(page * 4096)
            file.write(os.urandom(2000))
    found = checks(cli, "--db", str(db), code=1)
    assert "error" in {check["level"] for check in found.values()}
    assert "damaged" in " ".join(check["text"] for check in found.values())


def test_a_lock_that_is_held(cli: Cli, tmp_path: Path) -> None:
    db = tmp_path / "q.db"
    cli.ok("--db", str(db), "enqueue", "--", "true")
    with open(f"{db}.lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = checks(cli, "--db", str(db), code=1)["locks"]
    assert f"process {os.getpid()}" in found["text"]


def test_a_clock_that_was_set_back(cli: Cli) -> None:
    code = "from queuectl import Queue; from queuectl.api.model import NewJob; import time; "
    code += "Queue.open().app.storage.enqueue([NewJob('x')], now=time.time_ns() // 1_000_000 + 3_600_000)"
    subprocess.run([cli.argv[0], "-c", code], env=cli.env, cwd=cli.home, check=True)
    assert "in the future" in checks(cli)["clock"]["text"]


def test_what_waits_for_somebody(cli: Cli) -> None:
    cli.ok("enqueue", "-", stdin="true\ntrue\n")
    assert "2 jobs are due" in checks(cli)["workers"]["text"]
    cli.ok("queue", "pause", "default", "--reason", "new disk")
    found = checks(cli)
    assert "new disk" in found["queues"]["text"]
    assert found["workers"]["level"] == "ok"


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("mount"), reason="only root can mount")
def test_a_disk_that_is_nearly_full_and_forgets(cli: Cli, tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "none", place], check=False, capture_output=True)
    if made.returncode:
        pytest.skip("this root may not mount")
    try:
        found = checks(cli, "--db", str(place / "q.db"), code=1)
        assert "MiB left" in found["space"]["text"]
        assert "in memory" in found["file-system"]["text"]
    finally:
        subprocess.run(["umount", place], check=True)


def test_claims_and_records_of_a_pool_that_was_killed(driver: Driver) -> None:
    """A worker that outlives it is named; the next pool takes over, and nothing is left to say."""
    id = driver.enqueue("sleep 60")
    pool = driver.start("--count", "1")
    worker = driver.worker_of(id)
    assert {c["id"]: c["level"] for c in driver.json("doctor")["checks"]}["claims"] == "ok"
    pool.signal(signal.SIGKILL)
    pool.end()
    found = {check["id"]: check for check in driver.json("doctor")["checks"] if check["level"] != "ok"}
    assert "1 job is held" in found["claims"]["text"]
    assert "worker start" in found["claims"]["advice"]
    records = " ".join(check["text"] for check in driver.json("doctor")["checks"] if check["id"] == "records")
    assert f"process {worker['pid']}" in records
    os.kill(worker["pid"], signal.SIGKILL)
    driver.start("--count", "1")
    driver.run("cancel", id)
    levels = {check["id"]: check["level"] for check in driver.json("doctor")["checks"]}
    assert levels["claims"] == levels["records"] == "ok"
