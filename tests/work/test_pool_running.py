"""What a job finds when it runs, and what is kept of what it says."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from driver import Driver, until


def result(driver: Driver, command: str, **more: object) -> str:
    """What a shell line prints, run as a job."""
    id = driver.enqueue(command, **more)
    driver.start("--count", "1", "--until-empty").end()
    return driver.run("logs", id, "--stdout").stdout


def test_a_job_has_no_descriptor_but_its_three(driver: Driver) -> None:
    assert result(driver, "ls /proc/self/fd | grep -v '^[012]$' | wc -l").strip() == "1"  # that of the listing itself


def test_standard_input_is_empty(driver: Driver) -> None:
    assert result(driver, "cat; readlink /proc/self/fd/0") == "/dev/null\n"


def test_signals_are_as_a_shell_expects_them(driver: Driver) -> None:
    blocked, ignored = result(driver, "grep -E '^Sig(Blk|Ign)' /proc/self/status | cut -f2").split()
    internal = 0b11 << 31  # 32 and 33 belong to the C library; nobody can set them
    assert (int(blocked, 16), int(ignored, 16) & ~internal) == (0, 0)


def test_a_pipe_that_nobody_reads_ends_its_writer_silently(driver: Driver) -> None:
    id = driver.enqueue("yes | head -1")
    driver.start("--until-empty").end()
    assert driver.run("logs", id).stdout == "y\n"


def test_a_job_runs_where_it_was_enqueued(driver: Driver) -> None:
    assert result(driver, "pwd; echo $PWD") == f"{driver.folder}\n{driver.folder}\n"


def test_a_directory_that_is_not_there_is_a_clear_failure(driver: Driver) -> None:
    gone = driver.folder / "gone"
    gone.mkdir()
    id = driver.enqueue("true", cwd=str(gone), max_retries=0)
    gone.rmdir()
    assert driver.start("--until-empty").end() == 1
    assert driver.job(id)["reason"] == f"start failed: the directory {gone} does not exist on this host"
    assert "does not exist on this host" in driver.run("logs", id).stdout


def test_a_job_knows_what_it_is(driver: Driver) -> None:
    names = "JOB_ID ATTEMPT TRY MAX_TRIES QUEUE"
    said = result(driver, "; ".join(f"echo $QUEUECTL_{name}" for name in names.split()), queue="mail", max_retries=2)
    assert said.split() == ["1", "1", "1", "3", "mail"]


def test_its_own_variables_win_over_captured_ones_and_those_over_the_workers(driver: Driver) -> None:
    driver.env.update(LANG="captured", LC_ALL="captured", MINE="enqueuer")
    id = driver.enqueue("echo $LANG $LC_ALL $MINE $ONLY_WORKER", env={"LC_ALL": "own"})
    driver.env.update(LANG="worker", LC_ALL="worker", MINE="worker", ONLY_WORKER="worker")
    driver.start("--until-empty").end()
    assert driver.run("logs", id).stdout == "captured own worker worker\n"


def test_our_own_variables_and_secrets_are_not_inherited(driver: Driver) -> None:
    config = driver.folder / "queuectl.toml"
    config.write_text('[executor.hush]\nuse = "subprocess"\nshell = { env = "TOP_SECRET" }\n')
    driver.env.update(TOP_SECRET="canary", QUEUECTL_CONFIG=str(config))
    said = result(driver, "env")
    assert "canary" not in said and "TOP_SECRET" not in said
    ours = {line.partition("=")[0] for line in said.splitlines() if line.startswith("QUEUECTL_")}
    assert ours == {f"QUEUECTL_{name}" for name in ("JOB_ID", "ATTEMPT", "TRY", "MAX_TRIES", "QUEUE", "RUN")}


def test_a_modest_job_is_so_from_its_first_instruction(driver: Driver) -> None:
    driver.env["QUEUECTL_EXECUTOR__SUBPROCESS__NICE"] = "7"
    own = os.getpriority(os.PRIO_PROCESS, 0)
    ids = driver.run("enqueue", "-", input="/usr/bin/nice\n" * 30).stdout.split()
    gone = driver.run("enqueue", "--max-retries", "0", "--", "no-such-program").stdout.strip()
    driver.start("--count", "2", "--until-empty").end()
    assert {driver.run("logs", id).stdout for id in ids[::5]} == {f"{own + 7}\n"}
    assert driver.job(gone)["exit_code"] == 127


def test_words_never_meet_a_shell(driver: Driver) -> None:
    id = driver.run("enqueue", "--", "echo", "$HOME", "*", "a;b", "").stdout.strip()
    driver.start("--until-empty").end()
    assert driver.run("logs", id).stdout == "$HOME * a;b \n"


def test_a_command_that_cannot_be_found_fails_with_127_and_is_retried(driver: Driver) -> None:
    word = driver.run("enqueue", "--max-retries", "1", "--backoff", "fixed", "--", "no-such-program").stdout.strip()
    line = driver.enqueue("no-such-program | cat; exit 127", max_retries=0)
    driver.env["QUEUECTL_BACKOFF__FIXED__DELAY"] = "0"
    assert driver.start("--until-empty").end() == 1
    job = driver.job(word)
    assert (job["state"], job["exit_code"], job["tries"]) == ("dead", 127, 2)
    assert "no-such-program: command not found" in driver.run("logs", word).stdout
    assert driver.job(line)["exit_code"] == 127


def test_a_script_without_interpreter_line_runs_as_a_shell_would_run_it(driver: Driver) -> None:
    script = driver.folder / "script"
    script.write_text("echo from $1\n")
    script.chmod(0o755)
    id = driver.run("enqueue", "--", "./script", "here").stdout.strip()
    driver.start("--until-empty").end()
    assert driver.run("logs", id).stdout == "from here\n"


def test_exit_code_and_signal_are_told_apart(driver: Driver) -> None:
    exits, killed = driver.enqueue("exit 9", max_retries=0), driver.enqueue("kill -9 $$", max_retries=0)
    driver.start("--until-empty").end()
    assert [driver.job(id)["reason"] for id in (exits, killed)] == ["exit 9", "signal 9"]
    assert [driver.job(id)["exit_code"] for id in (exits, killed)] == [9, 137]


# --- Output --------------------------------------------------------------------------------------


def test_both_streams_are_kept_byte_for_byte(driver: Driver) -> None:
    id = driver.enqueue("printf 'a\\000b\\377\\n'; printf 'to err\\n' >&2")
    driver.start("--until-empty").end()
    raw = driver.folder / "raw"
    with raw.open("wb") as file:
        subprocess.run(driver.words("logs", id, "--stdout"), env=driver.env, stdout=file, check=True)
    assert raw.read_bytes() == b"a\0b\xff\n"
    assert driver.run("logs", id, "--stderr").stdout == "to err\n"


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 1_000_000])
def test_output_of_any_size_is_kept_whole(driver: Driver, size: int) -> None:
    said = result(driver, f"head -c {size} /dev/zero | tr '\\0' x")
    assert said == "x" * size


def test_the_middle_of_endless_output_is_dropped_and_that_is_said(driver: Driver) -> None:
    size = 60 << 20
    id = driver.enqueue(f"echo first; yes | head -c {size}; echo; echo last")
    driver.start("--until-empty").end()
    said = driver.run("logs", id, "--stdout").stdout
    assert said.startswith("first\n") and said.endswith("\nlast\n")
    assert f"[queuectl: {size + 12 - (2 << 20)} bytes are not kept here]" in said
    assert len(said) < (2 << 20) + 200
    assert driver.job(id)["attempt_history"][0]["stdout_bytes"] == size + 12


def test_no_job_reads_the_output_of_another(driver: Driver) -> None:
    """What a job leaves is killed; but whoever else holds its file must not write into, or read, the next one's."""
    fifo = driver.folder / "fifo"
    os.mkfifo(fifo)
    driver.start("--count", "1")
    first = driver.enqueue(f"echo first; echo /proc/$$/fd/1 > {fifo}; read _ < {fifo}")
    with fifo.open() as pipe:
        path = pipe.read().strip()
    with open(path, "a") as held:
        fifo.write_text("go\n")
        driver.await_state(first, "completed")
        second = driver.enqueue("echo second")
        driver.await_state(second, "completed")
        held.write("INTRUDER\n")
        held.flush()
        third = driver.enqueue("echo third")
        driver.await_state(third, "completed")
    assert [driver.run("logs", id).stdout for id in (first, second, third)] == ["first\n", "second\n", "third\n"]


def test_output_is_kept_when_the_job_removes_or_truncates_its_file(driver: Driver) -> None:
    gone = driver.enqueue("echo before; rm -f $(readlink /proc/self/fd/1); echo after")
    after = driver.enqueue("echo fine")
    driver.start("--count", "1", "--until-empty").end()
    assert driver.run("logs", gone).stdout == "before\nafter\n"
    assert driver.run("logs", after).stdout == "fine\n"


def test_what_a_killed_job_said_is_kept(driver: Driver) -> None:
    id = driver.enqueue("echo said; sleep 60", timeout=0.5, grace=0.2, max_retries=0)
    driver.start("--until-empty").end()
    assert driver.run("logs", id).stdout == "said\n"
    assert driver.job(id)["exit_code"] == 124


def test_what_a_lost_attempt_said_is_kept(driver: Driver) -> None:
    id = driver.enqueue('echo "attempt $QUEUECTL_ATTEMPT"; [ "$QUEUECTL_ATTEMPT" = 2 ] || sleep 60')
    pool = driver.start("--count", "1", "--until-empty")
    worker = driver.worker_of(id)
    until(lambda: driver.run("logs", id).stdout == "attempt 1\n", "it has said so")
    os.kill(worker["pid"], signal.SIGKILL)
    assert pool.end() == 0
    assert driver.run("logs", id, "--attempt", "1").stdout == "attempt 1\n"
    assert driver.run("logs", id).stdout == "attempt 2\n"


def test_logs_follow_a_running_job_to_its_end(driver: Driver) -> None:
    fifo = driver.folder / "fifo"
    os.mkfifo(fifo)
    id = driver.enqueue(f"echo one; read word < {fifo}; echo $word")
    driver.start("--count", "1")
    driver.worker_of(id)
    follower = subprocess.Popen(
        driver.words("logs", id, "-f"), env=driver.env, cwd=driver.folder, stdout=subprocess.PIPE, text=True
    )
    assert follower.stdout is not None
    assert follower.stdout.readline() == "one\n"
    fifo.write_text("two\n")
    assert follower.communicate(timeout=20)[0] == "two\n"
    assert follower.returncode == 0


def test_nothing_is_left_in_the_folder_of_live_workers(driver: Driver) -> None:
    driver.run("enqueue", "-", input="true\n" * 20 + "head -c 100000 /dev/zero\n")
    driver.start("--count", "3", "--until-empty").end()
    until(lambda: list(Path(driver.run_dir).iterdir()) == [], "run/ is empty")
