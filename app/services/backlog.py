"""What is under way in all organizations together, as operators watch it: counts and ages, nobody's rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select

from app.domain.aggregate import OPEN_STATES
from app.extensions import Session
from app.services.tables import OPERATIONS

# A request sends its job at once and the dispatcher a second later; what has had no attempt after this is overlooked.
NEVER_ATTEMPTED_AFTER = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Backlog:
    """Open operations by (kind, state); ages are zero where there is nothing."""

    open_counts: dict[tuple[str, str], int]
    oldest_open_age: timedelta
    oldest_due_age: timedelta
    never_attempted_count: int


def measure_backlog(session: Session, *, now: datetime) -> Backlog:
    """Measure, with a session of the system's scope."""
    counted = session.execute(
        select(OPERATIONS.c.kind, OPERATIONS.c.state, func.count(), func.min(OPERATIONS.c.created_at))
        .where(OPERATIONS.c.state.in_(sorted(OPEN_STATES)))
        .group_by(OPERATIONS.c.kind, OPERATIONS.c.state)
    ).all()
    pending = OPERATIONS.c.state == "pending"
    due, never_attempted = session.execute(
        select(
            func.min(OPERATIONS.c.next_attempt_at).filter(OPERATIONS.c.next_attempt_at <= now),
            # What waits for a receiver that is down was looked at, and says so.
            func.count().filter(
                OPERATIONS.c.attempts == 0,
                OPERATIONS.c.last_attempt_error.is_(None),
                OPERATIONS.c.created_at < now - NEVER_ATTEMPTED_AFTER,
            ),
        ).where(pending)
    ).one()
    return Backlog(
        open_counts={(kind, state): count for kind, state, count, _ in counted},
        oldest_open_age=max((now - since for *_, since in counted), default=timedelta(0)),
        oldest_due_age=now - due if due else timedelta(0),
        never_attempted_count=never_attempted,
    )
