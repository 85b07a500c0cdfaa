"""What an organization sees at a glance: each day's syncs by how they ended, and each source's last ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Date, Row, Select, bindparam, case, cast, func, select, true

from app.domain import ids
from app.extensions import Session
from app.models import Organization
from app.services.tables import CONNECTIONS, LOWEST_ID, OPERATIONS

# What a person takes in at a glance, and as many bars as a card has room for.
DAYS_SHOWN, RECENT_SYNCS_PER_CONNECTION = 30, 12
# Of each connection, its newest syncs that are looked through for that, one every four minutes: the external service
# may report any number, and a member may have them replaced again and again.
MAX_SYNCS_PER_CONNECTION = 10_000


# A sync that has ended: connection_id, id, state, created_at, started_at, finished_at, documents_processed.
EndedSyncRow = Row[Any]


@dataclass(slots=True)
class DailySyncCounts:
    """The syncs that ended on one day, UTC; `unanswered` got no answer, replaced ones are not counted."""

    day: date
    succeeded: int = 0
    failed: int = 0
    unanswered: int = 0
    documents: int = 0


@dataclass(frozen=True, slots=True)
class Overview:
    """An organization's name, if the rest of Rita has told it; its days, oldest first; its last syncs, newest first."""

    name: str | None
    days: list[DailySyncCounts]
    recent: Sequence[EndedSyncRow]


_OF_ORGANIZATION = (CONNECTIONS.c.organization_id == bindparam("organization_id"), CONNECTIONS.c.deleted_at.is_(None))
_SHOWN_COLUMN_NAMES = ("id", "state", "created_at", "started_at", "finished_at", "documents_processed")
# Read from the newest on by the index of history, as far as is asked for; ids have the order of time.
_NEWEST_SYNCS = (
    select(*[OPERATIONS.c[name] for name in _SHOWN_COLUMN_NAMES])
    .where(OPERATIONS.c.connection_id == CONNECTIONS.c.id, OPERATIONS.c.kind == "sync")
    .where(OPERATIONS.c.id >= bindparam("since"))
    .order_by(OPERATIONS.c.id.desc())
    .limit(bindparam("most"))
    .correlate(CONNECTIONS)
    .lateral("newest")
)
_IS_ENDED_SYNC = (_NEWEST_SYNCS.c.finished_at.is_not(None), _NEWEST_SYNCS.c.state != "replaced")


def _daily_counts_query() -> Select[Any]:
    """Return the query of the syncs by day and outcome."""
    day = cast(func.timezone("UTC", _NEWEST_SYNCS.c.finished_at), Date).label("day")
    state = _NEWEST_SYNCS.c.state
    outcome = case((state.in_(["succeeded", "failed"]), state), else_="unanswered").label("outcome")
    return (
        select(day, outcome, func.count(), func.coalesce(func.sum(_NEWEST_SYNCS.c.documents_processed), 0))
        .select_from(CONNECTIONS.join(_NEWEST_SYNCS, true()))
        .where(*_OF_ORGANIZATION, *_IS_ENDED_SYNC)
        .group_by(day, outcome)
    )


def _recent_syncs_query() -> Select[Any]:
    """Return the query of each connection's last syncs."""
    ended = select(_NEWEST_SYNCS).where(*_IS_ENDED_SYNC).order_by(_NEWEST_SYNCS.c.id.desc())
    last = ended.limit(RECENT_SYNCS_PER_CONNECTION).correlate(CONNECTIONS).lateral("last")
    found = select(CONNECTIONS.c.id.label("connection_id"), *last.c).select_from(CONNECTIONS.join(last, true()))
    return found.where(*_OF_ORGANIZATION).order_by(last.c.id.desc())


_DAILY_COUNTS_QUERY, _RECENT_SYNCS_QUERY = _daily_counts_query(), _recent_syncs_query()


def load_overview(session: Session, organization_id: UUID, *, now: datetime) -> Overview:
    """Return the overview of the last 30 days, today's the last."""
    first = (now - timedelta(days=DAYS_SHOWN - 1)).date()
    begins = datetime.combine(first, datetime.min.time(), tzinfo=now.tzinfo)
    name = session.scalar(select(Organization.name).where(Organization.id == organization_id))
    by_day = {day: DailySyncCounts(day) for day in (first + timedelta(days=number) for number in range(DAYS_SHOWN))}
    values = {"organization_id": organization_id, "since": ids.lowest_id_at(begins), "most": MAX_SYNCS_PER_CONNECTION}
    for day, outcome, count, documents in session.execute(_DAILY_COUNTS_QUERY, values):
        # What began before midnight and ended after is of the day of its end; a clock may be ahead of ours.
        if day in by_day:
            setattr(by_day[day], outcome, count)
            by_day[day].documents += documents
    recent = session.execute(_RECENT_SYNCS_QUERY, values | {"since": LOWEST_ID}).all()
    return Overview(name, list(by_day.values()), recent)
