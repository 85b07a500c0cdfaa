"""So many at once under each name, and no trace of those who have gone."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from app.outbound.concurrency_limits import ConcurrencyLimits, ConcurrencyLimitTimeout


def test_so_many_are_let_in_and_the_next_when_one_has_gone() -> None:
    gates = ConcurrencyLimits(2)
    with ExitStack() as inside:
        first = inside.enter_context(ExitStack())
        first.enter_context(gates.acquire("a", timeout_seconds=0))
        inside.enter_context(gates.acquire("a", timeout_seconds=0))

        with pytest.raises(ConcurrencyLimitTimeout):
            inside.enter_context(gates.acquire("a", timeout_seconds=0))
        first.close()
        inside.enter_context(gates.acquire("a", timeout_seconds=0))


def test_another_name_has_places_of_its_own() -> None:
    gates = ConcurrencyLimits(1)
    with gates.acquire("a", timeout_seconds=0), gates.acquire("b", timeout_seconds=0):
        pass


def test_nothing_is_kept_of_who_has_gone() -> None:
    gates = ConcurrencyLimits(1)
    with (
        gates.acquire("a", timeout_seconds=0),
        pytest.raises(ConcurrencyLimitTimeout),
        gates.acquire("a", timeout_seconds=0),
    ):
        pass
    with pytest.raises(ZeroDivisionError), gates.acquire("b", timeout_seconds=0):
        _ = 1 / 0

    assert gates._limits == {}  # noqa: SLF001 - what would grow for ever
