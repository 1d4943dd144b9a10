"""While jobs are short a pool claims ahead and has more workers than places; nobody but a clock may notice."""

from __future__ import annotations

from driver import Driver, until

from queuectl.core.rundir import list_workers


def overlap(lines: list[str]) -> int:
    """The most jobs that ran at once, from a journal of ``+`` and ``-`` lines, each written in one step."""
    running = most = 0
    for line in lines:
        running += 1 if line == "+" else -1
        most = max(most, running)
    return most


def enqueue_lines(driver: Driver, lines: list[str]) -> None:
    driver.run("enqueue", "-", input="\n".join(lines) + "\n")


def test_no_more_jobs_run_at_once_than_were_asked_for(driver: Driver) -> None:
    journal = driver.folder / "journal"
    enqueue_lines(driver, [f"echo + >> {journal}; sleep 0.003; echo - >> {journal}"] * 300)
    assert driver.start("--count", "2", "--until-empty").end() == 0
    lines = journal.read_text().split()
    assert len(lines) == 600
    assert overlap(lines) == 2


def test_more_workers_than_places_come_with_short_jobs_and_go_after_them(driver: Driver) -> None:
    pool = driver.start("--count", "2")
    enqueue_lines(driver, ["/bin/true"] * 2000)
    until(lambda: len(driver.workers()) > 2, "workers beyond the places")
    until(lambda: driver.json("status", "--json")["counts"]["completed"] == 2000, "all jobs")
    until(lambda: len(driver.workers()) == 2, "two workers again")
    assert driver.json("worker", "list", "--json")
    pool.signal(15)
    assert pool.end() == 0


def test_after_a_burst_no_worker_holds_what_is_stored(driver: Driver) -> None:
    """While jobs are short a worker learns from its next job what is stored; the last ones have no next job."""
    pool = driver.start("--count", "2")
    enqueue_lines(driver, ["echo hello"] * 100)
    until(lambda: driver.json("status", "--json")["counts"]["completed"] == 100, "all jobs")
    until(lambda: all(worker.job is None for worker in list_workers(str(driver.run_dir))), "workers that hold nothing")
    outputs = [path for suffix in ("out", "err") for path in driver.run_dir.glob(f"*.{suffix}")]
    until(lambda: not any(path.exists() and path.stat().st_size for path in outputs), "output files emptied")
    pool.signal(15)
    assert pool.end() == 0


def test_what_was_claimed_ahead_of_long_jobs_is_given_back_untouched(driver: Driver) -> None:
    """The short jobs make a pace; then the only place is taken for long, and others may have what waits."""
    gate, journal = driver.folder / "gate", driver.folder / "journal"
    long = f"until [ -e {gate} ]; do sleep 0.02; done; echo $QUEUECTL_JOB_ID >> {journal}"
    enqueue_lines(driver, ["/bin/true"] * 200 + [long] * 5)
    pool = driver.start("--count", "1", "--until-empty")
    until(lambda: driver.json("status", "--json")["counts"]["completed"] == 200, "the short jobs")
    until(lambda: driver.json("status", "--json")["counts"]["pending"] == 4, "four of the long ones given back")
    waiting = driver.json("list", "--state", "pending", "--json")
    assert [(job["attempts"], job["state"]) for job in waiting] == [(0, "pending")] * 4
    assert sorted(int(job["id"]) for job in waiting) == [202, 203, 204, 205]
    gate.touch()
    assert pool.end() == 0
    assert driver.json("status", "--json")["counts"]["completed"] == 205
    assert driver.job("203")["attempts"] == 1
    assert journal.read_text().split() == ["201", "202", "203", "204", "205"], "their place in line was kept"
