"""All that a plugin may import: the words, the contracts and the hooks.

A plugin is a module with functions marked ``@hookimpl``, named by an entry point in the group ``queuectl`` or by
``[plugins] files`` in the configuration::

    from queuectl.api import Backoff, Provider, hookimpl

    class Steady(Backoff):
        def delay(self, job, outcome, rng):
            return 5.0

    @hookimpl
    def queuectl_backoffs():
        yield Provider("steady", lambda options, context: Steady(), summary="five seconds, always")

Names are imported when first used, so this module costs nothing by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .backoff import Backoff
    from .errors import (
        ConfigError,
        JobRejected,
        NotDelivered,
        NotSupported,
        PluginError,
        StartFailed,
        StorageBusy,
        StorageError,
    )
    from .executor import Executor, Handle, Run
    from .markers import hookimpl
    from .model import (
        Claim,
        Event,
        Job,
        NewJob,
        Outcome,
        OutcomeKind,
        Settings,
        State,
    )
    from .notifier import Notifier
    from .providers import (
        Command,
        Context,
        Option,
        Panel,
        Program,
        Provider,
    )
    from .storage import Ability, Listener, Storage

_HOMES = {
    "backoff": ("Backoff",),
    "errors": (
        "ConfigError",
        "JobRejected",
        "NotDelivered",
        "NotSupported",
        "PluginError",
        "StartFailed",
        "StorageBusy",
        "StorageError",
    ),
    "executor": ("Executor", "Handle", "Run"),
    "markers": ("hookimpl",),
    "model": ("Claim", "Event", "Job", "NewJob", "Outcome", "OutcomeKind", "Settings", "State"),
    "notifier": ("Notifier",),
    "providers": ("Command", "Context", "Option", "Panel", "Program", "Provider"),
    "storage": ("Ability", "Listener", "Storage"),
}

__all__ = [  # said in full: type checkers read it
    "Ability",
    "Backoff",
    "Claim",
    "Command",
    "ConfigError",
    "Context",
    "Event",
    "Executor",
    "Handle",
    "Job",
    "JobRejected",
    "Listener",
    "NewJob",
    "NotDelivered",
    "NotSupported",
    "Notifier",
    "Option",
    "Outcome",
    "OutcomeKind",
    "Panel",
    "PluginError",
    "Program",
    "Provider",
    "Run",
    "Settings",
    "StartFailed",
    "State",
    "Storage",
    "StorageBusy",
    "StorageError",
    "hookimpl",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            from importlib import import_module

            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
