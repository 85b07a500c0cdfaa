"""What `make soak` calls growth."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.soak.growth import Growth, Sample, growths, table


def one_growth(value_at: Callable[[float], float], *, unit: str = "MiB") -> Growth:
    samples = [Sample(at=60.0 * minute, values={("web", unit): value_at(60.0 * minute)}) for minute in range(61)]
    (found,) = growths(samples)
    return found


def test_a_line_that_stays_as_it_is_does_not_grow() -> None:
    found = one_growth(lambda _: 100.0)

    assert found.is_bounded
    assert found.per_hour == 0


def test_caches_that_fill_at_first_are_no_growth() -> None:
    found = one_growth(lambda at: min(160.0, 80.0 + at / 10))

    assert found.is_bounded


def test_a_leak_is_growth_and_is_told_by_the_hour() -> None:
    found = one_growth(lambda at: 100.0 + at / 36)

    assert not found.is_bounded
    assert found.per_hour == pytest.approx(100, rel=0.01)
    assert table([found]).splitlines()[-1].endswith("| +100 | **yes** |")


def test_open_files_have_a_measure_of_their_own() -> None:
    assert not one_growth(lambda at: 30 + at / 30, unit="files").is_bounded
    assert one_growth(lambda at: 30 + at / 300, unit="files").is_bounded


def test_a_value_that_is_not_there_at_first_counts_from_its_first_sample() -> None:
    samples = [
        Sample(at=float(at), values={("web", "MiB"): 1.0} | ({("worker", "MiB"): 2.0} if at > 30 else {}))
        for at in range(100)
    ]

    assert {found.what: found.quarters for found in growths(samples)}["worker"] == (2.0, 2.0, 2.0)


def test_too_few_samples_say_nothing() -> None:
    assert list(growths([Sample(at=float(at), values={("web", "MiB"): at * 100.0}) for at in range(7)])) == []
