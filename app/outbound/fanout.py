"""One Redis subscription for all the browsers of a web process.

A reader waits on the pattern of every organization's channel and hands each event to the clients of that organization.
A client's queue is bounded: who reads too slowly is dropped, reconnects, and replays what it missed.
"""

from __future__ import annotations

import queue
import threading
from collections import defaultdict
from collections.abc import Callable

import structlog
from redis import Redis
from redis.client import PubSub
from redis.exceptions import RedisError

from app import figures
from app.outbound import events
from app.outbound.events import Message

log = structlog.get_logger()

# A page applies an event in milliseconds; who is this far behind is asleep.
LONGEST_QUEUE = 100
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
# How long the reader waits for Redis before it looks whether the connection still lives.
READ_TIMEOUT = 10.0


class Client:
    """One browser's place in the fan-out."""

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self._queue: queue.Queue[Message | None] = queue.Queue(LONGEST_QUEUE)
        self.dropped = False

    def next(self, timeout: float) -> Message | None:
        """Return the next event, or None after `timeout` seconds without one or once dropped."""
        try:
            return self._queue.get(timeout=timeout)
        except queue.Empty:
            return None

    def offer(self, message: Message) -> bool:
        """Queue an event; False if the client is too far behind."""
        try:
            self._queue.put_nowait(message)
        except queue.Full:
            return False
        return True

    def drop(self) -> None:
        """End this client's stream: it will reconnect, and replay."""
        self.dropped = True
        while True:
            try:
                self._queue.get_nowait()
            except queue.Empty:
                break
        self._queue.put_nowait(None)


class Fanout:
    """The subscription and its clients; the reader starts with the first client, so never before a fork."""

    def __init__(self, connect: Callable[[], Redis]) -> None:
        self._connect = connect
        self._clients: dict[str, set[Client]] = defaultdict(set)
        self._lock = threading.Lock()
        self._subscribed = threading.Event()
        # While the subscription was lost, Redis may have been away, and what was published then is nowhere.
        self._lost = False
        self._resumed_at = "0-0"
        self._reader: threading.Thread | None = None

    def join(self, channel: str) -> Client:
        """Add a client: once subscribed, no event of its channel escapes it."""
        client = Client(channel)
        with self._lock:
            self._clients[channel].add(client)
            figures.clients_changed(1)
            if self._reader is None or not self._reader.is_alive():
                self._reader = threading.Thread(target=self._read_for_ever, name="sse-fanout", daemon=True)
                self._reader.start()
        return client

    def wait_until_subscribed(self, *, timeout: float = 3.0) -> None:
        """Return once the subscription stands. Raises TimeoutError."""
        if not self._subscribed.wait(timeout):
            raise TimeoutError

    def is_continuous_since(self, event_id: str) -> bool:
        """Tell whether every event after this one can be had: no subscription was lost since it was published."""
        return events.order(event_id) >= events.order(self._resumed_at)

    def leave(self, client: Client) -> None:
        """Remove a client."""
        with self._lock:
            clients = self._clients.get(client.channel, set())
            # One that was dropped leaves again when its response is closed.
            if client not in clients:
                return
            clients.remove(client)
            figures.clients_changed(-1)
            if not clients:
                del self._clients[client.channel]

    def __len__(self) -> int:
        with self._lock:
            return sum(len(clients) for clients in self._clients.values())

    def _read_for_ever(self) -> None:
        pause = FIRST_PAUSE
        stop = threading.Event()
        while True:
            try:
                with self._connect().pubsub() as subscription:
                    subscription.psubscribe(f"{events.PREFIX}*")
                    self._read(subscription)
            except RedisError as problem:
                log.warning("sse_subscription_lost", error=type(problem).__name__, clients=len(self))
            pause = FIRST_PAUSE if self._subscribed.is_set() else min(pause * 2, LONGEST_PAUSE)
            self._lost = True
            self._subscribed.clear()
            # Whatever was published meanwhile is missing here: everyone reconnects and replays.
            self._drop(self._everyone(), reason="subscription_lost")
            stop.wait(pause)

    def _read(self, subscription: PubSub) -> None:
        while True:
            received = subscription.get_message(timeout=READ_TIMEOUT)
            if received is None:
                subscription.ping()
            elif received["type"] == "psubscribe":
                if self._lost:
                    self._resumed_at = events.stream_now(self._connect())
                self._subscribed.set()
            elif received["type"] == "pmessage":
                self._hand_out(received["channel"].decode(errors="replace"), received["data"])

    def _hand_out(self, channel: str, data: bytes) -> None:
        with self._lock:
            clients = list(self._clients.get(channel, ()))
        if not clients:
            return
        try:
            message = events.parse(data)
        except ValueError:
            log.warning("sse_event_unreadable", channel=channel)
            return
        slow = [client for client in clients if not client.offer(message)]
        if slow:
            log.info("sse_slow_clients_dropped", channel=channel, count=len(slow))
            self._drop(slow, reason="slow")

    def _everyone(self) -> list[Client]:
        with self._lock:
            return [client for clients in self._clients.values() for client in clients]

    def _drop(self, clients: list[Client], *, reason: str) -> None:
        figures.clients_dropped(len(clients), reason=reason)
        for client in clients:
            self.leave(client)
            client.drop()
