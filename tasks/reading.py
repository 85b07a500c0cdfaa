"""What a child of the status worker is given of raw messages: (queue, text) of each that can be read as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from app.domain.messages import Unacceptable, raw_of, text_of
from app.domain.unreadable import about
from app.outbound.broker import Message
from tasks.holding import Submission
from tasks.inbox import Delivery


def names_of(consumer: Any) -> dict[str, str]:
    """Return the queues of a consumer (kombu's, of several queues) by the tags that messages carry."""
    return {tag: name for name, tag in consumer._active_tags.items()}  # noqa: SLF001 - nothing public tells it


def queue_of(message: Message, names: Mapping[str, str]) -> str:
    """Return the queue that a message came from: it may have come by way of an exchange, under any key.

    Kombu's Redis transport carries no tags.
    """
    said = message.delivery_info
    return names.get(said.get("consumer_tag", ""), "") or str(said.get("routing_key", ""))


def readable(
    submission: Submission, *, consumer: Any, bury: Callable[[Delivery[Message], Unacceptable], None]
) -> list[tuple[str, str]]:
    """Return a batch's messages for its child; what is no text leaves it, or is named there as an answer."""
    raw: list[tuple[str, str]] = []
    kept: list[Delivery[Message]] = []
    names = names_of(consumer)
    submission.refused.clear()
    for delivery in submission.batch.deliveries:
        body = delivery.message.body
        try:
            text = text_of(body)
        except Unacceptable as refusal:
            named = about(raw_of(body))
            if named is None:
                bury(delivery, refusal)
                continue
            text = named.text()
            submission.refused[len(raw)] = refusal
        raw.append((queue_of(delivery.message, names), text))
        kept.append(delivery)
    submission.batch.deliveries = kept
    return raw
