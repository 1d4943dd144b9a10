"""What is installed is what was built: the wheel has everything that the package reads at run time."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The package as a wheel, built from a copy of what is in the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = f"from flit_core import buildapi; print(buildapi.build_wheel({str(folder)!r}))"
    done = subprocess.run([sys.executable, "-c", build], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(folder / done.stdout.strip().splitlines()[-1])


def test_the_wheel_has_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    wanted = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "queuectl").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert any(name.endswith(".sql") for name in wanted)
    assert "queuectl/py.typed" in wanted
    assert wanted <= set(wheel.namelist()), wanted - set(wheel.namelist())


def test_the_wheel_has_nothing_that_is_not_the_package(wheel: zipfile.ZipFile) -> None:
    assert {name.split("/")[0] for name in wheel.namelist() if ".dist-info" not in name} == {"queuectl"}


def test_the_distribution_is_called_queuectl_core_and_installs_queuectl(wheel: zipfile.ZipFile) -> None:
    (info,) = {name.split("/")[0] for name in wheel.namelist() if ".dist-info" in name}
    assert info.startswith("queuectl_core-")
    assert "queuectl=queuectl.cli:" in wheel.read(f"{info}/entry_points.txt").decode().replace(" ", "")
    assert any("LICENSE" in name for name in wheel.namelist())
