"""Jobs that say too much, at any speed, or do what they like with their own log: caps hold and memory stays flat."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from driver import Driver, until
from targets import report, target

MIB = 1 << 20


def peak_of(pid: int) -> int:
    """The most memory that a process ever had, in bytes."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10


@pytest.mark.timeout(300)
def test_a_flood_of_lines_is_capped_and_costs_the_worker_no_memory(driver: Driver) -> None:
    """A line is ten bytes; a pipeline of yes and head writes several million of them a second."""
    lines = target(6_000_000, 110_000_000)
    with report("output: lines as fast as they come", lines) as figure:
        pool = driver.start("--count", "1")
        driver.await_state(driver.enqueue(f"yes 12345678 | head -n {50 * MIB // 9}"), "completed")
        (worker,) = driver.workers()
        before = peak_of(worker["pid"]), peak_of(pool.pid)
        id = driver.enqueue(f"echo first; yes 123456789 | head -n {lines}; echo last >&2; echo last")
        file = driver.run_dir / f"{worker['id']}.out"
        on_disk = 0

        def ended() -> bool:
            nonlocal on_disk
            try:
                on_disk = max(on_disk, 512 * os.stat(file).st_blocks)
            except FileNotFoundError:
                pass  # given away: the next one is about to be there
            return driver.job(id)["state"] == "completed"

        until(ended, "it is done", deadline=240)
        (attempt,) = driver.job(id)["attempt_history"]
        assert attempt["stdout_bytes"] == 10 * lines + len("first\nlast\n")
        said = driver.run("logs", id, "--stdout").stdout
        assert said.startswith("first\n123456789\n") and said.endswith("123456789\nlast\n")
        assert len(said) < 2 * MIB + 200
        assert driver.run("logs", id, "--stderr").stdout == "last\n"
        assert [w["pid"] for w in driver.workers()] == [worker["pid"]]
        grown = [now - then for now, then in zip((peak_of(worker["pid"]), peak_of(pool.pid)), before, strict=True)]
        assert max(grown) < 4 * MIB, f"worker and pool have grown by {grown} bytes"
        figure.held = lines
        figure.more = {"bytes": attempt["stdout_bytes"], "peak_on_disk_mib": on_disk >> 20, "grown": grown}


def test_one_endless_line_is_capped_like_any_other_output(driver: Driver) -> None:
    mib = target(40, 1000)
    size = mib * MIB
    with report("output: MiB of one binary line", mib) as figure:
        id = driver.enqueue(f"head -c {size} /dev/urandom | tr '\\n' x")
        assert driver.start("--count", "1", "--until-empty").end(240) == 0
        assert driver.job(id)["attempt_history"][0]["stdout_bytes"] == size
        with (driver.folder / "raw").open("wb") as raw:
            subprocess.run(driver.words("logs", id, "--stdout"), env=driver.env, stdout=raw, check=True)
        kept = (driver.folder / "raw").read_bytes()
        assert kept.count(b"\n") == 2 and b"bytes are not kept here]" in kept
        assert len(kept) < 2 * MIB + 200
        figure.held = mib


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("echo before; : > /proc/self/fd/1; echo after", "after\n"),
        ("echo before; truncate -s 0 /proc/$$/fd/1; echo after", "after\n"),
        ("echo before; echo again > /dev/stdout; echo after", "again\nafter\n"),
        ("echo before; ln $(readlink /proc/$$/fd/1) linked; echo after", "before\nafter\n"),
        ("echo before; ln -sf /dev/null $(readlink /proc/$$/fd/1); echo after", "before\nafter\n"),
        ("echo before; truncate -s 3 /proc/$$/fd/1; echo after", "befafter\n"),
        (
            "echo before; mv $(readlink /proc/$$/fd/1) moved; echo after",
            "before\nafter\n",
        ),
    ],
)
def test_a_job_may_do_what_it_likes_with_its_own_log(driver: Driver, what: str, said: str) -> None:
    id, following = driver.enqueue(what), driver.enqueue("echo fine")
    assert driver.start("--count", "1", "--until-empty").end() == 0
    assert driver.run("logs", id, "--stdout").stdout == said
    assert driver.run("logs", following).stdout == "fine\n"


def test_a_log_that_is_made_to_look_huge_is_capped(driver: Driver) -> None:
    id, following = driver.enqueue("echo first; truncate -s 4T /proc/$$/fd/1; echo last"), driver.enqueue("echo fine")
    assert driver.start("--count", "1", "--until-empty").end() == 0
    said = driver.run("logs", id, "--stdout").stdout
    assert said.startswith("first\n") and said.endswith("last\n") and len(said) < 2 * MIB + 200
    assert driver.run("logs", following).stdout == "fine\n"


def test_who_keeps_writing_into_a_log_does_not_reach_later_ones(driver: Driver) -> None:
    """What a job starts is ended with it; but somebody else may have its log open, and go on writing."""
    rounds = target(20, 200)
    with report("output: jobs whose log a stranger writes into", rounds) as figure:
        fifo = driver.folder / "fifo"
        os.mkfifo(fifo)
        driver.start("--count", "1")
        first = driver.enqueue(f"echo first; echo /proc/$$/fd/1 > {fifo}; read _ < {fifo}")
        with fifo.open() as pipe:
            path = pipe.read().strip()
        with open(path, "a") as log:
            stranger = subprocess.Popen(["sh", "-c", "while :; do echo INTRUDER; sleep 0.001; done"], stdout=log)
        try:
            fifo.write_text("go\n")
            driver.await_state(first, "completed")
            ids = driver.run("enqueue", "-", input="echo mine\n" * rounds).stdout.split()
            driver.await_state(ids[-1], "completed", deadline=120)
            assert stranger.poll() is None
        finally:
            stranger.kill()
            stranger.wait()
        for id in ids:
            assert driver.run("logs", id).stdout == "mine\n"
            figure.held += 1
        assert driver.run("logs", first).stdout.startswith("first\n")
