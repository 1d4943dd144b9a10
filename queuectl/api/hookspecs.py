"""Every way to extend QueueCTL, in the order things happen.

Three kinds, told apart by their names. *Offers* are plural nouns and return records: the configuration picks among
them by name. *Moments* are verbs and return nothing. *Questions* are singular nouns and have an answer.

Implementations are called with keyword arguments and name only those they need. New arguments may come with any
release; one that goes is first warned about for a minor series. Each docstring is a contract: which process calls the
hook, what it is given, what raising means, since when it is there, and an example that is run by our tests. A plugin
that raises, hangs or exits never takes a job with it.
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

    Called in every process that loads the plugin: make records, and leave the imports to ``open``.

    Raising makes the plugin a failed one.

    Since 0.1.

    Example::

        from queuectl.api import Ability, Option, Provider, hookimpl

        def open_storage(options, context):
            from queuectl_folder.storage import FolderStorage  # imported by who uses it

            return FolderStorage(options["path"])

        @hookimpl
        def queuectl_storages():
            yield Provider(
                "folder",
                open_storage,
                (Option("path", str, help="where the jobs are kept", path=True),),
                summary="files in a folder",
                abilities=frozenset({Ability.UNIQUE, Ability.TAGS}),
            )
    """
    return ()


@hookspec
def queuectl_executors() -> Iterable[Provider[Executor]]:
    """Offer executors. One per job is active: ``executor`` in ``[queuectl]``, ``[queues.NAME]`` or of the job itself.

    Called where jobs are enqueued (to check what they ask for) and in workers.

    Raising makes the plugin a failed one.

    Since 0.1.

    Example::

        from queuectl.api import Provider, hookimpl

        def open_executor(options, context):
            from queuectl.api.processes import ProcessExecutor  # workers only

            class Offline(ProcessExecutor):
                def prefix(self, run):
                    return ("unshare", "--map-root-user", "--net", "--")

            return Offline()

        @hookimpl
        def queuectl_executors():
            yield Provider("offline", open_executor, summary="on this host, without a network")
    """
    return ()


@hookspec
def queuectl_backoffs() -> Iterable[Provider[Backoff]]:
    """Offer backoff policies. One per job is active, chosen like the executor.

    Called where jobs are enqueued and in workers.

    Raising makes the plugin a failed one.

    Since 0.1.

    Example::

        from queuectl.api import Backoff, Option, Provider, hookimpl

        class Steady(Backoff):
            def __init__(self, every):
                self.every = every

            def delay(self, job, outcome, rng):
                return self.every + rng.random()

        @hookimpl
        def queuectl_backoffs():
            every = Option("every", float, 5.0, "seconds before each retry", minimum=0)
            yield Provider("steady", lambda options, context: Steady(options["every"]), (every,), "always the same")
    """
    return ()


@hookspec
def queuectl_notifiers() -> Iterable[Provider[Notifier]]:
    """Offer notifiers. Any number is active: ``[queuectl] notifiers = ["NAME", …]``, or a route.

    Called in the courier, and where the configuration is checked.

    Raising makes the plugin a failed one.

    Since 0.1.

    Example::

        import sys

        from queuectl.api import Notifier, Provider, hookimpl

        class Bell(Notifier):
            def notify(self, events):
                if any(event.kind == "dead" for event in events):
                    print("\\a", end="", file=sys.stderr, flush=True)

        @hookimpl
        def queuectl_notifiers():
            yield Provider("bell", lambda options, context: Bell(), summary="rings when a job died")
    """
    return ()


# --- Start: what a plugin adds to the program -------------------------------------------------


@hookspec
def queuectl_options() -> Iterable[Option]:
    """Declare the keys of the plugin's own table, ``[plugin.NAME]``.

    Called in every process that loads the plugin. The table is checked before ``queuectl_configure``; an unknown key
    or a bad value is a configuration error that names the file, the key and what was expected.

    Raising refuses to run, naming the plugin.

    Since 0.1.

    Example::

        from queuectl.api import Option, hookimpl

        @hookimpl
        def queuectl_options():
            yield Option("site", str, "main", "what the hosts are labelled with", choices=("main", "backup"))
            yield Option("token", str, None, "for the inventory", secret=True)
    """
    return ()


@hookspec
def queuectl_configure(options: Mapping[str, Any]) -> None:
    """Take the plugin's options, once in each process, after the configuration is complete and before anything opens.

    Called in each process that loads the plugin while it is active.

    *options* is the plugin's own checked table: every key that ``queuectl_options`` declares, with secrets read.

    Raising ``PluginError`` refuses to run, with its message; anything else that is raised does so too, naming the
    plugin. So does taking longer than ten seconds: a command or a pool that starts ends with it (70), a pool that would
    restart goes on as it was, a worker runs its jobs without the plugins, a courier is started anew after a while.

    Since 0.1.

    Example::

        from queuectl.api import Option, PluginError, hookimpl

        @hookimpl
        def queuectl_options():
            yield Option("site", str, "main", "what the hosts are labelled with")

        @hookimpl
        def queuectl_configure(options):
            if not options["site"].isalpha():
                raise PluginError(f"site: {options['site']!r} is not a word")
    """


@hookspec
def queuectl_commands() -> Iterable[Command]:
    """Offer command-line commands. The name of a built-in command cannot be taken.

    Called in the command line's process when a name is not built in, and for the list in ``--help``. The plugin need
    not be active: being installed is enough.

    Raising leaves its commands out, with one warning. A ``load`` that raises fails the command, in one sentence.

    Since 0.1.

    Example::

        import click

        from queuectl.api import Command, hookimpl

        @click.command(help="Print how many jobs wait in each queue.")
        @click.pass_obj
        def waiting(program):
            for stat in program.queue.stat():
                click.echo(f"{stat.name} {stat.counts['pending'] + stat.counts['failed']}")

        @hookimpl
        def queuectl_commands():
            yield Command("waiting", "Print how many jobs wait in each queue.", lambda: waiting)
    """
    return ()


# --- A job's life -------------------------------------------------------------------------------


@hookspec
def queuectl_prepare(jobs: list[NewJob]) -> None:
    """Look at jobs before they are stored; replace items of the list in place to change them.

    Called in the enqueuing process, on the path of every enqueue: it must not block.

    *jobs* is the batch, as records that cannot be changed: ``jobs[i] = jobs[i]._replace(queue="mail")``. It keeps its
    length.

    Raising ``JobRejected`` refuses the whole batch with its message (exit code 65). Raising anything else refuses it
    too and names the plugin (70): half-prepared jobs would be worse than none. Taking longer than ten seconds is such a
    fault; only in a thread of the dashboard nothing can interrupt it.

    Since 0.1.

    Example::

        from queuectl.api import JobRejected, hookimpl

        @hookimpl
        def queuectl_prepare(jobs):
            for i, job in enumerate(jobs):
                if "rm -rf /" in job.command:
                    raise JobRejected(f"not this: {job.command}")
                if job.command.startswith("ffmpeg "):
                    jobs[i] = job._replace(queue="video")
    """


@hookspec
def queuectl_environment(claim: Claim) -> Mapping[str, str] | None:
    """Give further environment variables for one attempt. Later registered plugins win where names clash.

    Called in the worker, before each attempt. Names that begin with ``QUEUECTL_`` are core's and are left out.

    *claim* is the job as it is now and the token it is held under; ``claim.job.attempts`` is the attempt to come.

    Raising is logged and counts as no answer.

    Since 0.1.

    Example::

        from queuectl.api import hookimpl

        @hookimpl
        def queuectl_environment(claim):
            if claim.job.spec.queue == "render":
                return {"CUDA_VISIBLE_DEVICES": str(claim.job.seq % 4)}
            return None
    """


@hookspec(firstresult=True)
def queuectl_verdict(job: Job, outcome: Outcome) -> str | None:
    """Decide ``"success"``, ``"retry"`` or ``"dead"`` for an attempt that ended by itself; the first answer wins.

    Called in the worker when an attempt exited, was signalled, timed out or could not start. None leaves it to the
    others and at last to core: exit code 0 is success, anything else is retried while ``max_retries`` allows.

    *job* is the job as it was claimed, *outcome* how its attempt ended: ``outcome.kind``, ``outcome.code``,
    ``outcome.exit_code``.

    Raising, or another answer, is logged and core's rule is used.

    Since 0.1.

    Example::

        from queuectl.api import OutcomeKind, hookimpl

        @hookimpl
        def queuectl_verdict(job, outcome):
            if outcome.kind is OutcomeKind.EXITED and outcome.code == 65 and "strict" in job.spec.tags:
                return "dead"  # bad data stays bad: no retry
            return None
    """


@hookspec
def queuectl_events(events: Sequence[Event]) -> None:
    """Observe what happened, in batches, oldest first, after it was stored.

    Called in the courier, at most once for each event.

    *events* are records: ``event.kind``, ``event.at``, the job as the event left it, and the outcome if an attempt
    ended.

    Raising is logged and counted and stops nobody else.

    Since 0.1.

    Example::

        from collections import Counter

        from queuectl.api import hookimpl

        ended = Counter()

        @hookimpl
        def queuectl_events(events):
            ended.update(event.kind for event in events if event.outcome is not None)
    """


# --- The dashboard ------------------------------------------------------------------------------


@hookspec
def queuectl_blueprints(storage: Callable[[], Storage]) -> Iterable[flask.Blueprint]:
    """Offer pages. Mounted under ``/x/PLUGIN/``, behind the dashboard's own checks; one at ``/`` is in its menu.

    Called once in the dashboard's process. A template may extend ``page.html``.

    *storage* is a function: ``storage()`` is the storage of the thread that asks, to be called while a request is
    served.

    Raising is logged, and the plugin has no pages.

    Since 0.1.

    Example::

        from flask import Blueprint, jsonify

        from queuectl.api import hookimpl

        @hookimpl
        def queuectl_blueprints(storage):
            pages = Blueprint("limits", __name__)

            @pages.get("/")
            def limits():
                return jsonify({stat.name: stat.limit for stat in storage().stat()})

            yield pages
    """
    return ()


@hookspec
def queuectl_panels(storage: Callable[[], Storage]) -> Iterable[Panel]:
    """Offer boxes for the dashboard's first page.

    Called once in the dashboard's process.

    *storage* is a function, as for ``queuectl_blueprints``, for the time when a panel is rendered.

    Raising is logged, and one that raises when it is rendered is replaced by a note.

    Since 0.1.

    Example::

        from queuectl.api import Panel, hookimpl

        @hookimpl
        def queuectl_panels(storage):
            yield Panel("Attempts", lambda: f"<p>{sum(stat.runs for stat in storage().stat())} so far</p>")
    """
    return ()


# --- Stop ---------------------------------------------------------------------------------------


@hookspec
def queuectl_shutdown() -> None:
    """Release what the plugin holds, before the process ends in an orderly way.

    Called once in each process that called ``queuectl_configure``. A process that is killed calls nothing.

    Raising is logged and stops nobody else.

    Since 0.1.

    Example::

        import tempfile

        from queuectl.api import hookimpl

        scratch = tempfile.TemporaryFile()

        @hookimpl
        def queuectl_shutdown():
            scratch.close()
    """
