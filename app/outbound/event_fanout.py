"""One Redis subscription for all the browsers of a web process.

A reader waits on the channels of the organizations that have clients here, and hands each event to those of its own:
into the queue of one that a thread serves, straight to the connection of a line, which none does. Both are bounded: who
reads too slowly is dropped, reconnects, and replays what it missed.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from itertools import chain

import structlog
from redis import Redis
from redis.exceptions import RedisError

from app import metrics
from app.outbound import events
from app.outbound.channel_subscription import ChannelSubscription
from app.outbound.disconnects import DisconnectWatcher
from app.outbound.stream_connections import EncodedEvent, StreamConnection

log = structlog.get_logger()

# A page applies an event in milliseconds; who is this far behind, in events or in bytes, is asleep.
MAX_QUEUED_EVENTS, MAX_QUEUED_BYTES = 100, 1024 * 1024
FIRST_RECONNECT_DELAY, MAX_RECONNECT_DELAY = 0.2, 5.0
# How often each line is looked after, and channels without clients are left, in seconds.
MAINTENANCE_INTERVAL_SECONDS = 1.0


class TooManyStreams(Exception):
    """The organization has as many streams open in this process as it may have."""


class QueuedClient:
    """One browser's place in the fan-out while a thread serves it."""

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self._queue: queue.Queue[EncodedEvent | None] = queue.Queue(MAX_QUEUED_EVENTS)
        # Written by the reader alone, and by whoever takes from the queue: what was put in, and what was taken out.
        self._queued_bytes = self._taken_bytes = 0
        self.is_dropped = False

    def next_event(self, timeout_seconds: float) -> EncodedEvent | None:
        """Return the next event, or None after `timeout_seconds` seconds without one or once dropped."""
        try:
            event = self._queue.get(timeout=timeout_seconds)
        except queue.Empty:
            return None
        self._taken_bytes += len(event.text) if event else 0
        return event

    def deliver_event(self, event: EncodedEvent) -> bool:
        """Queue an event; False if the client is too far behind. One that is too large by itself is let in alone."""
        waiting_bytes = self._queued_bytes - self._taken_bytes
        if waiting_bytes and waiting_bytes + len(event.text) > MAX_QUEUED_BYTES:
            return False
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            return False
        self._queued_bytes += len(event.text)
        return True

    def close_stream(self) -> None:
        """End this client's stream: it will reconnect, and replay."""
        self.is_dropped = True
        self.take_queued_events()
        self._queue.put_nowait(None)

    def take_queued_events(self) -> list[EncodedEvent]:
        """Return what is queued, and queue it no more."""
        drained: list[EncodedEvent] = []
        while True:
            try:
                event = self._queue.get_nowait()
            except queue.Empty:
                return drained
            if event is not None:
                drained.append(event)


class EventFanout:
    """The subscription and its clients; its threads start with the first client, so never before a fork."""

    def __init__(self, connect_to_redis: Callable[[], Redis], *, max_streams_per_organization: int) -> None:
        """Take what gives a connection to Redis, and how many streams one organization may have open here."""
        self._connect = connect_to_redis
        self._max_streams_per_organization = max_streams_per_organization
        self._clients: dict[str, set[QueuedClient | StreamConnection]] = defaultdict(set)
        self._disconnect_watcher = DisconnectWatcher()
        self._lock = threading.Lock()
        self._subscription = ChannelSubscription()
        # While the subscription was lost, Redis may have been away, and what was published then is nowhere.
        self._was_subscription_lost = False
        self._continuous_since_event_id = "0-0"
        self._is_subscribed = False
        self._threads: dict[str, threading.Thread] = {}

    def add_client(self, channel: str) -> QueuedClient:
        """Add a client: once its channel is heard, none of its events escapes it. Raises TooManyStreams."""
        client = QueuedClient(channel)
        with self._lock:
            if len(self._clients.get(channel, ())) >= self._max_streams_per_organization:
                raise TooManyStreams
            self._clients[channel].add(client)
            metrics.process_metrics().sse_clients.inc()
            self._start_threads()
        return client

    def replace_client_with_connection(self, client: QueuedClient, connection: StreamConnection) -> None:
        """Let a stream connection take a client's place, with all events that the client has not sent yet."""
        with self._lock:
            if not self._remove(client):
                connection.close_stream()
                return
            self._clients[connection.channel].add(connection)
            self._disconnect_watcher.watch(connection)
            is_slow = not all(connection.deliver_event(event) for event in client.take_queued_events())
        if is_slow:
            self._drop_clients([connection], reason="slow")

    def wait_until_subscribed(self, client: QueuedClient, *, timeout_seconds: float = 3.0) -> None:
        """Return once a client's channel is heard. Raises TimeoutError and redis.RedisError."""
        self._subscription.wait_until_subscribed(client.channel, timeout_seconds=timeout_seconds)

    def has_every_event_since(self, event_id: str) -> bool:
        """Tell whether every event after this one can be had: no subscription was lost since it was published."""
        return events.event_id_order(event_id) >= events.event_id_order(self._continuous_since_event_id)

    def remove_client(self, client: QueuedClient | StreamConnection) -> None:
        """Remove a client."""
        with self._lock:
            # One that was dropped leaves again when its response is closed.
            if self._remove(client):
                metrics.process_metrics().sse_clients.dec()

    def __len__(self) -> int:
        with self._lock:
            return sum(map(len, self._clients.values()))

    def _start_threads(self) -> None:
        for name, run in (("sse-reader", self._run_subscription), ("sse-tender", self._run_maintenance)):
            if name not in self._threads or not self._threads[name].is_alive():
                self._threads[name] = threading.Thread(target=run, name=name, daemon=True)
                self._threads[name].start()

    def _remove(self, client: QueuedClient | StreamConnection) -> bool:
        """Remove a client; tell whether it was still there."""
        clients = self._clients.get(client.channel, set())
        if client not in clients:
            return False
        clients.remove(client)
        if isinstance(client, StreamConnection):
            self._disconnect_watcher.unwatch(client)
        if not clients:
            del self._clients[client.channel]
        return True

    def _run_maintenance(self) -> None:
        stop = threading.Event()
        while not stop.wait(MAINTENANCE_INTERVAL_SECONDS):
            now = time.monotonic()
            with self._lock:
                everyone = chain.from_iterable(self._clients.values())
                lines = [client for client in everyone if isinstance(client, StreamConnection)]
                ended = {line for line in lines if not line.send_heartbeat_or_expire(now)}
                ended.update(self._disconnect_watcher.disconnected())
                # Under the lock, so that nobody joins whose channel is being left.
                with suppress(RedisError):
                    self._subscription.unsubscribe_all_but(self._clients)
            for line in ended:
                self.remove_client(line)
                line.close_stream()

    def _run_subscription(self) -> None:
        pause = FIRST_RECONNECT_DELAY
        stop = threading.Event()
        while True:
            self._is_subscribed = False
            try:
                with self._connect().pubsub() as subscription:
                    self._subscription.read_messages(
                        subscription, on_connected=self._on_subscribed, on_message=self._deliver_to_clients
                    )
            except RedisError as problem:
                log.warning("sse_subscription_lost", error=type(problem).__name__, clients=len(self))
            pause = FIRST_RECONNECT_DELAY if self._is_subscribed else min(pause * 2, MAX_RECONNECT_DELAY)
            self._was_subscription_lost = True
            self._subscription.reset()
            # Whatever was published meanwhile is missing here: everyone reconnects and replays.
            self._drop_clients(self._all_clients(), reason="subscription_lost")
            stop.wait(pause)

    def _on_subscribed(self) -> None:
        if self._was_subscription_lost:
            self._continuous_since_event_id = events.event_id_of_now(self._connect())
        self._is_subscribed = True

    def _deliver_to_clients(self, channel: str, data: bytes) -> None:
        with self._lock:
            clients = self._clients.get(channel)
            if not clients:
                return
            try:
                event = EncodedEvent(events.parse_published_event(data))
            except ValueError:
                log.warning("sse_event_unreadable", channel=channel)
                return
            slow = [client for client in clients if not client.deliver_event(event)]
        if slow:
            log.info("sse_slow_clients_dropped", channel=channel, count=len(slow))
            self._drop_clients(slow, reason="slow")

    def _all_clients(self) -> list[QueuedClient | StreamConnection]:
        with self._lock:
            return list(chain.from_iterable(self._clients.values()))

    def _drop_clients(self, clients: list[QueuedClient | StreamConnection], *, reason: str) -> None:
        metrics.process_metrics().sse_drops.labels(reason).inc(len(clients))
        for client in clients:
            self.remove_client(client)
            client.close_stream()
