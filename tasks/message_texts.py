"""What a child of the status worker is given of raw messages: (queue, text) of each that can be read as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from app.domain.status_messages import MessageRefused, body_bytes, decode_body
from app.domain.unreadable_messages import identify_unreadable_message
from app.outbound.broker import Message
from tasks.held_batches import BatchSubmission
from tasks.inbox import Delivery


def queue_names_by_consumer_tag(consumer: Any) -> dict[str, str]:
    """Return the queues of a consumer (kombu's, of several queues) by the tags that messages carry."""
    return {tag: name for name, tag in consumer._active_tags.items()}  # noqa: SLF001 - nothing public tells it


def source_queue_of(message: Message, queue_names_by_tag: Mapping[str, str]) -> str:
    """Return the queue that a message came from: it may have come by way of an exchange, under any key.

    Kombu's Redis transport carries no tags.
    """
    info = message.delivery_info
    return queue_names_by_tag.get(info.get("consumer_tag", ""), "") or str(info.get("routing_key", ""))


def texts_for_child(
    submission: BatchSubmission, *, consumer: Any, dead_letter: Callable[[Delivery[Message], MessageRefused], None]
) -> list[tuple[str, str]]:
    """Return a batch's messages for its child; what is no text leaves it, or is named there as an answer."""
    raw: list[tuple[str, str]] = []
    kept: list[Delivery[Message]] = []
    queue_names = queue_names_by_consumer_tag(consumer)
    submission.refusals_by_position.clear()
    for delivery in submission.batch.deliveries:
        body = delivery.message.body
        try:
            text = decode_body(body)
        except MessageRefused as refusal:
            identified = identify_unreadable_message(body_bytes(body))
            if identified is None:
                dead_letter(delivery, refusal)
                continue
            text = identified.placeholder_body()
            submission.refusals_by_position[len(raw)] = refusal
        raw.append((source_queue_of(delivery.message, queue_names), text))
        kept.append(delivery)
    submission.batch.deliveries = kept
    return raw
