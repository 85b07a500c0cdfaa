"""Traces: one for each operation, from the request to the event, whichever process takes a step of it.

Nothing has to be carried from one to the next, for the external service would not carry it: the trace's id is the
operation's. Its first span is the operation itself, made known when it ends. Off unless OTEL_EXPORTER_OTLP_ENDPOINT is
set; the OpenTelemetry API alone is imported here, whose spans are nothing then. See docs/decisions/0013.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from types import ModuleType
from uuid import UUID

from flask import Flask
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, TraceFlags, Tracer

from app.config import Settings, SettingsError
from app.domain.cases import Change, Operation
from app.trace_attributes import OPERATION_ID

_LOW_64 = 2**64 - 1
Attributes = Mapping[str, str | int]


class _Process:
    sends = False


def instrument(app: Flask, settings: Settings) -> None:
    """Trace an application's requests. Raises SettingsError where what that needs is not installed."""
    if settings.otel_exporter_otlp_endpoint is not None:
        _telemetry().instrument(app)


def start(settings: Settings) -> None:
    """Send this process's spans from now on; to be called after the fork, once or more often."""
    if settings.otel_exporter_otlp_endpoint is not None:
        _telemetry().start()
        _Process.sends = True


def stop(settings: Settings) -> None:
    """Send what is still held back, before a process ends that runs nothing at its exit."""
    if settings.otel_exporter_otlp_endpoint is not None:
        _telemetry().flush()


def _telemetry() -> ModuleType:
    try:
        from app import telemetry  # noqa: PLC0415 - of the extra `otel`
    except ModuleNotFoundError as missing:
        raise SettingsError(
            f"OTEL_EXPORTER_OTLP_ENDPOINT: {missing.name} is not installed; install rita-data-sources[otel]"
        ) from None
    return telemetry


def tracer() -> Tracer:
    """Return what starts spans; they are nothing while tracing is off."""
    return trace.get_tracer("rita")


@contextmanager
def work(name: str, *, kind: SpanKind = SpanKind.INTERNAL, **attributes: str | int) -> Iterator[Span]:
    """Do a part of the current work; an exception is named, and its text, which may hold anything, is not kept."""
    span = tracer().start_span(name, kind=kind, attributes=attributes)
    with _current(span):
        yield span


@contextmanager
def step(operation_id: UUID, name: str, **attributes: str | int) -> Iterator[Span]:
    """Take a step of an operation: a span of its trace, and all that is done within belongs to it."""
    named: Attributes = {OPERATION_ID: str(operation_id), **attributes}
    span = tracer().start_span(name, context=_of(operation_id), attributes=named)
    with _current(span):
        yield span


@contextmanager
def apart(name: str, *operation_ids: UUID) -> Iterator[None]:
    """Do what several operations share: a trace of its own, which leads to theirs."""
    with _current(tracer().start_span(name, context=Context())):
        lead_to(*operation_ids)
        yield


@contextmanager
def _current(span: Span) -> Iterator[None]:
    with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield
        except BaseException as problem:
            span.set_attribute("error.type", type(problem).__name__)
            span.set_status(trace.StatusCode.ERROR)
            raise


def name_operation(operation_id: UUID) -> None:
    """Say that the current work is about one operation: what is started within it from now on carries the id, too."""
    trace.get_current_span().set_attribute(OPERATION_ID, str(operation_id))


def lead_to(*operation_ids: UUID) -> None:
    """Lead from the current work, a trace of its own, to those of operations."""
    span = trace.get_current_span()
    for operation_id in operation_ids if span.is_recording() else ():
        span.add_link(trace.get_current_span(_of(operation_id)).get_span_context())


def note(changes: Iterable[Change], *, step: str, since: int, kind: SpanKind = SpanKind.INTERNAL) -> None:
    """Note what was just done for several operations together: a span in the trace of each, which leads to this work.

    `since` in nanoseconds of the epoch.
    """
    if not is_on():
        return
    here = trace.get_current_span()
    links = [Link(here.get_span_context())] if here.get_span_context().is_valid else []
    for change in changes:
        if change.operation is None:
            continue
        attributes = {OPERATION_ID: str(change.operation.id), "rita.change": change.action}
        context = _of(change.operation.id)
        span = tracer().start_span(step, context, kind=kind, attributes=attributes, links=links, start_time=since)
        span.end()


def close(changes: Iterable[Change]) -> None:
    """Make the operations known that these changes have ended: the first span of each one's trace."""
    ended = [change.operation for change in changes if change.operation and change.operation.finished_at]
    for operation in ended if is_on() else ():
        # Of one that was answered after its end this was said then.
        if not operation.reported_late:
            _make_known(operation)


def now() -> int:
    """Return this moment as spans count it."""
    return time.time_ns()


def is_on() -> bool:
    """Tell whether this process sends spans."""
    return _Process.sends


def _make_known(operation: Operation) -> None:
    attributes: Attributes = {
        OPERATION_ID: str(operation.id),
        "rita.state": operation.state,
        "rita.origin": operation.origin,
        "rita.attempts": operation.attempts,
    }
    with _telemetry().being(operation.id):
        span = tracer().start_span(
            operation.kind, Context(), attributes=attributes, start_time=_nanoseconds(operation.created_at)
        )
    span.end()


def _nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1e9)


def _of(operation_id: UUID) -> Context:
    """Return the context of an operation's trace, whose first span need not be known yet."""
    is_kept = is_on() and _telemetry().is_kept(operation_id)
    flags = TraceFlags(TraceFlags.SAMPLED if is_kept else TraceFlags.DEFAULT)
    parent = SpanContext(operation_id.int, operation_id.int & _LOW_64, is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(trace.NonRecordingSpan(parent), Context())
