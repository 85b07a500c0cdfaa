"""Dead letters: status messages that could not be applied, kept as they came, with the reason beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from app.domain.messages import Unacceptable, raw_of
from app.outbound.broker import (
    CLASSIC,
    DEAD_LETTERS,
    MOVES,
    RETURNS,
    Connection,
    Message,
    Outgoing,
    copy_of,
    exists,
    is_amqp,
    plain_queue,
    properties_of,
    publish,
    receive_raw,
    see_to,
)

# Headers of a dead letter.
REASON, DETAIL, ORIGIN, DIED_AT = "x-rita-reason", "x-rita-detail", "x-rita-queue", "x-rita-died-at"
# Those of ours and of the broker's, which say nothing of what the service sent.
_NOT_THEIRS = frozenset((REASON, DETAIL, ORIGIN, DIED_AT, MOVES, "x-death", *RETURNS))
# A header must fit a frame; the detail is for people.
LONGEST_DETAIL = 500
# All headers together must; what is beyond this is left out, in bytes or more of them than they take.
LARGEST_HEADERS = 16 * 1024


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
    def of(cls, message: Message, refusal: Unacceptable, *, queue: str) -> DeadLetter:
        """Make one of a message that came from a queue."""
        properties = properties_of(message)
        properties.pop("expiration", None)
        # Kombu's Redis transport would obey it whenever the letter is looked at.
        not_theirs = _NOT_THEIRS if is_amqp(message.channel) else _NOT_THEIRS | {"compression"}
        return cls(
            body=raw_of(message.body),
            reason=refusal.reason,
            detail=refusal.detail,
            queue=queue,
            content_type=properties.pop("content_type", None),
            headers=_that_fit({name: value for name, value in message.headers.items() if name not in not_theirs}),
            properties=properties,
        )

    @classmethod
    def from_message(cls, message: Message) -> DeadLetter:
        """Read one back from the dead-letter queue."""
        said: Mapping[str, Any] = message.headers
        properties = properties_of(message)
        return cls(
            body=raw_of(message.body),
            reason=str(said.get(REASON, "unknown")),
            detail=str(said.get(DETAIL, "")),
            queue=str(said.get(ORIGIN, "")),
            died_at=str(said.get(DIED_AT, "")),
            content_type=properties.pop("content_type", None),
            headers={name: value for name, value in said.items() if name not in _NOT_THEIRS},
            properties=properties,
        )

    def outgoing(self) -> Outgoing:
        """Return it as it is put into the dead-letter queue."""
        said = {
            REASON: self.reason,
            DETAIL: self.detail.encode(errors="replace")[:LONGEST_DETAIL].decode(errors="ignore"),
            ORIGIN: self.queue,
            DIED_AT: self.died_at or datetime.now(UTC).isoformat(timespec="seconds"),
        }
        return self.sent_to(DEAD_LETTERS, **said)

    def sent_to(self, queue: str, **said: str) -> Outgoing:
        """Return what the service sent, on its way to a queue."""
        return Outgoing(
            queue, self.body, {**self.headers, **said}, {"content_type": self.content_type, **self.properties}
        )


def _that_fit(headers: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    room = LARGEST_HEADERS
    for name, value in headers.items():
        size = len(name) + len(repr(value))
        if size <= room:
            kept[name] = value
            room -= size
    return kept


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many letters went back to their queues, and how many stay because theirs is not there, by its name."""

    count: int
    homeless: Mapping[str, int]


class DeadLetterQueue:
    """What the operator's commands do with the dead letters.

    However often somebody looks, none is used up. In a classic queue each goes back to its old place, any number of
    times. A quorum queue counts each return, and RabbitMQ 4 deletes what it has had back 20 times: there every letter
    is published anew instead, confirmed before the old one is taken off, and all of them, so that their order is kept.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._takes_back = see_to(connection, DEAD_LETTERS, arguments=CLASSIC) is None

    def bury(self, *letters: DeadLetter) -> None:
        """Add letters, each confirmed."""
        for letter in letters:
            publish(self._connection.default_channel, letter.outgoing())

    def look(self, *, limit: int) -> list[DeadLetter]:
        """Return up to `limit` letters, oldest first, and leave them where they are."""
        with self._opened() as channel:
            if not self._takes_back:
                return [DeadLetter.from_message(message) for message in self._renewed(channel)][:limit]
            found = list(self._take(channel, limit=limit))
            # Redis puts each at the end, so that their order is kept if all are taken.
            for message in found:
                message.requeue()
            return [DeadLetter.from_message(message) for message in found]

    def replay(self, *, limit: int, default_queue: str) -> Replayed:
        """Publish up to `limit` letters again to the queue they came from, then take them off."""
        there: dict[str, bool] = {}
        homeless: dict[str, int] = {}
        count = 0
        with self._opened() as channel:
            staying: list[Message] = []
            for message in self._take(channel, limit=limit):
                letter = DeadLetter.from_message(message)
                queue = letter.queue or default_queue
                if queue not in there:
                    # Redis makes whatever is written to.
                    there[queue] = not is_amqp(channel) or exists(self._connection, queue)
                if there[queue]:
                    publish(self._connection.default_channel, letter.sent_to(queue))
                    message.ack()
                    count += 1
                else:
                    staying.append(message)
                    homeless[queue] = homeless.get(queue, 0) + 1
            for message in staying:
                self._leave(message)
        return Replayed(count, homeless)

    def drop(self, *, limit: int) -> int:
        """Take up to `limit` letters off for good; return how many."""
        with self._opened() as channel:
            count = 0
            for message in self._take(channel, limit=limit):
                message.ack()
                count += 1
            return count

    def _leave(self, message: Message) -> None:
        if self._takes_back:
            message.requeue()
        else:
            self._renew(message)

    def _renewed(self, channel: Any) -> Iterator[Message]:
        for message in self._take(channel):
            self._renew(message)
            yield message

    def _renew(self, message: Message) -> None:
        publish(self._connection.default_channel, copy_of(message, queue=DEAD_LETTERS))
        message.ack()

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        with self._connection.channel() as channel:
            receive_raw(channel)
            yield channel

    def _take(self, channel: Any, *, limit: int | None = None) -> Iterator[Message]:
        # Only those that are there now: what dies while we work waits for the next time.
        # An empty queue is none in Redis.
        waiting = channel.queue_declare(queue=DEAD_LETTERS, durable=True, passive=is_amqp(channel)).message_count
        queue = plain_queue(DEAD_LETTERS).bind(channel)
        for _ in range(waiting if limit is None else min(limit, waiting)):
            message = queue.get(no_ack=False, accept=None)
            if message is None:
                return
            yield message
