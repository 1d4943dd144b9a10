"""Starts a dockerd of the tests' own, and ends it by its pid with everything it left.

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
from pathlib import Path
from typing import Any

import docker
from queuectl_docker import plugin

from queuectl.api.executor import Executor
from queuectl.api.providers import Context

IMAGE = "queuectl-test/host:1"
#: Where an engine may already run: the tests use it and leave it alone.
RUNNING = "QUEUECTL_TEST_DOCKER_HOST"


def is_required() -> bool:
    return os.environ.get("CI", "") not in ("", "false", "0")


def find_engine(folder: Path) -> Engine | str:
    """An engine that can be started or is there, or why there is none."""
    if os.environ.get(RUNNING):
        return Engine(folder, os.environ[RUNNING])
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    if sys.platform != "linux":
        return "dockerd needs Linux"
    if os.getuid() != 0:
        return f"only root can start dockerd (name a running one in {RUNNING})"
    if shutil.which("dockerd", path=path) is None:
        return "dockerd is not installed (Debian: apt install docker.io)"
    return Engine(folder, "")


class Engine:
    """One engine. *host* is given where it runs already."""

    def __init__(self, folder: Path, host: str) -> None:
        self.folder = folder
        self.host = host or f"unix://{folder}/docker.sock"
        self._ours = not host
        self._process: subprocess.Popen[bytes] | None = None

    # -- life -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it and wait until it answers."""
        if not self._ours:
            return
        words = ["dockerd", "--host", self.host, "--data-root", f"{self.folder}/data"]
        words += ["--exec-root", f"{self.folder}/exec", "--pidfile", f"{self.folder}/docker.pid", "--bridge=none"]
        words += ["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]
        env = {**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}
        with open(self.folder / "dockerd.log", "ab") as log:
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, start_new_session=True
            )
        until = time.monotonic() + 60
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"dockerd did not start: {self.last_words()}")
            time.sleep(0.05)

    def last_words(self) -> str:
        return (self.folder / "dockerd.log").read_text(errors="replace")[-2000:]

    def answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(5)
            try:
                line.connect(self.host.removeprefix("unix://"))
                line.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b" 200 " in line.recv(64)
            except OSError:
                return False

    def client(self, timeout: float = 60) -> Any:
        return _Closing(docker.APIClient(self.host, version="auto", timeout=timeout))

    def kill(self) -> None:
        """As if it had crashed: containers run on. Then its containerd, so that the next start finds no old one."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        _end(self._containerd())
        (self.folder / "docker.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        """Politely: it ends its containers."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(60)

    def _containerd(self) -> int | None:
        try:
            return int((self.folder / "exec/containerd/containerd.pid").read_text())
        except (OSError, ValueError):
            return None

    def close(self) -> None:
        """End it, and all that it mounted and left running in its folder."""
        if not self._ours or self._process is None:
            return
        if self._process.poll() is None:
            for found in self.containers():
                if found["State"] == "running":
                    with self.client() as client:
                        client.kill(found["Id"])
            self.stop()
        _end(self._containerd())
        _end_shims(str(self.folder))
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((m for m in mounts if m.startswith(f"{self.folder}/")), reverse=True):
            subprocess.run(["umount", mount], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- what is in it ----------------------------------------------------------------------------

    def load_image(self) -> None:
        """Links to the programs that a test mounts, and the folders to mount them on."""
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as tar:
            for name in (
                "usr",
                "etc",
                "tmp",
                "work",
                "proc",
                "sys",
                "dev",
                "sbin",
            ):  # the engine puts its init into sbin
                entry = tarfile.TarInfo(name)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
            for name in ("bin", "lib", "lib64"):
                if os.path.islink(f"/{name}"):
                    entry = tarfile.TarInfo(name)
                    entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{name}"
                    tar.addfile(entry)
        with self.client() as client:
            repository, _, tag = IMAGE.partition(":")
            client.import_image_from_data(data.getvalue(), repository=repository, tag=tag)

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


class _Closing:
    def __init__(self, client: Any) -> None:
        self._client = client

    def __enter__(self) -> Any:
        return self._client

    def __exit__(self, *_: object) -> None:
        self._client.close()


def _end(pid: int | None) -> None:
    """Kill a process and wait until it is gone."""
    if pid is None:
        return
    try:
        os.kill(pid, signal.SIGKILL)
        until = time.monotonic() + 10
        while time.monotonic() < until and _state(pid) not in ("", "Z"):
            time.sleep(0.02)
    except ProcessLookupError:
        pass


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
