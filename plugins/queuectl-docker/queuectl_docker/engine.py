"""Talks to the engine, and tells two kinds of failure apart: it says no, or it is not there.

An engine that is not there has said nothing: whether a container runs is then unknown.
"""

from __future__ import annotations

import os
import select
import ssl
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import docker
import docker.constants
import docker.errors
import docker.utils
import requests
import urllib3.exceptions
from docker.types import LogConfig
from docker.types import Mount as BindMount

from queuectl.api.errors import StartFailed

from .forgotten import end_forgotten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from .plan import Plan

if sys.platform == "win32":
    raise ImportError("workers need Linux or macOS")

DEFAULT = "unix:///var/run/docker.sock"
SOCKETS = ("/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock")
#: Seconds that an answer may take; a stream that is silent for so long is asked after.
TIMEOUT, SILENCE = 60.0, 30.0
PIECE = 1 << 16
#: The newest words that the client knows; an older engine is spoken to in its own.
NEWEST = docker.constants.DEFAULT_DOCKER_API_VERSION


class Away(Exception):
    """The engine cannot be reached, or answers for nobody."""


class Refused(Exception):
    """The engine says no. ``status`` is HTTP's."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Engine:
    """One engine, connected when first needed. Of its methods each may raise Away or Refused."""

    def __init__(self, host: str | None) -> None:
        self.address = host or os.environ.get("DOCKER_HOST") or DEFAULT
        self._client: docker.APIClient | None = None
        self._connecting = threading.Lock()  # the threads of a run and of what is removed share one client
        self._podman = False

    @property
    def sockets(self) -> list[str]:
        """The paths by which this engine is reached, and others that rule the host's containers."""
        path = self.address.removeprefix("unix://")
        return [*SOCKETS, *([path] if path != self.address else [])]

    @contextmanager
    def _asking(self) -> Iterator[docker.APIClient]:
        try:
            with self._connecting:
                client = self._client = self._client or self._connect()
            yield client
        except docker.errors.APIError as error:
            status = error.status_code or 500
            text = " ".join(str(error.explanation or error).split())
            if status in (502, 503, 504) or (status == 500 and not self._answers()):
                raise Away(text) from error
            raise Refused(status, text) from error
        except docker.errors.DockerException as error:
            raise Away(f"the engine at {self.address} cannot be reached") from error
        except (OSError, urllib3.exceptions.HTTPError) as error:  # requests' errors are OSErrors
            raise Away(f"the engine at {self.address} does not answer") from error

    def _connect(self) -> docker.APIClient:
        how = docker.utils.kwargs_from_env(environment={**os.environ, "DOCKER_HOST": self.address})
        # Not version="auto": a client that cannot be made would leave its socket open.
        asking = docker.APIClient(**how, version=NEWEST, timeout=TIMEOUT)
        try:
            answer = asking.version(api_version=False)
        finally:
            asking.close()
        parts = answer.get("Components") or []
        self._podman = any("podman" in str(part.get("Name", "")).lower() for part in parts)
        version = min(str(answer.get("ApiVersion") or NEWEST), NEWEST, key=_numbers)
        client = docker.APIClient(**how, version=version, timeout=TIMEOUT)
        # It has a pool for each address that it asks, and would keep 25 idle connections.
        client.headers["Connection"] = "close"
        return client

    def _answers(self) -> bool:
        try:
            return self._client is not None and bool(self._client.ping())
        except (OSError, docker.errors.DockerException, urllib3.exceptions.HTTPError):
            return False

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    # -- containers -------------------------------------------------------------------------------

    def create(self, plan: Plan, log_size: int) -> None:
        """Make the container; one of that name that is there already is it. Refused 404: there is no such image."""
        with self._asking() as client:
            mounts = [BindMount(m.target, m.source, type="bind", read_only=m.read_only) for m in plan.mounts]
            config = client.create_host_config(**plan.host, mounts=mounts, log_config=self._log_config(log_size))
            try:
                client.create_container(
                    plan.image,
                    list(plan.command),
                    name=plan.name,
                    user=plan.user,
                    environment=dict(plan.env),
                    working_dir=plan.workdir,
                    entrypoint=plan.entrypoint,
                    labels=dict(plan.labels),
                    host_config=config,
                )
            except docker.errors.APIError:
                if self._is_there(client, plan.name):  # we asked before, and never heard the answer
                    return
                raise

    @staticmethod
    def _is_there(client: docker.APIClient, name: str) -> bool:
        try:
            client.inspect_container(name)
        except docker.errors.NotFound:
            return False
        return True

    def _log_config(self, size: int) -> LogConfig:
        """What the engine keeps of the output, in two files: whoever takes the run up has nothing else."""
        bounds = {"max-size": f"{size // 2}", "max-file": "2"}
        if self._podman:
            return LogConfig(type="json-file", config=bounds)
        return LogConfig(type="local", config={**bounds, "compress": "false"})

    def pull(self, image: str, goes_on: Callable[[], bool]) -> None:
        """Fetch an image, for as long as somebody wants it."""
        with self._asking() as client:
            repository, tag = docker.utils.parse_repository_tag(image)
            for step in client.pull(repository, tag or "latest", stream=True, decode=True):
                if "error" in step:
                    raise Refused(404, str(step["error"]))
                if not goes_on():
                    return

    def start(self, name: str) -> None:
        with self._asking() as client:
            client.start(name)

    def state(self, name: str) -> Mapping[str, Any] | None:
        """``State`` as the engine shows it; None if there is no such container."""
        try:
            with self._asking() as client:
                state: Mapping[str, Any] = client.inspect_container(name)["State"]
                return state
        except Refused as error:
            if error.status == 404:
                return None
            raise Away(str(error)) from error

    def await_end(self, name: str, seconds: float) -> None:
        """Until it has ended, or about so long."""
        try:
            with self._asking() as client:
                client.wait(name, timeout=seconds)
        except Refused:
            return
        except Away as error:  # also how a wait that is over shows
            if not self._answers():
                raise error

    def kill(self, name: str, signal: str) -> None:
        """Send a signal; one that has ended hears none, and that is fine."""
        try:
            with self._asking() as client:
                client.kill(name, signal)
        except Refused:
            pass

    def remove(self, name: str) -> bool:
        """End and delete it with its own volumes. False if it is not there, or may run on."""
        try:
            with self._asking() as client:
                found = client.inspect_container(name)
                client.remove_container(name, v=True, force=True)
        except Refused as error:
            if error.status == 404:
                return False
            if error.status != 409:  # it is being removed already
                raise
            return True
        return found["State"]["Status"] != "created" or self._end_forgotten(found["Id"])

    def _end_forgotten(self, container: str) -> bool:
        """Whether nothing runs of a container that was perhaps started, as far as that can be seen from here."""
        try:
            end_forgotten(container)
        except PermissionError:
            return False
        return self.address.startswith("unix:")

    def containers(self, labels: Mapping[str, str], **filters: Any) -> list[Mapping[str, Any]]:
        """The containers that have these labels, ended ones too."""
        with self._asking() as client:
            wanted = [f"{name}={value}" for name, value in labels.items()]
            found: list[Mapping[str, Any]] = client.containers(all=True, filters={"label": wanted, **filters})
            return found

    # -- output -----------------------------------------------------------------------------------

    def attach(self, name: str) -> Stream:
        """What it writes from now on, in frames."""
        with self._asking() as client:
            return Stream(client.attach_socket(name, params={"stdout": 1, "stderr": 1, "stream": 1}))

    def logs(self, name: str, follow: bool, since: float = 0.0) -> Iterator[bytes]:
        """What it has written, and with *follow* what it goes on to write, in frames."""
        with self._asking() as client:
            params = {"stdout": 1, "stderr": 1, "follow": int(follow), **({"since": f"{since:.6f}"} if since else {})}
            url = f"{client.base_url}/v{client.api_version}/containers/{name}/logs"
            with client.get(
                url, params=params, stream=True, timeout=(TIMEOUT, None if follow else TIMEOUT)
            ) as response:
                try:
                    response.raise_for_status()
                except requests.HTTPError as error:
                    docker.errors.create_api_error_from_http_exception(error)
                yield from response.iter_content(None)


class Stream:
    """The engine's end of an attached container: frames until its end, or until the engine is gone."""

    def __init__(self, wrapped: Any) -> None:
        self._wrapped = wrapped
        self._sock = getattr(wrapped, "_sock", wrapped)  # the client wraps a plain socket into a file

    def fileno(self) -> int:
        return int(self._sock.fileno())

    def wait(self, wake: int, seconds: float) -> tuple[bool, bool]:
        """Whether there is something to read, and whether *wake* is readable. Both False after *seconds*."""
        if isinstance(self._sock, ssl.SSLSocket) and self._sock.pending():
            return True, False
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        poll.register(wake, select.POLLIN)
        ready = {descriptor for descriptor, _mask in poll.poll(seconds * 1000)}
        return self.fileno() in ready, wake in ready

    def read(self) -> bytes:
        """At most one piece; nothing at the end."""
        try:
            data: bytes = self._sock.recv(PIECE)
        except OSError:
            return b""
        return data

    def close(self) -> None:
        """Let go of the socket and of the answer it came with."""
        response = getattr(self._wrapped, "_response", None)
        if response is not None:
            response.close()
        self._sock.close()


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]


def cannot_start(error: Refused) -> StartFailed:
    """What the engine would not start: 127 where a shell would say that there is no such program."""
    text = str(error)
    missing = "no such file" in text.lower() or "not found in $path" in text.lower()
    return StartFailed(text, 127 if missing else 126)
