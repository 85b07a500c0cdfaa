"""The organization's events, live: Server-Sent Events (WHATWG HTML, section 9.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import cast

from flask import Blueprint, Flask, Response, current_app, request
from redis.exceptions import RedisError

from app import errors, extensions, figures
from app.api import answers, auth, limits, parameters, pushed, reading, views
from app.api.description import Described
from app.api.requests import answer
from app.outbound import events, lines
from app.outbound.events import Message
from app.outbound.fanout import Client, Fanout, TooManyStreams
from app.outbound.gates import Crowded, Gates
from app.outbound.lines import Line
from app.outbound.tickets import Tickets, tickets
from app.services import connections
from app.unit_of_work import unit_of_work

TAG = "Events"

blueprint = Blueprint("stream", __name__, url_prefix="/api/sse")

# What a browser waits before it reconnects, in milliseconds.
RETRY_MS = 3000
# The beginnings of an organization's streams that are put together and written at once: each is held as a whole until
# its browser has read it. Who comes after them waits as long as a page shows nothing amiss.
OPENINGS, OPENED_WITHIN = 8, 10.0
# What a refused browser waits before it tries again, in seconds.
CROWDED = 10


def init_app(app: Flask) -> None:
    """Make this process's fan-out; it connects when the first browser comes."""
    redis, settings = app.extensions["redis"], extensions.settings_of(app)
    app.extensions["fanout"] = Fanout(lambda: redis, most=settings.sse_streams_per_organization)
    app.extensions["openings"] = Gates(OPENINGS)
    app.extensions["tickets"] = Tickets(redis, keys=settings.seal_keys, ttl=settings.sse_ticket_seconds)


@blueprint.post("/tickets")
@Described(tag=TAG, gives=answers.Ticket, refuses=(errors.RateLimited,))
def create_ticket() -> Response:
    """Give the caller a ticket that opens the stream once, soon."""
    auth.authenticate()
    limits.spend("ticket", limit=extensions.settings().ticket_rate_limit)
    ttl = extensions.settings().sse_ticket_seconds
    try:
        ticket = tickets().issue(auth.current().model_dump(mode="json", by_alias=True))
    except RedisError:
        raise errors.ServiceUnavailable("Tickets cannot be issued right now; try again") from None
    return answer(answers.Ticket(ticket=ticket, expires_in=int(ttl.total_seconds())))


@blueprint.get("")
@Described(
    tag=TAG,
    gives=pushed.STREAM,
    media_type="text/event-stream",
    parameters=parameters.last_event_id,
    refuses=(errors.InvalidTicket, errors.RateLimited),
    security=("bearer", "ticket"),
)
def stream() -> Response:
    """Stream the events of the caller's organization, whatever the request says of channels."""
    _identify()
    who = auth.current()
    channel = events.channel_of(who.organization_id)
    fanout = cast(Fanout, current_app.extensions["fanout"])
    with ExitStack() as until_open:
        # Joined first: what is published from here on waits in the client's queue while we catch up.
        client = _join(fanout, channel)
        until_open.callback(fanout.leave, client)
        try:
            fanout.wait_until_heard(client)
            gates = cast(Gates, current_app.extensions["openings"])
            opened = until_open.enter_context(ExitStack())
            opened.enter_context(gates.through(channel, within=OPENED_WITHIN))
            missed, seen = _catch_up(channel, who)
        except (RedisError, TimeoutError):
            raise errors.ServiceUnavailable("Events cannot be streamed right now; try again") from None
        except Crowded:
            raise _crowded("Many event streams of your organization are being opened") from None
        left = until_open.pop_all()
    opening = _Opening(f"retry: {RETRY_MS}\n: connected\n\n" + "".join(map(str, missed)), opened.close)
    heartbeat = extensions.settings().sse_heartbeat_seconds
    of_server = lines.connection_of(request.environ)
    if of_server is not None:
        lines.end_with(of_server, who.expires_at)
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
    # Nothing, as clients read it; and for a proxy (Caddy's `encode`) the sign that it is not to compress the
    # stream, for which it would wait until there is enough of it.
    response.headers["Content-Encoding"] = "identity"
    response.call_on_close(left.close)
    return response


def _join(fanout: Fanout, channel: str) -> Client:
    try:
        return fanout.join(channel)
    except TooManyStreams:
        raise _crowded("Your organization has too many event streams open") from None


def _crowded(what: str) -> errors.RateLimited:
    return errors.RateLimited(f"{what}; try again in {CROWDED} seconds", retry_after=CROWDED)


def _identify() -> None:
    """Let a ticket speak for a browser that cannot send headers."""
    ticket = request.args.get("ticket")
    if ticket is None:
        auth.authenticate()
        return
    try:
        content = tickets().redeem(ticket)
    except RedisError:
        raise errors.ServiceUnavailable("Tickets cannot be checked right now; try again") from None
    if content is None:
        raise errors.InvalidTicket("The ticket is unknown, used or too old; ask for a new one")
    auth.use(auth.Identity.model_validate(content))


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
    with reading.turn(), unit_of_work(tenants=[who.organization_id]) as work:
        cases = connections.find_all(work.session, who.organization_id)
    figures.stream_opened("snapshot")
    shown = [views.ConnectionView.of(case) for case in cases]
    return [events.snapshot(shown, event_id=seen)], seen


class _Opening:
    """A stream's beginning: held until it is written, and then let go of, with its place among those being written."""

    def __init__(self, text: str, written: Callable[[], None]) -> None:
        self._text = text
        self._written = written

    def __iter__(self) -> Iterator[str]:
        text, self._text = self._text, ""
        yield text
        del text
        self._written()


def _hand_over(fanout: Fanout, client: Client, opening: _Opening, line: Callable[[], Line]) -> Iterator[str]:
    """Yield the stream's beginning; the rest is told by the fan-out, without a thread of the server's."""
    yield from opening
    fanout.hand_over(client, line())
    raise lines.LetGo


def _serve(client: Client, opening: _Opening, *, seen: str, ends_at: datetime, heartbeat: timedelta) -> Iterator[str]:
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
