"""What is under way in all organizations together, as operators watch it: counts and ages, nobody's rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select

from app.domain.cases import OPEN
from app.extensions import Session
from app.services import ledger

OPERATIONS = ledger.OPERATIONS.c

# A request sends its job at once and the dispatcher a second later; what has had no attempt after this is overlooked.
OVERLOOKED_AFTER = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Backlog:
    """Open operations by (kind, state); ages are zero where there is nothing."""

    open: dict[tuple[str, str], int]
    oldest_open: timedelta
    oldest_due: timedelta
    never_attempted: int


def measure(session: Session, *, now: datetime) -> Backlog:
    """Measure, with a session of the system's scope."""
    counted = session.execute(
        select(OPERATIONS.kind, OPERATIONS.state, func.count(), func.min(OPERATIONS.created_at))
        .where(OPERATIONS.state.in_(sorted(OPEN)))
        .group_by(OPERATIONS.kind, OPERATIONS.state)
    ).all()
    pending = OPERATIONS.state == "pending"
    due, never_attempted = session.execute(
        select(
            func.min(OPERATIONS.next_attempt_at).filter(OPERATIONS.next_attempt_at <= now),
            # What waits for a receiver that is down was looked at, and says so.
            func.count().filter(
                OPERATIONS.attempts == 0,
                OPERATIONS.last_attempt_error.is_(None),
                OPERATIONS.created_at < now - OVERLOOKED_AFTER,
            ),
        ).where(pending)
    ).one()
    return Backlog(
        open={(kind, state): count for kind, state, count, _ in counted},
        oldest_open=max((now - since for *_, since in counted), default=timedelta(0)),
        oldest_due=now - due if due else timedelta(0),
        never_attempted=never_attempted,
    )
