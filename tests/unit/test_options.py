"""A table is checked against its options, and the complaint says all that is needed to mend it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from queuectl.api.errors import BadInput, ConfigError
from queuectl.api.providers import Option
from queuectl.core.options import Entry, Origin, Secret, check_given, check_table, resolve

FILE = Origin("project", "/etc/x/queuectl.toml")
OPTIONS = (
    Option("name", str, "anybody"),
    Option("count", int, 1, minimum=0, maximum=10),
    Option("ratio", float, 0.5, minimum=0),
    Option("wait", float, None, minimum=0, unit="s"),
    Option("size", int, 0, minimum=0, unit="B"),
    Option("on", bool, False),
    Option("words", list, ()),
    Option("map", dict, {}),
    Option("mode", str, "fast", choices=("fast", "slow")),
    Option("file", str, None, path=True),
    Option("password", str, "", secret=True),
    Option("even", int, 0, check=lambda value: "expected an even number" if value % 2 else None),
)


def check(key: str, value: Any, origin: Origin = FILE, text: bool = False) -> Any:
    return check_table("a.b", {key: Entry(value, origin, text)}, OPTIONS)[key]


def complaint(key: str, value: Any, text: bool = False) -> str:
    with pytest.raises(ConfigError) as caught:
        check(key, value, text=text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("count", "x", 'count = "x": expected an integer from 0 to 10'),
        ("count", 11, "count = 11: expected an integer from 0 to 10"),
        ("count", True, "count = true: expected an integer from 0 to 10"),
        ("count", 1.5, "count = 1.5: expected an integer from 0 to 10"),
        ("ratio", -1, "ratio = -1: expected a number of at least 0"),
        ("ratio", float("nan"), "ratio = nan: expected a number of at least 0"),
        ("ratio", 10**400, f"ratio = {str(10**400)[:79]}…: expected a number of at least 0"),
        ("wait", "soon", 'wait = "soon": expected a number of at least 0 (90, 90s or 1h30m), or "none"'),
        ("on", 1, "on = 1: expected true or false"),
        ("words", "a", 'words = "a": expected a list'),
        ("name", "a\0b", 'name = "a\\u0000b": a text without NUL bytes was expected'),
        ("mode", "fats", 'mode = "fats": expected one of fast, slow; did you mean "fast"?'),
        ("even", 3, "even = 3: expected an even number"),
        ("name", {"environ": "X"}, 'name = {"environ": "X"}: expected a value, { env = "NAME" } or { file = "path" }'),
        ("password", 5, "password = ••••••: expected text"),
    ],
)
def test_a_bad_value_is_refused_with_file_table_key_value_and_what_was_expected(
    key: str, value: Any, expected: str
) -> None:
    assert complaint(key, value) == f"/etc/x/queuectl.toml: [a.b] {expected}"


def test_an_unknown_key_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError) as caught:
        check_table("a.b", {"cuont": Entry(1, FILE)}, OPTIONS[:3])
    assert str(caught.value) == (
        '/etc/x/queuectl.toml: [a.b] cuont: unknown key; did you mean "count"? ([a.b] takes name, count, ratio)'
    )


def test_a_missing_key_is_named_with_its_help() -> None:
    with pytest.raises(ConfigError, match=r"\[a.b\]: url \(where it is\) is missing"):
        check_table("a.b", {}, [Option("url", str, help="where it is")])


def test_defaults_fill_what_is_not_given_unless_only_what_was_given_is_asked_for() -> None:
    assert check_table("a.b", {}, OPTIONS[:2]) == {"name": "anybody", "count": 1}
    assert check_table("a.b", {"count": Entry(3)}, OPTIONS[:2], defaults=False) == {"count": 3}


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("count", "7", 7),
        ("ratio", "2", 2.0),
        ("on", "yes", True),
        ("on", "OFF", False),
        ("words", "a, b,c", ["a", "b", "c"]),
        ("words", '["a, b"]', ["a, b"]),
        ("words", "", []),
        ("map", '{ a = "b" }', {"a": "b"}),
        ("name", "7", "7"),
        ("wait", "1h30m", 5400.0),
        ("wait", "none", None),
        ("size", "10 MiB", 10 * 2**20),
        ("size", "2kb", 2000),
    ],
)
def test_text_is_converted_to_the_type_of_the_option(key: str, text: str, value: Any) -> None:
    assert check(key, text, Origin("env", "QUEUECTL_A__B__X"), text=True) == value


def test_numbers_may_be_written_with_their_unit_in_a_file() -> None:
    assert check("wait", "1h30m") == 5400.0
    assert check("size", "64 KiB") == 65536
    assert "expected an integer of at least 0 (65536, 64 KiB or 10 MiB)" in complaint("size", "64 miles")


def test_text_that_is_no_such_value_is_refused() -> None:
    assert complaint("on", "maybe", text=True).endswith("expected true or false")
    assert complaint("map", "a=b", text=True).endswith("expected a table")


def test_a_relative_path_starts_at_the_file_that_says_so_or_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert check("file", "x/../y.db") == "/etc/x/y.db"
    assert check("file", "/abs") == "/abs"
    assert check("file", "y.db", Origin("env", "V"), text=True) == str(tmp_path / "y.db")


def test_a_secret_is_read_when_it_is_needed_and_not_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    origin = Origin("project", str(tmp_path / "queuectl.toml"))
    checked = {
        "password": check("password", {"file": "secret.txt"}, origin),
        "name": check("name", {"env": "THE_NAME"}),
        "count": 1,
    }
    assert checked["password"] == Secret("file", str(tmp_path / "secret.txt"), f"{origin}: [a.b] password")
    with pytest.raises(ConfigError, match=r"password: cannot read .*secret.txt: No such file or directory"):
        resolve(checked)
    (tmp_path / "secret.txt").write_text("hush\n")
    with pytest.raises(ConfigError, match=r"name: the environment variable THE_NAME is not set"):
        resolve(checked)
    monkeypatch.setenv("THE_NAME", "somebody")
    assert resolve(checked) == {"password": "hush", "name": "somebody", "count": 1}


def test_what_a_job_gives_is_checked_without_defaults_and_is_the_jobs_fault() -> None:
    assert check_given({"count": 2}, OPTIONS, what="executor x", error=BadInput) == {"count": 2}
    with pytest.raises(BadInput, match=r"executor x: count = 99: expected an integer from 0 to 10"):
        check_given({"count": 99}, OPTIONS, what="executor x", error=BadInput)
    with pytest.raises(BadInput, match=r'executor x: there is no option "user" \(it takes none\)'):
        check_given({"user": "root"}, (), what="executor x", error=BadInput)


def test_a_check_that_trips_over_the_value_is_a_complaint() -> None:
    option = Option("x", str, "", check=lambda value: int(value) and None)
    with pytest.raises(ConfigError, match=r'x = "y": ValueError: invalid literal'):
        check_table("a", {"x": Entry("y", FILE)}, [option])
