"""What threads ask for at the same time is done together, and each gets its own answer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

import pytest

from tasks.group_commit import GroupCommit
from tests.waiting import eventually

WITHIN = 10


class Desk:
    """Answers each question with ten times its number; one call at a time is held up until it is let go."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.lets_go = Event()
        self.ask = GroupCommit(self.answer)

    def answer(self, asked: Sequence[int]) -> list[int]:
        self.calls.append(list(asked))
        assert self.lets_go.wait(WITHIN)
        if 13 in asked:
            raise ValueError(f"{len(asked)} asked")
        return [number * 10 for number in asked]

    def asking(self, threads: ThreadPoolExecutor, first: int, *others: int) -> list[Future[int]]:
        """Ask the first question, and the others in order while that is being answered."""
        asked = [threads.submit(self.ask, first)]
        eventually(lambda: self.calls == [[first]])
        for place, number in enumerate(others, start=1):
            asked.append(threads.submit(self.ask, number))
            eventually(lambda place=place: len(self.ask.waiting) == place)  # type: ignore[misc]
        return asked


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def test_one_alone_goes_at_once() -> None:
    desk = Desk()
    desk.lets_go.set()

    assert [desk.ask(1), desk.ask(2)] == [10, 20]
    assert desk.calls == [[1], [2]]


def test_who_comes_meanwhile_goes_together_next(threads: ThreadPoolExecutor) -> None:
    desk = Desk()
    asked = desk.asking(threads, 1, 2, 3, 4)

    desk.lets_go.set()

    assert [one.result(WITHIN) for one in asked] == [10, 20, 30, 40]
    assert desk.calls == [[1], [2, 3, 4]]


def test_the_fault_of_one_is_not_the_others(threads: ThreadPoolExecutor) -> None:
    desk = Desk()
    asked = desk.asking(threads, 1, 2, 13, 4)

    desk.lets_go.set()

    assert [asked[place].result(WITHIN) for place in (0, 1, 3)] == [10, 20, 40]
    with pytest.raises(ValueError, match="1 asked"):
        asked[2].result(WITHIN)
    assert desk.calls == [[1], [2, 13, 4], [2], [13], [4]]


def test_after_a_fault_it_goes_on() -> None:
    desk = Desk()
    desk.lets_go.set()

    with pytest.raises(ValueError, match="1 asked"):
        desk.ask(13)

    assert desk.ask(1) == 10


def test_who_goes_first_lingers_for_company_where_that_is_on_its_way(threads: ThreadPoolExecutor) -> None:
    desk = Desk()
    desk.lets_go.set()

    def until_three_are_there() -> float:
        eventually(lambda: len(together.waiting) == 3)
        return 0.0

    together = GroupCommit(desk.answer, batching_delay=until_three_are_there)
    asked = [threads.submit(together, number) for number in (1, 2, 3)]

    assert sorted(one.result(WITHIN) for one in asked) == [10, 20, 30]
    assert [sorted(call) for call in desk.calls] == [[1, 2, 3]]


def test_it_lingers_as_long_as_it_is_told() -> None:
    together = GroupCommit(lambda asked: [time.monotonic() for _ in asked], batching_delay=lambda: 0.05)
    began = time.monotonic()

    assert together(1) - began >= 0.05
