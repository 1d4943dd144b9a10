"""Exit codes mean what the configuration says, by themselves and in the program."""

from __future__ import annotations

import pytest
from queuectl_example import ExitCodes

from queuectl.api.model import Outcome, OutcomeKind
from queuectl.testing.fakes import make_job
from queuectl.testing.plugin import Project


@pytest.fixture
def exit_codes() -> ExitCodes:
    plugin = ExitCodes()
    plugin.queuectl_configure({"dead": [65], "success": [3]})
    return plugin


@pytest.mark.parametrize(("code", "verdict"), [(65, "dead"), (3, "success"), (1, None), (0, None)])
def test_a_code_has_the_verdict_of_its_list(exit_codes: ExitCodes, code: int, verdict: str | None) -> None:
    assert exit_codes.queuectl_verdict(make_job(), Outcome(OutcomeKind.EXITED, code)) == verdict


def test_a_signal_of_that_number_is_no_exit_code(exit_codes: ExitCodes) -> None:
    assert exit_codes.queuectl_verdict(make_job(), Outcome(OutcomeKind.SIGNALLED, 3)) is None


def test_a_final_code_is_not_tried_again_and_a_fine_one_is_a_success(queuectl_project: Project) -> None:
    queuectl_project.config("""
        [plugins]
        enable = ["example"]
        [plugin.example]
        success = [3]
    """)
    ids = [queuectl_project.run("enqueue", "--", "sh", "-c", f"exit {n}").out.strip() for n in (65, 3)]
    queuectl_project.run("worker", "start", "--until-empty", code=1)
    jobs = [queuectl_project.json("show", id) for id in ids]
    assert [(job["state"], job["attempts"]) for job in jobs] == [("dead", 1), ("completed", 1)]


def test_what_is_no_exit_code_is_refused(queuectl_project: Project) -> None:
    queuectl_project.config('[plugins]\nenable = ["example"]\n[plugin.example]\ndead = [256]\n')
    assert "expected a list of exit codes" in queuectl_project.run("enqueue", "--", "true", code=78).err


def test_it_keeps_what_it_promises(queuectl_project: Project) -> None:
    assert queuectl_project.json("plugins", "check", "example")["ok"]
