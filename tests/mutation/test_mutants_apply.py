"""The list of mutants is kept up: ``make mutants`` takes a quarter of an hour to say what this says at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from mutants import SUITES, Mutant

ROOT = Path(__file__).resolve().parent.parent.parent
ALL = [mutant for suite in SUITES for mutant in suite.mutants]


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: f"{Path(mutant.file).stem}: {mutant.guard}")
def test_a_guard_stands_where_its_mutant_looks_for_it(mutant: Mutant) -> None:
    """Whoever moves a guard moves its mutant."""
    assert (ROOT / mutant.file).read_text().count(mutant.text) == 1
    assert mutant.instead != mutant.text


def test_the_guards_of_the_storages_are_in_the_list() -> None:
    for suite in SUITES[:2]:
        guards = {mutant.guard.partition(":")[0] for mutant in suite.mutants}
        assert guards >= {"token", "state", "dead or lease", "cancel", "unique", "limit", "pause"}
