"""What the doctor says of one thing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

# Clocks further apart than this make tokens and deadlines mean something else on each machine.
MAX_CLOCK_DIFFERENCE = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `mend` says what to do where it is not ok."""

    what: str
    ok: bool
    found: str
    mend: str = ""


def compare_clock(clock_name: str, other_time: datetime) -> Finding:
    """Compare another clock with this machine's."""
    apart = abs(datetime.now(UTC) - other_time)
    found = f"the {clock_name} and this machine's differ by {apart.total_seconds():.1f} s"
    return Finding("clock", ok=apart < MAX_CLOCK_DIFFERENCE, found=found, mend="set both by NTP")
