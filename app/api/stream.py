"""The organization's events, live: Server-Sent Events (WHATWG HTML, section 9.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import cast

from flask import Blueprint, Flask, Response, current_app, request
from redis.exceptions import RedisError

from app import errors, extensions, figures
from app.api import answers, auth, limits, parameters, pushed, views
from app.api.description import Described
from app.api.requests import answer
from app.outbound import events, lines, tickets
from app.outbound.events import Message
from app.outbound.fanout import Client, Fanout
from app.outbound.lines import Line
from app.services import connections
from app.unit_of_work import unit_of_work

TAG = "Events"

blueprint = Blueprint("stream", __name__, url_prefix="/api/sse")

# What a browser waits before it reconnects, in milliseconds.
RETRY_MS = 3000


def init_app(app: Flask) -> None:
    """Make this process's fan-out; it connects when the first browser comes."""
    redis = app.extensions["redis"]
    app.extensions["fanout"] = Fanout(lambda: redis)


@blueprint.post("/tickets")
@Described(tag=TAG, gives=answers.Ticket, refuses=(errors.RateLimited,))
def create_ticket() -> Response:
    """Give the caller a ticket that opens the stream once, soon."""
    auth.authenticate()
    limits.spend("ticket", limit=extensions.settings().ticket_rate_limit)
    ttl = extensions.settings().sse_ticket_seconds
    try:
        ticket = tickets.issue(extensions.redis(), auth.current().model_dump_json(by_alias=True).encode(), ttl=ttl)
    except RedisError:
        raise errors.ServiceUnavailable("Tickets cannot be issued right now; try again") from None
    return answer(answers.Ticket(ticket=ticket, expires_in=int(ttl.total_seconds())))


@blueprint.get("")
@Described(
    tag=TAG,
    gives=pushed.STREAM,
    media_type="text/event-stream",
    parameters=parameters.last_event_id,
    refuses=(errors.InvalidTicket,),
    security=("bearer", "ticket"),
)
def stream() -> Response:
    """Stream the events of the caller's organization, whatever the request says of channels."""
    _identify()
    who = auth.current()
    channel = events.channel_of(who.organization_id)
    fanout = cast(Fanout, current_app.extensions["fanout"])
    # Joined first: what is published from here on waits in the client's queue while we catch up.
    client = fanout.join(channel)
    try:
        fanout.wait_until_subscribed()
        missed, seen = _catch_up(channel, who)
    except (RedisError, TimeoutError):
        fanout.leave(client)
        raise errors.ServiceUnavailable("Events cannot be streamed right now; try again") from None
    opening = [f"retry: {RETRY_MS}\n: connected\n\n", *map(str, missed)]
    heartbeat = extensions.settings().sse_heartbeat_seconds
    of_server = lines.connection_of(request.environ)
    if of_server is None:
        told = _serve(client, opening, seen=seen, ends_at=who.expires_at, heartbeat=heartbeat)
    else:
        line = partial(
            Line.take_over,
            of_server,
            channel=channel,
            chunked=request.environ["SERVER_PROTOCOL"] == "HTTP/1.1",
            after=seen,
            ends_at=who.expires_at,
            heartbeat=heartbeat,
        )
        told = _hand_over(fanout, client, opening, line)
    response = Response(told, mimetype="text/event-stream")
    response.headers["Cache-Control"] = "no-store, no-transform"
    # Proxies of nginx's family buffer otherwise.
    response.headers["X-Accel-Buffering"] = "no"
    response.call_on_close(lambda: fanout.leave(client))
    return response


def _identify() -> None:
    """Let a ticket speak for a browser that cannot send headers."""
    ticket = request.args.get("ticket")
    if ticket is None:
        auth.authenticate()
        return
    try:
        content = tickets.redeem(extensions.redis(), ticket)
    except RedisError:
        raise errors.ServiceUnavailable("Tickets cannot be checked right now; try again") from None
    if content is None:
        raise errors.InvalidTicket("The ticket is unknown, used or too old; ask for a new one")
    auth.use(auth.Identity.model_validate_json(content))


def _catch_up(channel: str, who: auth.Identity) -> tuple[list[Message], str]:
    """Return what the browser misses and the id up to which it then knows all.

    After a `Last-Event-ID` that is still kept, that is the events since; else, or if some of them may never have been
    published because Redis was away, a snapshot of every connection.
    """
    fanout = cast(Fanout, current_app.extensions["fanout"])
    last_seen = request.headers.get("Last-Event-ID") or request.args.get("last_event_id")
    if last_seen and events.is_id(last_seen) and fanout.is_continuous_since(last_seen):
        missed = events.stream.replay(channel, after=last_seen)
        if missed is not None:
            figures.stream_opened("replay")
            return missed, missed[-1].id if missed else last_seen
    # The id before the rows: an event in between is then sent twice rather than never.
    seen = events.stream.last_id(channel)
    with unit_of_work(tenants=[who.organization_id]) as work:
        cases = connections.find_all(work.session, who.organization_id)
    figures.stream_opened("snapshot")
    shown = [views.ConnectionView.of(case) for case in cases]
    return [events.snapshot(shown, event_id=seen)], seen


def _hand_over(fanout: Fanout, client: Client, opening: list[str], line: Callable[[], Line]) -> Iterator[str]:
    """Yield the stream's beginning; the rest is told by the fan-out, without a thread of the server's."""
    yield from opening
    fanout.hand_over(client, line())
    raise lines.LetGo


def _serve(client: Client, opening: list[str], *, seen: str, ends_at: datetime, heartbeat: timedelta) -> Iterator[str]:
    """Yield the stream's text until the token expires or the client is dropped for reading too slowly."""
    yield from opening
    while (left := ends_at - datetime.now(UTC)) > timedelta(0):
        told = client.next(timeout=min(heartbeat, left).total_seconds())
        if client.dropped:
            return
        if told is None:
            yield lines.HEARTBEAT
        elif told.order > events.order(seen):
            yield told.text
    yield lines.EXPIRED
