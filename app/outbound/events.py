"""The organization's event stream: flask-sse's blueprint and wire format, with ids, replay and one subscription.

Publishing appends an event to a capped Redis stream, whose entry id becomes the event's id, and PUBLISHes it in the
same script: who listens gets it now, who was away reads it from the stream. The only importer of flask_sse.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast
from uuid import UUID

import msgspec
import pydantic_core
import structlog
from flask_sse import Message, ServerSentEventsBlueprint
from opentelemetry.trace import SpanKind
from redis import Redis
from redis.exceptions import RedisError

from app import database_clock, extensions, metrics, tracing
from app.domain import display
from app.domain.aggregate import Change

log = structlog.get_logger()

__all__ = ["Message", "publish_changes"]

UPDATE_EVENT_NAME = "data_source_update"
SNAPSHOT_EVENT_NAME = "data_source_snapshot"
# One channel and one stream an organization. The channel comes from a verified identity, never from a request.
CHANNEL_PREFIX = "rita:sse:"
# What a browser may miss and still replay; older than this it gets a snapshot, which says the same in one piece.
MAX_KEPT_EVENTS = 1_000
EVENT_LIFETIME_SECONDS = 24 * 3600
# Of a larger event, in bytes, only that there was one is kept: whoever missed it gets a snapshot. An organization's
# stream is thus 16 MiB at most, whatever its members write.
MAX_KEPT_EVENT_BYTES = 16 * 1024
# Whoever missed more than this, in bytes, gets a snapshot, which is shorter.
MAX_REPLAY_BYTES = 1024 * 1024

_EVENT_ID_PATTERN = re.compile(r"(\d{1,20})-(\d{1,20})", re.ASCII)
MAX_EVENT_ID_PART = 2**64 - 1

# KEYS: a channel for each event. ARGV: kept events, kept seconds, type, then data, place, step of each. An event that
# tells an earlier step than the one told last at its place is left out, unless it tells an end.
_PUBLISH_SCRIPT = """
local published = 0
for i, channel in ipairs(KEYS) do
  local data, place, step = unpack(ARGV, 3 * i + 1, 3 * i + 3)
  local stream, steps = channel .. ':events', channel .. ':steps'
  local told = place ~= '' and redis.call('HGET', steps, place)
  if not told or step >= told or string.sub(step, -1) == '9' then
    local fields = {'type', ARGV[3]}
    if #data <= LARGEST_KEPT then fields = {'type', ARGV[3], 'data', data} end
    local id = redis.call('XADD', stream, 'MAXLEN', '~', ARGV[1], '*', unpack(fields))
    redis.call('EXPIRE', stream, ARGV[2])
    redis.call('PUBLISH', channel, cjson.encode({data = data, type = ARGV[3], id = id}))
    if place ~= '' and (not told or step > told) then
      redis.call('HSET', steps, place, step)
      redis.call('EXPIRE', steps, ARGV[2])
    end
    published = published + 1
  end
end
return published
""".replace("LARGEST_KEPT", str(MAX_KEPT_EVENT_BYTES))

# KEYS: a stream. ARGV: an id, the bytes that the data of the events after it may have. Returns id, type and data of
# each, or nothing if the id or the data of one are not kept, or if they are more. A few are read at a time, so that no
# more of them is ever copied.
_REPLAY_SCRIPT = """
if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then return false end
local missed, bytes, last = {}, 0, ARGV[1]
while true do
  local some = redis.call('XRANGE', KEYS[1], '(' .. last, '+', 'COUNT', 50)
  if #some == 0 then return missed end
  for _, entry in ipairs(some) do
    local id, fields = entry[1], entry[2]
    if #fields ~= 4 then return false end
    bytes = bytes + #fields[4]
    if bytes > tonumber(ARGV[2]) then return false end
    missed[#missed + 1] = {id, fields[2], fields[4]}
    last = id
  end
end
"""

# The order of an operation's steps; any other is its end.
_STEP_RANKS = {"requested": 0, "delayed": 1, "delivered": 2, "started": 3, "progress": 4}
_END_STEP_RANK = 9


class ChannelEvent(NamedTuple):
    """What one channel is told, as JSON; `order_in_key` is its order among the events of its `ordering_key`."""

    channel: str
    data: bytes
    ordering_key: str = ""
    order_in_key: str = ""


def event_for_change(change: Change, *, event_time: datetime | None = None) -> ChannelEvent:
    """Return the event that tells of a change, told `event_time` that time or now.

    Processes publish after they commit, so one that was held up may come when others have told what followed: its
    place is the connection and the kind, its step the operation (their ids are ordered by time) and how far it was.
    """
    channel = channel_of_organization(change.connection.organization_id)
    data = _to_ascii_json(event_payload(change, event_time=event_time or _event_time()))
    operation = change.operation
    if operation is None:
        return ChannelEvent(channel, data)
    rank = _STEP_RANKS.get(change.action.partition(".")[2], _END_STEP_RANK)
    return ChannelEvent(channel, data, f"{change.connection.id}:{operation.kind}", f"{operation.id}:{rank}")


def channel_of_organization(organization_id: UUID) -> str:
    """Return the channel of an organization."""
    return f"{CHANNEL_PREFIX}{organization_id}"


def event_payload(change: Change, *, event_time: datetime) -> dict[str, Any]:
    """Return an event's data; a field is added to the event here."""
    connection, operation = change.connection, change.operation
    data: dict[str, Any] = {
        "connectionId": connection.id,
        "status": connection.status,
        "display": display.display_of_connection(connection, change.running_operation),
        "operation": display.shown_operation_fields(change.running_operation),
        "change": change.action,
        "timestamp": event_time,
    }
    if operation is None:
        data |= {
            "type": connection.type,
            "name": connection.name,
            "description": connection.description,
            "config": connection.config,
            "enabled": connection.enabled,
            "version": connection.version,
            "deleted": connection.deleted_at is not None,
        }
        return data
    data["operation_id"] = operation.id
    if operation.kind == "sync":
        data["last_sync_status"] = connection.last_sync_status
        data["last_sync_at"] = connection.last_sync_at
        data["last_sync_error"] = connection.last_sync_error
        data["last_sync_documents"] = connection.last_sync_documents
        data["documentsProcessed"] = operation.documents_processed
    else:
        data["last_verification_at"] = connection.last_verification_at
        data["last_verification_error"] = connection.last_verification_error
        data["latest_options"] = connection.latest_options
    return data


class EventStream(ServerSentEventsBlueprint):  # type: ignore[misc]
    """flask-sse with a shared client, events that can be replayed, and channels that no request can choose."""

    @property
    def redis(self) -> Redis:
        """This process's client, instead of a new connection for each use."""
        return extensions.redis()

    def publish(
        self,
        data: Any,
        type: str | None = UPDATE_EVENT_NAME,  # noqa: A002
        id: str | None = None,  # noqa: A002, ARG002 - the stream gives the id
        retry: int | None = None,  # noqa: ARG002
        channel: str = "sse",
    ) -> int:
        """Publish one event to one channel. Raises redis.RedisError."""
        return self.publish_all([ChannelEvent(channel, _to_ascii_json(data))], type=type or UPDATE_EVENT_NAME)

    def publish_all(self, events: Sequence[ChannelEvent], *, type: str = UPDATE_EVENT_NAME) -> int:  # noqa: A002
        """Publish events in order, in one round trip; return how many were not overtaken. Raises redis.RedisError."""
        arguments: list[str | bytes | int] = [MAX_KEPT_EVENTS, EVENT_LIFETIME_SECONDS, type]
        for event in events:
            arguments += [event.data, event.ordering_key, event.order_in_key]
        script = self.redis.register_script(_PUBLISH_SCRIPT)
        return cast(int, script(keys=[event.channel for event in events], args=arguments))

    def newest_event_id(self, channel: str) -> str:
        """Return the id of the channel's newest event, `0-0` if it has none. Raises redis.RedisError."""
        entries = cast("list[Any]", self.redis.xrevrange(f"{channel}:events", count=1))
        return entries[0][0].decode() if entries else "0-0"

    def events_after(self, channel: str, *, after_id: str) -> list[Message] | None:
        """Return the events after an id, or None if some are not kept, or more than MAX_REPLAY_BYTES bytes were missed.

        Raises redis.RedisError.
        """
        script = self.redis.register_script(_REPLAY_SCRIPT)
        missed = cast("list[Any] | None", script(keys=[f"{channel}:events"], args=[after_id, MAX_REPLAY_BYTES]))
        if missed is None:
            return None
        # Ours are ASCII; what else lies there shall not cost an answer.
        kept = [(data.decode(errors="replace"), _known_event_name(type_), id_.decode()) for id_, type_, data in missed]
        return [Message(data, type=type_, id=id_) for data, type_, id_ in kept]

    def stream(self) -> Any:
        """Refuse flask-sse's own view: it would let a query parameter choose the channel."""
        raise NotImplementedError("the stream is served by app/api/stream.py")


def _known_event_name(stored_type: bytes) -> str:
    """Return the type of a kept event: ours, whoever wrote it, so that it cannot begin another line."""
    return SNAPSHOT_EVENT_NAME if stored_type == SNAPSHOT_EVENT_NAME.encode() else UPDATE_EVENT_NAME


event_stream = EventStream("sse", __name__)


def _to_ascii_json(data: Any) -> bytes:
    written = msgspec.json.encode(data)
    # ASCII alone: an event's lines are split at every Unicode line break, of which JSON allows some unescaped.
    return written if written.isascii() else pydantic_core.to_json(data, ensure_ascii=True)


def snapshot_event(connections: Sequence[Any], *, event_id: str) -> Message:
    """Return the event that says all at once: every connection as the API shows it."""
    data = pydantic_core.to_json({"data": connections, "timestamp": _event_time()}, ensure_ascii=True)
    return Message(data.decode(), type=SNAPSHOT_EVENT_NAME, id=event_id)


def _event_time() -> datetime:
    """Return what time it is by the clock of the rows that an event is about, which have just been read or written."""
    return database_clock.estimated_database_time() or datetime.now(UTC)


def is_event_id(text: str) -> bool:
    """Tell whether a text is an event's id: a Redis stream entry's, two 64-bit numbers `<milliseconds>-<sequence>`."""
    found = _EVENT_ID_PATTERN.fullmatch(text)
    return found is not None and all(int(half) <= MAX_EVENT_ID_PART for half in found.groups())


def event_id_order(event_id: str) -> tuple[int, int]:
    """Return an event id's place in time."""
    milliseconds, _, sequence = event_id.partition("-")
    return int(milliseconds), int(sequence)


def event_id_of_now(redis: Redis) -> str:
    """Return the id that an event would get now, by Redis' own clock. Raises redis.RedisError."""
    seconds, microseconds = redis.time()
    return f"{seconds * 1000 + microseconds // 1000}-0"


def parse_published_event(published_message: bytes) -> Message:
    """Return the event that a channel carried, in flask-sse's wire format. Raises ValueError for anything else."""
    fields = pydantic_core.from_json(published_message)
    match fields:
        case {"data": str(data), "type": str(type_), "id": str(id_)} if is_event_id(id_):
            return Message(data, type=_known_event_name(type_.encode()), id=id_)
    raise ValueError("not an event of ours")


def _events_for_changes(changes: Iterable[Change]) -> Iterator[ChannelEvent]:
    """Yield the event of each change; a change of which none can be made costs its own alone."""
    now = _event_time()
    for change in changes:
        try:
            yield event_for_change(change, event_time=now)
        except Exception:
            metrics.process_metrics().sse_events_lost.inc()
            log.exception("event_not_made", connection_id=str(change.connection.id), change=change.action)


def publish_changes(changes: Iterable[Change]) -> None:
    """Push committed changes to their organizations' browsers; they are a hint, so a dead Redis costs only a line.

    Pages resynchronize when they reconnect.
    """
    changes = list(changes)
    events = list(_events_for_changes(changes))
    if not events:
        return
    started = tracing.now_ns()
    try:
        event_stream.publish_all(events)
    except RedisError as problem:
        metrics.process_metrics().sse_events_lost.inc(len(events))
        log.warning("events_lost", count=len(events), error=type(problem).__name__)
    tracing.record_operation_spans(changes, span_name="publish event", started_ns=started, kind=SpanKind.PRODUCER)
    tracing.end_operation_traces(changes)
