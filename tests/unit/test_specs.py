"""What may be asked for: every description of a job is checked in one place, and refused in one sentence."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl.api.errors import BadInput
from queuectl.api.model import NewJob, Settings
from queuectl.core.specs import Frame, Maker, parse_object, quoted

NOW = 1_760_000_000_000


def maker(**frame: Any) -> Maker:
    """One whose configuration is all defaults."""

    def settings(queue: str, **given: Any) -> Settings:
        return Settings(**given)

    return Maker(
        Frame(**{"settings": settings, "now": NOW, "base": "/home/me", "cwd": "/home/me", "environment": "{}"} | frame)
    )


def make(**asked: Any) -> NewJob:
    return maker().job({"command": "echo hi", **asked})


def complaint(call: Any, *args: Any, **asked: Any) -> str:
    """The one sentence by which *call* refuses."""
    with pytest.raises(BadInput) as caught:
        call(*args, **asked)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 400
    return text


def test_a_command_alone_is_a_shell_line_with_the_frame_around_it() -> None:
    assert make() == NewJob("echo hi", cwd="/home/me")
    assert maker().line("echo hi") == make()


def test_everything_that_is_asked_for_is_kept() -> None:
    job = make(
        id="job1", queue="mail", priority=3, run_at="2026-01-01T00:00:00Z", timeout_sec=5, max_retries=2, grace="1m",
        backoff="fixed", backoff_options={"delay": 3}, executor="docker", set={"image": "alpine"}, unique_key="k",
        env={"A": "1"}, cwd="sub/../data", tags=["x", "y", "x"],
    )  # fmt: skip
    assert job.settings == Settings(2, 5.0, 60.0, "docker", {"image": "alpine"}, "fixed", {"delay": 3}).text()
    assert job._replace(settings="{}") == NewJob(
        "echo hi", None, "job1", "mail", 3, 1767225600000, "k", ("x", "y"), "/home/me/data", {"A": "1"}
    )


def test_argv_never_meets_a_shell_and_is_shown_quoted() -> None:
    job = maker().job({"argv": ["printf", "%s\n", "a b", "it's"]})
    assert job.argv == ("printf", "%s\n", "a b", "it's")
    assert shlex.split(job.command) == list(job.argv)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1))
def test_quoting_means_the_same_to_a_shell(argv: list[str]) -> None:
    assert shlex.split(quoted(argv)) == argv


def test_a_delay_counts_from_now() -> None:
    assert make(delay="1h").run_at == NOW + 3_600_000
    assert make(delay=0.5).run_at == NOW + 500


def test_null_is_as_good_as_not_said() -> None:
    assert make(id=None, run_at=None, timeout=None) == make()


def test_an_unknown_key_is_told_with_the_nearest() -> None:
    assert "'comand'; did you mean 'command'?" in complaint(maker().job, {"comand": "x"})
    assert "prioritty" in complaint(make, prioritty=3)
    assert "a job may have" in complaint(make, zzzz=1)


@pytest.mark.parametrize(
    "id", ["", ".", "..", "a/b", "../x", "-rf", "--", "123", "a b", "ä", "x" * 129, "a\0", "a\n", 5, True, ["a"], "%2e"]
)
def test_ids_that_could_be_anything_else_are_refused(id: Any) -> None:
    complaint(make, id=id)


@pytest.mark.parametrize("id", ["job1", "a", "x" * 128, "1a", "2026-01-01", "A.b_c:d-e", "_"])
def test_ids_that_are_fine(id: str) -> None:
    assert make(id=id).id == id


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("command", ""), ("command", " \n\t"), ("command", 5), ("command", ["echo"]), ("command", None),
        ("command", "a\0b"),
        ("command", "\ud800"), ("command", "x" * 32769), ("command", "é" * 16385),
        ("queue", ""), ("queue", "a b"), ("queue", "-q"), ("queue", "a/b"), ("queue", 3), ("queue", "x" * 129),
        ("priority", 1001), ("priority", -1001), ("priority", "3"), ("priority", 1.5), ("priority", True),
        ("priority", 10**400), ("priority", float("inf")), ("priority", float("nan")),
        ("run_at", 5), ("run_at", "9999-01-01"), ("run_at", ""), ("run_at", "soon"),
        ("delay", -1), ("delay", "x"), ("delay", float("inf")), ("delay", float("nan")), ("delay", "80w" * 100),
        ("timeout", 0), ("timeout", -1), ("timeout", "31d"), ("timeout", float("nan")), ("timeout", True),
        ("timeout", []),
        ("grace", -1), ("max_retries", -1), ("max_retries", 1001), ("max_retries", "3"), ("max_retries", 1.5),
        ("max_retries", 10**30), ("executor", ""), ("executor", 3), ("executor_options", []), ("backoff", ""),
        ("backoff_options", {"x": float("nan")}), ("backoff_options", {"x": 10**30}),
        ("backoff_options", {"x": "\ud800"}),
        ("executor_options", {"a": {"b": ["\0"]}}),
        ("unique", ""), ("unique", "a\nb"), ("unique", "x" * 257), ("unique", 3),
        ("env", []), ("env", {"": "x"}), ("env", {"A=B": "x"}), ("env", {"A": 1}), ("env", {"A": "\0"}),
        ("env", {"QUEUECTL_JOB_ID": "1"}), ("env", {f"V{i}": "" for i in range(65)}), ("env", {"1A": "x"}),
        ("cwd", ""), ("cwd", 3), ("cwd", "a\0b"), ("cwd", "\ud800"), ("cwd", "x" * 5000),
        ("tags", 3), ("tags", [""]), ("tags", [3]), ("tags", ["x"] * 33), ("tags", ["\x1b[2J"]), ("tags", ["x" * 129]),
        ("argv", ["echo"]),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_sentence(key: str, value: Any) -> None:
    complaint(make, **{key: value})


@pytest.mark.parametrize("argv", [[], [""], "echo", [1], ["a", None], {"a": 1}, ["a\0"], ["x" * 40000], ["\udcff"]])
def test_argv_that_cannot_be_run_is_refused(argv: Any) -> None:
    complaint(maker().job, {"argv": argv})


def test_run_at_and_delay_exclude_each_other() -> None:
    assert "exclude" in complaint(make, run_at="now", delay=3)


def test_the_same_thing_under_two_names_is_refused() -> None:
    assert "twice" in complaint(make, timeout=3, timeout_sec=4)


def test_a_relative_folder_needs_one_to_start_from() -> None:
    assert "absolute" in complaint(maker(base=None).job, {"command": "x", "cwd": "a"})


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "not JSON"), ("{", "not JSON"), ("[]", "JSON object"), ("5", "JSON object"), ("null", "JSON object"),
        ('{"a": NaN}', "NaN"), ('{"a": -Infinity}', "Infinity"), ('{"a": 1, "a": 2}', "twice"),
        ('{"env": {"A": "1", "A": "2"}}', "twice"), ('{"a": ' + "9" * 5000 + "}", "too large"),
        ('{"a": ' + "[" * 33 + "]" * 33 + "}", "deep"), ("[" * 100_000, "deep"), ('{"a":' * 50_000, "deep"),
        ('{"a": "' + "x" * 262144 + '"}', "longer"), ('{"a": "' + "é" * 131072 + '"}', "longer"),
        ('{"a": "\n"}', "not JSON"), ("{'a': 1}", "not JSON"), ('{"a": 1} x', "not JSON"), ('{"a": 01}', "not JSON"),
    ],
)  # fmt: skip
def test_json_is_read_strictly(text: str, word: str) -> None:
    assert word in complaint(parse_object, text)


def test_brackets_in_a_text_are_not_depth() -> None:
    text = json.dumps({"command": "[" * 500 + '\\"{'})
    assert parse_object(text)["command"] == "[" * 500 + '\\"{'


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.sampled_from(
        [
            "command",
            "argv",
            "id",
            "queue",
            "priority",
            "run_at",
            "delay",
            "timeout",
            "max_retries",
            "env",
            "cwd",
            "tags",
            "unique",
            "executor_options",
        ]
    ),
)
def test_no_value_of_any_kind_gets_past_with_another_error(value: Any, key: str) -> None:
    try:
        job = maker().job({"command": "x", key: value} if key != "argv" else {"argv": value})
    except BadInput as error:
        assert "\n" not in str(error)
    else:
        job.command.encode()
        assert "\0" not in job.command
        assert -1000 <= job.priority <= 1000
