"""Every way to extend QueueCTL, in the order things happen.

Three kinds, told apart by their names. *Offers* are plural nouns and return records: the configuration picks among
them by name. *Moments* are verbs and return nothing. *Questions* are singular nouns and have an answer.

Implementations are called with keyword arguments and name only those they need. New arguments may come with any
release; one that goes is first warned about for a minor series. Each docstring is a contract: which process calls the
hook, and what raising means. A plugin that raises, hangs or exits never takes a job with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

from .markers import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import flask

    from .backoff import Backoff
    from .executor import Executor
    from .model import Claim, Event, Job, NewJob, Outcome
    from .notifier import Notifier
    from .providers import Command, Option, Panel, Provider
    from .storage import Storage

__all__ = ["hookimpl", "hookspec"]

hookspec = pluggy.HookspecMarker("queuectl")


# --- What is on offer: implementations, chosen by name in queuectl.toml ------------------------


@hookspec
def queuectl_storages() -> Iterable[Provider[Storage]]:
    """Offer storages. Exactly one is active: ``[queuectl] storage = "NAME"``.

    Called in every process that needs the list. Raising makes the plugin a failed one.
    """
    return ()


@hookspec
def queuectl_executors() -> Iterable[Provider[Executor]]:
    """Offer executors. One per job is active: ``executor`` in ``[queuectl]``, ``[queues.NAME]`` or of the job itself.

    Called where jobs are enqueued (to check what they ask for) and in workers. Raising makes the plugin a failed one.
    """
    return ()


@hookspec
def queuectl_backoffs() -> Iterable[Provider[Backoff]]:
    """Offer backoff policies. One per job is active, chosen like the executor.

    Called where jobs are enqueued and in workers. Raising makes the plugin a failed one.
    """
    return ()


@hookspec
def queuectl_notifiers() -> Iterable[Provider[Notifier]]:
    """Offer notifiers. Any number is active: ``[queuectl] notifiers = ["NAME", …]``.

    Called in the courier. Raising makes the plugin a failed one.
    """
    return ()


# --- Start: what a plugin adds to the program -------------------------------------------------


@hookspec
def queuectl_options() -> Iterable[Option]:
    """Declare the keys of the plugin's own table, ``[plugin.NAME]``.

    Called in every process that loads the plugin. The table is checked before ``queuectl_configure``; an unknown key
    or a bad value is a configuration error that names the file, the key and what was expected.
    """
    return ()


@hookspec
def queuectl_configure(options: Mapping[str, Any]) -> None:
    """Called once in each process that loads the plugin, after the configuration is complete, before anything opens.

    *options* is the plugin's own checked table. Raising ``PluginError`` refuses to run, with its message; anything
    else that is raised does so too, naming the plugin. So does taking longer than ten seconds: a command or a pool
    that starts ends with it (70), a pool that would restart goes on as it was, a worker runs its jobs without the
    plugins, a courier is started anew after a while.
    """


@hookspec
def queuectl_commands() -> Iterable[Command]:
    """Offer command-line commands. The name of a built-in command cannot be taken.

    Called in the command line's process when a name is not built in, and for the list in ``--help``. Raising makes
    the plugin a failed one.
    """
    return ()


# --- A job's life -------------------------------------------------------------------------------


@hookspec
def queuectl_prepare(jobs: list[NewJob]) -> None:
    """Look at jobs before they are stored; replace items of the list in place to change them.

    Called in the enqueuing process, on the path of every enqueue: it must not block. Raising ``JobRejected`` refuses
    the whole batch with its message (exit code 65). Raising anything else refuses it too and names the plugin (70):
    half-prepared jobs would be worse than none. Taking longer than ten seconds is such a fault; only in a thread of
    the dashboard nothing can interrupt it.
    """


@hookspec
def queuectl_environment(claim: Claim) -> Mapping[str, str] | None:
    """Give further environment variables for one attempt. Later registered plugins win where names clash.

    Called in the worker, before each attempt. Names that begin with ``QUEUECTL_`` are core's and are left out.
    Raising is logged and counts as no answer.
    """


@hookspec(firstresult=True)
def queuectl_verdict(job: Job, outcome: Outcome) -> str | None:
    """Decide ``"success"``, ``"retry"`` or ``"dead"`` for an attempt that ended by itself; the first answer wins.

    Called in the worker when an attempt exited, was signalled, timed out or could not start. None leaves it to the
    others and at last to core: exit code 0 is success, anything else is retried while ``max_retries`` allows.
    Raising, or another answer, is logged and core's rule is used.
    """


@hookspec
def queuectl_events(events: Sequence[Event]) -> None:
    """Observe what happened, in batches, oldest first, after it was stored.

    Called in the courier, at most once for each event. Raising is logged and counted and stops nobody else.
    """


# --- The dashboard ------------------------------------------------------------------------------


@hookspec
def queuectl_blueprints(storage: Callable[[], Storage]) -> Iterable[flask.Blueprint]:
    """Offer pages. Mounted under ``/x/PLUGIN/``, behind the dashboard's own checks; one at ``/`` is in its menu.

    Called once in the dashboard's process. ``storage()`` is the storage of the thread that asks; it is called while a
    request is served. A template may extend ``page.html``. Raising is logged, and the plugin has no pages.
    """
    return ()


@hookspec
def queuectl_panels(storage: Callable[[], Storage]) -> Iterable[Panel]:
    """Offer boxes for the dashboard's first page.

    Called once in the dashboard's process; ``storage()`` is for the time when a panel is rendered. Raising is logged,
    and one that raises when it is rendered is replaced by a note.
    """
    return ()


# --- Stop ---------------------------------------------------------------------------------------


@hookspec
def queuectl_shutdown() -> None:
    """Called once in each process that called ``queuectl_configure``, before it ends in an orderly way.

    Raising is logged and stops nobody else.
    """
