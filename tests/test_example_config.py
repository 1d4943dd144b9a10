"""queuectl.toml at the root is a working example of every table and every key, and examples/deploy really works."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tomli

from queuectl.api.providers import REQUIRED, Option
from queuectl.core.config import Config
from queuectl.core.options import Entry, Origin, check_table
from queuectl.core.plugins import BUILTIN, OFFERS, load_object, offered
from queuectl.core.schema import KINDS, QUEUE_OPTIONS, ROUTE_OPTIONS, SECTIONS, USE

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "queuectl.toml"
DEPLOY = ROOT / "examples" / "deploy"


# --- queuectl.toml ---------------------------------------------------------------------------------------


def built_in_options() -> dict[str, tuple[Option, ...]]:
    """``storage.sqlite`` and so on, with their options."""
    return {
        f"{kind}.{provider.name}": provider.options
        for (kind, name), module in BUILTIN.items()
        for provider in offered(load_object(module), OFFERS[kind])
        if provider.name == name
    }


def sections() -> dict[str, str]:
    """The text of the example, by table."""
    parts = re.split(r"^\[(.+)\]\n", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def keys_in(text: str) -> set[str]:
    return set(re.findall(r"^(?:# )?([a-z_]+) = ", text, re.MULTILINE))


def test_the_example_has_every_table_and_every_key_and_none_that_there_is_not() -> None:
    texts = sections()
    wanted = {**SECTIONS, **built_in_options(), "queues.nightly": QUEUE_OPTIONS, "routes.bad-news": ROUTE_OPTIONS}
    for table, options in wanted.items():
        assert table in texts, f"queuectl.toml has no [{table}]"
        text = texts[table].split("\n\n")[0] if table == "plugins" else texts[table]
        assert keys_in(text) == {option.name for option in options}, table
    tables = {name.split(".")[0] for name in texts}
    assert tables == {*SECTIONS, *KINDS, "queues", "routes"}
    assert any(USE.name in keys_in(text) for text in texts.values())


def test_the_example_shows_the_defaults() -> None:
    document = tomli.loads(EXAMPLE.read_text(encoding="utf-8"))
    origin = Origin("project", str(EXAMPLE))
    for table, options in {**SECTIONS, **built_in_options()}.items():
        content = document
        for name in table.split("."):
            content = content[name]
        checked = check_table(table, {key: Entry(value, origin) for key, value in content.items()}, options)
        for option in options:
            if option.default is REQUIRED:
                continue
            if option.path and checked[option.name] and not option.default:
                continue  # an empty path: the folder of the file
            value = checked[option.name]
            assert (tuple(value) if isinstance(value, list) else value) == (
                tuple(option.default) if isinstance(option.default, list) else option.default
            ), f"[{table}] {option.name}"


def test_the_example_works(empty_home: dict[str, str]) -> None:
    done = queuectl("--config", str(EXAMPLE), "config", "validate", "--json", env=empty_home)
    assert json.loads(done)["ok"] is True
    assert Config.load(str(EXAMPLE)).queues["nightly"].timeout == 7200


# --- examples/deploy --------------------------------------------------------------------------------------


@pytest.fixture
def empty_home(tmp_path: Path) -> dict[str, str]:
    """An environment with an empty HOME and nothing of ours in it."""
    home = tmp_path / "home"
    home.mkdir()
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("QUEUECTL_", "XDG_"))}
    return {**clean, "HOME": str(home), "PYTHONPATH": str(ROOT)}


def queuectl(*words: str, env: dict[str, str], cwd: Path | None = None, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "queuectl", *words],
        env=env,
        cwd=cwd or env["HOME"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture
def deployment(tmp_path: Path, empty_home: dict[str, str]) -> Any:
    """A copy of the example, and the command line on it."""
    folder = tmp_path / "deploy"
    shutil.copytree(DEPLOY, folder)

    def run(*words: str, code: int = 0) -> str:
        return queuectl("--config", str(folder / "queuectl.toml"), *words, env=empty_home, cwd=tmp_path, code=code)

    run.folder = folder  # type: ignore[attr-defined]
    return run


def test_the_deployment_is_valid_and_its_plugin_active(deployment: Any) -> None:
    assert json.loads(deployment("config", "validate", "--json"))["ok"] is True
    plugins = {plugin["name"]: plugin for plugin in json.loads(deployment("plugins", "list", "--json"))}
    assert plugins["policy"]["state"] == "active"
    assert plugins["policy"]["hooks"] == [
        "queuectl_configure",
        "queuectl_environment",
        "queuectl_options",
        "queuectl_prepare",
        "queuectl_verdict",
    ]


def test_the_deployment_refuses_what_its_policy_does_not_allow(deployment: Any) -> None:
    said = deployment("enqueue", "--", "echo", "x" * 300, code=65)
    assert said == "queuectl: a command has at most 200 characters here, and this has 305\n"
    assert json.loads(deployment("list", "--json")) == []


def test_every_choice_of_the_deployment_takes_effect(
    deployment: Any, tmp_path: Path, empty_home: dict[str, str]
) -> None:
    """Both queues, each with its executor's options and its backoff, and the plugin, in real jobs."""
    say = 'echo "$SITE $SITE_QUEUE $(umask) $(nice)"'
    quick = deployment("enqueue", "--queue", "quick", "--shell", say).strip()
    bulk = deployment("enqueue", "--queue", "bulk", "--shell", say).strip()
    final = deployment("enqueue", "--queue", "bulk", "--shell", "exit 9").strip()
    again = f"test -e {tmp_path}/once || {{ touch {tmp_path}/once; exit 9; }}"
    soon = deployment("enqueue", "--queue", "quick", "--shell", again).strip()
    nice = int(subprocess.run(["nice"], capture_output=True, text=True, check=True).stdout)

    deployment("worker", "start", "--until-empty", code=1)  # one of its jobs ended dead

    jobs = {job["id"]: job for job in json.loads(deployment("list", "--json"))}
    assert {jobs[id]["state"] for id in (quick, bulk, soon)} == {"completed"}
    assert deployment("logs", quick) == f"example quick 0027 {nice}\n"
    assert deployment("logs", bulk) == f"example bulk 0077 {min(19, nice + 15)}\n"
    assert (jobs[final]["state"], jobs[final]["attempts"]) == ("dead", 1)  # the verdict is the plugin's
    assert jobs[soon]["attempts"] == 2  # retried after a second
    assert (jobs[quick]["max_retries"], jobs[bulk]["max_retries"]) == (4, 2)
    assert (jobs[quick]["priority"], jobs[quick]["timeout_sec"], jobs[bulk]["timeout_sec"]) == (10, 60, 21600)
    assert jobs[quick]["tags"] == ["site:example"]
    limits = {queue["name"]: queue["concurrency"] for queue in json.loads(deployment("queue", "list", "--json"))}
    assert (limits["quick"], limits["bulk"]) == (None, 1)
    assert (deployment.folder / "queue.db").exists()
    assert list(Path(empty_home["HOME"]).rglob("*.db")) == []


def test_a_failed_job_of_a_queue_waits_as_the_queues_backoff_says(deployment: Any) -> None:
    quick = deployment("enqueue", "--queue", "quick", "--shell", "exit 9").strip()
    bulk = deployment("enqueue", "--queue", "bulk", "--shell", "exit 75").strip()
    deployment("worker", "start", "--max-jobs", "2")
    jobs = {job["id"]: job for job in json.loads(deployment("list", "--json"))}
    assert {job["state"] for job in jobs.values()} == {"failed"}
    assert (waits(jobs[quick]), waits(jobs[bulk])) == (1, 30)


def waits(job: dict[str, Any]) -> int:
    from datetime import datetime

    return round((datetime.fromisoformat(job["run_at"]) - datetime.fromisoformat(job["updated_at"])).total_seconds())
