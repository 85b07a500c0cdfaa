"""What a run needs as time goes by, and whether it needs ever more. Pure but for `sample`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import psutil  # type: ignore[import-untyped]

from tests.faults.world import World

MEBI = 1024 * 1024
HOUR_SECONDS = 3600.0
# A last quarter that is above the one before by more than both of these grows.
MIN_GROWTH_SHARE, MIN_GROWTH = 0.10, {"MiB": 12.0, "files": 20.0, "threads": 5.0, "connections": 10.0}
# A quarter of fewer samples says nothing.
MIN_SAMPLES = 8
HEADINGS = ("what", "unit", "after the first quarter", "after three quarters", "at the end", "an hour", "grows")


@dataclass(frozen=True)
class Sample:
    """What was needed at a moment, in seconds from the start; keys are what and its unit."""

    at: float
    values: Mapping[tuple[str, str], float]


@dataclass(frozen=True)
class Growth:
    """One line of the table: medians of the second, the third and the last quarter of the run."""

    what: str
    unit: str
    quarters: tuple[float, float, float]
    per_hour: float

    @property
    def is_bounded(self) -> bool:
        """Whether the last quarter is no more above the third than caches and noise are."""
        _, third, last = self.quarters
        return last - third < max(MIN_GROWTH[self.unit], third * MIN_GROWTH_SHARE)


def growths(samples: Sequence[Sample]) -> Iterator[Growth]:
    """Yield what became of each value; nothing if the run was too short to tell."""
    if len(samples) < MIN_SAMPLES:
        return
    _, second, third, last = (samples[len(samples) * i // 4 : len(samples) * (i + 1) // 4] for i in range(4))
    hours = (_middle(last) - _middle(third)) / HOUR_SECONDS
    for what, unit in samples[-1].values:
        key = what, unit
        medians = [
            median(each.values[key] for each in quarter if key in each.values) for quarter in (second, third, last)
        ]
        yield Growth(what, unit, (medians[0], medians[1], medians[2]), (medians[2] - medians[1]) / hours)


def table(found: Sequence[Growth]) -> str:
    """Return the growths as Markdown."""
    lines = [HEADINGS, ("---", "---", *("---:",) * (len(HEADINGS) - 3), "---")]
    for each in found:
        numbers = [f"{number:.0f}" for number in each.quarters]
        lines.append((each.what, each.unit, *numbers, f"{each.per_hour:+.0f}", "no" if each.is_bounded else "**yes**"))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def sample(world: World, lines: Sequence[str], *, at: float) -> Sample:
    """Return what each of the Procfile's lines needs now, its children included, and the servers."""
    values: dict[tuple[str, str], float] = {}
    for line in lines:
        family = world.family(line)
        with_children = [_needs(process) for process in family]
        for unit, place in (("MiB", 0), ("files", 1), ("threads", 2)):
            values[line, unit] = sum(needs[place] for needs in with_children)
        if len(with_children) > 1:
            values[f"{line}, its largest child", "MiB"] = max(needs[0] for needs in with_children[1:])
    (connected,) = world.rows("SELECT count(*) AS found FROM pg_stat_activity WHERE datname = current_database()")
    values["PostgreSQL", "connections"] = connected["found"]
    values["RabbitMQ", "connections"] = sum(proxy.links for proxy in world.brokers.values())
    return Sample(at, values)


def _needs(process: psutil.Process) -> tuple[float, int, int]:
    """Return MiB (PSS), open files and threads; nothing of a process that has just ended."""
    try:
        return process.memory_full_info().pss / MEBI, process.num_fds(), process.num_threads()
    except psutil.NoSuchProcess:
        return 0.0, 0, 0


def _middle(samples: Sequence[Sample]) -> float:
    return (samples[0].at + samples[-1].at) / 2
