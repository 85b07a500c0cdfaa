"""An organization's share of a worker's threads."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tasks import organization_limits as module
from tasks.organization_limits import PerOwnerConcurrencyLimit


def test_more_than_a_share_waits_and_others_do_not() -> None:
    shares = PerOwnerConcurrencyLimit(2)

    of_one = [shares.try_start_or_queue("acme", uuid4()) for _ in range(4)]

    assert of_one == [True, True, False, False]
    assert shares.try_start_or_queue("another", uuid4())


def test_whoever_ends_goes_on_with_what_waits_of_the_same_owner_in_its_order() -> None:
    shares, (first, second, third) = PerOwnerConcurrencyLimit(1), [uuid4() for _ in range(3)]
    for operation_id in (first, second, third, second):
        shares.try_start_or_queue("acme", operation_id)

    followed = [shares.take_next_or_release("acme") for _ in range(3)]

    assert followed == [second, third, None]
    assert shares.try_start_or_queue("acme", uuid4())


def test_a_part_that_is_given_back_after_a_fault_is_free_and_nothing_is_kept_of_whom_nothing_runs() -> None:
    shares = PerOwnerConcurrencyLimit(1)
    shares.try_start_or_queue("acme", uuid4())
    shares.try_start_or_queue("acme", uuid4())

    shares.release("acme")

    assert shares.try_start_or_queue("acme", uuid4())
    assert shares.take_next_or_release("acme") is None


def test_of_what_waits_no_more_is_remembered_than_an_organization_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who makes jobs up at the broker has any number of ids; what is forgotten, the dispatcher finds again."""
    monkeypatch.setattr(module, "MAX_WAITING_PER_OWNER", 2)
    shares, (first, second, third) = PerOwnerConcurrencyLimit(1), [uuid4() for _ in range(3)]
    shares.try_start_or_queue("acme", uuid4())

    waiting = [shares.try_start_or_queue("acme", operation_id) for operation_id in (first, second, third)]
    followed = [shares.take_next_or_release("acme") for _ in range(3)]

    assert waiting == [False] * 3
    assert followed == [first, second, None]
