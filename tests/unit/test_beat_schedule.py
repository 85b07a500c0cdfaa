"""Beat's schedule by a clock that nobody sets: `tests/integration/tasks/test_beat.py` runs the process itself."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from celery import Celery

from tasks import beat_schedule

INTERVALS = {"dispatch": 1, "expire": 10}


class Host:
    """A host whose two clocks a test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monotonic, self.wall = 1_000.0, datetime(2026, 11, 30, 12, 0)  # noqa: DTZ001 - as Celery reads it
        monkeypatch.setattr("time.monotonic", lambda: self.monotonic)

    def now(self) -> datetime:
        return self.wall

    def wait(self, seconds: float) -> None:
        self.monotonic += seconds
        self.wall += timedelta(seconds=seconds)


class Beat(beat_schedule.MonotonicScheduler):
    """Beat's scheduler, that keeps what it would send."""

    producer = None

    def __init__(self, app: Celery) -> None:
        self.sent: list[str] = []
        super().__init__(app=app)

    def apply_async(self, entry: Any, **_: Any) -> None:
        self.sent.append(entry.name)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


@pytest.fixture
def beat(host: Host, monkeypatch: pytest.MonkeyPatch) -> Beat:
    app = Celery("of-the-tests", set_as_current=False)
    app.conf.beat_schedule = {
        name: {"task": name, "schedule": beat_schedule.MonotonicInterval(timedelta(seconds=seconds))}
        for name, seconds in INTERVALS.items()
    }
    # What Celery's entries ask for the wall clock.
    monkeypatch.setattr(app, "now", host.now)
    return Beat(app)


def sent_within(beat: Beat, host: Host, seconds: float) -> dict[str, int]:
    """Let time go by as beat's loop does, and return how often each task was sent."""
    beat.sent.clear()
    until = host.monotonic + seconds
    while host.monotonic < until:
        host.wait(max(0.01, min(beat.tick(), 1.0)))
    return {name: beat.sent.count(name) for name in INTERVALS}


@pytest.mark.parametrize("step", [timedelta(hours=-1), timedelta(hours=1), timedelta(days=-400), timedelta(0)], ids=str)
def test_a_clock_that_is_set_neither_stops_nor_hurries_the_sweeps(beat: Beat, host: Host, step: timedelta) -> None:
    before = sent_within(beat, host, 60)

    host.wall += step
    after = sent_within(beat, host, 60)

    assert 50 <= before["dispatch"] <= 61
    assert 5 <= before["expire"] <= 6
    assert 50 <= after["dispatch"] <= 61
    assert 5 <= after["expire"] <= 7


def test_what_was_missed_is_made_up_for_once(beat: Beat, host: Host) -> None:
    sent_within(beat, host, 5)

    host.wait(3600)

    assert sent_within(beat, host, 10)["dispatch"] <= 11


def test_beat_looks_once_for_each_sweep_and_not_early(beat: Beat, host: Host) -> None:
    sent_within(beat, host, 5)
    looks = 0
    while len(beat.sent) < 10:
        # A task that was sent, or a wait until the next is due.
        wait, looks = beat.tick(), looks + 1
        host.wait(wait)

    assert looks <= 2 * 10 + 1
