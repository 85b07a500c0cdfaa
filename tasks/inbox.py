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

Message = TypeVar("Message")

_NAME = b"connection_id"
# A key of the object, wherever it may stand, with its value if that is a string without escapes.
_FIELD = re.compile(rb'"connection_id"[ \t\r\n]*:(?:[ \t\r\n]*"([^"\\]*)")?')
# The same as nearly everybody writes it, which needs no more looking at.
_USUAL = re.compile(rb'"connection_id" ?: ?"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"')
# An escape that may spell a letter of that key.
_ESCAPED = re.compile(rb"\\u00(?:5[fF]|6[34569eEfF]|74)")
_UUID = re.compile(rb"[0-9a-f]{32}")
# The forms of a UUID that `parse` accepts, besides the usual one: RFC 9562, section 4, and what others make of it.
_DECORATION = bytes.maketrans(b"ABCDEF", b"abcdef"), b"-{}"
_URN = b"urn:uuid:"

# Messages that name no connection: each will be refused, so that their order among the others does not matter.
NOWHERE = b""


def key_of(body: bytes) -> bytes | None:
    """Return the connection that a message is about, in one spelling; None if only parsing it would tell."""
    if b"\\u" in body and _ESCAPED.search(body):
        return None
    # As a rule there is one, and looking for another with the expression would take most of the time.
    mentions = body.count(_NAME)
    if not mentions:
        return NOWHERE
    if mentions == 1 and (usual := _USUAL.search(body)):
        return usual[1]
    found = _FIELD.search(body)
    if found is None or (mentions > 1 and _FIELD.search(body, found.end())):
        return None
    return _in_one_spelling(found[1])


def _in_one_spelling(id_: bytes | None) -> bytes | None:
    digits = (id_ or b"").removeprefix(_URN).translate(*_DECORATION)
    if not _UUID.fullmatch(digits):
        return None
    return b"-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


@dataclass(eq=False, slots=True)
class Delivery(Generic[Message]):
    """A message as it was delivered; `size` in bytes."""

    message: Message
    key: bytes | None = None
    size: int = 0
    # On its way to another queue; it is settled when it is there.
    is_leaving: bool = False
    is_settled: bool = False
    is_acknowledged: bool = False


@dataclass(eq=False, slots=True)
class Batch(Generic[Message]):
    """Messages for one child, each connection's in the order of their delivery."""

    deliveries: list[Delivery[Message]] = field(default_factory=list)
    keys: set[bytes] = field(default_factory=set)
    # It holds a message of which nobody knows whose it is.
    is_alone: bool = False


class Inbox(Generic[Message]):
    """What no child has got yet; `largest` is the number of messages in a batch."""

    def __init__(self, *, largest: int) -> None:
        self._largest = largest
        self.clear()

    def clear(self) -> None:
        """Forget everything: it is the broker's again."""
        # By connection; one that has messages and none of them under way is ready, in the order of waiting.
        self._lanes: dict[bytes, deque[Delivery[Message]]] = {}
        self._ready: OrderedDict[bytes, None] = OrderedDict()
        self._under_way: set[bytes] = set()
        # From the first message on of which nobody knows whose it is.
        self._behind: deque[Delivery[Message]] = deque()
        self._is_one_alone = False

    def add(self, delivery: Delivery[Message]) -> None:
        """Take in what was delivered last."""
        if self._behind or delivery.key is None:
            self._behind.append(delivery)
        else:
            self._line_up(delivery, delivery.key)

    def next_batch(self, *, capacity: int) -> Batch[Message] | None:
        """Take what may go to a child now, if there is anything; until it is `over` nothing of its connections may.

        It has `capacity` bytes at most, or one message.
        """
        if self._is_one_alone:
            return None
        batch: Batch[Message] = Batch()
        if self._ready:
            self._fill(batch, capacity)
        elif self._behind and not self._under_way:
            batch.is_alone = self._is_one_alone = True
            self._move(self._behind, batch, size=0, capacity=capacity)
        return batch if batch.deliveries else None

    def over(self, batch: Batch[Message]) -> None:
        """Let the next messages of a batch's connections go."""
        self._under_way -= batch.keys
        for key in batch.keys:
            if key in self._lanes:
                self._ready[key] = None
        if batch.is_alone:
            self._is_one_alone = False
            while self._behind and (known := self._behind[0].key) is not None:
                self._line_up(self._behind.popleft(), known)

    def _line_up(self, delivery: Delivery[Message], key: bytes) -> None:
        lane = self._lanes.get(key)
        if lane is None:
            self._lanes[key] = deque((delivery,))
            if key not in self._under_way:
                self._ready[key] = None
        else:
            lane.append(delivery)

    def _fill(self, batch: Batch[Message], capacity: int) -> None:
        """Take connection by connection all that waits, as long as it fits."""
        ready, lanes, keys, deliveries = self._ready, self._lanes, batch.keys, batch.deliveries
        size = 0
        while ready and len(deliveries) < self._largest:
            longest = next(iter(ready))
            lane = lanes[longest]
            if size + lane[0].size > capacity and deliveries:
                break
            del ready[longest]
            keys.add(longest)
            size = self._move(lane, batch, size=size, capacity=capacity)
            if lane:
                break
            del lanes[longest]
        self._under_way |= keys

    def _move(self, waiting: deque[Delivery[Message]], batch: Batch[Message], *, size: int, capacity: int) -> int:
        """Move from the front of a line into a batch what fits; return the batch's size."""
        while waiting and len(batch.deliveries) < self._largest:
            after = size + waiting[0].size
            if after > capacity and batch.deliveries:
                break
            batch.deliveries.append(waiting.popleft())
            size = after
        return size


class Unsettled(Generic[Message]):
    """What the broker waits for a word on, in the order of delivery.

    AMQP acknowledges a message and all that are older in one frame. Those that are settled behind an open one wait for
    it, though never more than `most_waiting`: a child that is held up must not use up what the broker sends ahead.
    """

    def __init__(self, *, most_waiting: int) -> None:
        self._most_waiting = most_waiting
        # What kombu's Redis transport takes.
        self.one_by_one = False
        self.clear()

    def clear(self) -> None:
        """Forget everything: it is the broker's again."""
        self._deliveries: deque[Delivery[Message]] = deque()
        self._waiting = 0

    def add(self, delivery: Delivery[Message]) -> None:
        """Take in what was delivered last."""
        self._deliveries.append(delivery)

    def settle(self, deliveries: Sequence[Delivery[Message]]) -> tuple[Message | None, list[Message]]:
        """Return what to acknowledge now: the message up to which all are settled, and those to be named one by one."""
        for delivery in deliveries:
            delivery.is_settled = True
        self._waiting += len(deliveries)
        alone = self._all_that_wait() if self.one_by_one else []
        oldest = self._settled_at_the_front()
        return oldest, self._all_that_wait() if self._waiting > self._most_waiting else alone

    def give_back(self) -> tuple[list[Message], list[Message]]:
        """Return and forget all but what is leaving: the settled, to be acknowledged, and the rest, each in order."""
        settled = self._all_that_wait()
        rest = [each.message for each in self._deliveries if not (each.is_settled or each.is_leaving)]
        self._deliveries = deque(each for each in self._deliveries if each.is_leaving and not each.is_settled)
        return settled, rest

    def __iter__(self) -> Iterator[Delivery[Message]]:
        """Go through what is open or settled and not forgotten, oldest first."""
        return iter(self._deliveries)

    def _settled_at_the_front(self) -> Message | None:
        last: Message | None = None
        while self._deliveries and self._deliveries[0].is_settled:
            delivery = self._deliveries.popleft()
            # The broker refuses a word on what it has had one on.
            if not delivery.is_acknowledged:
                last = delivery.message
                self._waiting -= 1
        return last

    def _all_that_wait(self) -> list[Message]:
        return list(self._acknowledged(each for each in self._deliveries if each.is_settled))

    def _acknowledged(self, deliveries: Iterable[Delivery[Message]]) -> Iterator[Message]:
        for delivery in deliveries:
            if not delivery.is_acknowledged:
                delivery.is_acknowledged = True
                self._waiting -= 1
                yield delivery.message
