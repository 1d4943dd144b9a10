"""``tools/setup.py`` does nothing when there is nothing to do, and everything again when something has changed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, for a project in an empty folder."""
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "tools" / "setup.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return module


@pytest.fixture
def venv(tmp_path: Path, setup: ModuleType) -> Path:
    """What is left of an environment that was set up."""
    (tmp_path / ".venv" / setup.BIN).mkdir(parents=True)
    (tmp_path / ".venv" / setup.BIN / "python").touch()
    return tmp_path / ".venv"


def stamp(venv: Path, text: str) -> None:
    (venv / "queuectl.stamp").write_text(text, encoding="utf-8")


def test_an_environment_without_a_stamp_is_made_anew(setup: ModuleType, venv: Path) -> None:
    assert not setup.up_to_date(venv, setup.stamp_of(False))


def test_an_environment_with_the_right_stamp_is_left_alone(setup: ModuleType, venv: Path) -> None:
    stamp(venv, setup.stamp_of(False))
    assert setup.up_to_date(venv, setup.stamp_of(False))


def test_one_for_development_has_all_that_running_needs_and_not_the_other_way_round(
    setup: ModuleType, venv: Path
) -> None:
    stamp(venv, setup.stamp_of(True))
    assert setup.up_to_date(venv, setup.stamp_of(False))
    stamp(venv, setup.stamp_of(False))
    assert not setup.up_to_date(venv, setup.stamp_of(True))


@pytest.mark.parametrize("change", ["pyproject.toml", "plugins/new/pyproject.toml"])
def test_a_changed_project_file_makes_it_anew(setup: ModuleType, venv: Path, tmp_path: Path, change: str) -> None:
    stamp(venv, setup.stamp_of(True))
    (tmp_path / change).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / change).write_text("[project]\nname = 'other'\n", encoding="utf-8")
    assert not setup.up_to_date(venv, setup.stamp_of(True))


def test_plugins_are_installed_for_development_in_the_same_call(setup: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "plugins" / "new").mkdir(parents=True)
    (tmp_path / "plugins" / "new" / "pyproject.toml").touch()
    assert setup.targets(False) == ["--editable", str(tmp_path)]
    assert setup.targets(True) == ["--editable", f"{tmp_path}[dev]", "--editable", str(tmp_path / "plugins" / "new")]


def test_when_nothing_can_install_each_way_says_why(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*words: object) -> None:
        raise setup.Failed("not here")

    for way in ("outer_pip", "inner_pip", "uv"):
        monkeypatch.setattr(setup, way, no)
    with pytest.raises(setup.Failed, match=r"pip: not here\nensurepip: not here\nuv: not here\n.*pip 22\.3"):
        setup.install(Path("python"), [])
