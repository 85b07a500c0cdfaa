"""An organization's share of a worker's threads."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tasks import shares as module
from tasks.shares import Shares


def test_more_than_a_share_waits_and_others_do_not() -> None:
    shares = Shares(2)

    of_one = [shares.enter("acme", uuid4()) for _ in range(4)]

    assert of_one == [True, True, False, False]
    assert shares.enter("another", uuid4())


def test_whoever_ends_goes_on_with_what_waits_of_the_same_owner_in_its_order() -> None:
    shares, (first, second, third) = Shares(1), [uuid4() for _ in range(3)]
    for operation_id in (first, second, third, second):
        shares.enter("acme", operation_id)

    followed = [shares.following("acme") for _ in range(3)]

    assert followed == [second, third, None]
    assert shares.enter("acme", uuid4())


def test_a_part_that_is_given_back_after_a_fault_is_free_and_nothing_is_kept_of_whom_nothing_runs() -> None:
    shares = Shares(1)
    shares.enter("acme", uuid4())
    shares.enter("acme", uuid4())

    shares.leave("acme")

    assert shares.enter("acme", uuid4())
    assert shares.following("acme") is None


def test_of_what_waits_no_more_is_remembered_than_an_organization_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who makes jobs up at the broker has any number of ids; what is forgotten, the dispatcher finds again."""
    monkeypatch.setattr(module, "MOST_WAITING", 2)
    shares, (first, second, third) = Shares(1), [uuid4() for _ in range(3)]
    shares.enter("acme", uuid4())

    waiting = [shares.enter("acme", operation_id) for operation_id in (first, second, third)]
    followed = [shares.following("acme") for _ in range(3)]

    assert waiting == [False] * 3
    assert followed == [first, second, None]
