"""The queries that aggregates are loaded with, each put together once.

Building and compiling one of thirty columns takes longer than running it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    FromClause,
    Select,
    and_,
    any_,
    bindparam,
    column,
    func,
    literal,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import DateTime, Text, Uuid

from app.cached_plans import UUID_ARRAY, with_cached_plan
from app.domain.aggregate import OPEN_STATES
from app.services.tables import CONNECTION_COLUMNS, CONNECTIONS, KINDS, LOWEST_ID, OPERATION_COLUMNS, OPERATIONS

_CONNECTION_IDS, _OPERATION_IDS = (bindparam("ids", type_=UUID_ARRAY), bindparam("named", type_=UUID_ARRAY))
_IS_OF_THESE = CONNECTIONS.c.id == any_(_CONNECTION_IDS)
_OF_THESE_CONNECTIONS = OPERATIONS.c.connection_id == any_(_CONNECTION_IDS)
# The open ones are few however long the history. An array leaves the statement as it is; `IN` would be put in anew.
_IS_OPEN = OPERATIONS.c.state == any_(literal(sorted(OPEN_STATES), ARRAY(Text)))
_CONNECTIONS_WITH_OPEN_OPERATIONS = (
    select(*CONNECTION_COLUMNS, *OPERATION_COLUMNS)
    .select_from(CONNECTIONS.outerjoin(OPERATIONS, and_(OPERATIONS.c.connection_id == CONNECTIONS.c.id, _IS_OPEN)))
    .where(CONNECTIONS.c.deleted_at.is_(None))
    .order_by(CONNECTIONS.c.created_at, CONNECTIONS.c.type)
)
_IS_OF_ORGANIZATION = CONNECTIONS.c.organization_id == bindparam("organization_id")
CONNECTIONS_OF_ORGANIZATION_QUERY = with_cached_plan(_CONNECTIONS_WITH_OPEN_OPERATIONS.where(_IS_OF_ORGANIZATION))
CONNECTION_BY_ID_QUERY = with_cached_plan(_CONNECTIONS_WITH_OPEN_OPERATIONS.where(CONNECTIONS.c.id == bindparam("id")))
_IS_OF_TYPE = (_IS_OF_ORGANIZATION, CONNECTIONS.c.type == bindparam("type"), CONNECTIONS.c.deleted_at.is_(None))
CONNECTION_ID_BY_TYPE_QUERY = with_cached_plan(select(CONNECTIONS.c.id).where(*_IS_OF_TYPE))
# In the order of their ids, so that two batches never wait for each other. Deleted ones, too: nobody may bring one back
# before it is read.
_LOCK_CONNECTIONS_QUERY = (
    select(CONNECTIONS.c.id).where(_IS_OF_THESE).order_by(CONNECTIONS.c.id).with_for_update(key_share=True)
)


# Not of the statement's beginning, before it has waited; and read once, not for each row.
_LOCKED_AT = select(func.clock_timestamp()).scalar_subquery()


def _locking_query(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Return the query of connections with some of their operations, all locked, in one round trip.

    A worker that claims attempts locks operations alone, in the same order; it must not slip in before we write.

    The last column is the moment at which all connections were locked: whoever had one before had an earlier moment.

    The join is full, which PostgreSQL does by hashes or by merging: it expects one operation and would go through all
    of them for each connection, thirty thousand pairs for a batch. So a row may have no connection: it was deleted.
    """
    theirs = select(*OPERATION_COLUMNS).where(*conditions).order_by(OPERATIONS.c.id).with_for_update(key_share=True)
    found = theirs.cte("theirs")
    seen = select(*CONNECTION_COLUMNS).where(_IS_OF_THESE, CONNECTIONS.c.deleted_at.is_(None))
    wanted = seen.cte("wanted")
    return with_cached_plan(
        select(*wanted.c, *found.c, _LOCKED_AT)
        .select_from(wanted.outerjoin(found, found.c.connection_id == wanted.c.id, full=True))
        .order_by(wanted.c.id, found.c.id),
        run_first=_LOCK_CONNECTIONS_QUERY,
    )


LOCK_WITH_OPEN_OPERATIONS = _locking_query(_OF_THESE_CONNECTIONS, _IS_OPEN)
# "Theirs" is said for each half, so that each has an index.
LOCK_WITH_OPEN_AND_GIVEN_OPERATIONS = _locking_query(
    or_(and_(_OF_THESE_CONNECTIONS, _IS_OPEN), and_(_OF_THESE_CONNECTIONS, OPERATIONS.c.id == any_(_OPERATION_IDS)))
)


def _last_finished_query() -> Select[Any]:
    """Return the query of each connection's last finished operation of each kind, an index look-up for each."""
    ids = func.unnest(_CONNECTION_IDS).table_valued(column("id", Uuid), name="ids").render_derived()
    of_kind = (OPERATIONS.c.connection_id == ids.c.id, OPERATIONS.c.kind == KINDS.c.kind)
    ended = select(*OPERATION_COLUMNS).where(*of_kind, OPERATIONS.c.finished_at.is_not(None))
    last = ended.order_by(OPERATIONS.c.id.desc()).limit(1).lateral("last")
    return select(last).select_from(ids.join(KINDS, true()).join(last, true()))


LAST_FINISHED_QUERY = with_cached_plan(_last_finished_query())
# What is told of a moment is of the sync before it, or of one of the two after it.
_SYNCS_LOADED_AROUND_A_REPORT = 3
# What a request asked for keeps its id, and may end after syncs of the service's own that have later ones: so far back.
_MAX_OVERTAKEN_SYNCS = 10


def _ended_around_times_query() -> CompoundSelect[Any]:
    """Return the query of what had ended about some moments: for each the sync before it, and the first two after.

    The moments are the external service's; see `app/domain/sync_order.py`. Ids have the order of history, so
    that the search goes back from the newest, as far as a report is late.
    """
    moment = DateTime(timezone=True)
    columns = (column("id", Uuid), column("moment", moment))
    given = func.unnest(_CONNECTION_IDS, bindparam("moments", type_=ARRAY(moment)))
    asked = given.table_valued(*columns, name="asked").render_derived()

    def ended(table: FromClause) -> ColumnElement[bool]:
        return and_(table.c.connection_id == asked.c.id, table.c.kind == "sync", table.c.finished_at.is_not(None))

    def place(table: FromClause) -> ColumnElement[datetime]:
        # The greatest of what there is; nothing is told of the others by that clock.
        never = literal(datetime.min.replace(tzinfo=UTC))
        return func.coalesce(func.greatest(table.c.last_reported_at, table.c.asked_after), never)

    earlier = OPERATIONS.alias("earlier")
    older_ids = select(earlier.c.id).where(ended(earlier), place(earlier) < asked.c.moment)
    before = older_ids.order_by(earlier.c.id.desc()).limit(1).lateral("before")
    first = func.coalesce(before.c.id, literal(LOWEST_ID))
    theirs = select(*OPERATION_COLUMNS).where(ended(OPERATIONS))
    from_first_on = theirs.where(OPERATIONS.c.id >= first).order_by(OPERATIONS.c.id)
    near = from_first_on.limit(_SYNCS_LOADED_AROUND_A_REPORT).lateral("near")
    before_first = theirs.where(OPERATIONS.c.id < first).order_by(OPERATIONS.c.id.desc())
    older = before_first.limit(_MAX_OVERTAKEN_SYNCS).lateral("older")
    wanted = asked.outerjoin(before, true())
    return union_all(
        select(near).select_from(wanted.join(near, true())),
        select(older).select_from(wanted.join(older, true())).where(place(older) >= asked.c.moment),
    )


ENDED_AROUND_TIMES_QUERY = _ended_around_times_query()
