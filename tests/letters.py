"""Dead letters put into their queue, as the worker does when it has nobody to ask."""

from __future__ import annotations

from collections.abc import Sequence

from app.outbound.broker import open_confirmed_connection
from app.outbound.dead_letters import DeadLetter, DeadLetterQueue


def bury_reliably(url: str, letters: Sequence[DeadLetter]) -> None:
    """Publish dead letters and wait for the broker's word on each."""
    with open_confirmed_connection(url) as connection:
        DeadLetterQueue(connection).add(*letters)
