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

from app import figures
from app.outbound import events
from app.outbound.departures import Departures
from app.outbound.hearing import Hearing
from app.outbound.lines import Line, Told

log = structlog.get_logger()

# A page applies an event in milliseconds; who is this far behind, in events or in bytes, is asleep.
LONGEST_QUEUE, LARGEST_QUEUE = 100, 1024 * 1024
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
# How often each line is looked after, and channels without clients are left, in seconds.
TENDED_EVERY = 1.0


class TooManyStreams(Exception):
    """The organization has as many streams open in this process as it may have."""


class Client:
    """One browser's place in the fan-out while a thread serves it."""

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self._queue: queue.Queue[Told | None] = queue.Queue(LONGEST_QUEUE)
        # Written by the reader alone, and by whoever takes from the queue: what was put in, and what was taken out.
        self._offered = self._taken = 0
        self.dropped = False

    def next(self, timeout: float) -> Told | None:
        """Return the next event, or None after `timeout` seconds without one or once dropped."""
        try:
            told = self._queue.get(timeout=timeout)
        except queue.Empty:
            return None
        self._taken += len(told.text) if told else 0
        return told

    def offer(self, told: Told) -> bool:
        """Queue an event; False if the client is too far behind. One that is too large by itself is let in alone."""
        waiting = self._offered - self._taken
        if waiting and waiting + len(told.text) > LARGEST_QUEUE:
            return False
        try:
            self._queue.put_nowait(told)
        except queue.Full:
            return False
        self._offered += len(told.text)
        return True

    def drop(self) -> None:
        """End this client's stream: it will reconnect, and replay."""
        self.dropped = True
        self.drain()
        self._queue.put_nowait(None)

    def drain(self) -> list[Told]:
        """Return what is queued, and queue it no more."""
        drained: list[Told] = []
        while True:
            try:
                told = self._queue.get_nowait()
            except queue.Empty:
                return drained
            if told is not None:
                drained.append(told)


class Fanout:
    """The subscription and its clients; its threads start with the first client, so never before a fork."""

    def __init__(self, connect: Callable[[], Redis], *, most: int) -> None:
        """Take what gives a connection to Redis, and how many streams one organization may have open here."""
        self._connect = connect
        self._most = most
        self._clients: dict[str, set[Client | Line]] = defaultdict(set)
        self._departures = Departures()
        self._lock = threading.Lock()
        self._hearing = Hearing()
        # While the subscription was lost, Redis may have been away, and what was published then is nowhere.
        self._lost = False
        self._resumed_at = "0-0"
        self._stands = False
        self._threads: dict[str, threading.Thread] = {}

    def join(self, channel: str) -> Client:
        """Add a client: once its channel is heard, none of its events escapes it. Raises TooManyStreams."""
        client = Client(channel)
        with self._lock:
            if len(self._clients.get(channel, ())) >= self._most:
                raise TooManyStreams
            self._clients[channel].add(client)
            figures.clients_changed(1)
            self._start_threads()
        return client

    def hand_over(self, client: Client, line: Line) -> None:
        """Let a line take a client's place, with all that the client has not told yet."""
        with self._lock:
            if not self._remove(client):
                line.drop()
                return
            self._clients[line.channel].add(line)
            self._departures.watch(line)
            is_slow = not all(line.offer(told) for told in client.drain())
        if is_slow:
            self._drop([line], reason="slow")

    def wait_until_heard(self, client: Client, *, timeout: float = 3.0) -> None:
        """Return once a client's channel is heard. Raises TimeoutError and redis.RedisError."""
        self._hearing.hear(client.channel, timeout=timeout)

    def is_continuous_since(self, event_id: str) -> bool:
        """Tell whether every event after this one can be had: no subscription was lost since it was published."""
        return events.order(event_id) >= events.order(self._resumed_at)

    def leave(self, client: Client | Line) -> None:
        """Remove a client."""
        with self._lock:
            # One that was dropped leaves again when its response is closed.
            if self._remove(client):
                figures.clients_changed(-1)

    def __len__(self) -> int:
        with self._lock:
            return sum(map(len, self._clients.values()))

    def _start_threads(self) -> None:
        for name, run in (("sse-reader", self._read_for_ever), ("sse-tender", self._tend_for_ever)):
            if name not in self._threads or not self._threads[name].is_alive():
                self._threads[name] = threading.Thread(target=run, name=name, daemon=True)
                self._threads[name].start()

    def _remove(self, client: Client | Line) -> bool:
        """Remove a client; tell whether it was still there."""
        clients = self._clients.get(client.channel, set())
        if client not in clients:
            return False
        clients.remove(client)
        if isinstance(client, Line):
            self._departures.forget(client)
        if not clients:
            del self._clients[client.channel]
        return True

    def _tend_for_ever(self) -> None:
        stop = threading.Event()
        while not stop.wait(TENDED_EVERY):
            now = time.monotonic()
            with self._lock:
                everyone = chain.from_iterable(self._clients.values())
                over = {line for line in everyone if isinstance(line, Line) and not line.tend(now)}
                over.update(self._departures.left())
                # Under the lock, so that nobody joins whose channel is being left.
                with suppress(RedisError):
                    self._hearing.keep(self._clients)
            for line in over:
                self.leave(line)
                line.drop()

    def _read_for_ever(self) -> None:
        pause = FIRST_PAUSE
        stop = threading.Event()
        while True:
            self._stands = False
            try:
                with self._connect().pubsub() as subscription:
                    self._hearing.read(subscription, connected=self._note_connected, told=self._hand_out)
            except RedisError as problem:
                log.warning("sse_subscription_lost", error=type(problem).__name__, clients=len(self))
            pause = FIRST_PAUSE if self._stands else min(pause * 2, LONGEST_PAUSE)
            self._lost = True
            self._hearing.lost()
            # Whatever was published meanwhile is missing here: everyone reconnects and replays.
            self._drop(self._everyone(), reason="subscription_lost")
            stop.wait(pause)

    def _note_connected(self) -> None:
        if self._lost:
            self._resumed_at = events.stream_now(self._connect())
        self._stands = True

    def _hand_out(self, channel: str, data: bytes) -> None:
        with self._lock:
            clients = self._clients.get(channel)
            if not clients:
                return
            try:
                told = Told(events.parse(data))
            except ValueError:
                log.warning("sse_event_unreadable", channel=channel)
                return
            slow = [client for client in clients if not client.offer(told)]
        if slow:
            log.info("sse_slow_clients_dropped", channel=channel, count=len(slow))
            self._drop(slow, reason="slow")

    def _everyone(self) -> list[Client | Line]:
        with self._lock:
            return list(chain.from_iterable(self._clients.values()))

    def _drop(self, clients: list[Client | Line], *, reason: str) -> None:
        figures.clients_dropped(len(clients), reason=reason)
        for client in clients:
            self.leave(client)
            client.drop()
