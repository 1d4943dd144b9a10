"""Installed plugins are found without importlib.metadata, and both ways agree."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from queuectl.core import entrypoints
from queuectl.core.entrypoints import EntryPoint, parse, scan


def distribution(site: Path, name: str, version: str, points: str, suffix: str = "dist-info") -> None:
    info = site / f"{name.replace('-', '_')}-{version}.{suffix}"
    info.mkdir(parents=True)
    record = "METADATA" if suffix == "dist-info" else "PKG-INFO"
    (info / record).write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nVersion: of the text\n")
    (info / "entry_points.txt").write_text(points)


def test_one_group_is_read_and_comments_extras_and_other_groups_are_not() -> None:
    text = "[console_scripts]\na = b:c\n\n[queuectl]\n# no\nredis = pkg.mod\n x=y.z:attr [extra]\n[other]\nq = r\n"
    assert list(parse(text)) == [("redis", "pkg.mod"), ("x", "y.z:attr")]


def test_every_distribution_on_the_path_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    distribution(one, "queuectl-redis", "1.2", "[queuectl]\nredis = q_redis\n")
    distribution(two, "Queuectl_Redis", "0.9", "[queuectl]\nredis = q_old\n")
    distribution(two, "developed", "3", "[queuectl]\ndev = q_dev:plugin\n", "egg-info")
    (two / "broken-1.dist-info").mkdir()
    (two / "broken-1.dist-info" / "entry_points.txt").write_bytes(b"[queuectl]\n\xff = x")
    monkeypatch.setattr(sys, "path", [str(one), str(two), "/nowhere", str(one)])
    assert scan() == [
        EntryPoint("redis", "q_redis", "queuectl-redis", "1.2"),
        EntryPoint("dev", "q_dev:plugin", "developed", "3"),
    ]


@pytest.mark.parametrize("group", ["console_scripts", "pytest11"])
def test_both_ways_agree_on_this_environment(monkeypatch: pytest.MonkeyPatch, group: str) -> None:
    monkeypatch.setattr(entrypoints, "GROUP", group)
    monkeypatch.setattr(entrypoints, "parse", lambda text: parse(text, group))
    ours = {(point.name, point.value) for point in scan()}
    assert ours == {(p.name, p.value.split("[")[0].strip()) for p in metadata.entry_points(group=group)}
    assert ours


def test_the_standard_library_is_asked_for_a_named_plugin_that_we_do_not_see(tmp_path: Path) -> None:
    """A zip file on the path is the standard library's business."""
    import zipfile

    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("zipped-1.0.dist-info/METADATA", "Name: zipped\nVersion: 1.0\n")
        archive.writestr("zipped-1.0.dist-info/entry_points.txt", "[queuectl]\nzipped = z_mod\n")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "from queuectl.core.entrypoints import *;"
        "print([p for p in scan() if p.name == 'zipped'], 'importlib.metadata' in sys.modules);"
        "print(find_elsewhere('zipped'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "all.zip")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == (
        "[] False\n[EntryPoint(name='zipped', value='z_mod', distribution='zipped', version='1.0')]"
    )
