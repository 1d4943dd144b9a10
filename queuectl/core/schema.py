"""What may be configured: the tables with fixed keys, as options to check and as the records they become."""

from __future__ import annotations

from typing import Any, NamedTuple

from queuectl.api.errors import BadInput
from queuectl.api.model import EVENT_KINDS, PRIORITY_HIGHEST, PRIORITY_LOWEST
from queuectl.api.providers import Option

from .options import enumeration, show, suggestion, text_list
from .specs import RETRIES_MOST, TIMEOUT_LONGEST, check_queue

MIB = 1 << 20

#: What of the environment a job is given that was there when it was enqueued. ``*`` stands for any ending.
CAPTURED = (
    "PATH",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "TZ",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "PYTHONPATH",
    "NODE_PATH",
    "GOPATH",
    "JAVA_HOME",
)


# --- The tables with fixed keys: the options, and the records they become --------------------------------


class Main(NamedTuple):
    """``[queuectl]``: which components are active, by name."""

    storage: str = "sqlite"
    executor: str = "subprocess"
    backoff: str = "exponential"
    notifiers: tuple[str, ...] = ()


class Jobs(NamedTuple):
    """``[jobs]``: what a job gets that does not say otherwise."""

    queue: str = "default"
    priority: int = 0
    max_retries: int = 3
    timeout: float | None = None
    grace: float = 10.0
    cwd: str | None = None
    capture_env: tuple[str, ...] = CAPTURED


class Worker(NamedTuple):
    """``[worker]``: how a pool works."""

    count: int = 2  # type: ignore[assignment]  # a record, not a sequence
    drain: float | None = None  # seconds to wait for running jobs at a stop; None: until they are done
    lease: float | None = None  # seconds; None: the storage's advice
    heartbeat: float = 5.0
    queues: tuple[str, ...] = ()  # empty: all
    log_limit: int = 10 * MIB
    log_keep: int = 3


class Output(NamedTuple):
    """``[output]``: how much of what a job prints is kept, in bytes for each stream."""

    limit: int = 10 * MIB
    head: int = MIB
    tail: int = MIB


class Dashboard(NamedTuple):
    """``[dashboard]``: what the dashboard answers to, and what may be done there."""

    hosts: tuple[str, ...] = ()
    enqueue: bool = False
    streams: int = 16


class QueueConfig(NamedTuple):
    """``[queues.NAME]``: what differs in one queue. None: as everywhere."""

    executor: str | None = None
    backoff: str | None = None
    concurrency: int | None = None  # a seed: afterwards `queue set` rules
    max_retries: int | None = None
    timeout: float | None = None
    grace: float | None = None
    priority: int | None = None


class RouteConfig(NamedTuple):
    """``[routes.NAME]``: which events are kept until certain notifiers were told. Empty: any."""

    to: tuple[str, ...]
    events: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


class Outbox(NamedTuple):
    """``[outbox]``: how long it is tried to tell a notifier that a route names."""

    keep: float = 86400.0
    deadline: float = 30.0


class PluginsConfig(NamedTuple):
    """``[plugins]``: what is loaded beside the components that the configuration names."""

    enable: tuple[str, ...] = ()
    disable: tuple[str, ...] = ()
    require: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


def _name(value: str) -> str | None:
    return None if value and value.isprintable() else "expected a name without control characters"


def check_queue_name(value: Any) -> str | None:
    try:
        check_queue(value)
    except BadInput:
        return "expected a name of letters, digits and . _ : -"
    return None


def _queues(values: list[Any]) -> str | None:
    return next((problem for value in values if (problem := check_queue_name(value))), None)


#: The events that are stored with the step that caused them, so that a route can keep them. ``started`` is told live.
ROUTED = tuple(kind for kind in EVENT_KINDS if kind != "started")


def _routed(values: list[Any]) -> str | None:
    unknown = next((value for value in values if value not in ROUTED), None)
    if unknown is None:
        return None
    if unknown == "started":
        return '"started" is told live only, to who is listed in [queuectl] notifiers'
    near = suggestion(unknown, ROUTED) if isinstance(unknown, str) else ""
    return f"does not know {show(unknown)}{near} (it takes {enumeration(ROUTED)})"


def _targets(values: list[Any]) -> str | None:
    return text_list(values) or (None if values else "expected the name of at least one notifier")


def _retries(default: int | None) -> Option:
    return Option("max_retries", int, default, "retries after the first try", minimum=0, maximum=RETRIES_MOST)


def _timeout() -> Option:
    return Option(
        "timeout", float, None, "seconds an attempt may take", minimum=0.001, maximum=TIMEOUT_LONGEST, unit="s"
    )


def _grace(default: float | None) -> Option:
    return Option(
        "grace", float, default, "seconds between the request to end and the kill", minimum=0, maximum=86400, unit="s"
    )


def _priority(default: int | None) -> Option:
    return Option("priority", int, default, "high runs first", minimum=PRIORITY_LOWEST, maximum=PRIORITY_HIGHEST)


SECTIONS: dict[str, tuple[Option, ...]] = {
    "queuectl": (
        Option("storage", str, "sqlite", "where jobs are kept", check=_name),
        Option("executor", str, "subprocess", "how jobs run", check=_name),
        Option("backoff", str, "exponential", "when a failed job is tried again", check=_name),
        Option("notifiers", list, (), "who is told what happened", check=text_list),
    ),
    "jobs": (
        Option("queue", str, "default", "the queue of a job that names none", check=check_queue_name),
        _priority(0),
        _retries(3),
        _timeout(),
        _grace(10.0),
        Option("cwd", str, None, "directory jobs run in, instead of the one they were enqueued from", path=True),
        Option("capture_env", list, CAPTURED, "variables a job is given from where it is enqueued", check=text_list),
    ),
    "worker": (
        Option("count", int, 2, "workers of a pool: jobs at once", minimum=1, maximum=4096),
        Option(
            "drain",
            float,
            None,
            "seconds a stop waits for running jobs (none: until done)",
            minimum=0,
            maximum=TIMEOUT_LONGEST,
            unit="s",
        ),
        Option(
            "lease",
            float,
            None,
            "seconds a pool is believed to live without a sign",
            minimum=2,
            maximum=86400,
            unit="s",
        ),
        Option("heartbeat", float, 5.0, "seconds between such signs", minimum=0.1, maximum=3600, unit="s"),
        Option("queues", list, (), "queues to serve (empty: all)", check=_queues),
        Option(
            "log_limit",
            int,
            10 * MIB,
            "bytes of the log of pools in the background, before it is begun anew",
            minimum=4096,
            maximum=1 << 40,
            unit="B",
        ),
        Option("log_keep", int, 3, "older ones that are kept beside it", minimum=0, maximum=99),
    ),
    "output": (
        Option("limit", int, 10 * MIB, "bytes of a stream that are kept", minimum=4096, maximum=1 << 40, unit="B"),
        Option(
            "head",
            int,
            MIB,
            "of these, so many of its beginning are kept in any case",
            minimum=0,
            maximum=1 << 40,
            unit="B",
        ),
        Option("tail", int, MIB, "and so many of its end", minimum=0, maximum=1 << 40, unit="B"),
    ),
    "outbox": (
        Option(
            "keep",
            float,
            86400.0,
            "seconds after which nobody is told of an event any more",
            minimum=1,
            maximum=TIMEOUT_LONGEST,
            unit="s",
        ),
        Option(
            "deadline", float, 30.0, "seconds a notifier may take for one event", minimum=0.1, maximum=3600, unit="s"
        ),
    ),
    "dashboard": (
        Option(
            "hosts",
            list,
            (),
            "names that browsers may call the dashboard by, besides this host's own (NAME or NAME:PORT)",
            check=text_list,
        ),
        Option("enqueue", bool, False, "whether jobs, so any command, may be put in from a browser or over HTTP"),
        Option("streams", int, 16, "live views at once; further ones ask every few seconds", minimum=1, maximum=1000),
    ),
    "plugins": (
        Option("enable", list, (), "installed plugins whose hooks are called", check=text_list),
        Option("disable", list, (), "plugins that are never loaded", check=text_list),
        Option("require", list, (), "plugins without which nothing starts", check=text_list),
        Option("files", list, (), "plugins of one file each", check=text_list, path=True),
    ),
}
QUEUE_OPTIONS = (
    Option("executor", str, None, "as in [queuectl]", check=_name),
    Option("backoff", str, None, "as in [queuectl]", check=_name),
    Option(
        "concurrency", int, None, "jobs at once over all pools, when the queue is new", minimum=1, maximum=1_000_000
    ),
    _retries(None),
    _timeout(),
    _grace(None),
    _priority(None),
)

ROUTE_OPTIONS = (
    Option("to", list, help="the notifiers that are told", check=_targets),
    Option("events", list, (), "of these events (empty: all)", check=_routed),
    Option("queues", list, (), "of jobs in these queues (empty: all)", check=_queues),
    Option("tags", list, (), "of jobs with any of these tags (empty: all)", check=text_list),
)

#: Tables of components: ``[KIND.NAME]``.
KINDS = ("storage", "executor", "backoff", "notifier")
#: Tables with tables below them, by name.
NAMED = (*KINDS, "queues", "routes", "plugin")
USE = Option("use", str, None, "the provider, where the table's name is not its own")

#: Variables without ``__`` that are configuration; others of that form are not ours to judge.
SHORT_VARIABLES = {
    "QUEUECTL_STORAGE": ("queuectl", "storage"),
    "QUEUECTL_EXECUTOR": ("queuectl", "executor"),
    "QUEUECTL_BACKOFF": ("queuectl", "backoff"),
    "QUEUECTL_NOTIFIERS": ("queuectl", "notifiers"),
}
