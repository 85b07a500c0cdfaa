"""What has come from the broker and is not acknowledged: what may go to a child together, and what may be settled.

Pure: no broker, no clock. Two batches that are under way never share a connection, so that no child overtakes another
with messages of the same connection. Which connection a message is about is read here from its bytes, without parsing
it; where that cannot be told for sure, the message goes when nothing else is under way, and nothing passes it. See
decision 0004.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

MessageType = TypeVar("MessageType")

_CONNECTION_ID_KEY = b"connection_id"
# A key of the object, wherever it may stand, with its value if that is a string without escapes.
_CONNECTION_ID_FIELD_PATTERN = re.compile(rb'"connection_id"[ \t\r\n]*:(?:[ \t\r\n]*"([^"\\]*)")?')
# The same as nearly everybody writes it, which needs no more looking at.
_USUAL_FIELD_PATTERN = re.compile(rb'"connection_id" ?: ?"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"')
# An escape that may spell a letter of that key.
_ESCAPED_KEY_LETTER_PATTERN = re.compile(rb"\\u00(?:5[fF]|6[34569eEfF]|74)")
_UUID_DIGITS_PATTERN = re.compile(rb"[0-9a-f]{32}")
# The forms of a UUID that `parse` accepts, besides the usual one: RFC 9562, section 4, and what others make of it.
_UUID_TRANSLATION = bytes.maketrans(b"ABCDEF", b"abcdef"), b"-{}"
_UUID_URN_PREFIX = b"urn:uuid:"

# Messages that name no connection: each will be refused, so that their order among the others does not matter.
NO_CONNECTION_KEY = b""


def connection_key_of_body(body: bytes) -> bytes | None:
    """Return the connection that a message is about, in one spelling; None if only parsing it would tell."""
    if b"\\u" in body and _ESCAPED_KEY_LETTER_PATTERN.search(body):
        return None
    # As a rule there is one, and looking for another with the expression would take most of the time.
    mentions = body.count(_CONNECTION_ID_KEY)
    if not mentions:
        return NO_CONNECTION_KEY
    if mentions == 1 and (usual := _USUAL_FIELD_PATTERN.search(body)):
        return usual[1]
    found = _CONNECTION_ID_FIELD_PATTERN.search(body)
    if found is None or (mentions > 1 and _CONNECTION_ID_FIELD_PATTERN.search(body, found.end())):
        return None
    return _normalize_uuid(found[1])


def _normalize_uuid(id_: bytes | None) -> bytes | None:
    digits = (id_ or b"").removeprefix(_UUID_URN_PREFIX).translate(*_UUID_TRANSLATION)
    if not _UUID_DIGITS_PATTERN.fullmatch(digits):
        return None
    return b"-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


@dataclass(eq=False, slots=True)
class Delivery(Generic[MessageType]):
    """A message as it was delivered; `size` in bytes."""

    message: MessageType
    connection_key: bytes | None = None
    size: int = 0
    # On its way to another queue; it is settled when it is there.
    is_being_republished: bool = False
    is_settled: bool = False
    is_acknowledged: bool = False


@dataclass(eq=False, slots=True)
class Batch(Generic[MessageType]):
    """Messages for one child, each connection's in the order of their delivery."""

    deliveries: list[Delivery[MessageType]] = field(default_factory=list)
    connection_keys: set[bytes] = field(default_factory=set)
    # It holds a message of which nobody knows whose it is.
    has_unknown_connection: bool = False


class Inbox(Generic[MessageType]):
    """What no child has got yet; `max_messages` is the number of messages in a batch."""

    def __init__(self, *, max_messages: int) -> None:
        self._max_messages = max_messages
        self.clear()

    def clear(self) -> None:
        """Forget everything: it is the broker's again."""
        # By connection; one that has messages and none of them under way is ready, in the order of waiting.
        self._waiting_by_connection: dict[bytes, deque[Delivery[MessageType]]] = {}
        self._ready_connections: OrderedDict[bytes, None] = OrderedDict()
        self._connections_in_flight: set[bytes] = set()
        # From the first message on of which nobody knows whose it is.
        self._waiting_behind_unknown: deque[Delivery[MessageType]] = deque()
        self._is_unknown_in_flight = False

    def add(self, delivery: Delivery[MessageType]) -> None:
        """Take in what was delivered last."""
        if self._waiting_behind_unknown or delivery.connection_key is None:
            self._waiting_behind_unknown.append(delivery)
        else:
            self._enqueue(delivery, delivery.connection_key)

    def take_next_batch(self, *, max_bytes: int) -> Batch[MessageType] | None:
        """Take what may go to a child now, if anything may; until `batch_finished` nothing of its connections may.

        It has `max_bytes` bytes at most, or one message.
        """
        if self._is_unknown_in_flight:
            return None
        batch: Batch[MessageType] = Batch()
        if self._ready_connections:
            self._fill_batch(batch, max_bytes)
        elif self._waiting_behind_unknown and not self._connections_in_flight:
            batch.has_unknown_connection = self._is_unknown_in_flight = True
            self._move_into_batch(self._waiting_behind_unknown, batch, size=0, max_bytes=max_bytes)
        return batch if batch.deliveries else None

    def batch_finished(self, batch: Batch[MessageType]) -> None:
        """Let the next messages of a batch's connections go."""
        self._connections_in_flight -= batch.connection_keys
        for key in batch.connection_keys:
            if key in self._waiting_by_connection:
                self._ready_connections[key] = None
        if batch.has_unknown_connection:
            self._is_unknown_in_flight = False
            waiting = self._waiting_behind_unknown
            while waiting and (known := waiting[0].connection_key) is not None:
                self._enqueue(waiting.popleft(), known)

    def _enqueue(self, delivery: Delivery[MessageType], key: bytes) -> None:
        waiting = self._waiting_by_connection.get(key)
        if waiting is None:
            self._waiting_by_connection[key] = deque((delivery,))
            if key not in self._connections_in_flight:
                self._ready_connections[key] = None
        else:
            waiting.append(delivery)

    def _fill_batch(self, batch: Batch[MessageType], max_bytes: int) -> None:
        """Take connection by connection all that waits, as long as it fits."""
        ready, waiting_by_connection = self._ready_connections, self._waiting_by_connection
        keys, deliveries = batch.connection_keys, batch.deliveries
        size = 0
        while ready and len(deliveries) < self._max_messages:
            longest = next(iter(ready))
            waiting = waiting_by_connection[longest]
            if size + waiting[0].size > max_bytes and deliveries:
                break
            del ready[longest]
            keys.add(longest)
            size = self._move_into_batch(waiting, batch, size=size, max_bytes=max_bytes)
            if waiting:
                break
            del waiting_by_connection[longest]
        self._connections_in_flight |= keys

    def _move_into_batch(
        self, waiting: deque[Delivery[MessageType]], batch: Batch[MessageType], *, size: int, max_bytes: int
    ) -> int:
        """Move from the front of a line into a batch what fits; return the batch's size."""
        while waiting and len(batch.deliveries) < self._max_messages:
            new_size = size + waiting[0].size
            if new_size > max_bytes and batch.deliveries:
                break
            batch.deliveries.append(waiting.popleft())
            size = new_size
        return size


class UnacknowledgedDeliveries(Generic[MessageType]):
    """What the broker waits for a word on, in the order of delivery.

    AMQP acknowledges a message and all that are older in one frame. Those that are settled behind an open one wait for
    it, though never more than `max_settled_waiting`: a child that is held up must not use up what is sent ahead.
    """

    def __init__(self, *, max_settled_waiting: int) -> None:
        self._max_settled_waiting = max_settled_waiting
        # What kombu's Redis transport takes.
        self.must_acknowledge_individually = False
        self.clear()

    def clear(self) -> None:
        """Forget everything: it is the broker's again."""
        self._deliveries: deque[Delivery[MessageType]] = deque()
        self._settled_waiting_count = 0

    def add(self, delivery: Delivery[MessageType]) -> None:
        """Take in what was delivered last."""
        self._deliveries.append(delivery)

    def settle_and_take_acknowledgeable(
        self, deliveries: Sequence[Delivery[MessageType]]
    ) -> tuple[MessageType | None, list[MessageType]]:
        """Return what to acknowledge now: the message up to which all are settled, and those to be named one by one."""
        for delivery in deliveries:
            delivery.is_settled = True
        self._settled_waiting_count += len(deliveries)
        individually = self._take_all_settled() if self.must_acknowledge_individually else []
        oldest = self._take_settled_prefix()
        if self._settled_waiting_count > self._max_settled_waiting:
            individually = self._take_all_settled()
        return oldest, individually

    def take_all_for_return(self) -> tuple[list[MessageType], list[MessageType]]:
        """Return and forget all but what is leaving: the settled, to be acknowledged, and the rest, each in order."""
        settled = self._take_all_settled()
        unsettled = [each.message for each in self._deliveries if not (each.is_settled or each.is_being_republished)]
        self._deliveries = deque(each for each in self._deliveries if each.is_being_republished and not each.is_settled)
        return settled, unsettled

    def __iter__(self) -> Iterator[Delivery[MessageType]]:
        """Go through what is open or settled and not forgotten, oldest first."""
        return iter(self._deliveries)

    def _take_settled_prefix(self) -> MessageType | None:
        last: MessageType | None = None
        while self._deliveries and self._deliveries[0].is_settled:
            delivery = self._deliveries.popleft()
            # The broker refuses a word on what it has had one on.
            if not delivery.is_acknowledged:
                last = delivery.message
                self._settled_waiting_count -= 1
        return last

    def _take_all_settled(self) -> list[MessageType]:
        return list(self._mark_acknowledged(each for each in self._deliveries if each.is_settled))

    def _mark_acknowledged(self, deliveries: Iterable[Delivery[MessageType]]) -> Iterator[MessageType]:
        for delivery in deliveries:
            if not delivery.is_acknowledged:
                delivery.is_acknowledged = True
                self._settled_waiting_count -= 1
                yield delivery.message
