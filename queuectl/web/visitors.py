"""Who asks: tokens, the sessions that browsers hold instead of them, and how often somebody guessed.

A token file has one line for each token: a role (``viewer`` or ``operator``), a name for the audit, and the token or,
better, ``sha256:`` and its hash. A file that is not there is made, with one token of each role that is shown once.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from queuectl.api.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

VIEWER, OPERATOR = "viewer", "operator"
SHORTEST = 32
SESSION_SECONDS = 12 * 3600.0
SESSIONS_MOST = 1000
FAILURES_MOST, FAILURES_SECONDS = 10, 60.0


class Visitor(NamedTuple):
    """Somebody who was let in."""

    name: str
    role: str

    @property
    def is_operator(self) -> bool:
        return self.role == OPERATOR


class Token(NamedTuple):
    """A token that lets somebody in; of the token itself only the hash is known."""

    visitor: Visitor
    digest: bytes


def digest_of(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


class Tokens:
    """The tokens of a file."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens

    def find(self, token: str) -> Visitor | None:
        """Who has this token. Takes as long for a wrong one as for a right one."""
        given, found = digest_of(token), None
        for known in self._tokens:
            if hmac.compare_digest(known.digest, given):
                found = known.visitor
        return found


def read_tokens(path: str, say: Callable[[str], None]) -> Tokens:
    """The tokens of a file, which is made if it is not there; *say* shows the new ones. ConfigError."""
    try:
        with open(path, encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            text = file.read(1 << 20)
    except FileNotFoundError:
        return _make(path, say)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"--token-file {path}: cannot be read: {reason}") from error
    if os.name == "posix" and status.st_mode & 0o077:
        raise ConfigError(f"--token-file {path}: others can read it; chmod 600 {path}")
    tokens = [
        _token(line.split(), f"{path}:{number}")
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not tokens:
        raise ConfigError(f"--token-file {path}: there is no token in it")
    return Tokens(tokens)


def _token(words: list[str], place: str) -> Token:
    if len(words) != 3 or words[0] not in (VIEWER, OPERATOR):
        raise ConfigError(f"{place}: expected a role (viewer or operator), a name and a token")
    role, name, token = words
    if not name.isprintable() or len(name) > 64:
        raise ConfigError(f"{place}: the name is too long or has control characters")
    if token.startswith("sha256:"):
        try:
            digest = bytes.fromhex(token.removeprefix("sha256:"))
        except ValueError:
            digest = b""
        if len(digest) != 32:
            raise ConfigError(f"{place}: expected sha256: and 64 hexadecimal digits")
        return Token(Visitor(name, role), digest)
    if len(token) < SHORTEST:
        raise ConfigError(f"{place}: a token has at least {SHORTEST} characters")
    return Token(Visitor(name, role), digest_of(token))


def _make(path: str, say: Callable[[str], None]) -> Tokens:
    """A new file with hashes; the tokens are said and forgotten."""
    tokens, lines = [], ["# role name token; what follows sha256: is the hash of a token that was shown once\n"]
    said = []
    for role in (OPERATOR, VIEWER):
        token = secrets.token_urlsafe(32)
        tokens.append(Token(Visitor(role, role), digest_of(token)))
        lines.append(f"{role} {role} sha256:{digest_of(token).hex()}\n")
        said.append(f"{role} token: {token}")
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.writelines(lines)
    except OSError as error:
        raise ConfigError(f"--token-file {path}: cannot be made: {error.strerror}") from error
    say(f"{path} is new; these tokens are shown once:")
    for line in said:
        say(line)
    return Tokens(tokens)


class Session(NamedTuple):
    """A browser that showed a token."""

    visitor: Visitor
    until: float


class Sessions:
    """The browsers that are let in, by a random id in their cookie. Forgotten when the server ends."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[bytes, Session] = {}

    def begin(self, visitor: Visitor) -> str:
        """A new session; what goes into the cookie."""
        id = secrets.token_urlsafe(32)
        now = self._clock()
        with self._lock:
            self._known = {key: session for key, session in self._known.items() if session.until > now}
            while len(self._known) >= SESSIONS_MOST:
                del self._known[next(iter(self._known))]
            self._known[digest_of(id)] = Session(visitor, now + SESSION_SECONDS)
        return id

    def find(self, id: str) -> Visitor | None:
        session = self._known.get(digest_of(id))
        return session.visitor if session is not None and session.until > self._clock() else None

    def end(self, id: str) -> None:
        with self._lock:
            self._known.pop(digest_of(id), None)


class Failures:
    """How often an address showed a wrong token lately."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, list[float]] = {}

    def count(self, address: str) -> None:
        now = self._clock()
        with self._lock:
            if len(self._known) > 10_000:
                self._known.clear()
            self._known[address] = [*self._recent(address, now), now]

    def too_many(self, address: str) -> bool:
        with self._lock:
            return len(self._recent(address, self._clock())) >= FAILURES_MOST

    def _recent(self, address: str, now: float) -> list[float]:
        return [at for at in self._known.get(address, []) if at > now - FAILURES_SECONDS]
