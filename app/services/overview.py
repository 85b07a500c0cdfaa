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
from app.services import ledger

CONNECTIONS, OPERATIONS = ledger.CONNECTIONS.c, ledger.OPERATIONS.c

# What a person takes in at a glance, and as many bars as a card has room for.
DAYS, RECENT = 30, 12
# Of each connection, its newest syncs that are looked through for that, one every four minutes: the external service
# may report any number, and a member may have them replaced again and again.
MOST = 10_000


# A sync that has ended: connection_id, id, state, created_at, started_at, finished_at, documents_processed.
Sync = Row[Any]


@dataclass(slots=True)
class Day:
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
    days: list[Day]
    recent: Sequence[Sync]


_THEIRS = (CONNECTIONS.organization_id == bindparam("organization_id"), CONNECTIONS.deleted_at.is_(None))
# Read from the newest on by the index of history, as far as is asked for; ids have the order of time.
_NEWEST = (
    select(
        OPERATIONS.id,
        OPERATIONS.state,
        OPERATIONS.created_at,
        OPERATIONS.started_at,
        OPERATIONS.finished_at,
        OPERATIONS.documents_processed,
    )
    .where(OPERATIONS.connection_id == CONNECTIONS.id, OPERATIONS.kind == "sync", OPERATIONS.id >= bindparam("since"))
    .order_by(OPERATIONS.id.desc())
    .limit(bindparam("most"))
    .correlate(ledger.CONNECTIONS)
    .lateral("newest")
)
_ENDED = (_NEWEST.c.finished_at.is_not(None), _NEWEST.c.state != "replaced")
_OUTCOME = case((_NEWEST.c.state.in_(["succeeded", "failed"]), _NEWEST.c.state), else_="unanswered")


def _days() -> Select[Any]:
    """Return the query of the syncs by day and outcome."""
    day = cast(func.timezone("UTC", _NEWEST.c.finished_at), Date).label("day")
    outcome = _OUTCOME.label("outcome")
    return (
        select(day, outcome, func.count(), func.coalesce(func.sum(_NEWEST.c.documents_processed), 0))
        .select_from(ledger.CONNECTIONS.join(_NEWEST, true()))
        .where(*_THEIRS, *_ENDED)
        .group_by(day, outcome)
    )


def _recent() -> Select[Any]:
    """Return the query of each connection's last syncs."""
    last = (
        select(_NEWEST)
        .where(*_ENDED)
        .order_by(_NEWEST.c.id.desc())
        .limit(RECENT)
        .correlate(ledger.CONNECTIONS)
        .lateral("last")
    )
    return (
        select(CONNECTIONS.id.label("connection_id"), *last.c)
        .select_from(ledger.CONNECTIONS.join(last, true()))
        .where(*_THEIRS)
        .order_by(last.c.id.desc())
    )


_DAYS, _RECENT = _days(), _recent()


def read(session: Session, organization_id: UUID, *, now: datetime) -> Overview:
    """Return the overview of the last 30 days, today's the last."""
    first = (now - timedelta(days=DAYS - 1)).date()
    begins = datetime.combine(first, datetime.min.time(), tzinfo=now.tzinfo)
    name = session.scalar(select(Organization.name).where(Organization.id == organization_id))
    by_day = {day: Day(day) for day in (first + timedelta(days=number) for number in range(DAYS))}
    values = {"organization_id": organization_id, "since": ids.first_of(begins), "most": MOST}
    for day, outcome, count, documents in session.execute(_DAYS, values):
        # What began before midnight and ended after is of the day of its end; a clock may be ahead of ours.
        if day in by_day:
            setattr(by_day[day], outcome, count)
            by_day[day].documents += documents
    recent = session.execute(_RECENT, values | {"since": ledger.FIRST_ID}).all()
    return Overview(name, list(by_day.values()), recent)
