"""The records by which a plugin offers something. Cheap to make: nothing heavy is imported before it is chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import click

T = TypeVar("T")

#: The version of the contracts in this package. ``Provider.api`` names the lowest one a plugin can live with.
API_VERSION = 1

REQUIRED: Any = ...


class Option(NamedTuple):
    """One key of a table in ``queuectl.toml``, or of what a job may ask of an executor.

    ``type`` is ``str``, ``int``, ``float``, ``bool``, ``list`` or ``dict``; a ``float`` also takes an integer.
    ``check`` gets the converted value and returns a complaint ("must be positive") or None. ``path`` marks a ``str``
    that is a file name: relative ones are taken from the directory of the file that says so. ``unit`` lets a number be
    written with its unit: ``"s"`` takes ``"1h30m"`` for seconds, ``"B"`` takes ``"10 MiB"`` for bytes. ``refused`` is
    for an option that exists to be refused, with the reason instead of "there is no such option".
    """

    name: str
    type: type
    default: Any = REQUIRED
    help: str = ""
    secret: bool = False  # shown as dots
    check: Callable[[Any], str | None] | None = None
    path: bool = False
    choices: tuple[Any, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    unit: str = ""
    refused: str = ""  # why nobody may give it: for what people would try, and must not get


class Context(NamedTuple):
    """What an implementation may know of its surroundings when it is opened."""

    name: str  # of the instance: the table's name
    home: str | None  # the storage's directory for run/ and out/; None while the storage itself is opened
    state_dir: str  # the user's state folder, for a storage that needs a default place
    log: Callable[[str], None]  # one line for the process's log


class Provider(NamedTuple, Generic[T]):
    """A named implementation on offer.

    ``open(options, context)`` gets the checked table and does the imports. ``job_options`` is what a *job* may ask of
    an executor or a backoff, checked at enqueue without importing it; what is not listed there can only come from the
    configuration file.
    """

    name: str  # as queuectl.toml says it: [a-z][a-z0-9-]*
    open: Callable[[Mapping[str, Any], Context], T]
    options: tuple[Option, ...] = ()
    summary: str = ""  # one line for `queuectl plugins list`
    job_options: tuple[Option, ...] = ()
    abilities: frozenset[Any] = frozenset()  # a storage's, known without opening it
    durable: bool = False  # a notifier that is told from the outbox only, at least once, of what a route names it for
    api: int = 1


class Program(Protocol):
    """What a command's function is given by ``@click.pass_obj``: the run of the command line that it is part of."""

    @property
    def queue(self) -> Any:
        """The ``queuectl.Queue`` that ``--config`` and ``--db`` chose; opened when it is first read, closed for you."""


class Command(NamedTuple):
    """A command-line command on offer, imported only when it is run.

    ``load`` returns a click command or group. Its function may take the :class:`Program` by ``@click.pass_obj``; it
    says results on stdout and raises an error of ``api.errors`` for what a person can mend: the class has the exit
    code. ``--config`` and ``--db`` are added to it.
    """

    name: str  # one word, small letters, digits and dashes; no built-in command's
    help: str  # one line, shown by `queuectl --help` without importing it
    load: Callable[[], click.Command]


class Panel(NamedTuple):
    """A box on the dashboard's first page."""

    title: str
    render: Callable[[], str]  # an HTML fragment; its author escapes what is not HTML (``markupsafe.escape``)
    order: int = 100  # low first
