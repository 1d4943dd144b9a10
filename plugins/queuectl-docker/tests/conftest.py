"""A real engine for the tests of this plugin: Debian's dockerd, or the one that QUEUECTL_TEST_DOCKER_HOST names."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[3] / "tests"))  # the driver of the command line

from docker_user import User
from dockerd import RUNNING, Engine, find_engine
from driver import until
from needed import missing


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine with one image, for all tests of this process."""
    found = find_engine(tmp_path_factory.mktemp("engine"))
    if isinstance(found, str):
        missing(f"no container engine: {found}")
    try:
        found.start()
        found.load_image()
        yield found
    finally:
        found.close()


@pytest.fixture
def killable(engine: Engine) -> Iterator[Engine]:
    """The same engine, for a test that kills it: all of it runs again afterwards, as it ran before."""
    if not engine.ours:
        pytest.skip(f"the engine that {RUNNING} names is not ours to kill")
    yield engine
    engine.start()


@pytest.fixture
def docker(engine: Engine, tmp_path: Path) -> Iterator[User]:
    """A user whose jobs run in containers, none of which may be left in the end."""
    user = User(tmp_path, engine)
    yield user
    user.close()
    try:
        until(lambda: not user.containers(), "no container is left")
    finally:
        user.remove_containers()


@pytest.fixture(autouse=True)
def _no_engine_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("DOCKER_")]:
        monkeypatch.delenv(name)


#: Parameters of the suite's tests that differ in nothing an engine would see: run by ``make faults``.
SPARED = {
    "test_the_exit_code_is_told": ("1", "2", "124", "126", "127", "128", "255"),
    "test_a_signal_is_told_apart_from_an_exit": ("1", "2", "13"),
    "test_a_shell_line_means_what_a_shell_says": ("echo a b-", "for ", "X=5; ", "cat ", "true ", "test ", "-"),
    "test_the_job_runs_in_its_directory": ("'with blank", "'-dash", "'$HOME"),
    "test_what_a_job_leaves_is_ended_with_it": ("child", "orphan", "daemon"),
    "test_stop_by_force_ends_the_whole_tree": ("child", "orphan", "setsid"),
    "test_a_polite_stop_ends_whoever_listens": ("child", "orphan", "setsid"),
    "test_cleaning_an_unknown_run_harms_nobody": ("pid:0", "pid:-1", "pid:x", "pid:99999999"),
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("QUEUECTL_FAULTS") == "full":
        return
    here = Path(__file__).parent
    spared = [item for item in items if here in item.path.parents and _is_spared(item.name)]
    if spared:
        config.hook.pytest_deselected(items=spared)
        items[:] = [item for item in items if item not in spared]


def _is_spared(name: str) -> bool:
    test, _, parameter = name.removesuffix("]").partition("[")
    exact = test not in ("test_a_shell_line_means_what_a_shell_says", "test_the_job_runs_in_its_directory")
    spared = SPARED.get(test, ())
    return parameter in spared if exact else parameter.startswith(spared)
