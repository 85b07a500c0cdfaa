"""What could not be applied: when it is tried again, and when everything goes back. The clock is a number here."""

from __future__ import annotations

from tasks.held_batches import BatchSubmission, HeldBatches

WAITS = (1.0, 2.0, 4.0)


def a_holding() -> HeldBatches:
    return HeldBatches(retry_schedule=WAITS, max_hold_seconds=60)


def test_a_batch_is_tried_again_after_ever_longer_waits() -> None:
    holding, batch, now = a_holding(), BatchSubmission(), 100.0

    for wait in (1, 2, 4, 4):
        holding.hold_failed(batch, now=now)
        assert holding.take_due_submission(now=now + wait - 0.1) is None
        now += wait
        assert holding.take_due_submission(now=now) is batch


def test_as_long_as_nothing_succeeds_all_wait() -> None:
    holding = a_holding()

    holding.hold_failed(BatchSubmission(), now=100)
    assert holding.is_paused(now=100.9)
    assert not holding.is_paused(now=101)
    holding.hold_failed(BatchSubmission(), now=101)

    assert holding.is_paused(now=102.9)
    assert not holding.is_paused(now=103)


def test_what_was_under_way_with_a_batch_that_fails_makes_the_pause_no_longer() -> None:
    holding = a_holding()

    for _ in range(5):
        holding.hold_failed(BatchSubmission(), now=100.5)

    assert not holding.is_paused(now=101.5)


def test_a_batch_of_its_own_fault_holds_the_others_up_for_the_first_wait_only() -> None:
    holding, spoiled, now = a_holding(), BatchSubmission(), 100.0
    for _ in range(10):
        holding.hold_failed(spoiled, now=now)
        assert not holding.is_paused(now=now + WAITS[0])
        holding.record_success()
        now += WAITS[-1]
        assert holding.take_due_submission(now=now) is spoiled

    assert not holding.is_held_too_long(now=now)


def test_those_who_look_again_are_told_when() -> None:
    holding, spoiled = a_holding(), BatchSubmission()
    holding.hold_failed(spoiled, now=100)
    holding.take_due_submission(now=101)
    holding.record_success()

    assert holding.hold_failed(spoiled, now=101) == {WAITS[1], WAITS[0]}


def test_what_has_been_held_too_long_is_to_go_back_and_then_one_probe_asks_whether_anything_can_be_applied() -> None:
    holding, first, second = a_holding(), BatchSubmission(), BatchSubmission()
    holding.hold_failed(first, now=100)
    holding.hold_failed(second, now=101)
    assert not holding.is_held_too_long(now=159)
    assert holding.is_held_too_long(now=160)

    holding.replace_with_probe()

    probe = holding.take_due_submission(now=160)
    assert probe
    assert probe.is_probe
    assert holding.take_due_submission(now=200) is None
    holding.hold_failed(probe, now=160)
    assert not holding.is_held_too_long(now=1_000), "there is nothing to go back"
