"""The one clock that all hosts go by, PostgreSQL's: what one writes and another judges is of it.

A unit of work asks the database (`UnitOfWork.now`). Here is what was told last, with what has gone by since, for what
is done before or after a transaction.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta

# What counts on while a machine is suspended, too, where there is such a clock.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class _Database:
    # Its time, and when it was told by a clock of this host's that nobody sets, in seconds.
    told: tuple[datetime, float] | None = None


def learn(moment: datetime) -> None:
    """Keep what the database has just told."""
    _Database.told = moment, time.clock_gettime(_CLOCK)


def last_known(*, within: timedelta = timedelta.max) -> datetime | None:
    """Return the database's time as far as it is known without asking; None if nobody has asked for so long."""
    if _Database.told is None:
        return None
    moment, at = _Database.told
    since = timedelta(seconds=time.clock_gettime(_CLOCK) - at)
    return moment + since if since <= within else None
