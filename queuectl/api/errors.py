"""Every error QueueCTL raises on purpose.

The docstring of a class is its default message; ``exit_code`` is what the command line exits with. A message is one
sentence for a person: where, what, what was expected, what to do next.
"""

from __future__ import annotations


class QueueCTLError(Exception):
    """Something went wrong inside QueueCTL."""

    exit_code = 70

    def __str__(self) -> str:
        if self.args:
            return str(self.args[0])
        return (type(self).__doc__ or "").strip().splitlines()[0]


class BadInput(QueueCTLError):
    """What was asked for cannot be understood."""

    exit_code = 2


class NotFound(QueueCTLError):
    """There is no such job."""

    exit_code = 3


class Conflict(QueueCTLError):
    """The request conflicts with what is stored."""

    exit_code = 4


class JobExists(Conflict):
    """A job with this id exists already."""


class WrongState(Conflict):
    """The job is not in a state that allows this."""


class JobRejected(QueueCTLError):
    """A plugin refused the job; nothing was stored."""

    exit_code = 65


class PluginError(QueueCTLError):
    """A plugin failed."""

    exit_code = 70


class NotDelivered(QueueCTLError):
    """The notifier could not tell; it is asked again later."""


class NotSupported(QueueCTLError):
    """The chosen storage or executor cannot do this."""

    exit_code = 2


class StartFailed(QueueCTLError):
    """The executor could not start the job. ``code`` is what a shell would exit with (126 or 127)."""

    def __init__(self, message: str = "", code: int = 127) -> None:
        super().__init__(*([message] if message else []))
        self.code = code


class StorageError(QueueCTLError):
    """The storage failed."""

    exit_code = 75


class StorageBusy(StorageError):
    """The storage is busy or away; try again soon."""


class StorageFull(StorageError):
    """There is no space left for the storage; nothing was stored."""


class StorageInvalid(StorageError):
    """What is at the storage's address is not a storage this version can use."""

    exit_code = 78


class ConfigError(QueueCTLError):
    """The configuration cannot be used."""

    exit_code = 78


class SystemRefused(QueueCTLError):
    """The system does not allow it: the output cannot be written, or the address cannot be had."""

    exit_code = 74


class WaitTimeout(QueueCTLError):
    """The wait timed out."""

    exit_code = 124
