"""Plugins that have a say about attempts, and what they can do wrong: at most a worker is lost, never a job."""

from __future__ import annotations

from pathlib import Path

import pytest
from driver import Driver

GOOD = """
from queuectl.api import hookimpl

@hookimpl
def queuectl_environment(claim):
    return {"GIVEN": f"{claim.job.spec.queue}-{claim.job.attempts}", "QUEUECTL_QUEUE": "stolen"}

@hookimpl
def queuectl_verdict(job, outcome):
    if outcome.code == 75:
        return "retry"
    if outcome.code == 9:
        return "dead"
    if outcome.code == 3:
        return "success"
"""

#: What a hook may do instead of answering. The last ones take the worker with them.
FAULTS = {
    "raises": "raise ValueError('no')",
    "answers rubbish": "return 42",
    "exits": "raise SystemExit(3)",
    "prints": "print('noise', flush=True)",
    "hangs": "import time; time.sleep(1000)",
    "kills its process": "import os; os._exit(9)",
}


def plugin(driver: Driver, text: str, **config: str) -> None:
    (driver.folder / "local.py").write_text(text)
    extra = "\n".join(f"{name} = {value}" for name, value in config.items())
    (driver.folder / "queuectl.toml").write_text(f'[plugins]\nfiles = ["./local.py"]\n\n[queuectl]\n{extra}\n')
    driver.env["QUEUECTL_CONFIG"] = str(driver.folder / "queuectl.toml")


def faulty(hook: str, arguments: str, fault: str) -> str:
    return f"from queuectl.api import hookimpl\n\n@hookimpl\ndef queuectl_{hook}({arguments}):\n    {fault}\n"


def test_an_environment_hook_gives_variables_but_not_ours(driver: Driver) -> None:
    plugin(driver, GOOD)
    id = driver.enqueue("echo $GIVEN $QUEUECTL_QUEUE", queue="mail")
    driver.start("--until-empty").end()
    assert driver.run("logs", id).stdout == "mail-1 mail\n"


def test_a_verdict_hook_decides(driver: Driver) -> None:
    plugin(driver, GOOD)
    dead, fine = driver.enqueue("exit 9", max_retries=5), driver.enqueue("exit 3", max_retries=5)
    assert driver.start("--until-empty").end() == 1
    assert [driver.job(id)["state"] for id in (dead, fine)] == ["dead", "completed"]
    assert [driver.job(id)["tries"] for id in (dead, fine)] == [1, 1]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_verdict_that_goes_wrong_leaves_the_built_in_rule(driver: Driver, fault: str) -> None:
    driver.env["QUEUECTL_HOOK_SECONDS"] = "0.5"
    plugin(driver, faulty("verdict", "job, outcome", FAULTS[fault]))
    good, bad = driver.enqueue("true"), driver.enqueue("exit 4", max_retries=0)
    assert driver.start("--count", "1", "--until-empty").end() == 1
    assert [driver.job(id)["state"] for id in (good, bad)] == ["completed", "dead"]
    assert [driver.job(id)["attempts"] for id in (good, bad)] == [1, 1]


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "kills its process"])
def test_an_environment_hook_that_goes_wrong_gives_nothing(driver: Driver, fault: str) -> None:
    driver.env["QUEUECTL_HOOK_SECONDS"] = "0.5"
    plugin(driver, faulty("environment", "claim", FAULTS[fault]))
    id = driver.enqueue("echo ran")
    assert driver.start("--count", "1", "--until-empty").end() == 0
    assert driver.job(id)["attempts"] == 1
    assert driver.run("logs", id).stdout == "ran\n"


def test_an_environment_hook_that_kills_its_process_makes_the_job_poison_not_the_pool(driver: Driver) -> None:
    plugin(driver, faulty("environment", "claim", "import os\n    if claim.job.spec.queue == 'bad': os._exit(9)"))
    bad, good = driver.enqueue("true", queue="bad"), driver.enqueue("true")
    assert driver.start("--count", "1", "--until-empty").end() == 1
    assert [driver.job(id)["state"] for id in (bad, good)] == ["dead", "completed"]
    assert driver.job(bad)["reason"] == "poison"


BACKOFF = """
from queuectl.api import Backoff, Provider, hookimpl

class Local(Backoff):
    def delay(self, job, outcome, rng):
        FAULT

@hookimpl
def queuectl_backoffs():
    yield Provider("local", lambda options, context: Local(), summary="for a test")
"""


@pytest.mark.parametrize("fault", [*FAULTS, "gives up", "is negative", "is infinite"])
def test_a_backoff_that_goes_wrong_leaves_the_built_in_rule(driver: Driver, fault: str) -> None:
    answers = {"gives up": "return None", "is negative": "return -1", "is infinite": "return float('inf')"}
    driver.env["QUEUECTL_HOOK_SECONDS"] = "0.5"
    plugin(driver, BACKOFF.replace("FAULT", {**FAULTS, **answers}[fault]), backoff='"local"')
    id = driver.enqueue('[ "$QUEUECTL_TRY" = 2 ]', max_retries=1)
    pool = driver.start("--count", "1", "--until-empty" if fault != "answers rubbish" else "--max-jobs=1")
    if fault == "answers rubbish":  # 42 seconds are an answer
        pool.end()
        assert driver.job(id)["state"] == "failed"
        return
    code = pool.end()
    job = driver.job(id)
    given_up = fault in ("gives up", "prints")  # what returns nothing gives up
    assert (job["state"], code) == (("dead", 1) if given_up else ("completed", 0))
    assert job["attempts"] == (1 if given_up else 2)


EXECUTOR = """
from queuectl.api import Executor, Provider, hookimpl

class Local(Executor):
    def start(self, run):
        FAULT

@hookimpl
def queuectl_executors():
    yield Provider("local", OPEN, summary="for a test")
"""


@pytest.mark.parametrize("fault", ["raises", "answers rubbish", "exits"])
def test_an_executor_that_goes_wrong_is_a_failed_start(driver: Driver, fault: str) -> None:
    text = EXECUTOR.replace("FAULT", FAULTS[fault]).replace("OPEN", "lambda options, context: Local()")
    plugin(driver, text, executor='"local"')
    id = driver.enqueue("true", max_retries=0)
    assert driver.start("--count", "1", "--until-empty").end() == 1
    assert driver.job(id)["reason"].startswith("start failed: ")


def test_an_executor_that_cannot_be_opened_is_a_failed_start(driver: Driver) -> None:
    text = EXECUTOR.replace("FAULT", "pass").replace("OPEN", "lambda options, context: 1 / 0")
    plugin(driver, text, executor='"local"')
    id = driver.enqueue("true", max_retries=0)
    assert driver.start("--count", "1", "--until-empty").end() == 1
    assert "division by zero" in driver.job(id)["reason"]


NOTIFIER = """
import json
from queuectl.api import Notifier, Provider, hookimpl

class Local(Notifier):
    def notify(self, events):
        with open("PATH", "a") as file:
            for event in events:
                print(event.kind, event.job.id, file=file)
        FAULT

@hookimpl
def queuectl_notifiers():
    yield Provider("local", lambda options, context: Local(), summary="for a test")
"""


def told(path: Path) -> set[str]:
    return set(path.read_text().splitlines()) if path.exists() else set()


@pytest.mark.parametrize("fault", ["pass", *FAULTS.values()], ids=["works", *FAULTS])
def test_a_notifier_is_told_and_delays_nobody(driver: Driver, fault: str) -> None:
    path = driver.folder / "told"
    plugin(driver, NOTIFIER.replace("PATH", str(path)).replace("FAULT", fault), notifiers='["local"]')
    fine, dead = driver.enqueue("true"), driver.enqueue("false", max_retries=0)
    assert driver.start("--count", "2", "--until-empty").end(deadline=20) == 1
    assert [driver.job(id)["state"] for id in (fine, dead)] == ["completed", "dead"]
    if fault == "pass":
        assert told(path) >= {f"completed {fine}", f"dead {dead}"}


def test_an_observer_is_told_in_the_courier(driver: Driver) -> None:
    path = driver.folder / "told"
    text = f"""
from queuectl.api import hookimpl

@hookimpl
def queuectl_events(events):
    with open({str(path)!r}, "a") as file:
        for event in events:
            print(event.kind, event.job.id, event.job.state.value, file=file)
"""
    plugin(driver, text)
    id = driver.enqueue('sleep 0.5; [ "$QUEUECTL_TRY" = 2 ]', backoff="fixed", backoff_options={"delay": 0.1})
    assert driver.start("--count", "1", "--until-empty").end() == 0
    assert path.read_text().splitlines() == [
        f"started {id} processing",
        f"failed {id} failed",
        f"started {id} processing",
        f"completed {id} completed",
    ]
