"""Apply a batch of status messages: one transaction, then the events, then (by the consumer) the acknowledgements."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime

import structlog
from opentelemetry.trace import SpanKind
from sqlalchemy.exc import DataError, IntegrityError, StatementError

from app import errors, extensions, figures, tracing
from app.domain.cases import ended_verifications
from app.domain.messages import Report, Unacceptable, parse
from app.outbound import events
from app.outbound.broker import DeadLetter, bury_reliably
from app.outbound.sealing import seals
from app.services import status_updates
from app.unit_of_work import unit_of_work
from tasks import consumer
from tasks.celery import status_app

log = structlog.get_logger()

# The fault of one message's content, or of our code at it: the others must not wait for that to be mended. Anything
# else (the database is away, a table is missing) is no message's fault, and then none is given up.
FAULTS_OF_ONE = (
    DataError, IntegrityError, errors.AppError,
    ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError,
)  # fmt: skip


@status_app.task(name=consumer.APPLY_MESSAGES, shared=False, Request="tasks.consumer:BatchRequest")
def apply_messages(raw: Sequence[tuple[str, str]]) -> None:
    """Apply raw messages, each (queue, body), in the order of their arrival.

    Raises sqlalchemy.exc.OperationalError when the database is away and BrokerError when a dead letter cannot be
    buried: then nothing is acknowledged and all comes again, which changes nothing that was applied already.
    """
    with tracing.work("apply status messages", kind=SpanKind.CONSUMER, **{"messaging.batch.message_count": len(raw)}):
        _apply_and_bury(raw)


def _apply_and_bury(raw: Sequence[tuple[str, str]]) -> None:
    started = time.monotonic()
    letters = apply(raw)
    if letters:
        bury_reliably(extensions.settings().rabbitmq_url, letters)
        figures.messages_buried(letter.reason for letter in letters)
        for letter in letters:
            log.warning("status_message_refused", reason=letter.reason, queue=letter.queue, detail=letter.detail)
    figures.batch_applied(messages=len(raw), took=time.monotonic() - started)


def apply(raw: Sequence[tuple[str, str]], *, now: datetime | None = None) -> list[DeadLetter]:
    """Apply what can be applied of raw messages, each (queue, body); return the rest, to be buried.

    `now` is the database's time, unless another is given.
    """
    letters: list[DeadLetter] = []
    reports: list[Report] = []
    origins: list[tuple[str, str]] = []
    for queue, body in raw:
        try:
            reports.append(parse(body, queue=queue))
        except Unacceptable as refusal:
            letters.append(_letter((queue, body), refusal))
        except FAULTS_OF_ONE as fault:
            letters.append(_letter((queue, body), _stumbled(fault)))
        else:
            origins.append((queue, body))
    return letters + _apply(reports, origins, now=now)


def _apply(reports: Sequence[Report], origins: Sequence[tuple[str, str]], *, now: datetime | None) -> list[DeadLetter]:
    """Apply reports in one transaction; halve the batch if it fails, until the one that cannot be applied is alone."""
    if not reports:
        return []
    try:
        applied = _apply_together(reports, now=now)
    except FAULTS_OF_ONE as problem:
        if len(reports) == 1:
            return [_letter(origins[0], _stumbled(problem))]
        half = len(reports) // 2
        return _apply(reports[:half], origins[:half], now=now) + _apply(reports[half:], origins[half:], now=now)
    late, refused = len(applied.late), len(applied.refused)
    figures.messages_judged(applied=len(reports) - late - refused, late=late)
    log.info(
        "status_messages_applied",
        messages=len(reports),
        changes=len(applied.changes),
        late=late,
        refused=refused,
    )
    return [_letter(origins[position], refusal) for position, refusal in _explained(applied, reports).items()]


def _apply_together(reports: Sequence[Report], *, now: datetime | None) -> status_updates.Applied:
    started = tracing.now()
    if len(reports) == 1 and reports[0].operation_id is not None:
        tracing.name_operation(reports[0].operation_id)
    with unit_of_work(tenants={report.tenant_id for report in reports}) as work:
        applied = status_updates.apply(
            work.session, reports, patience=extensions.settings().patience, now=now or work.now
        )
        work.after_commit(lambda: tracing.lead_to(*{c.operation.id for c in applied.changes if c.operation}))
        work.after_commit(lambda: tracing.note(applied.changes, step="status message", since=started))
        work.after_commit(lambda: events.publish(applied.changes))
        work.after_commit(lambda: seals().discard(*ended_verifications(applied.changes)))
    return applied


def _explained(applied: status_updates.Applied, reports: Sequence[Report]) -> dict[int, Unacceptable]:
    """Give each refusal its reason; what a tenant cannot see takes a look of its own to tell."""
    unseen = [position for position, refusal in applied.refused.items() if refusal.reason == "unknown_connection"]
    if not unseen:
        return applied.refused
    with unit_of_work(system=True) as work:
        reasons = status_updates.explain(work.session, [reports[position] for position in unseen])
    return applied.refused | dict(zip(unseen, reasons, strict=True))


def _stumbled(fault: Exception) -> Unacceptable:
    """Log a fault and return what the dead letter says of it: its name, and no content of the message."""
    log.error("status_message_failed", exc_info=fault)
    cause = fault.orig if isinstance(fault, StatementError) else fault
    return Unacceptable("apply_failed", type(cause).__name__)


def _letter(origin: tuple[str, str], refusal: Unacceptable) -> DeadLetter:
    queue, body = origin
    return DeadLetter(body.encode(), reason=refusal.reason, detail=refusal.detail, queue=queue)
