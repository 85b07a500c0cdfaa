"""Whether the host left this machine its processors while something was measured.

What a hypervisor gives to others meanwhile counts as `steal` (proc_stat(5)); no figure taken then is a contestant's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

import psutil  # type: ignore[import-untyped]

P = ParamSpec("P")
Found = TypeVar("Found")

# More of the processors' time than this, and it is measured again, so many times in all; the last one counts.
MOST_STOLEN = 0.02
TRIES = 4


@dataclass
class Quiet:
    """What was stolen during each measurement that counts, and how many did not count."""

    stolen: list[float] = field(default_factory=list)
    repeated: int = 0

    def measured(self, measure: Callable[P, Found], *args: P.args, **kwargs: P.kwargs) -> Found:
        """Return what a measurement finds in a quiet moment."""
        for tries in range(1, TRIES + 1):
            before = _times()
            found = measure(*args, **kwargs)
            stolen = stolen_between(before, _times())
            if stolen <= MOST_STOLEN or tries == TRIES:
                break
            self.repeated += 1
        self.stolen.append(stolen)
        return found

    def told(self) -> Iterator[str]:
        """Yield a line on it, once there is something to tell."""
        if self.stolen:
            yield (
                f"- the host took at most {max(self.stolen):.1%} of the processors' time during each of"
                f" {len(self.stolen)} measurements; {self.repeated} more, during which it took over"
                f" {MOST_STOLEN:.0%}, were repeated"
            )


def stolen_between(before: dict[str, float], after: dict[str, float]) -> float:
    """Return which share of all processors' time was stolen; 0 where no host says so."""
    passed = {name: after[name] - before[name] for name in before}
    # A guest's time is a part of the user's.
    everything = sum(seconds for name, seconds in passed.items() if not name.startswith("guest"))
    return passed.get("steal", 0.0) / everything if everything else 0.0


def _times() -> dict[str, float]:
    times: dict[str, float] = psutil.cpu_times()._asdict()
    return times
