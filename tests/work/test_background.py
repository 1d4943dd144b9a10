"""A pool under a supervisor, or in the background with a log of its own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from driver import Driver, until

from queuectl.core.rundir import list_pools
from queuectl.work.logfile import LogFile

UNIT = Path(__file__).resolve().parents[2] / "examples" / "systemd" / "queuectl.service"


@pytest.fixture
def detached(driver: Driver) -> Iterator[Driver]:
    """A driver whose pools in the background are ended with it."""
    yield driver
    for pool in list_pools(str(driver.run_dir)):
        if pool.alive:
            os.kill(pool.pid, signal.SIGKILL)


def log_of(driver: Driver) -> Path:
    return Path(f"{driver.db}.d") / "worker.log"


def olders(driver: Driver) -> list[Path]:
    return sorted(log_of(driver).parent.glob("worker.log.[0-9]*"), key=lambda path: -int(path.suffix[1:]))


# --- The log -------------------------------------------------------------------------------------


def test_the_log_stays_within_its_bounds_and_loses_no_line(detached: Driver) -> None:
    detached.env.update(QUEUECTL_WORKER__LOG_LIMIT="4096", QUEUECTL_WORKER__LOG_KEEP="90")
    detached.run("worker", "start", "--detach", "--count", "2", "--verbose")
    ids: list[str] = []
    while len(olders(detached)) < 3:
        ids += detached.run("enqueue", "-", input="true\n" * 50).stdout.split()
        detached.run("wait", *ids[-50:])
    detached.run("worker", "stop")
    text = "".join(path.read_text() for path in [*olders(detached), log_of(detached)])
    told = re.findall(r"job (\d+) attempt 1 completed", text)
    assert sorted(told, key=int) == sorted(ids, key=int)
    for path in [*olders(detached), log_of(detached)]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", line) for line in text.splitlines())


def test_no_more_older_logs_are_kept_than_asked_for(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / "worker.log"), 10, 2)
    for number in range(5):
        descriptor = log.open()
        os.write(descriptor, f"{number} {'x' * 20}\n".encode())
        os.close(descriptor)
    assert {path.name: path.read_text()[0] for path in tmp_path.iterdir()} == {
        "worker.log": "4",
        "worker.log.1": "3",
        "worker.log.2": "2",
    }


def test_who_appends_goes_on_in_the_log_that_was_begun_anew(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / "worker.log"), 10, 1)
    descriptor = log.open()
    os.write(descriptor, b"before the turn\n")
    assert log.turn() and not log.turn()
    os.write(descriptor, b"after\n")
    os.close(descriptor)
    assert Path(log.path).read_text() == "after\n"
    assert Path(f"{log.path}.1").read_text() == "before the turn\n"


def test_a_log_that_others_could_read_becomes_private_and_a_link_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    path.touch(0o644)
    os.close(LogFile(str(path), 10, 1).open())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        LogFile(str(path), 10, 1).open()


def test_a_log_that_cannot_be_opened_is_one_sentence(driver: Driver) -> None:
    driver.run("status")
    log_of(driver).symlink_to("elsewhere")
    said = driver.run("worker", "start", "--detach", code=70).stderr
    assert "cannot open the log" in said and said.count("\n") == 1


# --- systemd -------------------------------------------------------------------------------------


class Supervisor:
    """Listens where systemd would."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(20)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def hears(self) -> dict[str, str]:
        text = self._socket.recv(4096).decode()
        return dict(line.split("=", 1) for line in text.splitlines())

    def close(self) -> None:
        self._socket.close()


@pytest.mark.parametrize("kind", ["in the file system", "abstract"])
def test_a_supervisor_hears_when_the_pool_is_up_reloads_and_stops(driver: Driver, kind: str) -> None:
    address = f"@queuectl-test-{os.getpid()}" if kind == "abstract" else str(driver.folder / "notify")
    supervisor = Supervisor(address)
    driver.env["NOTIFY_SOCKET"] = address
    try:
        pool = driver.start("--count", "1")
        assert supervisor.hears() == {"READY": "1"}
        pool.signal(signal.SIGUSR2)
        said = supervisor.hears()
        assert said["RELOADING"] == "1" and int(said["MONOTONIC_USEC"]) > 0
        assert supervisor.hears() == {"READY": "1"}
        pool.signal(signal.SIGTERM)
        assert supervisor.hears() == {"STOPPING": "1"}
        assert pool.end() == 0
    finally:
        supervisor.close()


def test_a_supervisor_that_is_gone_is_no_concern(driver: Driver) -> None:
    driver.env["NOTIFY_SOCKET"] = str(driver.folder / "nobody")
    driver.enqueue("true")
    assert driver.start("--until-empty").end() == 0


def test_jobs_do_not_hear_what_the_supervisor_said_to_the_pool(driver: Driver) -> None:
    driver.env.update(NOTIFY_SOCKET=str(driver.folder / "nobody"), WATCHDOG_USEC="1000", WATCHDOG_PID="1")
    id = driver.enqueue("env | grep -E 'NOTIFY|WATCHDOG' || echo nothing")
    assert driver.start("--until-empty").end() == 0
    assert driver.run("logs", id).stdout == "nothing\n"


def test_a_worker_stop_from_a_terminal_is_also_told(driver: Driver) -> None:
    supervisor = Supervisor(str(driver.folder / "notify"))
    driver.env["NOTIFY_SOCKET"] = str(driver.folder / "notify")
    driver.start("--count", "1")
    assert supervisor.hears() == {"READY": "1"}
    driver.run("worker", "stop")
    until(lambda: supervisor.hears() == {"STOPPING": "1"}, "it says so")
    supervisor.close()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_the_unit_that_we_give_is_one(tmp_path: Path) -> None:
    text = UNIT.read_text()
    unit = tmp_path / "queuectl.service"
    unit.write_text(text.replace("/usr/local/bin/queuectl", sys.executable).replace("User=queuectl", "User=root"))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if unit.name in line]) == (0, [])


def test_the_unit_keeps_jobs_over_a_crash_and_a_reload() -> None:
    settings = dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if "=" in line and line[0] != "#")
    assert settings["KillMode"] == "process"
    assert settings["ExecReload"].split() == ["/bin/kill", "-USR2", "$MAINPID"]
    assert (settings["Type"], settings["Restart"], settings["Delegate"]) == ("notify", "always", "yes")
