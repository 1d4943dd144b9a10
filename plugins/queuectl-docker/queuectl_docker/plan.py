"""What a container is to be: the owner's options, what the job may add to them, and why it is refused.

Pure but for two looks at the host: links of folders are resolved, and a socket is told from a folder.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import stat
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

from queuectl.api.errors import StartFailed

from .words import Mount, parse_mount

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from queuectl.api.executor import Run
    from queuectl.api.providers import Context

PREFIX = "queuectl-"
STORE, JOB, ATTEMPT, QUEUE = "queuectl.store", "queuectl.job", "queuectl.attempt", "queuectl.queue"
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_.-]")


class Plan(NamedTuple):
    """A container, as it is asked for. ``host`` has the engine's words for what the host gives and withholds."""

    name: str
    image: str
    pull: str
    command: tuple[str, ...]
    entrypoint: list[str] | None
    env: Mapping[str, str]
    workdir: str | None
    labels: Mapping[str, str]
    user: str
    host: Mapping[str, Any]
    mounts: Sequence[Mount]


def name_of(run: Run) -> str:
    """The container's name: job, attempt and, since two storages may use one engine, the worker's random name."""
    mark = run.own_env.get("QUEUECTL_RUN", "")
    job = run.claim.job
    unique = hashlib.sha256(mark.encode(errors="surrogateescape")).hexdigest()[:16]
    return f"{PREFIX}{_NOT_IN_NAMES.sub('_', job.id)[:64]}-{job.attempts}-{unique}"


def store_of(context: Context) -> str:
    """A name for the storage that a run belongs to: one that hosts share has the same on all of them."""
    home = context.home or ""
    shared = bool(home) and os.path.dirname(home) == os.path.join(context.state_dir, "state")
    text = os.path.basename(home) if shared else f"{socket.gethostname()}\0{home}"
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


def make_plan(run: Run, options: Mapping[str, Any], store: str, guarded: Sequence[str]) -> Plan:
    """The container for a run. StartFailed, with the reason, for what is not allowed or makes no sense.

    *guarded* are paths that no job may get hold of: the engine's socket.
    """
    asked = {name: value for name, value in run.options.items() if value is not None}
    mounts = [parse_mount(text) for text in options["mounts"]]
    mounts += [_allowed(parse_mount(text), options["mount_roots"], guarded) for text in asked.get("mounts", ())]
    inside = _inside(run.cwd, mounts)
    workdir = inside or asked.get("workdir") or options["workdir"]
    env = {**options["env"], **run.own_env}
    env.pop("PWD", None)
    if inside is not None:
        env["PWD"] = inside
    job = run.claim.job
    entrypoint = asked.get("entrypoint", options["entrypoint"])
    plan = Plan(
        name_of(run),
        _image(asked, options),
        asked.get("pull", options["pull"]),
        _command(run, options["shell"]),
        [""] if entrypoint == [] else entrypoint,
        {name: str(value) for name, value in env.items()},
        workdir,
        {STORE: store, JOB: job.id, ATTEMPT: str(job.attempts), QUEUE: job.spec.queue},
        options["user"],
        _host(asked, options),
        mounts,
    )
    _check_text([*plan.command, *env, *plan.env.values()])
    return plan


def _image(asked: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    image = asked.get("image", options["image"])
    if not isinstance(image, str) or not image:
        raise StartFailed("no image: name one by --set image=NAME, or for all jobs in [executor.docker]", 126)
    patterns = options["images"]
    if image != options["image"] and not any(fnmatchcase(image, pattern) for pattern in patterns):
        raise StartFailed(f"image {image} is not allowed ([executor.docker] images: {', '.join(patterns)})", 126)
    if options["pinned"] and "@sha256:" not in image:
        raise StartFailed(f"image {image} is not named by its digest, as [executor.docker] pinned demands", 126)
    return image


def _command(run: Run, shell: str) -> tuple[str, ...]:
    command = run.argv if run.argv is not None else (shell, "-c", run.shell or "")
    if not command or not command[0]:
        raise StartFailed("the command is empty")
    return tuple(command)


def _check_text(words: Sequence[str]) -> None:
    """The engine is spoken to in JSON, and runs C programs."""
    for word in words:
        if "\0" in word:
            raise StartFailed(f"{word[:80]!r}: a command has no NUL bytes", 126)
        try:
            word.encode()
        except UnicodeEncodeError:
            raise StartFailed(f"{word[:80]!r} is not text: a container is given UTF-8 only", 126) from None


def _allowed(mount: Mount, roots: Sequence[str], guarded: Sequence[str]) -> Mount:
    """A mount that a job asks for, by its real path, if the owner has opened that."""
    real = os.path.realpath(mount.source)
    if not any(_below(real, os.path.realpath(root)) for root in roots):
        opened = f"only folders below {', '.join(roots)}" if roots else "no folder ([executor.docker] mount_roots)"
        raise StartFailed(f"mount of {mount.source}: a job may mount {opened}", 126)
    try:
        mode = os.stat(real).st_mode
    except OSError as error:
        raise StartFailed(f"mount of {mount.source}: {(error.strerror or 'it cannot be used').lower()}", 126) from None
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise StartFailed(f"mount of {mount.source}: a job may mount folders and files, no sockets or devices", 126)
    if any(_below(os.path.realpath(path), real) for path in guarded):
        raise StartFailed(f"mount of {mount.source}: the engine's own socket is in there", 126)
    return Mount(real, mount.target, mount.read_only)


def _below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def _inside(cwd: str | None, mounts: Sequence[Mount]) -> str | None:
    """The job's directory as the container sees it; None if no mount holds it. StartFailed if there is none."""
    if cwd is None:
        return None
    if os.path.exists(cwd) and not os.path.isdir(cwd):
        raise StartFailed(f"the directory {cwd} is none", 126)
    for mount in sorted(mounts, key=lambda mount: -len(mount.source)):
        for path, source in ((cwd, mount.source), (os.path.realpath(cwd), os.path.realpath(mount.source))):
            if _below(path, source):
                if not os.path.isdir(cwd):
                    raise StartFailed(f"the directory {cwd} does not exist on this host", 126)
                return os.path.normpath(os.path.join(mount.target, os.path.relpath(path, source)))
    return None


def _host(asked: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The limits and rights: the words of ``docker.APIClient.create_host_config``."""
    memory = _at_most(asked, options, "memory")
    cpus = _at_most(asked, options, "cpus")
    namespaces = {f"{name}_mode": "host" for name in options["namespaces"]}
    gpus = options["gpus"]
    return {
        "network_mode": asked.get("network", options["network"]),
        "read_only": asked.get("read_only", options["read_only"]),
        "tmpfs": dict(text.partition(":")[::2] for text in options["tmpfs"]),
        "mem_limit": memory,
        "memswap_limit": memory,
        "nano_cpus": None if cpus is None else round(cpus * 1e9),
        "pids_limit": _at_most(asked, options, "pids"),
        "cap_drop": ["ALL"],
        "cap_add": options["cap_add"] or None,
        "security_opt": ["no-new-privileges"],
        "privileged": options["privileged"],
        "devices": options["devices"] or None,
        "init": options["init"],
        "device_requests": None if gpus is None else [_gpus(gpus)],
        **namespaces,
    }


def _gpus(text: str) -> dict[str, Any]:
    count = -1 if text == "all" else int(text) if text.isdigit() else 0
    if not count:
        raise StartFailed(f"[executor.docker] gpus = {text!r}: a number or all was expected", 126)
    return {"Driver": "", "Count": count, "Capabilities": [["gpu"]]}


def _at_most(asked: Mapping[str, Any], options: Mapping[str, Any], name: str) -> Any:
    """What the job asks for, within the owner's bound, else the owner's own."""
    if name not in asked:
        return options[name]
    most = options[f"most_{name}"]
    if most is not None and asked[name] > most:
        raise StartFailed(f"{name} = {asked[name]:g} is more than [executor.docker] most_{name} = {most:g}", 126)
    return asked[name]
