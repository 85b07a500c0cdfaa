"""The channels that a process hears: its browsers' own, all on one Redis connection.

Channels come and go with browsers, while a reader waits on the connection. Whoever wants one asks from their own thread
and waits for Redis' word; one that nobody wants any more is left a moment later. A channel of ours that carries nothing
is heard all along: the connection says by its second confirmation that it was made anew unasked, by redis-py, and that
events may have been missed in between.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection

from redis.client import PubSub
from redis.exceptions import ConnectionError as RedisConnectionError

from app.outbound import events

# Of no organization: it stands for the connection.
CONTROL_CHANNEL = events.CHANNEL_PREFIX
# How long the reader waits for Redis before it looks whether the connection still lives, in seconds.
READ_TIMEOUT_SECONDS = 10.0


class ChannelSubscription:
    """Which channels are heard now. One thread reads; any may ask for a channel."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_connected = threading.Event()
        self._subscription: PubSub | None = None
        # Each is set once Redis has confirmed it.
        self._channels: dict[str, threading.Event] = {}
        # A channel that was left and asked for again is heard when the last of its confirmations has come.
        self._unconfirmed: Counter[str] = Counter()

    def wait_until_subscribed(self, channel: str, *, timeout_seconds: float) -> None:
        """Return once a channel is heard. Raises TimeoutError and redis.RedisError."""
        deadline = time.monotonic() + timeout_seconds
        if not self._is_connected.wait(timeout_seconds):
            raise TimeoutError
        with self._lock:
            confirmed = self._channels.get(channel)
            if confirmed is None:
                confirmed = self._subscribe(channel)
        if not confirmed.wait(max(0.0, deadline - time.monotonic())):
            raise TimeoutError

    def _subscribe(self, channel: str) -> threading.Event:
        if self._subscription is None:
            raise TimeoutError
        self._subscription.subscribe(channel)
        self._unconfirmed[channel] += 1
        confirmed = self._channels[channel] = threading.Event()
        return confirmed

    def unsubscribe_all_but(self, wanted_channels: Collection[str]) -> None:
        """Leave every channel but these. Raises redis.RedisError."""
        with self._lock:
            unwanted = [channel for channel in self._channels if channel not in wanted_channels]
            if unwanted and self._subscription is not None:
                self._subscription.unsubscribe(*unwanted)
                for channel in unwanted:
                    del self._channels[channel]

    def read_messages(
        self, subscription: PubSub, *, on_connected: Callable[[], None], on_message: Callable[[str, bytes], None]
    ) -> None:
        """Read until the connection is lost, which raises redis.RedisError; call `on_connected` once it stands."""
        subscription.subscribe(CONTROL_CHANNEL)
        while True:
            received = subscription.get_message(timeout=READ_TIMEOUT_SECONDS)
            if received is None:
                subscription.ping()
                continue
            channel = (received["channel"] or b"").decode(errors="replace")
            if received["type"] == "message":
                on_message(channel, received["data"])
            elif received["type"] == "subscribe" and channel != CONTROL_CHANNEL:
                self._on_subscription_confirmed(channel)
            elif received["type"] == "subscribe":
                self._on_connected(subscription)
                on_connected()
                self._is_connected.set()

    def reset(self) -> None:
        """Forget everything: whoever waits for a channel goes on, and is dropped like all others."""
        with self._lock:
            self._is_connected.clear()
            self._subscription = None
            for confirmed in self._channels.values():
                confirmed.set()
            self._channels.clear()
            self._unconfirmed.clear()

    def _on_connected(self, subscription: PubSub) -> None:
        with self._lock:
            if self._subscription is not None:
                raise RedisConnectionError("the subscription was lost, and made anew")
            self._subscription = subscription

    def _on_subscription_confirmed(self, channel: str) -> None:
        with self._lock:
            self._unconfirmed[channel] -= 1
            if not self._unconfirmed[channel]:
                del self._unconfirmed[channel]
                if channel in self._channels:
                    self._channels[channel].set()
