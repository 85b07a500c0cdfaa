"""What the doctor looks at of those who work: whether anybody makes the sweeps, and by which clocks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from redis.exceptions import RedisError

from app import extensions
from app.cli.findings import MAX_CLOCK_DIFFERENCE, Finding
from app.outbound import clock_offsets, sweep_times

# What a sweep may be late by: a restart of beat or of the worker takes a few seconds.
MAX_SWEEP_DELAY = timedelta(minutes=1)


def check_sweeps() -> Iterator[Finding]:
    """Look how long ago what is due was sent, and what is overdue ended."""
    settings = extensions.settings()
    intervals = {
        sweep_times.DISPATCH_SWEEP: settings.dispatch_interval_seconds,
        sweep_times.EXPIRE_SWEEP: settings.expiry_interval_seconds,
    }
    mend = "start beat and webhook_worker, or look into their logs: nothing is tried again or ended without them"
    for name, interval in intervals.items():
        try:
            age = sweep_times.sweep_age(extensions.redis(), name)
        except RedisError as problem:
            yield Finding("sweeps", ok=False, found=f"not known: {type(problem).__name__}", mend="fix redis first")
            return
        found = f"{name}: none for a day" if age is None else f"{name}: the last {age.total_seconds():.0f} s ago"
        yield Finding("sweeps", ok=age is not None and age < interval + MAX_SWEEP_DELAY, found=found, mend=mend)


def check_clocks() -> Iterator[Finding]:
    """Look how far the clocks of beat and of the workers are from the database's."""
    try:
        seen = clock_offsets.clock_offsets_by_process(extensions.redis())
    except RedisError as problem:
        yield Finding("clock", ok=False, found=f"not known: {type(problem).__name__}", mend="fix redis first")
        return
    for process, ahead in sorted(seen.items()):
        found = f"{process}: {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} the database's"
        mend = "set that host's clock by NTP: signatures, logs and the nightly purge go by it"
        yield Finding("clock", ok=abs(ahead) < MAX_CLOCK_DIFFERENCE.total_seconds(), found=found, mend=mend)
    if not seen:
        yield Finding("clock", ok=True, found="no worker has said in ten minutes how its clock goes")
