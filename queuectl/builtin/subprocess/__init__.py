"""The built-in executor ``subprocess``: the job is a child of the worker, in a session of its own.

What that means is said in ``api.processes``. This module is only the offer, which every ``enqueue`` looks at;
``executor`` is imported in workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from queuectl.api.markers import hookimpl
from queuectl.api.providers import Context, Option, Provider

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from queuectl.api.executor import Executor


def _check_umask(text: str) -> str | None:
    good = 0 < len(text) <= 4 and all(digit in "01234567" for digit in text)
    return None if good else "must be an octal mask such as 027"


def _open(options: Mapping[str, Any], context: Context) -> Executor:
    from .executor import SubprocessExecutor

    umask = options.get("umask")
    return SubprocessExecutor(
        options.get("shell", "/bin/sh"), options.get("nice", 0), int(umask, 8) if umask is not None else None
    )


_NICE = Option("nice", int, 0, "priority for the processor: 0 is normal, 19 is the most modest", minimum=0, maximum=19)


@hookimpl
def queuectl_executors() -> Iterable[Provider[Executor]]:
    yield Provider(
        "subprocess",
        _open,
        (
            Option("shell", str, "/bin/sh", "the shell that runs shell lines, called with -c", path=True),
            _NICE,
            Option(
                "umask", str, None, "file mode mask of the jobs, in octal; default: the worker's", check=_check_umask
            ),
        ),
        "a child process on this host",
        job_options=(_NICE,),
    )
