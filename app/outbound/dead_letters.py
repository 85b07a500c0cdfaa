"""Dead letters: status messages that could not be applied, kept as they came, with the reason beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from app.domain.status_messages import MessageRefused, body_bytes
from app.outbound import broker
from app.outbound.broker import DEAD_LETTER_QUEUE_NAME, Connection, Message, OutgoingMessage, is_amqp, publish_to_queue

# Headers of a dead letter.
REASON_HEADER, DETAIL_HEADER = "x-rita-reason", "x-rita-detail"
ORIGINAL_QUEUE_HEADER, DIED_AT_HEADER = "x-rita-queue", "x-rita-died-at"
# Those of ours and of the broker's, which say nothing of what the service sent.
_OUR_HEADERS = (REASON_HEADER, DETAIL_HEADER, ORIGINAL_QUEUE_HEADER, DIED_AT_HEADER, broker.REPUBLISH_COUNT_HEADER)
_HEADERS_NOT_FROM_SENDER = frozenset((*_OUR_HEADERS, "x-death", *broker.RETURN_COUNT_HEADERS))
# A header must fit a frame; the detail is for people.
MAX_DETAIL_BYTES = 500
# All headers together must; what is beyond this is left out, in bytes or more of them than they take.
MAX_HEADERS_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that could not be applied: body, headers and properties as the service sent them, and why."""

    body: bytes
    reason: str
    detail: str = ""
    queue: str = ""
    died_at: str = ""
    content_type: str | None = "application/json"
    headers: Mapping[str, Any] = field(default_factory=dict)
    # AMQP's, besides the content type; without an expiration, which would have the letter vanish.
    properties: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_refused_message(cls, message: Message, refusal: MessageRefused, *, queue: str) -> DeadLetter:
        """Make one of a message that came from a queue."""
        properties = broker.message_properties(message)
        properties.pop("expiration", None)
        # Kombu's Redis transport would obey it whenever the letter is looked at.
        not_theirs = _HEADERS_NOT_FROM_SENDER | (set() if is_amqp(message.channel) else {"compression"})
        headers = {name: value for name, value in message.headers.items() if name not in not_theirs}
        return cls(
            body=body_bytes(message.body),
            reason=refusal.reason,
            detail=refusal.detail,
            queue=queue,
            content_type=properties.pop("content_type", None),
            headers=_headers_that_fit(headers),
            properties=properties,
        )

    @classmethod
    def from_queue(cls, message: Message) -> DeadLetter:
        """Read one back from the dead-letter queue."""
        headers: Mapping[str, Any] = message.headers
        properties = broker.message_properties(message)
        return cls(
            body=body_bytes(message.body),
            reason=str(headers.get(REASON_HEADER, "unknown")),
            detail=str(headers.get(DETAIL_HEADER, "")),
            queue=str(headers.get(ORIGINAL_QUEUE_HEADER, "")),
            died_at=str(headers.get(DIED_AT_HEADER, "")),
            content_type=properties.pop("content_type", None),
            headers={name: value for name, value in headers.items() if name not in _HEADERS_NOT_FROM_SENDER},
            properties=properties,
        )

    def to_dead_letter_message(self) -> OutgoingMessage:
        """Return it as it is put into the dead-letter queue."""
        headers = {
            REASON_HEADER: self.reason,
            DETAIL_HEADER: self.detail.encode(errors="replace")[:MAX_DETAIL_BYTES].decode(errors="ignore"),
            ORIGINAL_QUEUE_HEADER: self.queue,
            DIED_AT_HEADER: self.died_at or datetime.now(UTC).isoformat(timespec="seconds"),
        }
        return self.to_message_for_queue(DEAD_LETTER_QUEUE_NAME, **headers)

    def to_message_for_queue(self, queue: str, **extra_headers: str) -> OutgoingMessage:
        """Return what the service sent, on its way to a queue."""
        properties = {"content_type": self.content_type, **self.properties}
        return OutgoingMessage(queue, self.body, {**self.headers, **extra_headers}, properties)


def _headers_that_fit(headers: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    room = MAX_HEADERS_BYTES
    for name, value in headers.items():
        size = len(name) + len(repr(value))
        if size <= room:
            kept[name] = value
            room -= size
    return kept


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """How many letters went back to their queues, and how many stay because theirs is not there, by its name."""

    count: int
    unreplayed_by_missing_queue: Mapping[str, int]


class DeadLetterQueue:
    """What the operator's commands do with the dead letters.

    However often somebody looks, none is used up. In a classic queue each goes back to its old place, any number of
    times. A quorum queue counts each return, and RabbitMQ 4 deletes what it has had back 20 times: there every letter
    is published anew instead, confirmed before the old one is taken off, and all of them, so that their order is kept.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        refusal = broker.ensure_queue_exists(
            connection, DEAD_LETTER_QUEUE_NAME, arguments=broker.CLASSIC_QUEUE_ARGUMENTS
        )
        self._can_requeue = refusal is None

    def add(self, *letters: DeadLetter) -> None:
        """Add letters, each confirmed."""
        for letter in letters:
            publish_to_queue(self._connection.default_channel, letter.to_dead_letter_message())

    def list_oldest(self, *, limit: int) -> list[DeadLetter]:
        """Return up to `limit` letters, oldest first, and leave them where they are."""
        with self._open_channel() as channel:
            if not self._can_requeue:
                return [DeadLetter.from_queue(message) for message in self._take_and_republish(channel)][:limit]
            found = list(self._take(channel, limit=limit))
            # Redis puts each at the end, so that their order is kept if all are taken.
            for message in found:
                message.requeue()
            return [DeadLetter.from_queue(message) for message in found]

    def replay(self, *, limit: int, default_queue: str) -> ReplayResult:
        """Publish up to `limit` letters again to the queue they came from, then take them off."""
        queue_is_there: dict[str, bool] = {}
        unreplayed: dict[str, int] = {}
        count = 0
        with self._open_channel() as channel:
            staying: list[Message] = []
            for message in self._take(channel, limit=limit):
                letter = DeadLetter.from_queue(message)
                queue = letter.queue or default_queue
                if queue not in queue_is_there:
                    # Redis makes whatever is written to.
                    queue_is_there[queue] = not is_amqp(channel) or broker.queue_exists(self._connection, queue)
                if queue_is_there[queue]:
                    publish_to_queue(self._connection.default_channel, letter.to_message_for_queue(queue))
                    message.ack()
                    count += 1
                else:
                    staying.append(message)
                    unreplayed[queue] = unreplayed.get(queue, 0) + 1
            for message in staying:
                self._put_back(message)
        return ReplayResult(count, unreplayed)

    def drop(self, *, limit: int) -> int:
        """Take up to `limit` letters off for good; return how many."""
        with self._open_channel() as channel:
            count = 0
            for message in self._take(channel, limit=limit):
                message.ack()
                count += 1
            return count

    def _put_back(self, message: Message) -> None:
        if self._can_requeue:
            message.requeue()
        else:
            self._republish(message)

    def _take_and_republish(self, channel: Any) -> Iterator[Message]:
        for message in self._take(channel):
            self._republish(message)
            yield message

    def _republish(self, message: Message) -> None:
        publish_to_queue(
            self._connection.default_channel, broker.copy_for_republish(message, queue=DEAD_LETTER_QUEUE_NAME)
        )
        message.ack()

    @contextmanager
    def _open_channel(self) -> Iterator[Any]:
        with self._connection.channel() as channel:
            broker.disable_body_decoding(channel)
            yield channel

    def _take(self, channel: Any, *, limit: int | None = None) -> Iterator[Message]:
        # Only those that are there now: what dies while we work waits for the next time.
        # An empty queue is none in Redis.
        waiting = channel.queue_declare(queue=DEAD_LETTER_QUEUE_NAME, durable=True, passive=is_amqp(channel))
        queue, count = broker.undeclared_queue(DEAD_LETTER_QUEUE_NAME).bind(channel), waiting.message_count
        for _ in range(count if limit is None else min(limit, count)):
            message = queue.get(no_ack=False, accept=None)
            if message is None:
                return
            yield message
