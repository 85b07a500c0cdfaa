"""What the doctor says of one thing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

# Clocks further apart than this make tokens and deadlines mean something else on each machine.
SAME_TIME = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `mend` says what to do where it is not ok."""

    what: str
    ok: bool
    found: str
    mend: str = ""


def clock(whose: str, theirs: datetime) -> Finding:
    """Compare another clock with this machine's."""
    apart = abs(datetime.now(UTC) - theirs)
    found = f"the {whose} and this machine's differ by {apart.total_seconds():.1f} s"
    return Finding("clock", ok=apart < SAME_TIME, found=found, mend="set both by NTP")
