"""Which claims a pool has from elsewhere: written down before it has them, for whoever takes over from it.

That no record on this host names a claim proves that it never ran, unless another host held it before. So a pool that
is about to inherit writes down what it holds itself, and afterwards what it has inherited. Should it die in between, or
before it has stored what became of those, the next pool of this host finds them here and does not take them for claims
that never started. The file is removed when nothing of the kind is held; it has to survive a process, not a power cut.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from queuectl.core.rundir import DRAFT

from .legacy import remove

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from queuectl.api.model import Claim

    from .ledger import Ledger

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")

SUFFIX = ".inherited"


class Inheritance:
    """What one pool has inherited and not yet stored."""

    def __init__(self, run_dir: str, pool: str, ledger: Ledger) -> None:
        self._path = path_of(run_dir, pool)
        self._ledger = ledger
        self._keys: set[tuple[str, int]] = set()  # id of the job, number of the attempt

    def expect(self) -> None:
        """Before inheriting: whatever this pool holds from now on and did not hold before may have run elsewhere."""
        held = {_key(claim) for claim in self._ledger.held.values()}
        self._keys &= held
        self._write({"own": sorted(held - self._keys)})

    def note(self, claims: Iterable[Claim]) -> None:
        """After it: these have been inherited."""
        self._keys.update(map(_key, claims))
        if self._keys:
            self._write({"inherited": sorted(self._keys)})
        else:
            remove([self._path])

    def _write(self, data: dict[str, list[tuple[str, int]]]) -> None:
        draft = self._path + DRAFT
        with open(draft, "w", encoding="utf-8", opener=_private) as file:
            json.dump(data, file)
        os.rename(draft, self._path)


def path_of(run_dir: str, pool: str) -> str:
    return os.path.join(run_dir, pool + SUFFIX)


def inherited_by(run_dir: str, pools: Iterable[str]) -> Callable[[Claim], bool]:
    """Tells of a claim whether one of these dead pools may have had it from elsewhere."""
    notes = [note for pool in pools if (note := _read(path_of(run_dir, pool))) is not None]

    def tells(claim: Claim) -> bool:
        key = [*_key(claim)]
        return any(key in note["inherited"] if "inherited" in note else key not in note["own"] for note in notes)

    return tells


def _read(path: str) -> dict[str, list[list[object]]] | None:
    try:
        with open(path, encoding="utf-8") as file:
            note: dict[str, list[list[object]]] = json.load(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {"own": []}  # it cannot tell what it held itself
    return note


def _key(claim: Claim) -> tuple[str, int]:
    return claim.job.id, claim.job.attempts


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
