"""Checks a table of the configuration against the options it may have, and complains so that a person can mend it.

Every value carries its origin, so a complaint says the file, the table, the key, the value, what was expected and, for
a key that does not exist, the nearest one that does. What comes from the environment or a command line is text and is
converted to the option's type first.
"""

from __future__ import annotations

import json
import math
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from queuectl.api.errors import ConfigError
from queuectl.api.providers import REQUIRED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from queuectl.api.errors import QueueCTLError
    from queuectl.api.providers import Option

DOTS = "••••••"

_NAMES = {str: "text", int: "an integer", float: "a number", bool: "true or false", list: "a list", dict: "a table"}
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


class Origin(NamedTuple):
    """Where a value comes from."""

    layer: str  # flag, env, store, project, user or default
    where: str = ""  # the option, the variable or the file's path

    def __str__(self) -> str:
        return shown_path(self.where) if self.layer in ("store", "project", "user") else self.where or self.layer


DEFAULT = Origin("default")


class Entry(NamedTuple):
    """One value as it was found."""

    value: Any
    origin: Origin = DEFAULT
    text: bool = False  # not from TOML: to be converted to the option's type


class Secret(NamedTuple):
    """A value that is kept elsewhere: read when the component that needs it is opened, and shown as dots."""

    kind: str  # "env" or "file"
    ref: str  # the variable's name, or an absolute path
    place: str  # for complaints: "queuectl.toml: [storage.redis] url"

    def read(self) -> str:
        """The value, without the newline that ends a file. ConfigError if there is none."""
        if self.kind == "env":
            value = os.environ.get(self.ref)
            if value is None:
                raise ConfigError(f"{self.place}: the environment variable {self.ref} is not set")
            return value
        try:
            with open(self.ref, encoding="utf-8") as file:
                return file.read().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise ConfigError(f"{self.place}: cannot read {shown_path(self.ref)}: {reason}") from error


def resolve(checked: Mapping[str, Any]) -> dict[str, Any]:
    """A checked table with its secrets read."""
    return {key: value.read() if isinstance(value, Secret) else value for key, value in checked.items()}


# --- Checking --------------------------------------------------------------------------------------


def check_table(
    table: str, entries: Mapping[str, Entry], options: Iterable[Option], *, defaults: bool = True
) -> dict[str, Any]:
    """The converted values of a table, with the defaults of what is not given (unless *defaults* is false).

    ConfigError at the first unknown key, bad value or missing key. Secrets are left as :class:`Secret`.
    """
    known = {option.name: option for option in options}
    checked: dict[str, Any] = {}
    for key, entry in entries.items():
        option = known.get(key)
        if option is None:
            raise ConfigError(unknown_key(table, key, entry, known))
        checked[key] = check_value(table, option, entry)
    if defaults:
        for option in known.values():
            if option.name not in checked:
                if option.default is REQUIRED:
                    where = f"{next(iter(entries.values())).origin}: " if entries else ""
                    hint = f" ({option.help})" if option.help else ""
                    raise ConfigError(f"{where}[{table}]: {option.name}{hint} is missing")
                checked[option.name] = option.default
    return checked


def check_value(table: str, option: Option, entry: Entry) -> Any:
    """One converted value, or ConfigError."""
    value, problem = convert(option, entry.value, entry.text, place(table, option.name, entry), entry.origin)
    if problem is not None:
        shown = DOTS if option.secret else show(entry.value)
        raise ConfigError(f"{place(table, option.name, entry)} = {shown}: {problem}")
    return value


def check_given(
    given: Mapping[str, Any], options: Iterable[Option], *, what: str, error: type[QueueCTLError]
) -> dict[str, Any]:
    """What a job asks for, checked against *options* without their defaults; *error* names *what* and the key."""
    known = {option.name: option for option in options}
    checked: dict[str, Any] = {}
    for key, value in given.items():
        option = known.get(key)
        if option is None:
            names = [option.name for option in known.values() if not option.refused]
            allowed = f"it takes {enumeration(names)}" if names else "it takes none"
            raise error(f"{what}: there is no option {show(key)}{suggestion(key, known)} ({allowed})")
        checked[key], problem = convert(option, value, False, what, DEFAULT)
        if isinstance(checked[key], Secret):  # a job's options are stored: only the configuration may refer to secrets
            problem = expected(option)
        if problem is not None:
            raise error(f"{what}: {key} = {DOTS if option.secret else show(value)}: {problem}")
    return checked


def convert(option: Option, value: Any, text: bool, where: str, origin: Origin) -> tuple[Any, str | None]:
    """The value in the option's type, and None; or anything, and a complaint."""
    if option.refused:
        return value, option.refused
    if isinstance(value, str) and option.unit:
        value = _with_unit(option.unit, value)
    if text and option.type is not str and isinstance(value, str):
        value = _from_text(option, value)
    elif text and isinstance(value, str) and value.lstrip().startswith("{"):
        value = _reference_text(value)
    if isinstance(value, dict) and option.type is not dict:
        return _secret(value, where, origin)
    if value is None or (value == "none" and option.default is None and option.type is not str):
        return None, None if option.default is None else expected(option)
    if option.type is float and isinstance(value, int) and not isinstance(value, bool):
        value = _to_float(value)
    if not isinstance(value, option.type) or (option.type is int and isinstance(value, bool)):
        return value, expected(option)
    return _within(option, value, origin)


def _within(option: Option, value: Any, origin: Origin) -> tuple[Any, str | None]:
    """The bounds, choices and the option's own check of a value that has the right type."""
    if option.choices and value not in option.choices:
        near = suggestion(value, option.choices) if isinstance(value, str) else ""
        return value, expected(option) + near
    if isinstance(value, float) and not math.isfinite(value):
        return value, expected(option)
    if isinstance(value, (int, float)) and (
        (option.minimum is not None and value < option.minimum)
        or (option.maximum is not None and value > option.maximum)
    ):
        return value, expected(option)
    if isinstance(value, str) and "\0" in value:
        return value, "a text without NUL bytes was expected"
    if option.check is not None:
        try:
            problem = option.check(value)
        except Exception as error:  # a check of a plugin's that trips over the value
            problem = f"{type(error).__name__}: {error}"
        if problem is not None:
            return value, problem
    if option.path:
        value = absolute(value, origin) if isinstance(value, str) else [absolute(path, origin) for path in value]
    return value, None


def expected(option: Option) -> str:
    """What would have been right: ``expected an integer from 0 to 10``."""
    if option.choices:
        return f"expected one of {enumeration(option.choices)}"
    kind, low, high = _NAMES.get(option.type, option.type.__name__), option.minimum, option.maximum
    if low is not None and high is not None:
        kind += f" from {number(low)} to {number(high)}"
    elif low is not None:
        kind += f" of at least {number(low)}"
    elif high is not None:
        kind += f" of at most {number(high)}"
    if option.unit in _UNITS:
        kind += f" ({_UNITS[option.unit]})"
    if option.default is None and option.type is not str:
        kind += ', or "none"'
    return f"expected {kind}"


def _to_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _from_text(option: Option, text: str) -> Any:
    """A text as the option's type; the text itself where it cannot be (the type check then complains)."""
    word = text.strip()
    try:
        if option.type is bool:
            return True if word.lower() in _TRUE else False if word.lower() in _FALSE else text
        if option.type is int:
            return int(word)
        if option.type is float:
            return float(word)
    except ValueError:
        return text
    if option.type is list and not word.startswith("["):
        return [part.strip() for part in word.split(",") if part.strip()]
    return toml_value(word)


_UNITS = {"s": "90, 90s or 1h30m", "B": "65536, 64 KiB or 10 MiB"}
_SIZES = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "kb": 10**3, "mb": 10**6, "gb": 10**9}


def _with_unit(unit: str, text: str) -> Any:
    """A number that is written with its unit; the text itself if it is not."""
    if unit == "s":
        from queuectl.api.errors import BadInput

        from .times import parse_duration

        try:
            return parse_duration(text)
        except BadInput:
            return text
    word = text.strip().lower()
    digits = word.rstrip("abcdefghijklmnopqrstuvwxyz ")
    size = _SIZES.get(word[len(digits) :].strip())
    return int(digits) * size if size and digits.isascii() and digits.isdigit() and len(digits) < 16 else text


def _reference_text(text: str) -> Any:
    value = toml_value(text)
    return value if isinstance(value, dict) and set(value) <= {"env", "file"} else text


def toml_value(text: str) -> Any:
    """*text* as one TOML value; the text itself if it is none."""
    import tomli

    try:
        document = tomli.loads(f"value = {text}")
    except (tomli.TOMLDecodeError, RecursionError):
        return text
    return document["value"] if set(document) == {"value"} else text


def _secret(value: dict[str, Any], where: str, origin: Origin) -> tuple[Any, str | None]:
    """The reference that ``{ env = "X" }`` or ``{ file = "p" }`` stands for."""
    if len(value) == 1:
        ((kind, ref),) = value.items()
        if kind in ("env", "file") and isinstance(ref, str) and ref and "\0" not in ref:
            return Secret(kind, absolute(ref, origin) if kind == "file" else ref, where), None
    return value, 'expected a value, { env = "NAME" } or { file = "path" }'


def absolute(path: str, origin: Origin) -> str:
    """*path* from the directory of the file that says so, or from here; a leading ``~`` is the home directory."""
    path = os.path.expanduser(path)
    base = os.path.dirname(origin.where) if origin.layer in ("store", "project", "user") else os.getcwd()
    return os.path.normpath(os.path.join(base, path))


# --- Words ---------------------------------------------------------------------------------------


def place(table: str, key: str, entry: Entry) -> str:
    """``queuectl.toml: [jobs] timeout``; a variable is its own name."""
    return str(entry.origin) if entry.origin.layer == "env" else f"{entry.origin}: [{table}] {key}"


def unknown_key(table: str, key: str, entry: Entry, known: Iterable[str]) -> str:
    known = list(known)
    return f"{place(table, key, entry)}: unknown key{suggestion(key, known)} ([{table}] takes {enumeration(known)})"


def suggestion(word: str, known: Iterable[str]) -> str:
    """``; did you mean "x"?`` for a near miss, else nothing."""
    near = nearest(word, known)
    return f"; did you mean {show(near)}?" if near else ""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that *word* is most likely a slip of."""
    from difflib import get_close_matches  # only for complaints

    plain = {str(k).lower().replace("-", "_"): str(k) for k in known}
    found = get_close_matches(str(word).lower().replace("-", "_"), plain, 1, 0.6)
    return plain[found[0]] if found else None


def enumeration(words: Iterable[Any]) -> str:
    return ", ".join(str(word) for word in words) or "nothing"


def show(value: Any) -> str:
    """A value as TOML would say it, on one line and not too long."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        text = "…"
    return text if len(text) <= 80 else text[:79] + "…"


def number(value: float) -> str:
    return f"{value:g}" if isinstance(value, float) and not value.is_integer() else str(int(value))


def shown_path(path: str) -> str:
    """A path as people say it: from here if it is below, else in full."""
    try:
        relative = os.path.relpath(path)
    except (OSError, ValueError):
        return path
    return path if relative.startswith(os.pardir) else relative


def text_list(values: Sequence[Any]) -> str | None:
    """A check for lists: every item is a text that is not empty."""
    return None if all(isinstance(v, str) and v and "\0" not in v for v in values) else "expected a list of texts"
