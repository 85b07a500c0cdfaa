"""What is said of a second's messages is one line."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from structlog.testing import CapturingLogger

from tasks import applied_log
from tasks.applied_log import WRITE_INTERVAL_SECONDS, AppliedMessagesLog


class Timer:
    """Calls what is due when it is told to."""

    def __init__(self) -> None:
        self.due: list[tuple[float, Callable[[], None]]] = []

    def __call__(self, seconds: float, act: Callable[[], None]) -> None:
        self.due.append((seconds, act))

    def ring(self) -> None:
        for _, act in self.due:
            act()
        self.due.clear()


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> CapturingLogger:
    capturing = CapturingLogger()
    monkeypatch.setattr(applied_log, "log", capturing)
    return capturing


def test_a_seconds_batches_are_one_line_within_that_second(log: CapturingLogger) -> None:
    timer = Timer()
    said = AppliedMessagesLog(timer)

    for refused in (0, 1, 0):
        said.add(messages=2, refused=refused)
    assert [seconds for seconds, _ in timer.due] == [WRITE_INTERVAL_SECONDS]
    assert log.calls == []
    timer.ring()

    (line,) = log.calls
    assert line.args == ("status_messages_applied",)
    assert line.kwargs == {"messages": 6, "refused": 1, "batches": 3}


def test_nothing_is_said_of_nothing_and_the_next_second_has_a_line_of_its_own(log: CapturingLogger) -> None:
    timer = Timer()
    said = AppliedMessagesLog(timer)

    said.write()
    said.add(messages=1, refused=0)
    # As a worker that ends does; then the timer rings all the same.
    said.write()
    timer.ring()
    said.add(messages=5, refused=0)
    timer.ring()

    assert [line.kwargs["messages"] for line in log.calls] == [1, 5]
