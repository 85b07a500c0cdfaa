"""Apply a batch of status messages: one transaction, then the events, then (by the consumer) the acknowledgements.

What cannot be applied is named to the consumer, which has the whole message and moves it to the dead letters.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime

import structlog
from opentelemetry.trace import SpanKind
from sqlalchemy import literal, select
from sqlalchemy.exc import DataError, IntegrityError, StatementError

from app import errors, extensions, figures, tracing
from app.domain.cases import ended_verifications
from app.domain.messages import Report, Unacceptable, parse
from app.domain.unreadable import Unreadable, about
from app.outbound import clocks, events
from app.outbound.sealing import seals
from app.services import status_updates
from app.unit_of_work import database_time, unit_of_work
from tasks.celery import status_app
from tasks.requests import APPLY_MESSAGES, Refused

log = structlog.get_logger()

# The fault of one message's content, or of our code at it: the others must not wait for that to be mended. Anything
# else (the database is away, a table is missing) is no message's fault, and then none is given up.
FAULTS_OF_ONE = (
    DataError, IntegrityError, errors.AppError,
    ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError,
)  # fmt: skip


# In seconds. A round trip for each batch would be many in a flood.
CLOCK_EVERY = 60.0

# By the place of a message in its batch.
Refusals = dict[int, Unacceptable]


@status_app.task(name=APPLY_MESSAGES, shared=False, Request="tasks.requests:BatchRequest")
def apply_messages(raw: Sequence[tuple[str, str]]) -> None:
    """Apply raw messages, each (queue, body), in the order of their arrival; none ask whether the database answers.

    Raises Refused, when all others are applied, if there are some that cannot be, and sqlalchemy.exc.OperationalError
    when the database is away: then nothing is acknowledged and all is tried again, which changes nothing that was
    applied already.
    """
    if not raw:
        with unit_of_work(system=True) as work:
            work.session.execute(select(literal(1)))
        return
    started = time.monotonic()
    with tracing.work("apply status messages", kind=SpanKind.CONSUMER, **{"messaging.batch.message_count": len(raw)}):
        refusals = apply(raw)
    figures.batch_applied(messages=len(raw), took=time.monotonic() - started)
    _say_how_the_clock_goes()
    if refusals:
        raise Refused([(place, refusal.reason, refusal.detail) for place, refusal in sorted(refusals.items())])


class _Clock:
    # When it was last said, by the monotonic clock.
    said_at = -CLOCK_EVERY


def _say_how_the_clock_goes() -> None:
    if time.monotonic() - _Clock.said_at >= CLOCK_EVERY:
        _Clock.said_at = time.monotonic()
        clocks.note(extensions.redis(), "worker", now=database_time())


def apply(raw: Sequence[tuple[str, str]], *, now: datetime | None = None) -> Refusals:
    """Apply what can be applied of raw messages, each (queue, body); return the rest, by their places.

    One that cannot be read still tells, as a rule, whose answer it was to be: that is applied in its place. `now` is
    the database's time, unless another is given.
    """
    refusals: Refusals = {}
    reports: list[Report | Unreadable] = []
    places: list[int] = []
    for place, (queue, body) in enumerate(raw):
        report: Report | Unreadable | None
        try:
            report = parse(body, queue=queue)
        except Unacceptable as refusal:
            refusals[place], report = refusal, about(body.encode())
        except FAULTS_OF_ONE as fault:
            refusals[place], report = _stumbled(fault), about(body.encode())
        if report is not None:
            reports.append(report)
            places.append(place)
    # Of two reasons for one message, the first.
    return {places[position]: refusal for position, refusal in _apply(reports, now=now).items()} | refusals


def _apply(reports: Sequence[Report | Unreadable], *, now: datetime | None) -> Refusals:
    """Apply reports in one transaction; halve the batch if it fails, until the one that cannot be applied is alone."""
    if not reports:
        return {}
    try:
        applied = _apply_together(reports, now=now)
    except FAULTS_OF_ONE as problem:
        if len(reports) == 1:
            return _give_up(reports[0], problem, now=now)
        half = len(reports) // 2
        first, second = _apply(reports[:half], now=now), _apply(reports[half:], now=now)
        return first | {half + position: refusal for position, refusal in second.items()}
    late, refused = len(applied.late), len(applied.refused)
    read = sum(not isinstance(report, Unreadable) for report in reports)
    figures.messages_judged(applied=read - late - refused, late=late)
    log.debug(
        "status_batch_applied",
        messages=read,
        changes=len(applied.changes),
        late=late,
        refused=refused,
    )
    return _explained(applied, reports)


def _give_up(report: Report | Unreadable, problem: Exception, *, now: datetime | None) -> Refusals:
    """Refuse the one that cannot be applied, and end what it is about."""
    refusals = {0: _stumbled(problem)}
    if not isinstance(report, Unreadable) and report.operation_id is not None:
        _apply([Unreadable(report.connection_id, report.tenant_id, report.operation_id)], now=now)
    return refusals


def _apply_together(reports: Sequence[Report | Unreadable], *, now: datetime | None) -> status_updates.Applied:
    started = tracing.now()
    if len(reports) == 1 and reports[0].operation_id is not None:
        tracing.name_operation(reports[0].operation_id)
    # As it is known: to ask would take a round trip for each batch.
    now = now or database_time()
    with unit_of_work(tenants={report.tenant_id for report in reports}) as work:
        patience = extensions.settings().patience
        applied = status_updates.apply(work.session, reports, patience=patience, now=now)
        work.after_commit(lambda: tracing.lead_to(*{c.operation.id for c in applied.changes if c.operation}))
        work.after_commit(lambda: tracing.note(applied.changes, step="status message", since=started))
        work.after_commit(lambda: events.publish(applied.changes))
        work.after_commit(lambda: seals().discard(*ended_verifications(applied.changes)))
    return applied


def _explained(applied: status_updates.Applied, reports: Sequence[Report | Unreadable]) -> Refusals:
    """Give each refusal its reason; what a tenant cannot see takes a look of its own to tell."""
    unseen = [position for position, refusal in applied.refused.items() if refusal.reason == "unknown_connection"]
    if not unseen:
        return applied.refused
    wanted = [reports[position].connection_id for position in unseen]
    with unit_of_work(system=True) as work:
        reasons = status_updates.explain(work.session, wanted)
    return applied.refused | dict(zip(unseen, reasons, strict=True))


def _stumbled(fault: Exception) -> Unacceptable:
    """Log a fault and return what the dead letter says of it: its name, and no content of the message."""
    log.error("status_message_failed", exc_info=fault)
    cause = fault.orig if isinstance(fault, StatementError) else fault
    return Unacceptable("apply_failed", type(cause).__name__)
