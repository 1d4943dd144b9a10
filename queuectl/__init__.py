"""QueueCTL: a durable job queue for shell commands, extensible at every joint.

``from queuectl import Queue`` is the Python face; ``queuectl.api`` is what plugins import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Queue", "__version__", "hookimpl"]

if TYPE_CHECKING:
    from .api.markers import hookimpl
    from .core.jobqueue import Queue


def __getattr__(name: str) -> Any:
    if name == "Queue":
        from .core.jobqueue import Queue

        return Queue
    if name == "hookimpl":
        from .api.markers import hookimpl

        return hookimpl
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
