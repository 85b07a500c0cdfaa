"""The one clock that all hosts go by, PostgreSQL's: what one writes and another judges is of it.

A unit of work asks the database (`UnitOfWork.now`). Here is what was told last, with what has gone by since, for what
is done before or after a transaction.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta

# What counts on while a machine is suspended, too, where there is such a clock.
_MONOTONIC_CLOCK_ID = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class _LastDatabaseTime:
    # Its time, and when it was told by a clock of this host's that nobody sets, in seconds.
    reading: tuple[datetime, float] | None = None


def remember_database_time(database_time: datetime) -> None:
    """Keep the time that the database has just told."""
    _LastDatabaseTime.reading = database_time, time.clock_gettime(_MONOTONIC_CLOCK_ID)


def estimated_database_time(*, max_age: timedelta = timedelta.max) -> datetime | None:
    """Return the database's time as far as it is known without asking; None if nobody has asked for so long."""
    if _LastDatabaseTime.reading is None:
        return None
    moment, at = _LastDatabaseTime.reading
    since = timedelta(seconds=time.clock_gettime(_MONOTONIC_CLOCK_ID) - at)
    return moment + since if since <= max_age else None
