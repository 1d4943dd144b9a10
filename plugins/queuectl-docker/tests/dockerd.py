"""Starts a dockerd of the tests' own, and ends it with everything it left.

No bridge, no firewall rule, nothing outside its folder. The image is a handful of links and folders: the tests mount
the host's programs into it, read only, so nothing is fetched or copied.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import docker
from driver import until
from queuectl_docker import plugin

from queuectl.api.executor import Executor
from queuectl.api.providers import Context

IMAGE = "queuectl-test/host:1"
#: Where an engine may already run: the tests use it and leave it alone.
RUNNING = "QUEUECTL_TEST_DOCKER_HOST"
PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
#: Nothing for Kubernetes, no file systems that a test does not need.
CONTAINERD = """
disabled_plugins = [
    "io.containerd.grpc.v1.cri",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
]
"""


def find_engine(folder: Path) -> Engine | str:
    """An engine that can be started or is there, or why there is none."""
    if os.environ.get(RUNNING):
        return Engine(folder, os.environ[RUNNING])
    if sys.platform != "linux":
        return "dockerd needs Linux"
    if os.getuid() != 0:
        return f"only root can start dockerd (name a running one in {RUNNING})"
    if shutil.which("dockerd", path=PATH) is None:
        return "dockerd is not installed (Debian: apt install docker.io)"
    return Engine(folder, "")


class Engine:
    """One engine: a containerd and a dockerd, each a child of ours. *host* is given where one runs already."""

    def __init__(self, folder: Path, host: str) -> None:
        self.folder = folder
        self.host = host or f"unix://{folder}/docker.sock"
        self.ours = not host
        self._containerd: subprocess.Popen[bytes] | None = None
        self._dockerd: subprocess.Popen[bytes] | None = None

    # -- life -------------------------------------------------------------------------------------

    def start(self, *flags: str) -> None:
        """Start what does not run of it, and wait until it answers. ``--live-restore``: containers outlive it.

        Not the containerd that dockerd starts by itself: after a crash dockerd takes the dead one's pid file for a
        live one, and waits for it in vain.
        """
        if not self.ours:
            return
        if self._containerd is None:
            config = self.folder / "containerd.toml"
            config.write_text(
                f'version = 2\nroot = "{self.folder}/images"\nstate = "{self.folder}/state"\n' + CONTAINERD
            )
            words = ["containerd", "--config", str(config), "--address", self._address]
            self._containerd = self._launch("containerd", words)
            self._await(self._containerd, "containerd", lambda: _connects(self._address))
        if self._dockerd is None:
            (self.folder / "docker.pid").unlink(missing_ok=True)  # of one that was killed
            words = ["dockerd", "--host", self.host, "--containerd", self._address]
            words += ["--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/exec"]
            words += ["--pidfile", f"{self.folder}/docker.pid", "--bridge=none", "--iptables=false"]
            words += ["--ip6tables=false", "--ip-forward=false", "--ip-masq=false", *flags]
            self._dockerd = self._launch("dockerd", words)
        self._await(self._dockerd, "dockerd", self.answers)

    @property
    def _address(self) -> str:
        return f"{self.folder}/containerd.sock"

    def _launch(self, name: str, words: list[str]) -> subprocess.Popen[bytes]:
        env = {**os.environ, "PATH": PATH}
        with open(self.folder / f"{name}.log", "ab") as log:
            return subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, start_new_session=True
            )

    def _await(self, process: subprocess.Popen[bytes], name: str, ready: Callable[[], bool]) -> None:
        end = time.monotonic() + 60
        while not ready():
            if process.poll() is not None or time.monotonic() > end:
                said = (self.folder / f"{name}.log").read_text(errors="replace")[-2000:]
                raise AssertionError(f"{name} did not start: {said}")
            time.sleep(0.05)

    def answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(5)
            try:
                line.connect(self.host.removeprefix("unix://"))
                line.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b" 200 " in line.recv(64)
            except OSError:
                return False

    def client(self, timeout: float = 60) -> AbstractContextManager[Any]:
        return closing(docker.APIClient(self.host, version="auto", timeout=timeout))

    def kill(self, *, with_containerd: bool = True) -> None:
        """As if it had crashed. Containers run on: each has a small process of its own above it."""
        assert self._dockerd is not None and self._containerd is not None
        _end_child(self._dockerd, signal.SIGKILL)
        self._dockerd = None
        if with_containerd:
            _end_child(self._containerd, signal.SIGKILL)
            self._containerd = None

    def stop(self) -> None:
        """Politely: it ends its containers."""
        for process in (self._dockerd, self._containerd):
            if process is not None:
                _end_child(process, signal.SIGTERM)
        self._dockerd = self._containerd = None

    def close(self) -> None:
        """End it, and all that it mounted and left running in its folder."""
        if not self.ours:
            return
        if self._dockerd is not None and self._dockerd.poll() is None:
            with self.client() as client:
                for found in client.containers():
                    client.kill(found["Id"])
        self.stop()
        _end_shims(str(self.folder))
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((m for m in mounts if m.startswith(f"{self.folder}/")), reverse=True):
            subprocess.run(["umount", mount], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- what is in it ----------------------------------------------------------------------------

    def load_image(self) -> None:
        with self.client() as client:
            repository, _, tag = IMAGE.partition(":")
            client.import_image_from_data(self.layer(), repository=repository, tag=tag)

    @staticmethod
    def layer() -> bytes:
        """All of the image: links to the programs that a test mounts, and the folders to mount them on."""
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as tar:
            for name in ("usr", "etc", "tmp", "proc", "sys", "dev", "sbin"):  # the engine puts its init into sbin
                entry = tarfile.TarInfo(name)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
            for name in ("bin", "lib", "lib64"):
                if os.path.islink(f"/{name}"):
                    entry = tarfile.TarInfo(name)
                    entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{name}"
                    tar.addfile(entry)
        return data.getvalue()

    def containers(self) -> list[dict[str, Any]]:
        """Every container, ended ones too."""
        with self.client() as client:
            found: list[dict[str, Any]] = client.containers(all=True)
            return found

    def options(self, **more: Any) -> dict[str, Any]:
        """Options of the executor for this engine and image, with the host's programs in it."""
        prefix = sys.base_prefix
        folders = ["/usr", *(f"/{name}" for name in ("bin", "lib", "lib64") if not os.path.islink(f"/{name}"))]
        folders += [] if prefix.startswith("/usr") else [prefix]
        mounts = [f"{folder}:{folder}:ro" for folder in folders if os.path.isdir(folder)]
        given = {"host": self.host, "image": IMAGE, "network": "none", "pull": "never", **more}
        return {**given, "mounts": [*mounts, *more.get("mounts", [])]}


def _connects(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.connect(path)
        except OSError:
            return False
        return True


def _end_child(process: subprocess.Popen[bytes], number: int) -> None:
    process.send_signal(number)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end(pid: int) -> None:
    """Kill a process that is no child of ours, and wait until it is gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    until(lambda: _state(pid) in ("", "Z"), f"the end of {pid}")


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def _end_shims(folder: str) -> None:
    """The shims of containers outlive their engine; ours have our folder in their command line."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"containerd-shim" in words[0] and any(word.startswith(os.fsencode(f"{folder}/")) for word in words):
            _end(int(path.parent.name))


#: The host's Python, which the tests mount into their containers.
PYTHON = f"{sys.base_prefix}/bin/python{sys.version_info[0]}.{sys.version_info[1]}"


def opened(options: dict[str, Any], home: Path) -> Executor:
    """The executor as a worker opens it."""
    (provider,) = plugin.queuectl_executors()
    defaults = {option.name: option.default for option in provider.options}
    return provider.open({**defaults, **options}, Context("docker", str(home), "/", lambda _line: None))
