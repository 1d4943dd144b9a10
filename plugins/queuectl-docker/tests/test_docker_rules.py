"""What a job may not have, and why it is told so: rules that need no engine."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from queuectl_docker import plugin, words
from queuectl_docker.engine import Engine
from queuectl_docker.plan import Plan, make_plan, name_of, store_of

from queuectl.api.errors import StartFailed
from queuectl.api.providers import Context
from queuectl.testing.fakes import make_claim, make_run

DEFAULTS = {option.name: option.default for option in plugin.OPTIONS}


def plan(command: Any = "true", /, asked: dict[str, Any] | None = None, run: Any = None, **options: Any) -> Plan:
    made = make_run(command, 1, options=asked or {}, **(run or {}))
    return make_plan(made, {**DEFAULTS, "image": "busybox", **options}, "store", ["/run/docker.sock"])


def refusal(command: Any = "true", /, **more: Any) -> str:
    with pytest.raises(StartFailed) as caught:
        plan(command, **more)
    return str(caught.value)


def test_a_container_gets_nothing_that_it_does_not_need() -> None:
    host = plan().host
    assert host["cap_drop"] == ["ALL"] and not host["cap_add"]
    assert host["security_opt"] == ["no-new-privileges"]
    assert host["read_only"] and host["init"] and not host["privileged"] and not host["devices"]
    assert host["pids_limit"] == 256
    assert host["mem_limit"] == host["memswap_limit"] == 512 << 20
    assert plan().user == "65534:65534"
    assert not plan().mounts


@pytest.mark.parametrize("name", sorted(words.FORBIDDEN))
def test_what_gives_the_host_away_is_refused_at_enqueue_with_the_reason(name: str) -> None:
    option = next(option for option in plugin.JOB_OPTIONS if option.name == name)
    said = option.refused or (option.check and option.check("host"))
    assert said and words.FORBIDDEN[name] in said


def test_a_job_names_an_image_that_is_allowed() -> None:
    assert plan(asked={"image": "alpine:3"}).image == "alpine:3"
    assert "no image" in refusal(image=None)
    assert "not allowed" in refusal(asked={"image": "evil"}, images=["alpine:*", "registry.lan/*"])
    assert plan(asked={"image": "alpine:3"}, images=["alpine:*"]).image == "alpine:3"
    assert plan(images=["alpine:*"]).image == "busybox"
    assert "digest" in refusal(pinned=True)
    assert plan(pinned=True, image="busybox@sha256:0f").image == "busybox@sha256:0f"


@pytest.mark.parametrize(("name", "most"), [("memory", 1 << 30), ("cpus", 2.0), ("pids", 100)])
def test_a_job_gets_no_more_than_the_owner_allows(name: str, most: float) -> None:
    words = {"memory": "mem_limit", "cpus": "nano_cpus", "pids": "pids_limit"}
    factor = 1e9 if name == "cpus" else 1
    kind = float if name == "cpus" else int
    bound = {f"most_{name}": kind(most)}
    assert plan(asked={name: kind(most)}, **bound).host[words[name]] == most * factor
    assert f"most_{name}" in refusal(asked={name: kind(most * 2)}, **bound)
    assert plan(asked={name: kind(most * 2)}).host[words[name]] == most * 2 * factor


@pytest.mark.parametrize(("text", "count"), [("all", -1), ("2", 2)])
def test_the_owner_gives_graphics_processors(text: str, count: int) -> None:
    assert plan(gpus=text).host["device_requests"] == [{"Driver": "", "Count": count, "Capabilities": [["gpu"]]}]
    assert plan().host["device_requests"] is None
    assert "a number or all" in refusal(gpus="some")


def test_the_owner_may_give_more_of_the_host() -> None:
    more = {"privileged": True, "devices": ["/dev/fuse"], "cap_add": ["SYS_PTRACE"], "namespaces": ["pid", "ipc"]}
    host = plan(**more).host
    assert host["privileged"] and host["devices"] == ["/dev/fuse"] and host["cap_add"] == ["SYS_PTRACE"]
    assert (host["pid_mode"], host["ipc_mode"]) == ("host", "host")


def test_the_engine_is_the_options_else_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Engine(None).address == "unix:///var/run/docker.sock"
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/user/1000/podman.sock")
    assert Engine(None).address == "unix:///run/user/1000/podman.sock"
    assert Engine("tcp://box:2376").address == "tcp://box:2376"
    assert "/run/user/1000/podman.sock" in Engine(None).sockets


# --- Mounts ---------------------------------------------------------------------------------------


def test_a_job_mounts_nothing_unless_the_owner_opens_a_folder(tmp_path: Path) -> None:
    assert "mount_roots" in refusal(asked={"mounts": [f"{tmp_path}:/data"]})


def test_a_job_mounts_folders_below_the_roots_by_their_real_path(tmp_path: Path) -> None:
    (tmp_path / "open/inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "open")
    asked = {"mounts": [f"{tmp_path}/link/inner:/data:ro"]}
    (mount,) = plan(asked=asked, mount_roots=[f"{tmp_path}/open"]).mounts
    assert (mount.source, mount.target, mount.read_only) == (f"{tmp_path}/open/inner", "/data", True)


@pytest.mark.parametrize("way", ["link", "sibling", "parent", "socket", "missing", "engine"])
def test_no_way_leads_out_of_the_roots(tmp_path: Path, way: str) -> None:
    root = tmp_path / "open"
    root.mkdir()
    (tmp_path / "openly").mkdir()
    (root / "link").symlink_to("/etc")
    with socket.socket(socket.AF_UNIX) as line:
        line.bind(os.path.relpath(root / "socket"))
    source = {"sibling": f"{tmp_path}/openly", "parent": str(tmp_path), "engine": "/run"}.get(way, f"{root}/{way}")
    roots = ["/"] if way == "engine" else [str(root)]
    assert refusal(asked={"mounts": [f"{source}:/data"]}, mount_roots=roots).startswith(f"mount of {source}: ")


@pytest.mark.parametrize("text", ["x:/y", "/x", "/x:y", "/a/../b:/c", "/a:/b/../c", "", ":/x", "/x\0:/y"])
def test_a_mount_that_is_none_is_refused(text: str) -> None:
    assert words.check_mounts([text])
    assert words.check_mounts(["/a b:/c", "/a:/b:ro"]) is None


# --- What a run is given ----------------------------------------------------------------------------


def test_the_job_has_its_own_directory_only_where_a_mount_holds_it(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    run = {"cwd": f"{tmp_path}/project", "own_env": {"PWD": f"{tmp_path}/project"}}
    assert plan(run=run).workdir is None and "PWD" not in plan(run=run).env
    assert plan(run=run, workdir="/srv").workdir == "/srv"
    held = plan(run=run, mounts=[f"{tmp_path}:/srv:ro"])
    assert (held.workdir, held.env["PWD"]) == ("/srv/project", "/srv/project")
    run["cwd"] = f"{tmp_path}/gone"
    assert plan(run=run).workdir is None
    assert "does not exist" in refusal(run=run, mounts=[f"{tmp_path}:/srv"])


def test_the_environment_is_the_owners_and_the_jobs_never_the_workers() -> None:
    run = {"env": {"PATH": "/worker", "SECRET": "x"}, "own_env": {"A": "job", "QUEUECTL_JOB_ID": "1"}}
    assert plan(run=run, env={"A": "owner", "B": 2}).env == {"A": "job", "B": "2", "QUEUECTL_JOB_ID": "1"}


def test_a_command_goes_as_it_is_and_a_line_to_the_containers_shell() -> None:
    assert plan(["a", "b c"]).command == ("a", "b c")
    assert plan("a | b", shell="/bin/ash").command == ("/bin/ash", "-c", "a | b")
    assert plan().entrypoint is None
    assert plan(entrypoint=[]).entrypoint == [""]
    assert plan(asked={"entrypoint": ["env"]}, entrypoint=[]).entrypoint == ["env"]


def test_names_tell_job_and_attempt_and_never_collide() -> None:
    def name(id: str, attempt: int, mark: str) -> str:
        run = make_run("true", 1, claim=make_claim(id=id, attempts=attempt), own_env={"QUEUECTL_RUN": mark})
        return name_of(run)

    assert name("a:b", 3, "x").startswith("queuectl-a_b-3-")
    assert len({name("1", 1, "w1.1.1"), name("1", 1, "w2.1.1"), name("1", 2, "w1.1.2")}) == 3
    assert len(name("x" * 128, 1, "x")) < 128


def test_hosts_that_share_a_storage_share_its_label_and_others_do_not() -> None:
    def store(home: str) -> str:
        return store_of(Context("docker", home, "/state", print))

    assert store("/state/state/abc") == store("/state/state/abc") != store("/state/state/abd")
    assert store("/a/q.db.d") != store("/b/q.db.d")
