"""The mark by which a function becomes an implementation of a hook.

It leaves on the function what pluggy's own marker leaves there, without importing pluggy: the built-in plugins are on
the path of ``queuectl enqueue``, which pays for every module. ``pluggy.HookimplMarker("queuectl")`` works as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")

MARK = "queuectl_impl"


@overload
def hookimpl(function: F) -> F: ...


@overload
def hookimpl(
    *, optionalhook: bool = ..., tryfirst: bool = ..., trylast: bool = ..., specname: str | None = ...
) -> Callable[[F], F]: ...


def hookimpl(
    function: F | None = None,
    *,
    optionalhook: bool = False,
    tryfirst: bool = False,
    trylast: bool = False,
    specname: str | None = None,
) -> F | Callable[[F], F]:
    """Mark a function as an implementation of the hook it is named after, or of *specname*.

    *optionalhook*: not a fault if this core has no such hook. *tryfirst*, *trylast*: the place among the others.
    There are no wrappers: every implementation is called by itself, so that one that fails stops nobody else.
    """

    def mark(function: F) -> F:
        options = {
            "wrapper": False,
            "hookwrapper": False,
            "optionalhook": optionalhook,
            "tryfirst": tryfirst,
            "trylast": trylast,
            "specname": specname,
        }
        setattr(function, MARK, options)
        return function

    return mark if function is None else mark(function)
