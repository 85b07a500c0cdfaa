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
OURS = events.PREFIX
# How long the reader waits for Redis before it looks whether the connection still lives, in seconds.
READ_TIMEOUT = 10.0


class Hearing:
    """Which channels are heard now. One thread reads; any may ask for a channel."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connected = threading.Event()
        self._subscription: PubSub | None = None
        # Each is set once Redis has confirmed it.
        self._channels: dict[str, threading.Event] = {}
        # A channel that was left and asked for again is heard when the last of its confirmations has come.
        self._unconfirmed: Counter[str] = Counter()

    def hear(self, channel: str, *, timeout: float) -> None:
        """Return once a channel is heard. Raises TimeoutError and redis.RedisError."""
        until = time.monotonic() + timeout
        if not self._connected.wait(timeout):
            raise TimeoutError
        with self._lock:
            heard = self._channels.get(channel)
            if heard is None:
                heard = self._ask_for(channel)
        if not heard.wait(max(0.0, until - time.monotonic())):
            raise TimeoutError

    def _ask_for(self, channel: str) -> threading.Event:
        if self._subscription is None:
            raise TimeoutError
        self._subscription.subscribe(channel)
        self._unconfirmed[channel] += 1
        heard = self._channels[channel] = threading.Event()
        return heard

    def keep(self, wanted: Collection[str]) -> None:
        """Leave every channel but these. Raises redis.RedisError."""
        with self._lock:
            unwanted = [channel for channel in self._channels if channel not in wanted]
            if unwanted and self._subscription is not None:
                self._subscription.unsubscribe(*unwanted)
                for channel in unwanted:
                    del self._channels[channel]

    def read(self, subscription: PubSub, *, connected: Callable[[], None], told: Callable[[str, bytes], None]) -> None:
        """Read until the connection is lost, which raises redis.RedisError; call `connected` once it stands."""
        subscription.subscribe(OURS)
        while True:
            received = subscription.get_message(timeout=READ_TIMEOUT)
            if received is None:
                subscription.ping()
                continue
            channel = (received["channel"] or b"").decode(errors="replace")
            if received["type"] == "message":
                told(channel, received["data"])
            elif received["type"] == "subscribe" and channel != OURS:
                self._confirm(channel)
            elif received["type"] == "subscribe":
                self._connect(subscription)
                connected()
                self._connected.set()

    def lost(self) -> None:
        """Forget everything: whoever waits for a channel goes on, and is dropped like all others."""
        with self._lock:
            self._connected.clear()
            self._subscription = None
            for heard in self._channels.values():
                heard.set()
            self._channels.clear()
            self._unconfirmed.clear()

    def _connect(self, subscription: PubSub) -> None:
        with self._lock:
            if self._subscription is not None:
                raise RedisConnectionError("the subscription was lost, and made anew")
            self._subscription = subscription

    def _confirm(self, channel: str) -> None:
        with self._lock:
            self._unconfirmed[channel] -= 1
            if not self._unconfirmed[channel]:
                del self._unconfirmed[channel]
                if channel in self._channels:
                    self._channels[channel].set()
