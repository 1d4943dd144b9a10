"""What goes: hooks and arguments of hooks that still work, what takes their place, and when they are gone.

An entry is made when something is deprecated, and taken out in the release that it names, with what it is about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Deprecation(NamedTuple):
    """One hook, or one argument of it, that will be gone."""

    hook: str
    since: str  # the release that says so
    gone: str  # the first release without it: at least one minor series later
    instead: str  # what to do, as a sentence without its full stop
    argument: str = ""  # empty: the hook itself


DEPRECATIONS: tuple[Deprecation, ...] = ()


def notices(hook: str, arguments: Iterable[str]) -> Iterator[str]:
    """What there is to say to somebody who implements *hook* with these arguments."""
    named = set(arguments)
    for each in DEPRECATIONS:
        if each.hook == hook and (not each.argument or each.argument in named):
            what = f"the argument {each.argument!r} of {hook}" if each.argument else hook
            yield f"{what} is deprecated since {each.since} and gone in {each.gone}: {each.instead}"
