"""Messages that leave their queue without having been applied: to the dead letters, or to its end, counted anew.

Published first, and acknowledged when the broker has stored the copy. In between a crash makes two of them, never none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import structlog

from app import figures
from app.domain.messages import Unacceptable
from app.outbound.broker import MOST_RETURNS, Message, Outgoing, copy_of, times_returned
from app.outbound.confirmed import Confirmed
from app.outbound.dead_letters import DeadLetter
from tasks.inbox import Delivery

log = structlog.get_logger()


def comes_too_often(message: Message) -> bool:
    """Tell whether a message has been returned so often that its queue may soon delete it for that."""
    return times_returned(message) >= MOST_RETURNS


class Leaving:
    """The way out, as long as one connection lasts. `left` is called with what may be acknowledged."""

    def __init__(self, outbox: Confirmed, *, left: Callable[[Delivery[Message]], object]) -> None:
        self._outbox = outbox
        self._left = left
        self._is_over = False
        # Queues of which the log has said that they have had messages back too often.
        self._moved: set[str] = set()

    def bury(self, delivery: Delivery[Message], refusal: Unacceptable, *, queue: str) -> None:
        """Move a message to the dead letters."""
        log.warning("status_message_refused", reason=refusal.reason, queue=queue, detail=refusal.detail)
        letter = DeadLetter.of(delivery.message, refusal, queue=queue)
        self._send(delivery, letter.outgoing(), then=partial(figures.messages_buried, [refusal.reason]))

    def move(self, delivery: Delivery[Message], *, queue: str) -> None:
        """Have a message's queue count anew how often it came back."""
        if queue not in self._moved:
            self._moved.add(queue)
            log.warning("status_messages_moved", queue=queue, returns=times_returned(delivery.message))
        self._send(delivery, copy_of(delivery.message, queue=queue), then=figures.message_moved)

    def look(self) -> None:
        """See that what is on its way arrives; to be called now and then."""
        self._outbox.look()

    def close(self) -> None:
        """Acknowledge nothing any more."""
        self._is_over = True
        self._outbox.close()

    def _send(self, delivery: Delivery[Message], outgoing: Outgoing, *, then: Callable[[], object]) -> None:
        delivery.is_leaving = True

        def taken() -> None:
            if not self._is_over:
                then()
                self._left(delivery)

        self._outbox.publish(outgoing, taken=taken)
