"""So many at once under each name, and no trace of those who have gone."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from app.outbound.gates import Crowded, Gates


def test_so_many_are_let_in_and_the_next_when_one_has_gone() -> None:
    gates = Gates(2)
    with ExitStack() as inside:
        first = inside.enter_context(ExitStack())
        first.enter_context(gates.through("a", within=0))
        inside.enter_context(gates.through("a", within=0))

        with pytest.raises(Crowded):
            inside.enter_context(gates.through("a", within=0))
        first.close()
        inside.enter_context(gates.through("a", within=0))


def test_another_name_has_places_of_its_own() -> None:
    gates = Gates(1)
    with gates.through("a", within=0), gates.through("b", within=0):
        pass


def test_nothing_is_kept_of_who_has_gone() -> None:
    gates = Gates(1)
    with gates.through("a", within=0), pytest.raises(Crowded), gates.through("a", within=0):
        pass
    with pytest.raises(ZeroDivisionError), gates.through("b", within=0):
        _ = 1 / 0

    assert gates._gates == {}  # noqa: SLF001 - what would grow for ever
