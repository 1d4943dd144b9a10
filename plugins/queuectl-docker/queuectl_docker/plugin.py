"""What the plugin offers: the executor ``docker``, its options, and what a job may ask of it.

Every ``enqueue`` for this executor imports this module, and nothing heavier.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from queuectl.api import hookimpl
from queuectl.api.providers import Context, Option, Provider

from .words import FORBIDDEN, PULLS, check_cpus, check_host, check_list, check_mounts, check_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from queuectl.api.executor import Executor


def _open(options: Mapping[str, Any], context: Context) -> Executor:
    from .executor import DockerExecutor

    return DockerExecutor(options, context)


def _only(wanted: Any, reason: str) -> Callable[[Any], str | None]:
    return lambda value: None if value == wanted else reason


_MIB = 1 << 20

OPTIONS = (
    Option("image", str, None, "image of jobs that name none"),
    Option("images", list, ["*"], "patterns: a job may choose an image that one of them matches", check=check_list),
    Option("pinned", bool, False, "whether an image must be named by its digest (NAME@sha256:…)"),
    Option("pull", str, "missing", "when to fetch an image", choices=PULLS),
    Option("host", str, None, "the engine's address (unix://… or tcp://…); default: DOCKER_HOST", check=check_host),
    Option("network", str, None, "network of the containers: none, bridge, host, or a name; default: the engine's"),
    Option("user", str, "65534:65534", "user of the containers (USER or USER:GROUP); empty: the image's"),
    Option("read_only", bool, True, "whether the container's own files cannot be written"),
    Option("tmpfs", list, ["/tmp"], "folders in memory, empty and writable: PATH or PATH:OPTIONS", check=check_list),
    Option("mounts", list, [], "folders of the host: SOURCE:TARGET or SOURCE:TARGET:ro", check=check_mounts),
    Option(
        "mount_roots", list, [], "a job may ask for mounts of folders below these, links resolved", check=check_list
    ),
    Option("cpus", float, None, "processors that one container may use", check=check_cpus),
    Option("memory", int, 512 * _MIB, "memory of one container", minimum=6 * _MIB, unit="B"),
    Option("pids", int, 256, "processes of one container", minimum=1),
    Option("most_cpus", float, None, "more than so many processors no job may ask for", check=check_cpus),
    Option("most_memory", int, None, "more than so much memory no job may ask for", minimum=6 * _MIB, unit="B"),
    Option("most_pids", int, None, "more than so many processes no job may ask for", minimum=1),
    Option("env", dict, {}, "variables of every container; those of the job count more"),
    Option("workdir", str, None, "folder in the container where no mount holds the job's own", check=check_path),
    Option("entrypoint", list, None, "words before the command, instead of the image's; []: none", check=check_list),
    Option("shell", str, "/bin/sh", "the container's shell, called with -c for shell lines", check=check_path),
    Option("init", bool, True, "whether a small init in the container reaps and passes signals on"),
    Option("gpus", str, None, "graphics processors: a number, or all"),
    Option("devices", list, [], "devices of the host: /dev/X or /dev/X:/dev/Y:rwm", check=check_list),
    Option("cap_add", list, [], "capabilities given back; all are dropped", check=check_list),
    Option("namespaces", list, [], "namespaces shared with the host: pid, ipc, uts", check=check_list),
    Option("privileged", bool, False, "whether containers may do whatever the host may"),
    Option("patience", float, 600.0, "how long to wait for an engine that is gone", minimum=0.0, unit="s"),
    Option("log_size", int, 20 * _MIB, "output that the engine keeps for who takes a run up", minimum=_MIB, unit="B"),
)
JOB_OPTIONS = (
    Option("image", str, None, "the image", check=lambda name: None if name else "an image has a name"),
    Option("pull", str, None, "when to fetch it", choices=PULLS),
    Option("network", str, None, "none", check=_only("none", "a job may only ask for none; " + FORBIDDEN["network"])),
    Option("read_only", bool, None, "true", check=_only(True, "a job may only ask for true: the rest is the owner's")),
    Option("mounts", list, None, "folders below mount_roots: SOURCE:TARGET[:ro]", check=check_mounts),
    Option("cpus", float, None, "processors", check=check_cpus),
    Option("memory", int, None, "memory", minimum=6 * _MIB, unit="B"),
    Option("pids", int, None, "processes", minimum=1),
    Option("workdir", str, None, "folder in the container", check=check_path),
    Option("entrypoint", list, None, "words before the command; []: none", check=check_list),
    *(Option(name, str, None, refused=reason) for name, reason in FORBIDDEN.items() if name != "network"),
)


@hookimpl
def queuectl_executors() -> Iterable[Provider[Executor]]:
    yield Provider("docker", _open, OPTIONS, "a container of Docker or Podman", job_options=JOB_OPTIONS)
