"""A plugin that misbehaves in a worker or in the courier takes no job with it: real workers, real jobs."""

from __future__ import annotations

import pytest
from place import Place

HEAD = "import os, time\nfrom queuectl.api import *\nfrom queuectl.api import hookimpl, Provider, Backoff, Executor\n"
ENABLE = '[plugins]\nenable = ["odd"]\n'

ODD = {
    "raises": "raise ValueError('odd')",
    "exits": "raise SystemExit(1)",
    "answers rubbish": "return 7",
}


def drain(place: Place, *, code: int = 0, **options: str) -> str:
    """What a pool of one worker says until nothing is left to do."""
    done = place.run("worker", "start", "--count", "1", "--until-empty", env=options)
    assert done.code == code, done.err
    return done.err


def shape(place: Place, id: str) -> dict:
    shapes = {job["id"]: job for job in place.run("list", "--json").json}
    return shapes[id]


@pytest.mark.parametrize("how", ODD)
def test_an_environment_that_misbehaves_is_no_answer(place: Place, how: str) -> None:
    place.install("odd", f"{HEAD}@hookimpl\ndef queuectl_environment(claim):\n    {ODD[how]}\n")
    place.install("good", HEAD + "@hookimpl\ndef queuectl_environment(claim):\n    return {'GOOD': claim.job.id}\n")
    place.configure('[plugins]\nenable = ["odd", "good"]\n')
    assert place.run("enqueue", "--shell", 'test "$GOOD" = 1').code == 0
    said = drain(place)
    assert shape(place, "1")["state"] == "completed"
    assert "queuectl_environment" in said or how == "answers rubbish"


@pytest.mark.parametrize("how", ODD)
def test_a_verdict_that_misbehaves_leaves_it_to_core(place: Place, how: str) -> None:
    place.install("odd", f"{HEAD}@hookimpl\ndef queuectl_verdict(job, outcome):\n    {ODD[how]}\n")
    place.configure(ENABLE)
    place.run("enqueue", "--max-retries", "0", "--shell", "exit 3")
    place.run("enqueue", "--", "true")
    drain(place, code=1)
    states = [shape(place, id)["state"] for id in ("1", "2")]
    assert states == ["dead", "completed"]


def test_a_verdict_makes_a_failure_a_success_and_a_success_a_failure(place: Place) -> None:
    code = "@hookimpl\ndef queuectl_verdict(job, outcome):\n    return 'success' if outcome.code == 3 else 'dead'\n"
    place.install("odd", HEAD + code)
    place.configure(ENABLE)
    place.run("enqueue", "--shell", "exit 3")
    place.run("enqueue", "--", "true")
    drain(place, code=1)
    assert [shape(place, id)["state"] for id in ("1", "2")] == ["completed", "dead"]


BACKOFF = (
    "class Odd(Backoff):\n    def delay(self, job, outcome, rng):\n        {body}\n"
    "def make(options, context):\n    {make}\n    return Odd()\n"
    "@hookimpl\ndef queuectl_backoffs():\n    yield Provider('odd', make)\n"
)


@pytest.mark.parametrize(
    ("body", "make"),
    [
        ("raise ValueError('odd')", "pass"),
        ("raise SystemExit(1)", "pass"),
        ("return float('nan')", "pass"),
        ("return -1", "pass"),
        ("return 'soon'", "pass"),
        ("return 0", "raise ValueError('odd')"),
        ("return 0", "raise SystemExit(1)"),
    ],
)
def test_a_backoff_that_misbehaves_is_replaced_by_the_built_in_rule(place: Place, body: str, make: str) -> None:
    place.install("odd", HEAD + BACKOFF.format(body=body, make=make))
    place.configure('[queuectl]\nbackoff = "odd"\n')
    place.run("enqueue", "--shell", "exit 3")
    assert place.run("worker", "start", "--count", "1", "--max-jobs", "1").code == 0
    job = shape(place, "1")
    assert (job["state"], job["attempts"], job["reason"]) == ("failed", 1, "exit 3")


def test_a_backoff_may_give_up(place: Place) -> None:
    place.install("odd", HEAD + BACKOFF.format(body="return None", make="pass"))
    place.configure('[queuectl]\nbackoff = "odd"\n')
    place.run("enqueue", "--shell", "exit 3")
    drain(place, code=1)
    assert shape(place, "1")["reason"] == "exit 3; the backoff policy gave up"


EXECUTOR = (
    "class Odd(Executor):\n    def start(self, run):\n        {body}\n"
    "def make(options, context):\n    {make}\n    return Odd()\n"
    "@hookimpl\ndef queuectl_executors():\n    yield Provider('odd', make)\n"
)


@pytest.mark.parametrize(
    ("body", "make", "cause"),
    [
        ("raise ValueError('odd')", "pass", "ValueError: odd"),
        ("raise StartFailed('no such image', 126)", "pass", "no such image"),
        ("raise SystemExit(1)", "pass", "SystemExit: 1"),
        ("return None", "raise ValueError('odd')", "ValueError: odd"),
        ("return None", "raise SystemExit(1)", "exit"),
    ],
)
def test_an_executor_that_cannot_start_is_an_outcome_like_any_other(
    place: Place, body: str, make: str, cause: str
) -> None:
    place.install("odd", HEAD + EXECUTOR.format(body=body, make=make))
    place.configure('[queues.odd]\nexecutor = "odd"\n')
    place.run("enqueue", "--queue", "odd", "--max-retries", "0", "--", "true")
    place.run("enqueue", "--", "true")
    drain(place, code=1)
    odd = shape(place, "1")
    assert (odd["state"], shape(place, "2")["state"]) == ("dead", "completed")
    assert odd["reason"].startswith("start failed") and cause in odd["reason"]


@pytest.mark.parametrize("body", [*ODD.values(), "os._exit(1)"])
def test_an_observer_that_misbehaves_delays_no_job(place: Place, body: str) -> None:
    place.install("odd", f"{HEAD}@hookimpl\ndef queuectl_events(events):\n    {body}\n")
    code = (
        "@hookimpl\ndef queuectl_events(events):\n    open('seen', 'a').write(''.join(e.kind + ' ' for e in events))\n"
    )
    place.install("good", HEAD + code)
    place.configure('[plugins]\nenable = ["odd", "good"]\n')
    place.run("enqueue", "--", "true")
    drain(place)
    assert shape(place, "1")["state"] == "completed"
    assert "completed" in (place.project / "seen").read_text()


@pytest.mark.parametrize("hook", ["environment", "verdict"])
def test_a_plugin_that_takes_the_worker_with_it_takes_no_job(place: Place, hook: str) -> None:
    """os._exit cannot be caught: the job is settled from its record, or lost and run again."""
    arguments = {"environment": "claim", "verdict": "job, outcome"}[hook]
    code = (
        f"@hookimpl\ndef queuectl_{hook}({arguments}):\n"
        f"    if not os.path.exists('was-here'):\n        open('was-here', 'w').close()\n        os._exit(1)\n"
    )
    place.install("odd", HEAD + code)
    place.configure(ENABLE)
    place.run("enqueue", "--shell", "echo ran >> journal")
    done = place.run("worker", "start", "--count", "1", "--max-jobs", "1" if hook == "verdict" else "2")
    assert done.code == 0, done.err
    assert shape(place, "1")["state"] == "completed"
    assert (place.project / "journal").read_text() == "ran\n"


def test_a_hook_of_the_pool_refuses_to_run_before_any_job_is_claimed(place: Place) -> None:
    place.install("odd", HEAD + "@hookimpl\ndef queuectl_configure(options):\n    raise PluginError('not today')\n")
    place.run("enqueue", "--", "true")
    place.configure(ENABLE)
    assert place.refused(70, "worker", "start", "--until-empty") == "not today"


def test_a_verdict_and_an_observer_that_hang_delay_nobody_for_long(place: Place) -> None:
    code = (
        "@hookimpl\ndef queuectl_verdict(job, outcome):\n    time.sleep(1000)\n"
        "@hookimpl\ndef queuectl_events(events):\n    time.sleep(1000)\n"
    )
    place.install("odd", HEAD + code)
    place.install("good", HEAD + "@hookimpl\ndef queuectl_verdict(job, outcome):\n    return 'success'\n")
    place.configure('[plugins]\nenable = ["odd", "good"]\n')
    place.run("enqueue", "--shell", "exit 3")
    said = drain(place, **SOON)
    assert shape(place, "1")["state"] == "completed"  # by the other one's word
    assert "no answer within 0.5 s" in said


HANGS_IN = "@hookimpl\ndef queuectl_configure(options):\n    import sys\n    if {where}:\n        time.sleep(1000)\n"
SOON = {"QUEUECTL_HOOK_SECONDS": "0.5"}


def test_a_pool_does_not_wait_for_ever_to_be_configured(place: Place) -> None:
    place.install("odd", HEAD + HANGS_IN.format(where="'worker' in sys.argv"))
    place.configure(ENABLE)
    place.run("enqueue", "--", "true")
    said = place.refused(70, "worker", "start", "--until-empty", env=SOON)
    assert "queuectl_configure" in said and "no answer within 0.5 s" in said
    assert shape(place, "1")["state"] == "pending"


def test_a_prepare_that_hangs_refuses_the_batch(place: Place) -> None:
    place.install("odd", HEAD + "@hookimpl\ndef queuectl_prepare(jobs):\n    time.sleep(1000)\n")
    place.configure(ENABLE)
    said = place.refused(70, "enqueue", "--", "true", env=SOON)
    assert "nothing was stored" in said and "no answer within 0.5 s" in said
    assert place.run("list", "--json").json == []


@pytest.mark.parametrize(
    ("where", "hook"),
    [
        ("sys.argv[0] == '-c'", "queuectl_environment(claim):\n    return {'WORD': 'said'}"),
        ("'-c' != sys.argv[0] and 'worker' not in sys.argv", "queuectl_events(events):\n    pass"),
    ],
    ids=["worker", "courier"],
)
def test_a_configure_that_hangs_elsewhere_delays_no_job_for_long(place: Place, where: str, hook: str) -> None:
    place.run("enqueue", "--shell", "echo ran >> journal")
    place.install("odd", HEAD + HANGS_IN.format(where=where) + f"@hookimpl\ndef {hook}\n")
    place.configure(ENABLE)
    said = drain(place, **SOON)
    assert "queuectl_configure" in said and "no answer within 0.5 s" in said
    place.configure("")
    assert shape(place, "1")["state"] == "completed"
    assert (place.project / "journal").read_text() == "ran\n"
