"""Traces: one for each operation, from the request to the event, whichever process takes a step of it.

Nothing has to be carried from one to the next, for the external service would not carry it: the trace's id is the
operation's. Its first span is the operation itself, made known when it ends. Off unless OTEL_EXPORTER_OTLP_ENDPOINT is
set; the OpenTelemetry API alone is imported here, whose spans are nothing then. See docs/decisions/0013.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from uuid import UUID

from flask import Flask
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, TraceFlags, Tracer

from app.config import Settings, SettingsError
from app.domain.aggregate import Change, Operation
from app.span_attributes import OPERATION_ID_ATTRIBUTE

_LOW_64_BITS = 2**64 - 1
Attributes = Mapping[str, str | int]


class _ProcessState:
    sends_spans = False


def instrument_flask(app: Flask, settings: Settings) -> None:
    """Trace an application's requests. Raises SettingsError where what that needs is not installed."""
    if settings.otel_exporter_otlp_endpoint is not None:
        _import_otel_sdk().instrument_flask(app)


def start_sending_spans(settings: Settings) -> None:
    """Send this process's spans from now on; to be called after the fork, once or more often."""
    if settings.otel_exporter_otlp_endpoint is not None:
        _import_otel_sdk().start_sending_spans()
        _ProcessState.sends_spans = True


def flush_spans(settings: Settings) -> None:
    """Send what is still held back, before a process ends that runs nothing at its exit."""
    if settings.otel_exporter_otlp_endpoint is not None:
        _import_otel_sdk().flush_spans()


def _import_otel_sdk() -> ModuleType:
    try:
        from app import otel_sdk  # noqa: PLC0415 - of the extra `otel`
    except ModuleNotFoundError as missing:
        reason = f"{missing.name} is not installed; install rita-data-sources[otel]"
        raise SettingsError(f"OTEL_EXPORTER_OTLP_ENDPOINT: {reason}") from None
    return otel_sdk


def get_tracer() -> Tracer:
    """Return what starts spans; they are nothing while tracing is off."""
    return trace.get_tracer("rita")


@contextmanager
def trace_span(name: str, *, kind: SpanKind = SpanKind.INTERNAL, **attributes: str | int) -> Iterator[Span]:
    """Do a part of the current work; an exception is named, and its text, which may hold anything, is not kept."""
    span = get_tracer().start_span(name, kind=kind, attributes=attributes)
    with _as_current_span(span):
        yield span


@contextmanager
def trace_operation_step(operation_id: UUID, name: str, **attributes: str | int) -> Iterator[Span]:
    """Take a step of an operation: a span of its trace, and all that is done within belongs to it."""
    named: Attributes = {OPERATION_ID_ATTRIBUTE: str(operation_id), **attributes}
    span = get_tracer().start_span(name, context=_operation_context(operation_id), attributes=named)
    with _as_current_span(span):
        yield span


@contextmanager
def trace_shared_work(name: str, *operation_ids: UUID) -> Iterator[None]:
    """Do what several operations share: a trace of its own, which leads to theirs."""
    with _as_current_span(get_tracer().start_span(name, context=Context())):
        link_current_span_to_operations(*operation_ids)
        yield


@contextmanager
def _as_current_span(span: Span) -> Iterator[None]:
    with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield
        except BaseException as problem:
            span.set_attribute("error.type", type(problem).__name__)
            span.set_status(trace.StatusCode.ERROR)
            raise


def set_operation_id_on_current_span(operation_id: UUID) -> None:
    """Say that the current work is about one operation: what is started within it from now on carries the id, too."""
    trace.get_current_span().set_attribute(OPERATION_ID_ATTRIBUTE, str(operation_id))


def link_current_span_to_operations(*operation_ids: UUID) -> None:
    """Lead from the current work, a trace of its own, to those of operations."""
    span = trace.get_current_span()
    for operation_id in operation_ids if span.is_recording() else ():
        span.add_link(trace.get_current_span(_operation_context(operation_id)).get_span_context())


def record_operation_spans(
    changes: Iterable[Change], *, span_name: str, started_ns: int, kind: SpanKind = SpanKind.INTERNAL
) -> None:
    """Note what was just done for several operations together: a span in the trace of each, which leads to this work.

    `started_ns` in nanoseconds of the epoch.
    """
    if not is_enabled():
        return
    here = trace.get_current_span()
    links = [Link(here.get_span_context())] if here.get_span_context().is_valid else []
    for change in changes:
        if change.operation is None:
            continue
        attributes = {OPERATION_ID_ATTRIBUTE: str(change.operation.id), "rita.change": change.action}
        context = _operation_context(change.operation.id)
        get_tracer().start_span(span_name, context, kind, attributes, links, started_ns).end()


def end_operation_traces(changes: Iterable[Change]) -> None:
    """Make the operations known that these changes have ended: the first span of each one's trace."""
    ended = [change.operation for change in changes if change.operation and change.operation.finished_at]
    for operation in ended if is_enabled() else ():
        # Of one that was answered after its end this was said then.
        if not operation.reported_late:
            _export_root_span(operation)


def now_ns() -> int:
    """Return this moment as spans count it."""
    return time.time_ns()


def is_enabled() -> bool:
    """Tell whether this process sends spans."""
    return _ProcessState.sends_spans


def _export_root_span(operation: Operation) -> None:
    attributes: Attributes = {
        OPERATION_ID_ATTRIBUTE: str(operation.id),
        "rita.state": operation.state,
        "rita.origin": operation.origin,
        "rita.attempts": operation.attempts,
    }
    began = round(operation.created_at.timestamp() * 1e9)
    with _import_otel_sdk().use_operation_id_as_trace_id(operation.id):
        span = get_tracer().start_span(operation.kind, Context(), attributes=attributes, start_time=began)
    span.end()


def _operation_context(operation_id: UUID) -> Context:
    """Return the context of an operation's trace, whose first span need not be known yet."""
    is_kept = is_enabled() and _import_otel_sdk().is_trace_sampled(operation_id)
    flags = TraceFlags(TraceFlags.SAMPLED if is_kept else TraceFlags.DEFAULT)
    parent = SpanContext(operation_id.int, operation_id.int & _LOW_64_BITS, is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(trace.NonRecordingSpan(parent), Context())
