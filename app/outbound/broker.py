"""The broker below Celery: queues as the external service declares them, raw messages, dead letters.

The only importer of kombu. It speaks AMQP to RabbitMQ, and kombu's Redis transport where there is no RabbitMQ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pydantic_core
import structlog
from amqp.exceptions import AMQPError
from kombu import Connection, Exchange, Message, Producer, Queue
from kombu.exceptions import OperationalError
from kombu.transport import pyamqp

from app.domain.messages import raw_of

log = structlog.get_logger()

DEAD_LETTERS = "data_source_status.dead"
# The exchange of our own tasks.
TASKS = "rita"

# Headers of a dead letter.
REASON, DETAIL, ORIGIN, DIED_AT = "x-rita-reason", "x-rita-detail", "x-rita-queue", "x-rita-died-at"
# A header must fit a frame; the detail is for people.
LONGEST_DETAIL = 500

# The only bound on a publish to a frozen broker that holds (confirm timeouts alone do not): limits on the socket.
RELIABLE = {"confirm_publish": True, "confirm_timeout": 5, "read_timeout": 8, "write_timeout": 8}
# Of a worker's own connections: without a limit, it would wait for ever for a dead one to say that it is closed. The
# heartbeats that have found it dead took most of the half minute in which a worker must be back.
BOUNDED = {"read_timeout": 3, "write_timeout": 3}
# Redis answers each command, so that a limit on its socket is all it takes.
RELIABLE_REDIS = {"socket_connect_timeout": 4, "socket_timeout": 8}

__all__ = ["BrokerError", "Connection", "DeadLetter", "Message", "Queue"]

# A broker that is there and refuses (another password, no such virtual host) says so with its client's own exceptions.
BrokerError = (OperationalError, AMQPError)


def task_queue(name: str) -> Queue:
    """Return a queue of Celery's own messages."""
    return Queue(name, exchange=Exchange(TASKS, type="direct"), routing_key=name, durable=True)


def plain_queue(name: str) -> Queue:
    """Return a queue for Celery to consume that it neither declares nor binds; `declare` does, as the service does."""
    return Queue(name, exchange="", routing_key=name, no_declare=True)


def declare(channel: Any, names: Iterable[str]) -> None:
    """Declare queues with `durable` and no other argument, on the default exchange: exactly CONTRACT's section 5."""
    for name in names:
        channel.queue_declare(queue=name, durable=True, auto_delete=False, exclusive=False)


def acknowledge(messages: Sequence[Message], *, errors: tuple[type[Exception], ...]) -> None:
    """Acknowledge messages one by one; a connection that has broken is logged."""
    for message in messages:
        message.ack_log_error(log, errors)


def acknowledge_oldest(messages: Sequence[Message], *, errors: tuple[type[Exception], ...]) -> None:
    """Acknowledge messages than which none on their channel is older and open: AMQP does it in one frame for all."""
    if isinstance(messages[-1].channel, pyamqp.Channel):
        messages[-1].ack_log_error(log, errors, multiple=True)
    else:
        acknowledge(messages, errors=errors)


class _RawMessage(pyamqp.Message):
    """A delivery as it came: a header that claims compression is not obeyed, for what it hides may be a bomb."""

    def __init__(self, msg: Any, **options: Any) -> None:
        if headers := msg.properties.get("application_headers"):
            headers.pop("compression", None)
        super().__init__(msg, **options)  # type: ignore[no-untyped-call]


def receive_raw(channel: Any) -> None:
    """Let a channel deliver bodies byte for byte, whatever their headers say of encoding or compression.

    Kombu's Redis transport wraps bodies in JSON of its own and has no such choice.
    """
    if isinstance(channel, pyamqp.Channel):
        channel.auto_decode = False
        channel.Message = _RawMessage  # type: ignore[assignment]


def task_message(task: str, task_id: str, *, argument: Sequence[Any], origin: str) -> Message:
    """Return a message, as if it had come from the broker, that asks a worker to run `task(argument)`.

    Celery's message protocol 2: https://docs.celeryq.dev/en/stable/internals/protocol.html. The reprs are constants, so
    no content reaches logs, events or Flower.
    """
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    message = Message(
        body=pydantic_core.to_json([[argument], {}, embed]).decode(),
        content_type="application/json",
        content_encoding="utf-8",
        headers={
            "lang": "py",
            "task": task,
            "id": task_id,
            "root_id": task_id,
            "parent_id": None,
            "group": None,
            "retries": 0,
            "eta": None,
            "expires": None,
            "timelimit": [None, None],
            "argsrepr": f"<{len(argument)} messages>",
            "kwargsrepr": "{}",
            "origin": origin,
            "ignore_result": True,
        },
        properties={"correlation_id": task_id, "reply_to": None},
        delivery_info={"exchange": "", "routing_key": "", "redelivered": False},
    )
    # The worker looks at the payload to tell the protocol's versions apart; this saves it decoding what we encoded.
    message._decoded_cache = ([argument], {}, embed)  # noqa: SLF001 - there is no public way to hand it over
    return message


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that could not be applied: its body untouched, and why."""

    body: bytes
    reason: str
    detail: str = ""
    queue: str = ""
    died_at: str = ""
    content_type: str = "application/json"

    @classmethod
    def from_message(cls, message: Message) -> DeadLetter:
        """Read one back from the dead-letter queue."""
        headers: Mapping[str, Any] = message.headers or {}
        return cls(
            body=raw_of(message.body),
            reason=str(headers.get(REASON, "unknown")),
            detail=str(headers.get(DETAIL, "")),
            queue=str(headers.get(ORIGIN, "")),
            died_at=str(headers.get(DIED_AT, "")),
            content_type=message.content_type or "application/json",
        )


def bury(channel: Any, letters: Iterable[DeadLetter]) -> None:
    """Publish dead letters, persistent, with the reason in a header."""
    producer = Producer(channel)
    for letter in letters:
        _publish_raw(
            producer,
            letter,
            queue=DEAD_LETTERS,
            headers={
                REASON: letter.reason,
                DETAIL: letter.detail.encode(errors="replace")[:LONGEST_DETAIL].decode(errors="ignore"),
                ORIGIN: letter.queue,
                DIED_AT: datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )


def _publish_raw(producer: Producer, letter: DeadLetter, *, queue: str, headers: Mapping[str, str]) -> None:
    producer.publish(
        letter.body,
        exchange="",
        routing_key=queue,
        content_type=letter.content_type,
        content_encoding="binary",
        headers=dict(headers),
        delivery_mode=2,
    )


def bounded_options(url: str) -> dict[str, Any]:
    """Return the transport's options with which nothing a worker asks of its broker waits for ever."""
    return dict(BOUNDED if url.startswith("amqp") else {})


def reliable_options(url: str) -> dict[str, Any]:
    """Return the transport's options with which a publish is confirmed, or fails, within a limit."""
    return dict(RELIABLE if url.startswith("amqp") else RELIABLE_REDIS)


@contextmanager
def connected(url: str, *, timeout: timedelta = timedelta(seconds=4)) -> Iterator[Connection]:
    """Open a connection whose publishes are confirmed and bounded. Raises BrokerError."""
    options = reliable_options(url)
    with Connection(url, connect_timeout=timeout.total_seconds(), transport_options=options) as connection:
        connection.ensure_connection(max_retries=1, interval_start=0.1, reraise_as_library_errors=True)
        yield connection


def bury_reliably(url: str, letters: Sequence[DeadLetter]) -> None:
    """Publish dead letters over a connection of their own and wait for the broker's word. Raises BrokerError."""
    with connected(url) as connection:
        declare(connection.default_channel, [DEAD_LETTERS])
        bury(connection.default_channel, letters)


class DeadLetterQueue:
    """What the operator's commands do with the dead letters."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        declare(connection.default_channel, [DEAD_LETTERS])

    def look(self, *, limit: int) -> list[DeadLetter]:
        """Return up to `limit` letters, oldest first, and leave them where they are."""
        with self._opened() as channel:
            found = list(self._take(channel, limit=limit))
            # RabbitMQ puts each back in its place; Redis at the end, so that their order is kept if all are taken.
            for message in found:
                message.requeue()
            return [DeadLetter.from_message(message) for message in found]

    def replay(self, *, limit: int, default_queue: str) -> int:
        """Publish up to `limit` letters again to the queue they came from, then take them off; return how many."""
        with self._opened() as channel:
            producer = Producer(self._connection.default_channel)
            count = 0
            for message in self._take(channel, limit=limit):
                letter = DeadLetter.from_message(message)
                _publish_raw(producer, letter, queue=letter.queue or default_queue, headers={})
                message.ack()
                count += 1
            return count

    def drop(self, *, limit: int) -> int:
        """Take up to `limit` letters off for good; return how many."""
        with self._opened() as channel:
            count = 0
            for message in self._take(channel, limit=limit):
                message.ack()
                count += 1
            return count

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        with self._connection.channel() as channel:
            yield channel

    def _take(self, channel: Any, *, limit: int) -> Iterator[Message]:
        # Only those that are there now: what dies while we work waits for the next time.
        waiting = channel.queue_declare(queue=DEAD_LETTERS, durable=True, auto_delete=False).message_count
        queue = plain_queue(DEAD_LETTERS).bind(channel)
        for _ in range(min(limit, waiting)):
            message = queue.get(no_ack=False, accept=None)
            if message is None:
                return
            yield message


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """A queue as the broker has it. `foreign` was declared otherwise than we do; `consumers` is unknown on Redis."""

    messages: int = 0
    consumers: int | None = None
    foreign: bool = False


def look_at(connection: Connection, name: str) -> QueueFacts:
    """Return what the broker has under a queue's name, without making it; a queue that is not there is empty."""
    counts_consumers = connection.transport.driver_type == "amqp"
    with connection.channel() as channel:
        try:
            seen = channel.queue_declare(queue=name, passive=True)
        except connection.channel_errors:
            return QueueFacts(consumers=0 if counts_consumers else None)
    if not counts_consumers:
        return QueueFacts(seen.message_count)
    with connection.channel() as channel:
        try:
            declare(channel, [name])
        except connection.channel_errors:
            return QueueFacts(seen.message_count, seen.consumer_count, foreign=True)
    return QueueFacts(seen.message_count, seen.consumer_count)


def answers(url: str, *, timeout: timedelta) -> bool:
    """Tell whether the broker takes a connection."""
    try:
        with Connection(url, connect_timeout=timeout.total_seconds()) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_max=0)
    except (*BrokerError, OSError):
        return False
    return True
