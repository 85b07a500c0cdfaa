"""Messages that leave their queue without having been applied: to the dead letters, or to its end, counted anew.

Published first, and acknowledged when the broker has stored the copy. In between a crash makes two of them, never none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import structlog

from app import metrics
from app.domain.status_messages import MessageRefused
from app.outbound.broker import MAX_RETURNS_BEFORE_REPUBLISH, Message, OutgoingMessage, copy_for_republish, return_count
from app.outbound.confirmed_publisher import ConfirmedPublisher
from app.outbound.dead_letters import DeadLetter
from tasks.inbox import Delivery

log = structlog.get_logger()


def must_be_republished(message: Message) -> bool:
    """Tell whether a message has been returned so often that its queue may soon delete it for that."""
    return return_count(message) >= MAX_RETURNS_BEFORE_REPUBLISH


class Republisher:
    """The way out, as long as one connection lasts. `on_republished` is called with what may be acknowledged."""

    def __init__(self, publisher: ConfirmedPublisher, *, on_republished: Callable[[Delivery[Message]], object]) -> None:
        self._publisher = publisher
        self._on_republished = on_republished
        self._is_closed = False
        # Queues of which the log has said that they have had messages back too often.
        self._logged_queues: set[str] = set()

    def dead_letter(self, delivery: Delivery[Message], refusal: MessageRefused, *, queue: str) -> None:
        """Move a message to the dead letters."""
        log.warning("status_message_refused", reason=refusal.reason, queue=queue, detail=refusal.detail)
        letter = DeadLetter.from_refused_message(delivery.message, refusal, queue=queue)
        count_letter = partial(metrics.count_dead_letters, [refusal.reason])
        self._publish_copy(delivery, letter.to_dead_letter_message(), count_metric=count_letter)

    def republish_to_own_queue(self, delivery: Delivery[Message], *, queue: str) -> None:
        """Have a message's queue count anew how often it came back."""
        if queue not in self._logged_queues:
            self._logged_queues.add(queue)
            log.warning("status_messages_moved", queue=queue, returns=return_count(delivery.message))
        copy = copy_for_republish(delivery.message, queue=queue)
        self._publish_copy(delivery, copy, count_metric=metrics.process_metrics().messages_republished.inc)

    def check_confirm_deadline(self) -> None:
        """See that what is on its way arrives; to be called now and then."""
        self._publisher.check_confirm_deadline()

    def close(self) -> None:
        """Acknowledge nothing any more."""
        self._is_closed = True
        self._publisher.close()

    def _publish_copy(
        self, delivery: Delivery[Message], outgoing: OutgoingMessage, *, count_metric: Callable[[], object]
    ) -> None:
        delivery.is_being_republished = True

        def on_confirmed() -> None:
            if not self._is_closed:
                count_metric()
                self._on_republished(delivery)

        self._publisher.publish(outgoing, on_confirmed=on_confirmed)
