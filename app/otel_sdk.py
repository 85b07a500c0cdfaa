"""OpenTelemetry's SDK and instrumentations, of the extra `otel`: what `app/tracing.py` needs once tracing is on.

The SDK reads its own settings from the environment, as it documents them: OTEL_EXPORTER_OTLP_HEADERS,
OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER, OTEL_BSP_… and others.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import UUID

from flask import Flask, request
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.instrumentation.psycopg2 import Psycopg2Instrumentor
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import SpanKind, Status

from app.outbound import trust_store_adapter
from app.span_attributes import OPERATION_ID_ATTRIBUTE

# Streams last for hours, and their address may hold a ticket; the others are asked every few seconds by machines.
UNTRACED_URLS = r"/api/sse(\?|$),/healthz,/readyz,/metrics"

_start_lock = threading.Lock()
_current_operation_id: ContextVar[UUID | None] = ContextVar("operation", default=None)


class _OperationIdGenerator(RandomIdGenerator):
    """Gives the span that is an operation the operation's id."""

    def generate_trace_id(self) -> int:
        operation_id = _current_operation_id.get()
        return super().generate_trace_id() if operation_id is None else operation_id.int

    def generate_span_id(self) -> int:
        operation_id = _current_operation_id.get()
        return super().generate_span_id() if operation_id is None else operation_id.int & (2**64 - 1)


class OperationIdPropagator(SpanProcessor):
    """Hands an operation's id down from span to span."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Take the id from the span that this one is a part of."""
        parent = trace.get_current_span(parent_context)
        if isinstance(parent, ReadableSpan) and parent.attributes and OPERATION_ID_ATTRIBUTE in parent.attributes:
            span.set_attribute(OPERATION_ID_ATTRIBUTE, parent.attributes[OPERATION_ID_ATTRIBUTE])


class FilteringSpanProcessor(BatchSpanProcessor):
    """Leaves out the queries that belong to no work that is traced, for beat's sweeps look every second.

    And what exceptions say: PostgreSQL quotes the row that it refuses.
    """

    def on_end(self, span: ReadableSpan) -> None:
        """Put a span among those to be sent."""
        if span.parent is not None or span.kind is not SpanKind.CLIENT:
            super().on_end(_without_exception_texts(span) if span.events or span.status.description else span)


def _without_exception_texts(span: ReadableSpan) -> ReadableSpan:
    return ReadableSpan(
        span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=span.attributes,
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


@contextmanager
def use_operation_id_as_trace_id(operation_id: UUID) -> Iterator[None]:
    """Let the span that is started within be the operation."""
    token = _current_operation_id.set(operation_id)
    try:
        yield
    finally:
        _current_operation_id.reset(token)


def instrument_flask(app: Flask) -> None:
    """Trace an application's requests, without their query strings."""
    FlaskInstrumentor().instrument_app(app, excluded_urls=UNTRACED_URLS, enable_commenter=False)

    @app.before_request
    def leave_out_query() -> None:
        span = trace.get_current_span()
        span.set_attribute("http.target", request.path)
        span.set_attribute("url.query", "")


def create_span_exporter() -> OTLPSpanExporter:
    """Return what sends spans; it trusts what all of Rita does, or what OTEL_EXPORTER_OTLP_CERTIFICATE names."""
    return OTLPSpanExporter(session=trust_store_adapter.create_session())


def start_sending_spans() -> None:
    """Send this process's spans, and trace what it asks of PostgreSQL and Redis."""
    with _start_lock:
        if isinstance(trace.get_tracer_provider(), TracerProvider):
            return
        resource = Resource({SERVICE_NAME: "rita-data-sources"}).merge(OTELResourceDetector().detect())
        provider = TracerProvider(id_generator=_OperationIdGenerator(), resource=resource)
        provider.add_span_processor(OperationIdPropagator())
        provider.add_span_processor(FilteringSpanProcessor(create_span_exporter()))
        trace.set_tracer_provider(provider)
        Psycopg2Instrumentor().instrument(skip_dep_check=True)
        RedisInstrumentor().instrument()


def flush_spans() -> None:
    """Send what is still held back."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        provider.force_flush(timeout_millis=2_000)


def is_trace_sampled(operation_id: UUID) -> bool:
    """Tell whether the sampler keeps an operation's trace: every process decides alike, by the id."""
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        return False
    decision = provider.sampler.should_sample(None, operation_id.int, "operation").decision
    return decision is Decision.RECORD_AND_SAMPLE
