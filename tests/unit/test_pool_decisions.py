from __future__ import annotations

from queuectl.testing.fakes import make_claim
from queuectl.work.ledger import FINISH, Ledger, wanted


def test_a_claim_is_made_for_each_job_that_could_begin() -> None:
    assert wanted(room=1, waiting=0, left=None) == 1
    assert wanted(room=5, waiting=0, left=None) == 5


def test_claims_that_wait_for_a_worker_are_not_claimed_twice() -> None:
    assert wanted(room=2, waiting=1, left=None) == 1
    assert wanted(room=1, waiting=3, left=None) == 0
    assert wanted(room=4, waiting=3, left=None) == 1


def test_no_more_is_claimed_than_is_left() -> None:
    assert wanted(room=4, waiting=0, left=3) == 3
    assert wanted(room=4, waiting=0, left=0) == 0


def test_a_pool_that_is_told_to_stop_claims_nothing_more() -> None:
    for most in (None, 9):
        ledger = Ledger(most=most)
        assert ledger.want(2) == 2
        ledger.stopping = FINISH
        assert ledger.want(6) == 0


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
