"""The spans of the real processes, as a collector receives them: one trace for each operation, and no secret in any."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from devstack.ports import free_port
from tests.e2e.browser import Person
from tests.e2e.processes import Processes
from tests.e2e.service import Service
from tests.factories import a_sync_message, a_verification_message
from tests.receiver import Receiver, answer
from tests.waiting import eventually

CANARY = f"canary{uuid4().hex}"


class Spans:
    """What a collector has been sent."""

    def __init__(self, collector: Receiver) -> None:
        self.collector = collector

    def all(self) -> list[Span]:
        requests = [ExportTraceServiceRequest.FromString(received.body) for received in list(self.collector.received)]
        groups = [
            scope for request in requests for resource in request.resource_spans for scope in resource.scope_spans
        ]
        return [span for group in groups for span in group.spans]

    def of(self, operation_id: str) -> list[Span]:
        """Return the spans of an operation's trace, by their beginning."""
        wanted = UUID(operation_id).bytes
        return sorted((span for span in self.all() if span.trace_id == wanted), key=lambda s: s.start_time_unix_nano)

    def whole(self, operation_id: str, *, attempts: int = 1) -> list[Span]:
        """Return the same once all of it has come: every attempt, every event, and no span hangs in the air."""
        trace = self.of(operation_id)
        ids = {span.span_id for span in trace} | {b""}
        names = [span.name for span in trace]
        # A press, what came of each attempt, and the end.
        expected = {"deliver webhook": attempts, "publish event": attempts + 2}
        is_whole = all(names.count(name) >= count for name, count in expected.items())
        return trace if is_whole and {span.parent_span_id for span in trace} <= ids else []

    def pressed(self, kind: str, operation_id: str) -> list[Span]:
        """Return the request that opened an operation."""
        found = self.named(f"POST /api/data-sources/<connection_id>/{kind}")
        return [span for span in found if attributes(span).get("rita.operation_id") == operation_id]

    def named(self, name: str) -> list[Span]:
        return [span for span in self.all() if span.name == name]


def attributes(span: Span) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in span.attributes}


@pytest.fixture(scope="module")
def collector() -> Iterator[Receiver]:
    with Receiver() as started:
        started.otherwise = answer(200, body=b"")
        yield started


@pytest.fixture(scope="module")
def traced(rita: Processes, collector: Receiver) -> Iterator[Person]:
    """The workers and a web server that send their spans, in place of those that do not; somebody to press."""
    sending = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url.removesuffix("/webhook"),
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "PORT": str(free_port()),
    }
    rita.stop("worker", "webhook_worker")
    for line in ("worker", "webhook_worker", "web"):
        rita.start(line, as_name=f"traced_{line}", **sending)
    yield Person(f"http://127.0.0.1:{sending['PORT']}")
    rita.stop("traced_worker", "traced_webhook_worker", "traced_web")
    rita.start("worker", "webhook_worker")


@pytest.fixture
def spans(collector: Receiver) -> Spans:
    return Spans(collector)


@pytest.fixture
def answered(traced: Person, service: Service) -> Callable[..., str]:
    """Press verify, answer as the external service does, and return the operation's id."""

    def press(type_name: str = "confluence", credentials: Any = None) -> str:
        connection = traced.seeded(type_name)
        path = f"/api/data-sources/{connection['id']}/verify"
        pressed = traced.call("POST", path, {"credentials": credentials or {"api_token": "a-token"}})
        operation_id = str(pressed["operation_id"])
        eventually(lambda: traced.call("GET", f"/api/operations/{operation_id}")["data"]["state"] == "delivered")
        service.send(a_verification_message(connection, operation_id=operation_id))
        eventually(lambda: traced.connection(type_name)["status"] == "idle")
        return operation_id

    return press


def test_an_operation_is_one_trace_from_the_press_to_the_event(
    answered: Callable[..., str], spans: Spans, external: Receiver
) -> None:
    operation_id = answered()

    # Each process sends its own, in its own time.
    trace = eventually(lambda: spans.whole(operation_id))
    whole, *steps = trace
    told = [attributes(span)["rita.change"] for span in trace if span.name == "publish event"]
    assert whole.name == "verify"
    assert whole.parent_span_id == b""
    assert attributes(whole)["rita.state"] == "succeeded"
    assert whole.end_time_unix_nano >= max(span.start_time_unix_nano for span in steps)
    assert told == ["verify.requested", "verify.delivered", "verify.succeeded"]
    assert {"deliver webhook", "POST", "status message", "publish event"} <= {span.name for span in steps}
    assert {attributes(span)["rita.operation_id"] for span in trace} == {operation_id}
    assert "traceparent" not in external.received[-1].headers


def test_what_several_operations_share_is_linked_to_each(answered: Callable[..., str], spans: Spans) -> None:
    operation_id = answered("servicenow")

    (request,) = eventually(lambda: spans.pressed("verify", operation_id))
    assert [link.trace_id for link in request.links] == [UUID(operation_id).bytes]
    message = eventually(lambda: [span for span in spans.of(operation_id) if span.name == "status message"])[0]
    batch = eventually(
        lambda: [b for b in spans.named("apply status messages") if b.span_id == message.links[0].span_id]
    )
    assert attributes(batch[0])["messaging.batch.message_count"] == 1
    assert UUID(operation_id).bytes in [link.trace_id for link in batch[0].links]


@pytest.mark.parametrize("kind", ["verify", "sync"])
def test_every_query_of_a_press_and_of_its_answer_carries_the_operations_id(
    kind: str, traced: Person, service: Service, spans: Spans
) -> None:
    traced.seeded("websearch")
    connection = traced.call("PUT", "/api/data-sources/websearch", {"enabled": True})["data"]
    if kind == "verify":
        operation_id = str(traced.verify(connection)["operation_id"])
        service.send(a_verification_message(connection, operation_id=operation_id))
    else:
        operation_id = str(traced.sync(connection)["data"]["operation_id"])
        service.send(a_sync_message(connection, "sync_completed", operation_id=operation_id))
    eventually(lambda: traced.connection("websearch")["status"] == "idle")

    (press,) = eventually(lambda: spans.pressed(kind, operation_id))
    message = eventually(lambda: [span for span in spans.of(operation_id) if span.name == "status message"])[0]
    batch = message.links[0].span_id
    # What is done within is sent before the whole.
    eventually(lambda: [span for span in spans.named("apply status messages") if span.span_id == batch])
    for work in (press.span_id, batch):
        queries = [span for span in spans.all() if span.parent_span_id == work]
        # The connection taken, the read, the write.
        assert len(queries) >= 3
        assert {attributes(span).get("rita.operation_id") for span in queries} == {operation_id}


def test_an_attempt_that_fails_is_a_step_of_its_own(
    traced: Person, service: Service, spans: Spans, external: Receiver
) -> None:
    external.script.append(answer(503))
    traced.seeded("websearch")
    connection = traced.call("PUT", "/api/data-sources/websearch", {"name": "Web"})["data"]

    operation_id = str(traced.sync(connection)["data"]["operation_id"])
    eventually(lambda: traced.call("GET", f"/api/operations/{operation_id}")["data"]["state"] == "delivered")
    service.send(a_sync_message(connection, "sync_completed", operation_id=operation_id))

    trace = eventually(lambda: spans.whole(operation_id, attempts=2))
    codes = [attributes(span)["http.response.status_code"] for span in trace if span.name == "POST"]
    assert codes == [503, 200]
    assert [attributes(span)["rita.attempt"] for span in trace if span.name == "deliver webhook"] == [1, 2]


def test_no_span_tells_a_credential_a_ticket_or_the_webhooks_address(
    rita: Processes, traced: Person, answered: Callable[..., str], spans: Spans, collector: Receiver
) -> None:
    operation_id = answered("sharepoint", {"api_token": CANARY, "email": f"{CANARY}@example.org"})
    ticket = traced.ticket()
    with traced.stream(ticket=ticket) as seen:
        eventually(lambda: seen.events)
    # A query string is the caller's, who may put anything there.
    requests.get(f"{traced.base_url}/api/data-sources?status={CANARY}", headers=traced.headers, timeout=10)
    eventually(lambda: spans.whole(operation_id))
    eventually(lambda: spans.named("POST /api/sse/tickets") and len(spans.named("GET /api/data-sources")) > 1)

    sent = b"".join(received.body for received in collector.received)

    told = (CANARY, ticket, rita.environ["AUTOMATION_AUTH"], rita.environ["AUTOMATION_WEBHOOK_URL"], "/webhook")
    assert operation_id.encode() in sent
    assert [word for word in told if word.encode() in sent] == []


def test_sweeps_that_find_nothing_are_no_traces(traced: Person, spans: Spans) -> None:
    assert traced
    eventually(spans.all)

    orphans = [span.name for span in spans.all() if span.kind == Span.SPAN_KIND_CLIENT and not span.parent_span_id]

    assert orphans == []


def test_a_collector_that_is_away_costs_nothing_but_the_spans(
    rita: Processes, traced: Person, service: Service
) -> None:
    assert traced
    away = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}", "OTEL_BSP_SCHEDULE_DELAY": "100"}
    port = str(free_port())
    rita.start("web", as_name="blind_web", PORT=port, **away)
    rita.start("worker", as_name="blind_worker", STATUS_QUEUES="data_source.blind", **away)
    person, blind = Person(f"http://127.0.0.1:{port}"), Service(rita.environ["RABBITMQ_URL"], queue="data_source.blind")
    try:
        connection = person.seeded()
        person.verify(connection)
        blind.send(a_verification_message(connection))

        eventually(lambda: person.connection()["status"] == "idle")
        rita.stop("blind_web", "blind_worker")
    finally:
        service.delete(blind.queue)
