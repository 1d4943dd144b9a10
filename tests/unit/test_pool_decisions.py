from __future__ import annotations

from queuectl.testing.fakes import make_claim
from queuectl.work.ledger import Ledger, wanted


def test_a_worker_whose_result_is_in_the_exchange_counts_as_free() -> None:
    assert wanted(free=0, settling=1, waiting=0, left=None) == 1
    assert wanted(free=2, settling=3, waiting=0, left=None) == 5


def test_claims_that_wait_for_a_worker_are_not_claimed_twice() -> None:
    assert wanted(free=2, settling=0, waiting=1, left=None) == 1
    assert wanted(free=1, settling=0, waiting=3, left=None) == 0


def test_no_more_is_claimed_than_is_left() -> None:
    assert wanted(free=4, settling=0, waiting=0, left=3) == 3
    assert wanted(free=4, settling=0, waiting=0, left=0) == 0


def test_a_claim_is_forgotten_under_its_token_only() -> None:
    """The pool may have settled one whose reply was lost, and hold the same job again under a later token."""
    old = make_claim()
    new = old._replace(token=old.token + 1)
    ledger = Ledger()
    ledger.hold([new])
    ledger.forget(old)
    assert ledger.held == {old.job.id: new}
    ledger.forget(new)
    ledger.forget(new)
    assert ledger.held == {}
