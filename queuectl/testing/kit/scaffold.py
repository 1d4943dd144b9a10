"""Begins a plugin: a package that installs, is typed, and passes its tests, to be changed into what its author wants.

The templates are files below ``templates/``: those of ``common`` and those of the kind. A word between two ``@`` is
replaced, ``MODULE`` in a path is the name of the Python package, and ``.in`` is taken off.
"""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import queuectl
from queuectl.api.errors import BadInput, Conflict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.resources.abc import Traversable


class Kind(NamedTuple):
    """One kind of plugin that can be begun."""

    summary: str  # of the plugin, as its description; the author changes it
    working: str  # the last paragraph of its README
    check: str = "queuectl plugins check @name@"
    entry: str = "@module@"


KINDS: Mapping[str, Kind] = {
    "storage": Kind(
        "Jobs in a folder.",
        "It begins as a copy of the reference storage that is kept in a file: right, and slow. Replace it method by\n"
        "method; the tests say when one of them no longer does what it should.",
        "queuectl plugins check @name@ --claim race_jobs=100 --claim model_examples=5",
    ),
    "executor": Kind(
        "Runs jobs behind other words.",
        "It begins with jobs that are processes of this host, behind `nice`. Change the words, or derive from\n"
        "`queuectl.api.Executor` to run jobs elsewhere.",
    ),
    "backoff": Kind("Retries after a list of delays.", "It begins with a list of delays. Change `delay`."),
    "notifier": Kind(
        "Writes a line for each event.", "It begins with lines in a file. Change `notify` to tell whom you want."
    ),
    "observer": Kind(
        "Writes down which jobs died.",
        "It begins with the hook `queuectl_events`; `queuectl plugins hooks` lists what else it could take part in.",
        entry="@module@:plugin",
    ),
    "command": Kind("Adds a command to queuectl.", "It begins with a command that reads. Change `command.py`."),
}

#: A minor series is what a plugin may count on.
CORE = ".".join(queuectl.__version__.split(".")[:2])


class Begun(NamedTuple):
    """What was written."""

    distribution: str
    folder: Path
    files: tuple[str, ...]  # relative to the folder, sorted


def begin(name: str, kind: str, folder: Path | None = None) -> Begun:
    """Write the package of a new plugin. BadInput for a name that cannot be one, Conflict if something is there."""
    distribution = f"queuectl-{plain_name(name)}"
    texts = package(name, kind)
    folder = folder or Path(distribution)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise Conflict(f"{folder} is not empty: name another folder with --into")
        for path, text in texts.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    except FileExistsError as error:
        raise BadInput(f"{folder} is a file: name another folder with --into") from error
    except OSError as error:
        raise BadInput(f"{error.filename or folder} cannot be made: {(error.strerror or '').lower()}") from error
    return Begun(distribution, folder, tuple(texts))


def package(name: str, kind: str) -> dict[str, str]:
    """The files of the package, by path, as texts. Pure."""
    words = words_of(plain_name(name), kind)
    texts = {}
    for tree in ("common", kind):
        for path, text in _templates(files(__package__) / "templates" / tree):
            texts[path.replace("MODULE", words["module"])] = filled(text, words)
    config = texts["queuectl.toml"]
    texts["README.md"] = texts["README.md"].replace("@config@", config)
    if kind == "storage":
        texts[f"src/{words['module']}/reference.py"] = _reference()
    return dict(sorted(texts.items()))


def plain_name(name: str) -> str:
    """The name of the plugin: ``queuectl-`` in front is taken off. BadInput if it cannot be one."""
    plain = name.removeprefix("queuectl-")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", plain) or len(plain) > 30:
        raise BadInput(f"{name!r} cannot name a plugin: use small letters, digits and single dashes, as in rate-limit")
    return plain


def words_of(name: str, kind: str) -> dict[str, str]:
    """What the words between two ``@`` stand for."""
    about, major = KINDS[kind], int(CORE.split(".")[0])
    words = {
        "name": name,
        "distribution": f"queuectl-{name}",
        "module": f"queuectl_{name.replace('-', '_')}",
        "Class": "".join(part.capitalize() for part in name.split("-")),
        "core": CORE,
        "next": f"{major + 1}" if major else f"0.{int(CORE.split('.')[1]) + 1}",
        "kind": kind,
    }
    texts = {name: filled(text, words) for name, text in about._asdict().items()}
    return {**words, **texts}


def filled(text: str, words: Mapping[str, str]) -> str:
    return re.sub(r"@([A-Za-z]+)@", lambda match: words.get(match[1], match[0]), text)


def _templates(folder: Traversable, below: str = "") -> Iterator[tuple[str, str]]:
    for item in folder.iterdir():
        if item.is_dir():
            yield from _templates(item, f"{below}{item.name}/")
        elif item.name.endswith(".in"):
            yield f"{below}{item.name.removesuffix('.in')}", item.read_text(encoding="utf-8")


def _reference() -> str:
    """The reference storage, for an author to begin with."""
    source = (files("queuectl.testing") / "memory.py").read_text(encoding="utf-8")
    head = (
        '"""The contract of storages in its shortest form, in memory: where this plugin began.\n\n'
        f"A copy of ``queuectl.testing.memory`` of QueueCTL {queuectl.__version__}. Each search looks at every job.\n"
        'Replace it, method by method.\n"""\n'
    )
    return head + source[source.index("\nfrom __future__") :]
