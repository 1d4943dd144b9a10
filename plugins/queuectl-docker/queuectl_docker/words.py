"""Checks of single words of the configuration, and why a job may not say some of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

PULLS = ("missing", "always", "never")
_OWNER = "only [executor.docker] of the configuration can give it"
#: What could give away the host. A job that asks for it hears why it does not get it.
FORBIDDEN = {
    "privileged": f"it gives the whole host away; {_OWNER}",
    "cap_add": f"capabilities are rights over the host; {_OWNER}",
    "devices": f"a device is the host's; {_OWNER}",
    "gpus": f"a graphics processor is a device of the host; {_OWNER}",
    "namespaces": f"in the host's namespaces a job sees and ends processes of others; {_OWNER}",
    "network": f"another network reaches what the owner has not opened; {_OWNER}",
    "user": f"with mounts, root in a container is root over files of the host; {_OWNER}",
    "host": f"who chooses the engine chooses the host; {_OWNER}",
    "mount_roots": f"it says which folders of the host may be mounted; {_OWNER}",
    "init": f"without it signals do not reach every command; {_OWNER}",
    "security_opt": "it turns the engine's protection off; nobody can give it",
    "volumes": "folders of the host are asked for by mounts, and must be below mount_roots",
    "pid_mode": "in the host's namespaces a job sees and ends processes of others; see namespaces",
    "ipc_mode": "in the host's namespaces a job reads the memory of others; see namespaces",
    "userns_mode": "root in the host's user namespace is root; nobody can give it",
    "cgroup_parent": "the limits would be another group's; nobody can give it",
    "runtime": "a runtime is a program of the host; nobody can give it",
}


class Mount:
    """A folder of the host in the container."""

    def __init__(self, source: str, target: str, read_only: bool) -> None:
        self.source = source
        self.target = target
        self.read_only = read_only


def parse_mount(text: str) -> Mount:
    """``SOURCE:TARGET[:ro]``. ValueError with a complaint."""
    read_only = text.endswith(":ro")
    body = text.removesuffix(":ro").removesuffix(":rw")
    source, colon, target = body.rpartition(":/")
    target = "/" + target
    if not colon or not source.startswith("/") or "\0" in text:
        raise ValueError(f"{text!r} is not SOURCE:TARGET or SOURCE:TARGET:ro with two absolute paths")
    if ".." in target.split("/") or ".." in source.split("/"):
        raise ValueError(f"{text!r}: say the path without ..")
    return Mount(source, target, read_only)


def check_mounts(texts: Sequence[Any]) -> str | None:
    try:
        for text in texts:
            if not isinstance(text, str):
                return "a list of texts was expected"
            parse_mount(text)
    except ValueError as error:
        return str(error)
    return None


def check_list(values: Sequence[Any]) -> str | None:
    good = all(isinstance(value, str) and "\0" not in value for value in values)
    return None if good else "a list of texts was expected"


def check_path(path: str) -> str | None:
    return None if path.startswith("/") else "an absolute path in the container was expected"


def check_cpus(number: float) -> str | None:
    return None if 0.01 <= number <= 1024 else "a number from 0.01 to 1024 was expected"


def check_host(address: str) -> str | None:
    return None if address.startswith(("unix:///", "tcp://")) else "unix:///PATH or tcp://HOST:PORT was expected"
