"""What may be asked for: checks a description of a job and makes the ``NewJob`` that is stored.

Pure: what holds for a whole batch (the clock, the folder, the captured environment, how names and options of
executors are checked) comes in as a :class:`Frame`. The command line, the Python face and the web all come through
here, so that a bad job gets the same sentence everywhere.
"""

from __future__ import annotations

import json
from os.path import isabs, join, normpath
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from queuectl.api.errors import BadInput
from queuectl.api.model import PRIORITY_HIGHEST, PRIORITY_LOWEST, RUN_AT_LATEST, NewJob

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from queuectl.api.model import Settings

JSON_LONGEST = 256 * 1024  # bytes of one job's JSON
JSON_DEEPEST = 32
COMMAND_LONGEST = 32 * 1024  # bytes
ENV_MOST, ENV_LONGEST = 64, 32 * 1024
TAGS_MOST, WORD_LONGEST = 32, 128
PATH_LONGEST = 4095
UNIQUE_LONGEST = 256
TIMEOUT_LONGEST = 30 * 86400.0
RETRIES_MOST = 1000
INTEGER_LARGEST = 2**53

#: What a description may say. The names on the left are what JSON may call it; those on the right are ours.
KEYS = {
    "id": "id",
    "command": "command",
    "argv": "argv",
    "queue": "queue",
    "priority": "priority",
    "run_at": "run_at",
    "delay": "delay",
    "timeout": "timeout",
    "timeout_sec": "timeout",
    "grace": "grace",
    "max_retries": "max_retries",
    "backoff": "backoff",
    "backoff_options": "backoff_options",
    "executor": "executor",
    "executor_options": "executor_options",
    "set": "executor_options",
    "unique": "unique",
    "unique_key": "unique",
    "env": "env",
    "cwd": "cwd",
    "tags": "tags",
    "tag": "tags",
}
#: The ones that make up a job's ``Settings``.
SETTINGS = ("max_retries", "timeout", "grace", "executor", "executor_options", "backoff", "backoff_options")

#: Sets instead of patterns: a pattern costs a tenth of a millisecond to compile, a short name no more to check.
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_WORD = _LETTERS | frozenset("0123456789_")
_NAME = _WORD | frozenset(".:-")
_PLAIN = _NAME | frozenset("@%+=,/")


class Frame(NamedTuple):
    """What holds for a whole batch of jobs."""

    settings: Callable[..., Settings]  # of a queue, with what the job gave: ``App.settings``
    now: int  # ms
    base: str | None  # the folder that a relative cwd starts from
    cwd: str | None  # where a job runs that does not say; None: the worker's own folder
    environment: str  # JSON text of the captured variables
    queue: str = "default"
    priority: int | None = None  # None: what ``priority_of`` says of the queue
    priority_of: Callable[[str], int] | None = None


class Maker:
    """Makes jobs within one frame. Settings that repeat are checked and turned into text once."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self._texts: dict[str, str] = {}

    def line(self, command: str) -> NewJob:
        """A shell line with nothing else asked for: the short way for files of many lines."""
        _check_command(command)
        frame = self.frame
        return NewJob(
            command, queue=frame.queue, priority=self._priority(frame.queue), cwd=frame.cwd,
            settings=self._settings(frame.queue, {}), environment=frame.environment,
        )  # fmt: skip

    def job(self, asked: Mapping[str, Any]) -> NewJob:
        """The job that *asked* describes; ``BadInput`` says what is wrong with it in one sentence."""
        said: dict[str, Any] = {}
        for key, value in asked.items():
            name = KEYS.get(key)
            if name is None:
                _unknown(key)
            if value is None:
                continue
            if name in said:
                raise BadInput(f"{key!r} is given twice, under two names")
            said[name] = value
        frame = self.frame
        command, argv = _command(said)
        queue = said.get("queue", frame.queue)
        if "queue" in said:
            check_queue(queue)
        cwd = frame.cwd
        if "cwd" in said:
            cwd = self._folder(said["cwd"])
        given = {name: said[name] for name in SETTINGS if name in said}
        return NewJob(
            command,
            argv,
            check_id(said["id"]) if "id" in said else None,
            queue,
            check_priority(said["priority"]) if "priority" in said else self._priority(queue),
            self._run_at(said),
            _word(said["unique"], "unique", UNIQUE_LONGEST) if "unique" in said else None,
            _tags(said["tags"]) if "tags" in said else (),
            cwd,
            _env(said["env"]) if "env" in said else {},
            self._settings(queue, given),
            frame.environment,
        )

    def _priority(self, queue: str) -> int:
        frame = self.frame
        if frame.priority is not None:
            return frame.priority
        return frame.priority_of(queue) if frame.priority_of is not None else 0

    def _settings(self, queue: str, given: dict[str, Any]) -> str:
        key = repr((queue, given))
        text = self._texts.get(key)
        if text is None:
            text = self.frame.settings(queue, **_checked_settings(given)).text()
            if len(self._texts) < 10_000:
                self._texts[key] = text
        return text

    def _run_at(self, said: Mapping[str, Any]) -> int | None:
        if "run_at" not in said and "delay" not in said:
            return None
        from queuectl.core.times import parse_duration, parse_when

        if "run_at" not in said:
            moment = self.frame.now + round(1000 * parse_duration(said["delay"], "delay"))
            if moment > RUN_AT_LATEST:
                raise BadInput(f"delay {_show(said['delay'])} is too long: it ends after 2100")
            return moment
        if "delay" in said:
            raise BadInput("run_at and delay exclude each other: one of them says when")
        return parse_when(said["run_at"], self.frame.now)

    def _folder(self, value: Any) -> str:
        path = _word(value, "cwd", PATH_LONGEST)
        if isabs(path):
            return normpath(path)
        if self.frame.base is None:
            raise BadInput(f"cwd {_show(path)} must be an absolute path")
        return normpath(join(self.frame.base, path))


def under(options: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """*asked*, and of *options* what it does not say itself, under whatever name."""
    said = {KEYS.get(key) for key, value in asked.items() if value is not None}
    if said & {"run_at", "delay"}:
        said |= {"run_at", "delay"}
    return {**{key: value for key, value in options.items() if KEYS.get(key) not in said}, **asked}


# --- JSON ---------------------------------------------------------------------------------------


def parse_object(text: str) -> dict[str, Any]:
    """The JSON object in *text*, read strictly: no duplicate keys, no NaN, nothing huge, nothing deep."""
    if len(text) > JSON_LONGEST // 4 and len(text.encode("utf-8", "surrogatepass")) > JSON_LONGEST:
        raise BadInput(f"the JSON is longer than {JSON_LONGEST // 1024} KiB")
    found = parse_json(text)
    if not isinstance(found, dict):
        raise BadInput(f'a job is a JSON object like {{"command": "echo hi"}}, not {_show(found)}')
    return found


def parse_json(text: str) -> Any:
    """The JSON in *text*, read strictly, however long."""
    if text.count("{") + text.count("[") > JSON_DEEPEST and _depth(text) > JSON_DEEPEST:
        raise BadInput(f"the JSON is nested more than {JSON_DEEPEST} levels deep")
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}" if "\n" in text.strip() else f"column {error.colno}"
        raise BadInput(f"this is not JSON: {error.msg[:1].lower()}{error.msg[1:]} at {where}") from None
    except (RecursionError, ValueError):  # ValueError: an integer of more than 4300 digits
        raise BadInput("the JSON holds a number that is too large") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise BadInput(f"the key {_show(key)} is given twice")
            seen.add(key)
    return found


def _no_constant(name: str) -> NoReturn:
    raise BadInput(f"{name} is not a number that JSON knows")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant)


def _depth(text: str) -> int:
    """How deep the brackets of *text* go, those inside strings left out."""
    import re

    deepest = depth = 0
    for mark in re.findall(r'"(?:[^"\\]|\\.)*"?|[][{}]', text, re.DOTALL):
        if mark in ("[", "{"):
            depth += 1
            deepest = max(deepest, depth)
        elif mark in ("]", "}"):
            depth -= 1
    return deepest


# --- The parts of a job -------------------------------------------------------------------------


def check_id(value: Any) -> str:
    """An id that a user may give: it can stand in a file name, an argument or a URL, and is not one of ours."""
    if not isinstance(value, str):
        raise BadInput(f"id must be a text, not {_show(value)}")
    if not 0 < len(value) <= WORD_LONGEST or not _NAME.issuperset(value) or value in (".", ".."):
        raise BadInput(f"id {_show(value)} may only have letters, digits and . _ : - in it, at most 128 of them")
    if value[0] == "-":
        raise BadInput(f"id {_show(value)} may not start with a dash")
    if value.isdigit():
        raise BadInput(f"id {_show(value)} may not be all digits: such ids are given by the queue")
    return value


def check_queue(value: Any) -> str:
    """The name of a queue."""
    if (
        not isinstance(value, str)
        or not 0 < len(value) <= WORD_LONGEST
        or not _NAME.issuperset(value)
        or value[0] in ".:-"
    ):
        raise BadInput(
            f"queue {_show(value)} must be a name of letters, digits and . _ : - that starts with a letter or digit"
        )
    return value


def check_priority(value: Any) -> int:
    """A priority: high first."""
    return _integer(value, "priority", PRIORITY_LOWEST, PRIORITY_HIGHEST)


def quoted(argv: Sequence[str]) -> str:
    """*argv* as a shell line that means the same. Like ``shlex.join``, without its imports."""
    return " ".join(a if a and _PLAIN.issuperset(a) else "'" + a.replace("'", "'\"'\"'") + "'" for a in argv)


def _command(said: Mapping[str, Any]) -> tuple[str, tuple[str, ...] | None]:
    if "argv" not in said:
        if "command" not in said:
            raise BadInput('there is no "command": say what to run')
        command = said["command"]
        if isinstance(command, list):
            raise BadInput('command is a shell line; a list of words goes under "argv"')
        _check_command(command)
        return command, None
    if "command" in said:
        raise BadInput("command and argv exclude each other: one of them says what to run")
    argv = said["argv"]
    if not isinstance(argv, (list, tuple)) or not argv or not all(isinstance(word, str) for word in argv):
        raise BadInput(f"argv must be a list of at least one text, not {_show(argv)}")
    if not argv[0]:
        raise BadInput("the command is empty")
    command = quoted(argv)
    _check_command(command)
    return command, tuple(argv)


def _check_command(command: Any) -> None:
    if not isinstance(command, str):
        raise BadInput(f"command must be a text, not {_show(command)}")
    if not command or command.isspace():
        raise BadInput("the command is empty")
    if "\0" in command or not command.isascii() or len(command) > COMMAND_LONGEST:
        _text(command, "the command", COMMAND_LONGEST)


def _text(value: str, what: str, longest: int) -> str:
    """*value*, if it can be stored and handed to a program."""
    if "\0" in value:
        raise BadInput(f"{what} has a NUL character in it, which no program can be given")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise BadInput(
            f"{what} is not valid Unicode: it has half a surrogate pair, or bytes that are not UTF-8, in it"
        ) from None
    if size > longest:
        raise BadInput(f"{what} is longer than {_size(longest)}")
    return value


def _word(value: Any, what: str, longest: int = WORD_LONGEST) -> str:
    if not isinstance(value, str):
        raise BadInput(f"{what} must be a text, not {_show(value)}")
    if not value:
        raise BadInput(f"{what} is empty")
    _text(value, what, longest)
    if not value.isprintable():
        raise BadInput(f"{what} {_show(value)} has control characters in it")
    return value


def _tags(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, (list, tuple)):
        raise BadInput(f"tags must be a list of texts, not {_show(value)}")
    if len(value) > TAGS_MOST:
        raise BadInput(f"a job may have at most {TAGS_MOST} tags, not {len(value)}")
    return tuple(dict.fromkeys(_word(tag, "tag") for tag in value))


def _env(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise BadInput(f"env must be an object of texts, not {_show(value)}")
    if len(value) > ENV_MOST:
        raise BadInput(f"env may have at most {ENV_MOST} variables, not {len(value)}")
    for name, text in value.items():
        if not isinstance(name, str) or not _is_variable(name):
            raise BadInput(f"env: {_show(name)} is no name of a variable")
        if name.startswith("QUEUECTL_"):
            raise BadInput(f"env: {name} is set by QueueCTL itself")
        if not isinstance(text, str):
            raise BadInput(f"env: {name} must be a text, not {_show(text)}")
        _text(text, f"env: {name}", ENV_LONGEST)
    return dict(value)


def _is_variable(name: str) -> bool:
    return 0 < len(name) <= WORD_LONGEST and _WORD.issuperset(name) and not name[0].isdigit()


def _checked_settings(given: dict[str, Any]) -> dict[str, Any]:
    """Range checks of what core itself knows; names and options of executors and backoffs are for the frame."""
    checked = dict(given)
    if "max_retries" in given:
        checked["max_retries"] = _integer(given["max_retries"], "max_retries", 0, RETRIES_MOST)
    for name, least in (("timeout", 0.001), ("grace", 0.0)):
        if name in given:
            from queuectl.core.times import parse_duration

            seconds = parse_duration(given[name], name)
            if not least <= seconds <= TIMEOUT_LONGEST:
                kind = "more than 0 and " if least else ""
                raise BadInput(f"{name} must be {kind}at most 30 days, not {_show(given[name])}")
            checked[name] = seconds
    for name in ("executor", "backoff"):
        if name in given:
            _word(given[name], name)
    for name in ("executor_options", "backoff_options"):
        if name in given:
            if not isinstance(given[name], dict):
                raise BadInput(f"{name} must be an object, not {_show(given[name])}")
            _check_values(given[name], name)
    return checked


def _check_values(value: Any, what: str) -> None:
    """Nothing below *value* is beyond what every storage and program can hold."""
    if isinstance(value, str):
        _text(value, what, JSON_LONGEST)
    elif isinstance(value, dict):
        for key, below in value.items():
            _check_values(key, what)
            _check_values(below, f"{what}.{key}")
    elif isinstance(value, (list, tuple)):
        for below in value:
            _check_values(below, what)
    elif isinstance(value, (int, float)) and not -INTEGER_LARGEST <= value <= INTEGER_LARGEST:  # NaN too
        raise BadInput(f"{what} has a number that is too large")


def _integer(value: Any, what: str, least: int, most: int) -> int:
    if isinstance(value, float) and value.is_integer() and abs(value) < INTEGER_LARGEST:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadInput(f"{what} must be a whole number, not {_show(value)}")
    if not least <= value <= most:
        raise BadInput(f"{what} must lie between {least} and {most}, not {_show(value)}")
    return value


def _unknown(key: Any) -> NoReturn:
    from difflib import get_close_matches

    near = get_close_matches(str(key), KEYS, 1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; a job may have {', '.join(KEYS)}"
    raise BadInput(f"unknown key {_show(key)}{hint}")


def _show(value: object) -> str:
    """A value in a complaint: short, and what kind of thing it is where that is the point."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, (dict, list, tuple)):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and not -INTEGER_LARGEST <= value <= INTEGER_LARGEST:
        return "a huge number"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _size(n: int) -> str:
    return f"{n // 1024} KiB" if n >= 1024 and n % 1024 == 0 else f"{n} bytes"
