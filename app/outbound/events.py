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

from app import clock, extensions, figures, tracing
from app.domain import display
from app.domain.cases import Change

log = structlog.get_logger()

__all__ = ["Message", "publish"]

EVENT = "data_source_update"
SNAPSHOT = "data_source_snapshot"
# One channel and one stream an organization. The channel comes from a verified identity, never from a request.
PREFIX = "rita:sse:"
# What a browser may miss and still replay; older than this it gets a snapshot, which says the same in one piece.
KEPT_EVENTS = 1_000
KEPT_SECONDS = 24 * 3600
# Of a larger event, in bytes, only that there was one is kept: whoever missed it gets a snapshot. An organization's
# stream is thus 16 MiB at most, whatever its members write.
LARGEST_KEPT = 16 * 1024
# Whoever missed more than this, in bytes, gets a snapshot, which is shorter.
LARGEST_REPLAY = 1024 * 1024

_ID = re.compile(r"(\d{1,20})-(\d{1,20})", re.ASCII)
LARGEST_HALF = 2**64 - 1

# KEYS: a channel for each event. ARGV: kept events, kept seconds, type, then data, place, step of each. An event that
# tells an earlier step than the one told last at its place is left out, unless it tells an end.
_PUBLISH = """
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
""".replace("LARGEST_KEPT", str(LARGEST_KEPT))

# KEYS: a stream. ARGV: an id, the bytes that the data of the events after it may have. Returns id, type and data of
# each, or nothing if the id or the data of one are not kept, or if they are more. A few are read at a time, so that no
# more of them is ever copied.
_REPLAY = """
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
_STEPS = {"requested": 0, "delayed": 1, "delivered": 2, "started": 3, "progress": 4}
_END = 9


class Event(NamedTuple):
    """What one channel is told, as JSON; `step` is its order among the events of the same `place`, if it has one."""

    channel: str
    data: bytes
    place: str = ""
    step: str = ""


def event_of(change: Change, *, at: datetime | None = None) -> Event:
    """Return the event that tells of a change, told `at` that time or now.

    Processes publish after they commit, so one that was held up may come when others have told what followed: its
    place is the connection and the kind, its step the operation (their ids are ordered by time) and how far it was.
    """
    channel, data = channel_of(change.connection.organization_id), _to_json(payload(change, at=at or _now()))
    operation = change.operation
    if operation is None:
        return Event(channel, data)
    rank = _STEPS.get(change.action.partition(".")[2], _END)
    return Event(channel, data, place=f"{change.connection.id}:{operation.kind}", step=f"{operation.id}:{rank}")


def channel_of(organization_id: UUID) -> str:
    """Return the channel of an organization."""
    return f"{PREFIX}{organization_id}"


def payload(change: Change, *, at: datetime) -> dict[str, Any]:
    """Return an event's data; a field is added to the event here."""
    connection, operation = change.connection, change.operation
    data: dict[str, Any] = {
        "connectionId": connection.id,
        "status": connection.status,
        "display": display.of(connection, change.running),
        "operation": display.operation(change.running),
        "change": change.action,
        "timestamp": at,
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
        type: str | None = EVENT,  # noqa: A002
        id: str | None = None,  # noqa: A002, ARG002 - the stream gives the id
        retry: int | None = None,  # noqa: ARG002
        channel: str = "sse",
    ) -> int:
        """Publish one event to one channel. Raises redis.RedisError."""
        return self.publish_all([Event(channel, _to_json(data))], type=type or EVENT)

    def publish_all(self, events: Sequence[Event], *, type: str = EVENT) -> int:  # noqa: A002
        """Publish events in order, in one round trip; return how many were not overtaken. Raises redis.RedisError."""
        arguments: list[str | bytes | int] = [KEPT_EVENTS, KEPT_SECONDS, type]
        for event in events:
            arguments += [event.data, event.place, event.step]
        script = self.redis.register_script(_PUBLISH)
        return cast(int, script(keys=[event.channel for event in events], args=arguments))

    def last_id(self, channel: str) -> str:
        """Return the id of the channel's newest event, `0-0` if it has none. Raises redis.RedisError."""
        entries = cast("list[Any]", self.redis.xrevrange(f"{channel}:events", count=1))
        return entries[0][0].decode() if entries else "0-0"

    def replay(self, channel: str, *, after: str) -> list[Message] | None:
        """Return the events after an id, or None if some are not kept, or more than LARGEST_REPLAY bytes were missed.

        Raises redis.RedisError.
        """
        script = self.redis.register_script(_REPLAY)
        missed = cast("list[Any] | None", script(keys=[f"{channel}:events"], args=[after, LARGEST_REPLAY]))
        if missed is None:
            return None
        # Ours are ASCII; what else lies there shall not cost an answer.
        return [
            Message(data.decode(errors="replace"), type=_kind(type_), id=id_.decode()) for id_, type_, data in missed
        ]

    def stream(self) -> Any:
        """Refuse flask-sse's own view: it would let a query parameter choose the channel."""
        raise NotImplementedError("the stream is served by app/api/stream.py")


def _kind(written: bytes) -> str:
    """Return the type of a kept event: ours, whoever wrote it, so that it cannot begin another line."""
    return SNAPSHOT if written == SNAPSHOT.encode() else EVENT


stream = EventStream("sse", __name__)


def _to_json(data: Any) -> bytes:
    written = msgspec.json.encode(data)
    # ASCII alone: an event's lines are split at every Unicode line break, of which JSON allows some unescaped.
    return written if written.isascii() else pydantic_core.to_json(data, ensure_ascii=True)


def snapshot(connections: Sequence[Any], *, event_id: str) -> Message:
    """Return the event that says all at once: every connection as the API shows it."""
    data = pydantic_core.to_json({"data": connections, "timestamp": _now()}, ensure_ascii=True)
    return Message(data.decode(), type=SNAPSHOT, id=event_id)


def _now() -> datetime:
    """Return what time it is by the clock of the rows that an event is about, which have just been read or written."""
    return clock.last_known() or datetime.now(UTC)


def is_id(text: str) -> bool:
    """Tell whether a text is an event's id: a Redis stream entry's, two 64-bit numbers `<milliseconds>-<sequence>`."""
    found = _ID.fullmatch(text)
    return found is not None and all(int(half) <= LARGEST_HALF for half in found.groups())


def order(event_id: str) -> tuple[int, int]:
    """Return an event id's place in time."""
    milliseconds, _, sequence = event_id.partition("-")
    return int(milliseconds), int(sequence)


def stream_now(redis: Redis) -> str:
    """Return the id that an event would get now, by Redis' own clock. Raises redis.RedisError."""
    seconds, microseconds = redis.time()
    return f"{seconds * 1000 + microseconds // 1000}-0"


def parse(published: bytes) -> Message:
    """Return the event that a channel carried, in flask-sse's wire format. Raises ValueError for anything else."""
    fields = pydantic_core.from_json(published)
    match fields:
        case {"data": str(data), "type": str(type_), "id": str(id_)} if is_id(id_):
            return Message(data, type=_kind(type_.encode()), id=id_)
    raise ValueError("not an event of ours")


def _events_of(changes: Iterable[Change]) -> Iterator[Event]:
    """Yield the event of each change; a change of which none can be made costs its own alone."""
    now = _now()
    for change in changes:
        try:
            yield event_of(change, at=now)
        except Exception:
            figures.events_lost(1)
            log.exception("event_not_made", connection_id=str(change.connection.id), change=change.action)


def publish(changes: Iterable[Change]) -> None:
    """Push committed changes to their organizations' browsers; they are a hint, so a dead Redis costs only a line.

    Pages resynchronize when they reconnect.
    """
    changes = list(changes)
    events = list(_events_of(changes))
    if not events:
        return
    started = tracing.now()
    try:
        stream.publish_all(events)
    except RedisError as problem:
        figures.events_lost(len(events))
        log.warning("events_lost", count=len(events), error=type(problem).__name__)
    tracing.note(changes, step="publish event", since=started, kind=SpanKind.PRODUCER)
    tracing.close(changes)
