"""The organization's events, live: Server-Sent Events (WHATWG HTML, section 9.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import cast

from flask import Blueprint, Flask, Response, current_app, request
from redis.exceptions import RedisError

from app import errors, extensions, metrics
from app.api import auth, outgoing_schemas, rate_limits, read_limits, representations, request_parameters, responses
from app.api.endpoint_docs import EndpointDocs
from app.api.request_handling import json_response
from app.outbound import events, stream_connections
from app.outbound.concurrency_limits import ConcurrencyLimits, ConcurrencyLimitTimeout
from app.outbound.event_fanout import EventFanout, QueuedClient, TooManyStreams
from app.outbound.events import Message
from app.outbound.stream_connections import StreamConnection
from app.outbound.stream_tickets import StreamTickets, current_stream_tickets
from app.services import connections
from app.unit_of_work import unit_of_work

OPENAPI_TAG = "Events"

blueprint = Blueprint("stream", __name__, url_prefix="/api/sse")

# What a browser waits before it reconnects, in milliseconds.
RETRY_MS = 3000
# The beginnings of an organization's streams that are put together and written at once: each is held as a whole until
# its browser has read it. Who comes after them waits as long as a page shows nothing amiss.
MAX_CONCURRENT_OPENINGS, MAX_WAIT_SECONDS = 8, 10.0


def init_app(app: Flask) -> None:
    """Make this process's fan-out; it connects when the first browser comes."""
    redis, settings = app.extensions["redis"], extensions.settings_of(app)
    max_streams = settings.sse_streams_per_organization
    app.extensions["event_fanout"] = EventFanout(lambda: redis, max_streams_per_organization=max_streams)
    app.extensions["opening_limits"] = ConcurrencyLimits(MAX_CONCURRENT_OPENINGS)
    app.extensions["stream_tickets"] = StreamTickets(redis, keys=settings.seal_keys, ttl=settings.sse_ticket_seconds)


@blueprint.post("/tickets")
@EndpointDocs(tag=OPENAPI_TAG, response_model=responses.Ticket, possible_errors=(errors.RateLimited,))
def create_ticket() -> Response:
    """Give the caller a ticket that opens the stream once, soon."""
    auth.authenticate_request()
    rate_limits.count_request("ticket", limit=extensions.settings().ticket_rate_limit)
    ttl = extensions.settings().sse_ticket_seconds
    try:
        ticket = current_stream_tickets().issue(auth.current_identity().model_dump(mode="json", by_alias=True))
    except RedisError:
        raise errors.ServiceUnavailable("Tickets cannot be issued right now; try again") from None
    return json_response(responses.Ticket(ticket=ticket, expires_in=int(ttl.total_seconds())))


@blueprint.get("")
@EndpointDocs(
    tag=OPENAPI_TAG,
    response_model=outgoing_schemas.EXAMPLE_STREAM,
    media_type="text/event-stream",
    parameter_docs=request_parameters.last_event_id_docs,
    possible_errors=(errors.InvalidTicket, errors.RateLimited),
    security_schemes=("bearer", "ticket"),
)
def stream() -> Response:
    """Stream the events of the caller's organization, whatever the request says of channels."""
    _authenticate_by_ticket_or_token()
    identity = auth.current_identity()
    channel = events.channel_of_organization(identity.organization_id)
    fanout = cast(EventFanout, current_app.extensions["event_fanout"])
    with ExitStack() as until_open:
        # Joined first: what is published from here on waits in the client's queue while we catch up.
        client = _add_client(fanout, channel)
        until_open.callback(fanout.remove_client, client)
        try:
            fanout.wait_until_subscribed(client)
            opening_limits = cast(ConcurrencyLimits, current_app.extensions["opening_limits"])
            opened = until_open.enter_context(ExitStack())
            opened.enter_context(opening_limits.acquire(channel, timeout_seconds=MAX_WAIT_SECONDS))
            missed, last_event_id = _missed_events_or_snapshot(channel, identity)
        except (RedisError, TimeoutError):
            raise errors.ServiceUnavailable("Events cannot be streamed right now; try again") from None
        except ConcurrencyLimitTimeout:
            raise read_limits.too_many_at_once("Many event streams of your organization are being opened") from None
        close_stream = until_open.pop_all()
    opening = _StreamBeginning(f"retry: {RETRY_MS}\n: connected\n\n" + "".join(map(str, missed)), opened.close)
    heartbeat, expires_at = extensions.settings().sse_heartbeat_seconds, identity.expires_at
    server_socket = stream_connections.socket_to_take_over(request.environ)
    if server_socket is None:
        stream_text = _stream_in_thread(
            client, opening, after_event_id=last_event_id, expires_at=expires_at, heartbeat=heartbeat
        )
    else:
        stream_connections.limit_writes_to_token_lifetime(server_socket, expires_at)
        take_over_connection = partial(
            StreamConnection.take_over,
            server_socket,
            channel=channel,
            is_chunked=request.environ["SERVER_PROTOCOL"] == "HTTP/1.1",
            after_event_id=last_event_id,
            token_expires_at=expires_at,
            heartbeat=heartbeat,
        )
        stream_text = _send_beginning_then_hand_off(fanout, client, opening, take_over_connection)
    response = Response(stream_text, mimetype="text/event-stream")
    response.headers["Cache-Control"] = "no-store, no-transform"
    # Proxies of nginx's family buffer otherwise.
    response.headers["X-Accel-Buffering"] = "no"
    # Nothing, as clients read it; and for a proxy (Caddy's `encode`) the sign that it is not to compress the
    # stream, for which it would wait until there is enough of it.
    response.headers["Content-Encoding"] = "identity"
    response.call_on_close(close_stream.close)
    return response


def _add_client(fanout: EventFanout, channel: str) -> QueuedClient:
    try:
        return fanout.add_client(channel)
    except TooManyStreams:
        raise read_limits.too_many_at_once("Your organization has too many event streams open") from None


def _authenticate_by_ticket_or_token() -> None:
    """Let a ticket speak for a browser that cannot send headers."""
    ticket = request.args.get("ticket")
    if ticket is None:
        auth.authenticate_request()
        return
    try:
        content = current_stream_tickets().redeem(ticket)
    except RedisError:
        raise errors.ServiceUnavailable("Tickets cannot be checked right now; try again") from None
    if content is None:
        raise errors.InvalidTicket("The ticket is unknown, used or too old; ask for a new one")
    auth.set_request_identity(auth.Identity.model_validate(content))


def _missed_events_or_snapshot(channel: str, identity: auth.Identity) -> tuple[list[Message], str]:
    """Return what the browser misses and the id up to which it then knows all.

    After a `Last-Event-ID` that is still kept, that is the events since; else, or if some of them may never have been
    published because Redis was away, a snapshot of every connection.
    """
    fanout = cast(EventFanout, current_app.extensions["event_fanout"])
    last_seen = request.headers.get("Last-Event-ID") or request.args.get("last_event_id")
    if last_seen and events.is_event_id(last_seen) and fanout.has_every_event_since(last_seen):
        missed = events.event_stream.events_after(channel, after_id=last_seen)
        if missed is not None:
            metrics.process_metrics().sse_streams.labels("replay").inc()
            return missed, missed[-1].id if missed else last_seen
    # The id before the rows: an event in between is then sent twice rather than never.
    newest_id = events.event_stream.newest_event_id(channel)
    with read_limits.limited_read(), unit_of_work(tenant_ids=[identity.organization_id]) as work:
        aggregates = connections.list_connections(work.session, identity.organization_id)
    metrics.process_metrics().sse_streams.labels("snapshot").inc()
    shown = [representations.ConnectionView.from_aggregate(aggregate) for aggregate in aggregates]
    return [events.snapshot_event(shown, event_id=newest_id)], newest_id


class _StreamBeginning:
    """A stream's beginning: held until it is written, and then let go of, with its place among those being written."""

    def __init__(self, text: str, on_written: Callable[[], None]) -> None:
        self._text = text
        self._on_written = on_written

    def __iter__(self) -> Iterator[str]:
        text, self._text = self._text, ""
        yield text
        del text
        self._on_written()


def _send_beginning_then_hand_off(
    fanout: EventFanout, client: QueuedClient, beginning: _StreamBeginning, take_over: Callable[[], StreamConnection]
) -> Iterator[str]:
    """Yield the stream's beginning; the rest is told by the fan-out, without a thread of the server's."""
    yield from beginning
    fanout.replace_client_with_connection(client, take_over())
    raise stream_connections.SocketHandedOff


def _stream_in_thread(
    client: QueuedClient, opening: _StreamBeginning, *, after_event_id: str, expires_at: datetime, heartbeat: timedelta
) -> Iterator[str]:
    """Yield the stream's text until the token expires or the client is dropped for reading too slowly."""
    yield from opening
    while (time_left := expires_at - datetime.now(UTC)) > timedelta(0):
        event = client.next_event(timeout_seconds=min(heartbeat, time_left).total_seconds())
        if client.is_dropped:
            return
        if event is None:
            yield stream_connections.HEARTBEAT_COMMENT
        elif event.id_order > events.event_id_order(after_event_id):
            yield event.text
    yield stream_connections.TOKEN_EXPIRED_COMMENT
