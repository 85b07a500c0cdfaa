"""What leaves a process as a span, and what is done where the extra is not installed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from app import otel_sdk, tracing
from app.config import Settings, SettingsError
from app.span_attributes import OPERATION_ID_ATTRIBUTE


@pytest.fixture
def sent() -> Iterator[tuple[TracerProvider, Callable[[], list[ReadableSpan]]]]:
    """A provider as a process has it, and what it has sent."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(otel_sdk.OperationIdPropagator())
    provider.add_span_processor(otel_sdk.FilteringSpanProcessor(exporter))

    def read() -> list[ReadableSpan]:
        provider.force_flush()
        return list(exporter.get_finished_spans())

    yield provider, read
    provider.shutdown()


def test_what_an_exception_says_is_not_sent(
    sent: tuple[TracerProvider, Callable[[], list[ReadableSpan]]],
) -> None:
    provider, read = sent
    tracer = provider.get_tracer("test")

    with (
        pytest.raises(ValueError, match="hidden"),
        tracer.start_as_current_span("outer", attributes={"kept": 1}),
        tracer.start_as_current_span("INSERT", kind=SpanKind.CLIENT),
    ):
        raise ValueError("hidden-word")

    inner, outer = read()
    assert "hidden-word" not in inner.to_json() + outer.to_json()
    assert (inner.name, inner.status.status_code, inner.kind) == ("INSERT", StatusCode.ERROR, SpanKind.CLIENT)
    assert inner.parent == outer.context
    assert dict(outer.attributes or {}) == {"kept": 1}


def test_an_operations_id_is_handed_down_and_a_query_of_nobodys_is_not_sent(
    sent: tuple[TracerProvider, Callable[[], list[ReadableSpan]]],
) -> None:
    provider, read = sent
    tracer, operation_id = provider.get_tracer("test"), str(uuid4())

    tracer.start_span("SELECT", kind=SpanKind.CLIENT).end()
    with tracer.start_as_current_span("step", attributes={OPERATION_ID_ATTRIBUTE: operation_id}):
        tracer.start_span("SELECT", kind=SpanKind.CLIENT).end()

    assert [(span.name, dict(span.attributes or {})) for span in read()] == [
        ("SELECT", {OPERATION_ID_ATTRIBUTE: operation_id}),
        ("step", {OPERATION_ID_ATTRIBUTE: operation_id}),
    ]


def test_tracing_that_is_wanted_and_not_installed_stops_the_start(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "app.otel_sdk")
    monkeypatch.delattr("app.otel_sdk")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    wanted = settings.model_copy(update={"otel_exporter_otlp_endpoint": "http://127.0.0.1:4318"})

    with pytest.raises(SettingsError, match=r"OTEL_EXPORTER_OTLP_ENDPOINT: .* install rita-data-sources\[otel\]"):
        tracing.start_sending_spans(wanted)


def test_without_a_collector_nothing_is_traced(settings: Settings) -> None:
    assert settings.otel_exporter_otlp_endpoint is None

    tracing.start_sending_spans(settings)

    assert not tracing.is_enabled()
    with tracing.trace_operation_step(uuid4(), "a step") as span:
        assert not span.is_recording()
