"""One connection to the server: a step goes out, its answer comes back, what goes wrong gets its name.

The protocol is hiredis's. The connection is ours, because redis-py takes four times as long to import as click does,
repeats commands by itself when a reply is lost, and we use two commands: EVALSHA and SUBSCRIBE (decision 0019).
"""

from __future__ import annotations

import random
import select
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

import hiredis

from queuectl.api.errors import ConfigError, StorageBusy, StorageError, StorageFull, StorageInvalid

from . import scripts

if TYPE_CHECKING:
    from .address import Address

PIECE = 1 << 16
PAUSE_FIRST, PAUSE_LONGEST = 0.02, 0.5  # seconds between tries
OLDEST = (6, 2)
LAYOUT = "1"


class Away(StorageBusy):
    """The Redis server is away; try again soon."""


class Refusal(Exception):
    """An error that the server replied."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class Link:
    """A connection that is made when it is needed, and made again when it broke.

    *timeout*: seconds to wait for a connection or an answer. *patience*: seconds that a step is tried again while the
    server is away. *replicas*: how many have to have a change before it counts.
    """

    def __init__(
        self,
        address: Address,
        prefix: str = "queuectl",
        *,
        timeout: float = 5.0,
        patience: float = 10.0,
        replicas: int = 0,
        ca: str | None = None,
    ) -> None:
        self.address = address
        self.keys = f"{{{prefix}}}:"
        self.identity = ""
        self.timeout = timeout
        self.about: dict[str, str] = {}  # what the server said of itself when it was first reached
        self._patience = patience
        self._replicas = replicas
        self.ca = ca
        self._socket: socket.socket | None = None
        self._known: set[str] = set()  # steps that this connection has taken

    # -- steps ------------------------------------------------------------------------------------

    def step(self, name: str, *words: Any, now: int | None = None, patient: bool = True) -> Any:
        """Take a step; its answer, with texts as bytes.

        It is taken again while the server is away, for as long as *patience* says: every step may be. Not where
        *patient* is False: pools have their own patience, and more to do.
        """
        given = ["" if now is None else now, *words]
        return self._trying(lambda: self._step(name, [self.identity, *given]), patient)

    def writes(self, name: str, *words: Any, now: int | None = None, patient: bool = True) -> Any:
        """The same for a step that changes something, which the replicas asked for then have as well."""
        answer = self.step(name, *words, now=now, patient=patient)
        if self._replicas:
            # Half the time that an answer may take; and once: WAIT is about what this connection wrote.
            have = self._asked("WAIT", self._replicas, round(self.timeout * 500))
            if have < self._replicas:
                raise StorageBusy(
                    f"{self.address}: the change is stored, but only {have} of {self._replicas} replicas have it"
                )
        return answer

    def open(self) -> None:
        """Find the storage or make it, and refuse a server that would lose jobs by itself."""
        self._trying(self._connect, True)

    def _trying(self, call: Any, patient: bool) -> Any:
        until = time.monotonic() + self._patience
        pause = PAUSE_FIRST
        while True:
            try:
                return call()
            except Away:
                if not patient or time.monotonic() + pause > until:
                    raise
            time.sleep(pause * (0.5 + random.random()))
            pause = min(PAUSE_LONGEST, 2 * pause)

    def _step(self, name: str, words: list[Any]) -> Any:
        if self._socket is None or self._is_stale():
            self._connect()
        if name in self._known:
            try:
                return self.ask("EVALSHA", scripts.digest(name), 1, self.keys, *words)
            except Refusal as refusal:
                if not str(refusal).startswith("NOSCRIPT"):
                    raise self._named(refusal) from None
        answer = self._asked("EVAL", scripts.source(name), 1, self.keys, *words)
        self._known.add(name)
        return answer

    # -- the connection ---------------------------------------------------------------------------

    def ask(self, *command: Any) -> Any:
        """One command, one answer. Refusal for an error, Away if none came."""
        self.send(command)
        return self.receive()

    def _asked(self, *command: Any) -> Any:
        try:
            return self.ask(*command)
        except Refusal as refusal:
            raise self._named(refusal) from None

    def send(self, *commands: tuple[Any, ...]) -> None:
        assert self._socket is not None
        try:
            self._socket.sendall(b"".join([hiredis.pack_command(tuple(map(encoded, each))) for each in commands]))
        except OSError as error:
            raise self._lost(error) from error

    def receive(self) -> Any:
        assert self._socket is not None
        try:
            while (answer := self._reader.gets()) is False:
                data = self._socket.recv(PIECE)
                if not data:
                    raise ConnectionResetError("the server closed the connection")
                self._reader.feed(data)
        except hiredis.ProtocolError as error:
            self.close()
            raise StorageInvalid(f"{self.address}: what answers there is not a Redis server") from error
        except OSError as error:
            raise self._lost(error) from error
        if isinstance(answer, Refusal):
            raise answer
        return answer

    def _is_stale(self) -> bool:
        """Whether the server has said something that nobody asked for: that it closed the connection."""
        assert self._socket is not None
        if select.select([self._socket], [], [], 0)[0]:
            self.close()
            return True
        return False

    def _lost(self, error: OSError) -> Away:
        self.close()
        return Away(f"the Redis server at {self.address} does not answer: {reason_of(error)}")

    def connect(self) -> socket.socket:
        """A connection with nothing said on it but who we are."""
        address = self.address
        self.close()
        try:
            self._socket = self._dial()
        except OSError as error:
            raise self._away(error) from error
        self._reader = hiredis.Reader(replyError=Refusal, protocolError=hiredis.ProtocolError, notEnoughData=False)
        hello: list[tuple[Any, ...]] = []
        if address.password is not None:
            user = (address.username,) if address.username is not None else ()
            hello.append(("AUTH", *user, address.password))
        if address.database:
            hello.append(("SELECT", address.database))
        if hello:
            self.send(*hello)
            for _ in hello:
                try:
                    self.receive()
                except Refusal as refusal:
                    self.close()
                    raise self._named(refusal) from None
        return self._socket

    def _dial(self) -> socket.socket:
        address = self.address
        if address.path is not None:
            if sys.platform == "win32":
                raise ConfigError(f"{address}: Windows has no Unix sockets")
            made = socket.socket(socket.AF_UNIX)
            made.settimeout(self.timeout)
            try:
                made.connect(address.path)
            except OSError:
                made.close()
                raise
            return made
        made = socket.create_connection((address.host, address.port), self.timeout)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if address.tls:
            import ssl  # who does not ask for it does not pay for it

            try:
                return ssl.create_default_context(cafile=self.ca).wrap_socket(made, server_hostname=address.host)
            except OSError:
                made.close()
                raise
        return made

    def _away(self, error: OSError) -> StorageError:
        import errno

        if type(error).__name__ == "SSLCertVerificationError":
            why = getattr(error, "verify_message", "") or reason_of(error)
            return StorageInvalid(f"{self.address}: its certificate is not trusted: {why}")
        if type(error).__name__ == "SSLError":
            return StorageInvalid(f"{self.address}: TLS cannot be spoken there: {reason_of(error)}")
        if error.errno in (errno.EACCES, errno.EPERM):  # of the system; TLS has numbers of its own
            return StorageInvalid(f"{self.address}: this user may not connect there")
        return Away(f"the Redis server at {self.address} cannot be reached: {reason_of(error)}")

    def _connect(self) -> None:
        """Connect, find the storage, and see whether it is the one we know."""
        import os

        self._known.clear()
        self.connect()
        words = (self.identity or os.urandom(8).hex(), LAYOUT)
        if self.identity:
            self.send(("PING",))
            self._named_answer()
            return
        self.send(("INFO", "server"), ("INFO", "memory"), ("EVAL", scripts.source("open"), 1, self.keys, *words))
        for _ in range(2):
            self._read_about(self._named_answer())
        self._refuse_the_unfit()
        identity, layout = self._named_answer()
        if layout != LAYOUT.encode():
            raise StorageInvalid(
                f"{self.address}: the jobs there are kept in layout {layout.decode()}, and this version of "
                f"queuectl-redis knows {LAYOUT}"
            )
        self.identity = identity.decode()

    def _named_answer(self) -> Any:
        try:
            return self.receive()
        except Refusal as refusal:
            self.close()
            raise self._named(refusal) from None

    def _read_about(self, info: Any) -> None:
        for line in info.decode("utf-8", "replace").splitlines():
            name, colon, value = line.partition(":")
            if colon:
                self.about[name] = value

    def _refuse_the_unfit(self) -> None:
        about = self.about
        version = about.get("redis_version", "0")
        if tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) < OLDEST:
            self.close()
            raise StorageInvalid(f"{self.address}: this is Redis {version}; queuectl needs 6.2 or newer, or Valkey")
        if about.get("maxmemory_policy", "").startswith("allkeys"):
            self.close()
            raise StorageInvalid(
                f"{self.address}: its maxmemory-policy is {about['maxmemory_policy']}, which throws jobs away when "
                "memory is short; set it to noeviction"
            )

    def _named(self, refusal: Refusal) -> StorageError:
        """What a refusal means to whoever asked."""
        text = str(refusal)
        word = text.split(" ", 1)[0]
        where = self.address
        if word in ("LOADING", "BUSY", "MASTERDOWN", "READONLY", "TRYAGAIN", "CLUSTERDOWN", "NOREPLICAS"):
            if word == "READONLY":
                self.close()  # its name may lead to another server by now
            return Away(f"the Redis server at {where} is not ready: {text}")
        if "GONE the storage" in text:
            return StorageInvalid(
                f"{where}: the jobs that were here are gone: it was emptied (FLUSHALL) or started without its data"
            )
        if word in ("WRONGPASS", "NOAUTH", "NOPERM", "DENIED") or ("AUTH" in text and "password" in text):
            self.close()
            return StorageInvalid(f"{where}: the server refuses us: {text.split(' ', 1)[-1]}; see [storage.redis] url")
        if word == "OOM" or "OOM command" in text:
            return StorageFull(
                f"the Redis server at {where} is out of memory, nothing was stored: raise its maxmemory, or prune"
            )
        if word == "MISCONF" or "MISCONF" in text:
            return StorageFull(f"the Redis server at {where} cannot write to its disk, nothing was stored")
        if "DB index" in text:
            return StorageInvalid(f"{where}: the server has no database of this number")
        if "unknown command" in text.lower():
            return StorageInvalid(f"{where}: the server does not know a command that queuectl needs: {text}")
        return StorageInvalid(f"{where}: the server could not take this step: {text}")

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    def close(self) -> None:
        """Idempotent; the next step connects anew."""
        made, self._socket = self._socket, None
        if made is not None:
            made.close()


def encoded(word: Any) -> Any:
    """A word of a command as bytes. Texts may have come from a command line that is not UTF-8."""
    if isinstance(word, str):
        return word.encode("utf-8", "surrogatepass")
    return b"%d" % word if isinstance(word, int) else word


def reason_of(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (error.strerror or str(error) or type(error).__name__).lower()
