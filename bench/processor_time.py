"""What a measurement takes of all processors together: of every process of the product, and of its servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]

from devstack.child import Child


@dataclass
class Used:
    """Seconds of processor time; known at the end of the measurement."""

    seconds: float = 0.0


@contextmanager
def machine_without(*bystanders: Child) -> Iterator[Used]:
    """Count the whole machine's processor time, without that of this process and of bystanders, which make the load."""
    used = Used()
    before, besides = _machine(), _of_those(*bystanders)
    yield used
    used.seconds = _machine() - before - (_of_those(*bystanders) - besides)


def processor_time(child: Child) -> float:
    """Return the seconds of processor time that a child and all it started have used."""
    seconds = 0.0
    for process in child.family():
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        seconds += times.user + times.system
    return seconds


def _of_those(*bystanders: Child) -> float:
    own = psutil.Process().cpu_times()
    return float(own.user + own.system) + sum(map(processor_time, bystanders))


def _machine() -> float:
    """Return the seconds that the processors have worked; a guest's are a part of the user's."""
    times = psutil.cpu_times()._asdict()
    return sum(float(times.get(name, 0)) for name in ("user", "nice", "system", "irq", "softirq"))
