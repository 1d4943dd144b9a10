"""When a pool ends: told to by signal or command, out of work, or after so many jobs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from driver import Driver, until


def test_the_first_signal_lets_running_jobs_end_and_starts_no_other(driver: Driver) -> None:
    running = driver.enqueue("sleep 0.7; echo done")
    waiting = driver.enqueue("true")
    pool = driver.start("--count", "1")
    driver.worker_of(running)
    pool.signal(signal.SIGTERM)
    assert pool.end() == 0
    assert [driver.job(id)["state"] for id in (running, waiting)] == ["completed", "pending"]


def test_the_second_signal_ends_running_jobs_politely_and_they_keep_their_tries(driver: Driver) -> None:
    id = driver.enqueue("trap 'echo polite; exit 0' TERM; echo up; while :; do sleep 0.05; done")
    pool = driver.start("--count", "1")
    driver.worker_of(id)
    until(lambda: driver.run("logs", id).stdout == "up\n", "the job has set its trap")
    pool.signal(signal.SIGINT)
    pool.await_line("stopping")
    pool.signal(signal.SIGINT)
    assert pool.end() == 0
    job = driver.job(id)
    assert (job["state"], job["attempts"], job["tries"], job["reason"]) == ("pending", 1, 0, "interrupted")
    assert driver.run("logs", id).stdout.startswith("up\npolite\n")


def test_the_third_signal_leaves_at_once_and_the_next_pool_settles(driver: Driver) -> None:
    id = driver.enqueue("trap '' TERM; sleep 1; sleep 1; echo whole", grace=60)
    pool = driver.start("--count", "1")
    driver.worker_of(id)
    pool.signal(signal.SIGTERM)
    pool.await_line("stopping")
    pool.signal(signal.SIGTERM)
    time.sleep(0.05)  # signals of one kind do not queue
    pool.signal(signal.SIGTERM)
    assert pool.end(deadline=1) == 0
    assert driver.job(id)["state"] == "processing"
    assert driver.start("--count", "1", "--until-empty").end() == 0
    assert driver.job(id)["attempts"] >= 1


def test_worker_stop_waits_until_the_pools_are_gone(driver: Driver) -> None:
    id = driver.enqueue("sleep 0.5")
    pools = [driver.start("--count", "1") for _ in range(2)]
    driver.worker_of(id)
    assert driver.run("worker", "stop").stderr == "stopped 2 pools\n"
    assert [pool.popen.poll() is not None or pool.end(1) == 0 for pool in pools] == [True, True]
    assert driver.job(id)["state"] == "completed"
    assert driver.run("worker", "stop").stderr == "no pool is running\n"
    assert driver.workers() == []


def test_worker_stop_gives_up_after_its_timeout(driver: Driver) -> None:
    id = driver.enqueue("sleep 30")
    driver.start("--count", "1")
    driver.worker_of(id)
    done = driver.run("worker", "stop", "--timeout", "0.2", code=124)
    assert "still runs after 0.2 s" in done.stderr


def test_worker_stop_kill_waits_for_no_grace(driver: Driver) -> None:
    id = driver.enqueue("trap '' TERM; while :; do sleep 1; done", grace=60)
    pool = driver.start("--count", "1")
    driver.worker_of(id)
    driver.run("worker", "stop", "--kill", "--timeout", "5")
    assert pool.end() == 0
    assert driver.job(id)["state"] == "pending"


def test_the_drain_limit_ends_what_still_runs(driver: Driver) -> None:
    id = driver.enqueue("sleep 60")
    pool = driver.start("--count", "1", "--drain", "0.3")
    driver.worker_of(id)
    pool.signal(signal.SIGTERM)
    assert pool.end(deadline=10) == 0
    assert driver.job(id)["reason"] == "interrupted"


def test_a_hangup_stops_unless_it_was_ignored_at_the_start(driver: Driver) -> None:
    pool = driver.start("--count", "1")
    pool.signal(signal.SIGHUP)
    assert pool.end() == 0
    deaf = driver.start("--count", "1", prefix=("nohup",))
    deaf.signal(signal.SIGHUP)
    id = driver.enqueue("true")
    driver.await_state(id, "completed")


def test_a_worker_told_to_end_interrupts_its_job(driver: Driver) -> None:
    id = driver.enqueue('[ "$QUEUECTL_ATTEMPT" = 2 ] || sleep 60')
    pool = driver.start("--count", "1", "--until-empty")
    os.kill(driver.worker_of(id)["pid"], signal.SIGTERM)
    assert pool.end() == 0
    job = driver.job(id)
    assert [attempt["ended"] for attempt in job["attempt_history"]] == ["interrupted", "exited"]


def test_a_job_that_is_cancelled_before_its_worker_has_read_of_it_is_ended(driver: Driver) -> None:
    """The worker is stopped, so that job and stop arrive together."""
    driver.start("--count", "1")
    (worker,) = until(driver.workers, "a worker is up")
    os.kill(worker["pid"], signal.SIGSTOP)
    id = driver.enqueue("sleep 60")
    until(lambda: driver.job(id)["state"] == "processing", "it is claimed")
    cancel = subprocess.Popen(driver.words("cancel", id), env=driver.env, stderr=subprocess.DEVNULL)
    until(lambda: driver.job(id).get("cancel"), "it is to be cancelled")
    os.kill(worker["pid"], signal.SIGCONT)
    assert cancel.wait(10) == 0
    assert driver.job(id)["state"] == "cancelled"


# --- Out of work ---------------------------------------------------------------------------------


def test_until_empty_waits_for_retries(driver: Driver) -> None:
    id = driver.enqueue('[ "$QUEUECTL_TRY" = 2 ]', backoff="fixed", backoff_options={"delay": 0.5})
    assert driver.start("--until-empty").end() == 0
    assert driver.job(id)["state"] == "completed"


def test_until_empty_waits_for_a_job_that_another_pool_has_lost(driver: Driver) -> None:
    id = driver.enqueue('[ "$QUEUECTL_ATTEMPT" = 2 ] || kill -9 $PPID; true')
    driver.start("--count", "1", "--max-jobs", "1").end()
    assert driver.job(id)["attempts"] == 1
    assert driver.start("--until-empty").end() == 0
    assert driver.job(id)["state"] == "completed"


def test_until_empty_tells_by_its_exit_status_that_a_job_ended_dead(driver: Driver) -> None:
    driver.enqueue("false", max_retries=0)
    assert driver.start("--until-empty").end() == 1


def test_until_empty_is_not_held_by_scheduled_jobs_and_paused_queues(driver: Driver) -> None:
    driver.enqueue("true", delay="1h")
    driver.enqueue("true", queue="held")
    driver.run("queue", "pause", "held")
    assert driver.start("--until-empty").end() == 0
    assert driver.json("status")["counts"]["pending"] == 2


def test_until_empty_minds_only_the_queues_it_serves(driver: Driver) -> None:
    mine, other = driver.enqueue("true", queue="a"), driver.enqueue("true", queue="b")
    assert driver.start("--until-empty", "--queues", "a").end() == 0
    assert [driver.job(id)["state"] for id in (mine, other)] == ["completed", "pending"]


def test_max_jobs_is_never_exceeded(driver: Driver) -> None:
    driver.run("enqueue", "-", input="true\n" * 10)
    assert driver.start("--count", "4", "--max-jobs", "5").end() == 0
    assert driver.json("status")["counts"]["completed"] == 5


def test_a_ceiling_of_the_pool_holds(driver: Driver) -> None:
    note = f"echo + >> {driver.folder}/seen; sleep 0.2; echo - >> {driver.folder}/seen"
    for _ in range(4):
        driver.enqueue(note, queue="video")
    assert driver.start("--count", "4", "--until-empty", "--queues", "video:1").end() == 0
    assert (driver.folder / "seen").read_text().split() == ["+", "-"] * 4


def test_a_limit_of_the_queue_holds_across_pools(driver: Driver) -> None:
    driver.run("queue", "set", "video", "--concurrency", "1")
    note = f"echo + >> {driver.folder}/seen; sleep 0.1; echo - >> {driver.folder}/seen"
    for _ in range(6):
        driver.enqueue(note, queue="video")
    pools = [driver.start("--count", "2", "--until-empty") for _ in range(2)]
    assert [pool.end() for pool in pools] == [0, 0]
    assert (driver.folder / "seen").read_text().split() == ["+", "-"] * 6


def test_a_job_scheduled_for_later_starts_then(driver: Driver) -> None:
    driver.start("--count", "1")
    before = time.time()
    id = driver.enqueue(f"date +%s.%N > {driver.folder}/started", delay=1.5)
    driver.await_state(id, "completed")
    waited = float((driver.folder / "started").read_text()) - before
    assert 1.5 <= waited < 3


def test_high_priority_runs_first(driver: Driver) -> None:
    for priority in (0, 5, -5, 9):
        driver.enqueue(f"echo {priority} >> {driver.folder}/order", priority=priority)
    assert driver.start("--count", "1", "--until-empty").end() == 0
    assert (driver.folder / "order").read_text().split() == ["9", "5", "0", "-5"]


# --- In the background ---------------------------------------------------------------------------


def test_detach_returns_when_the_pool_is_up(driver: Driver) -> None:
    done = driver.run("worker", "start", "--detach", "--count", "1")
    pid = int(done.stdout)
    try:
        assert len(driver.workers()) <= 1
        driver.await_state(driver.enqueue("true"), "completed")
        driver.run("worker", "stop", "--timeout", "10")
        until(lambda: not Path(f"/proc/{pid}").exists() or state_of(pid) == "Z", "it is gone")
    finally:
        if Path(f"/proc/{pid}").exists() and state_of(pid) != "Z":
            os.kill(pid, signal.SIGKILL)


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--count", "0"), "0 is not in the range 1<=x<=1000"),
        (("--count", "many"), "'many' is not a whole number"),
        (("--queues", "a,,b"), "a name is empty"),
        (("--queues", "a:0"), "'0' is not a number from 1 to 1000"),
        (("--max-jobs", "-1"), "-1 is not in the range x>=1"),
        (("--drain", "soon"), "soon"),
        (("now",), "unexpected extra argument"),
    ],
)
def test_a_wrong_word_is_one_sentence(driver: Driver, words: tuple[str, ...], sentence: str) -> None:
    done = driver.run("worker", "start", *words, code=2)
    assert sentence in done.stderr and done.stderr.count("\n") == 1
