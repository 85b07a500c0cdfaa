"""Whether the host left this machine its processors while something was measured.

What a hypervisor gives to others meanwhile counts as `steal` (proc_stat(5)); no figure taken then is a contestant's.
What a neighbour slows down by sharing a core, its caches or the memory, nobody counts: a loop on all processors after
each measurement tells how even the machine's pace was, for whoever compares two runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing import get_context
from statistics import mean, median
from timeit import timeit
from typing import ParamSpec, TypeVar

import psutil  # type: ignore[import-untyped]

from devstack.child import wait_until

P = ParamSpec("P")
Found = TypeVar("Found")

# More of the processors' time than this, and it is measured again, so many times in all; the last one counts.
MOST_STOLEN = 0.02
TRIES = 4
# A host that is busy is so for minutes; before a repetition it gets so long to be done.
PATIENCE = timedelta(minutes=1)
# A machine that kept less of its pace was not quiet, and the next run on it may have some verdicts of its own.
QUIET_PACE = 0.8
NOT_QUIET = "- so it was not quiet, and what is near its target may be on its other side in the next run"
# A quarter of a second of work, or a few, for a processor and the caches nearest to it.
LOOP, TURNS = "for number in range(200_000): number * number", 50


@dataclass
class Quiet:
    """What was stolen during each measurement that counts, how many did not count, and the pace after each."""

    stolen: list[float] = field(default_factory=list)
    repeated: int = 0
    paces: list[float] = field(default_factory=list)

    def measured(self, measure: Callable[P, Found], *args: P.args, **kwargs: P.kwargs) -> Found:
        """Return what a measurement finds in a quiet moment."""
        for tries in range(1, TRIES + 1):
            before = _times()
            found = measure(*args, **kwargs)
            stolen = stolen_between(before, _times())
            if stolen <= MOST_STOLEN or tries == TRIES:
                break
            self.repeated += 1
            wait_until(_is_left_alone, within=PATIENCE)
        self.stolen.append(stolen)
        self.paces.append(_pace())
        return found

    def told(self) -> Iterator[str]:
        """Yield the lines on it, once there is something to tell."""
        if self.stolen:
            yield (
                f"- the host took at most {max(self.stolen):.1%} of the processors' time during each of"
                f" {len(self.stolen)} measurements; {self.repeated} more, during which it took over"
                f" {MOST_STOLEN:.0%}, were repeated"
            )
            quickest, slowest = min(self.paces), max(self.paces)
            kept = quickest / slowest
            yield (
                f"- after each of them a loop in Python, on all processors at once, took {median(self.paces):.1f} ms,"
                f" {quickest:.1f} to {slowest:.1f}: at its slowest the machine had {kept:.0%} of its pace"
            )
            was_quiet = kept >= QUIET_PACE and max(self.stolen) <= MOST_STOLEN
            yield "- so it was quiet" if was_quiet else NOT_QUIET


def stolen_between(before: dict[str, float], after: dict[str, float]) -> float:
    """Return which share of all processors' time was stolen; 0 where no host says so."""
    passed = {name: after[name] - before[name] for name in before}
    # A guest's time is a part of the user's.
    everything = sum(seconds for name, seconds in passed.items() if not name.startswith("guest"))
    return passed.get("steal", 0.0) / everything if everything else 0.0


def _is_left_alone() -> bool:
    """Tell whether the host takes nothing of what the loop asks for: who asks for no processor has none taken."""
    before = _times()
    _pace()
    return stolen_between(before, _times()) <= MOST_STOLEN


def _pace() -> float:
    """Return the milliseconds that a turn of the loop takes while there is one on each processor, as in a measurement.

    At once, because two processors may be threads of one core, which shows only when both have work.
    """
    processors = psutil.cpu_count() or 1
    with ProcessPoolExecutor(processors, mp_context=get_context("spawn")) as pool:
        seconds = [pool.submit(timeit, LOOP, number=TURNS) for _ in range(processors)]
    return mean(taken.result() for taken in seconds) / TURNS * 1000


def _times() -> dict[str, float]:
    times: dict[str, float] = psutil.cpu_times()._asdict()
    return times
