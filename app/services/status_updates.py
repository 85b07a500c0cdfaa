"""A batch of reports of the external service: one lock, one pass of the lifecycle, one write."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast
from uuid import UUID

from sqlalchemy import any_, literal, select

from app.domain import ids, lifecycle, sources
from app.domain.actors import EXTERNAL_SERVICE
from app.domain.cases import Case, Change
from app.domain.messages import Report, Unacceptable, has_possible_time, impossible_time, require_choices
from app.domain.unreadable import Unreadable
from app.extensions import Session
from app.prepared import IDS
from app.services import ledger

COLUMNS = ledger.CONNECTIONS.c


@dataclass(slots=True)
class Applied:
    """What became of a batch: positions in it, by outcome, and the changes to push."""

    changes: list[Change] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    refused: dict[int, Unacceptable] = field(default_factory=dict)


def apply(
    session: Session, reports: Sequence[Report | Unreadable], *, patience: lifecycle.Patience, now: datetime
) -> Applied:
    """Apply reports in the order of their arrival; the session is scoped to the tenants that they name.

    A report of a connection that is not visible, or that names an operation its connection does not have, is refused
    and does not touch the others. An answer that cannot be read ends the operation that it names, if that is open.
    """
    wanted = {report.connection_id for report in reports}
    named = {report.operation_id for report in reports if report.operation_id is not None}
    cases = ledger.read(session, wanted, named=named)
    wrong = {
        position
        for position, report in enumerate(reports)
        if isinstance(report, Unreadable) or not has_possible_time(report, now=now)
    }
    ledger.recall(session, _looking_back(cases, reports, wrong=wrong, now=now), cases)
    applied = Applied()

    def fresh_id() -> UUID:
        return ids.made_at(now)

    for position, report in enumerate(reports):
        case = cases.get(report.connection_id)
        if case is None or case.connection.organization_id != report.tenant_id:
            if not isinstance(report, Unreadable):
                applied.refused[position] = Unacceptable("unknown_connection", "this tenant has no such connection")
            continue
        if isinstance(report, Unreadable):
            lifecycle.end_unread(case, report.operation_id, now=now)
            continue
        try:
            _require_sense(case, report, is_wrong=position in wrong, now=now)
            if not lifecycle.apply(case, report, fresh_id=fresh_id, patience=patience, now=now):
                applied.late.append(position)
        except Unacceptable as refusal:
            applied.refused[position] = refusal
    applied.changes = ledger.write(session, cases.values(), actor=EXTERNAL_SERVICE, now=now)
    return applied


def _require_sense(case: Case, report: Report, *, is_wrong: bool, now: datetime) -> None:
    """Raise Unacceptable if a report has no possible time (`is_wrong`) or no choices, and end what it is about."""
    try:
        if is_wrong:
            raise impossible_time()
        require_choices(report, options_key=sources.options_key(case.connection.type))
    except Unacceptable:
        named = report.operation_id and case.operations.get(report.operation_id)
        if named and named.kind == report.kind:
            lifecycle.end_unread(case, named.id, now=now)
        raise


def _looking_back(
    cases: Mapping[UUID, Case], reports: Sequence[Report | Unreadable], *, wrong: Collection[int], now: datetime
) -> dict[UUID, Sequence[datetime]]:
    """Return the connections of which what has ended counts, and at which moments of the past.

    What is `wrong`, by its position, is not applied, but may end something.
    """
    of_case: dict[UUID, list[Report]] = {}
    for position, report in enumerate(reports):
        if position not in wrong:
            of_case.setdefault(report.connection_id, []).append(cast(Report, report))
    ended = {reports[position].connection_id for position in wrong}
    looks = {
        key: lifecycle.looks_back(cases[key], theirs, ends=key in ended, now=now)
        for key, theirs in of_case.items()
        if key in cases
    }
    return {key: moments for key, moments in looks.items() if moments is not None}


def explain(session: Session, wanted: Sequence[UUID]) -> list[Unacceptable]:
    """Tell, with a session of the system's scope, a connection that does not exist from one of another tenant."""
    exists = select(COLUMNS.id).where(COLUMNS.id == any_(literal(wanted, IDS)), COLUMNS.deleted_at.is_(None))
    existing = set(session.scalars(exists))
    foreign = Unacceptable("tenant_mismatch", "the connection belongs to another tenant than the message says")
    unknown = Unacceptable("unknown_connection", "there is no such connection")
    return [foreign if connection_id in existing else unknown for connection_id in wanted]
