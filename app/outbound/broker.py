"""The broker below Celery: queues as the external service declares them, and raw messages.

The only importer of kombu. It speaks AMQP to RabbitMQ, and kombu's Redis transport where there is no RabbitMQ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import amqp
import pydantic_core
import structlog
from kombu import Connection, Exchange, Message, Queue
from kombu.exceptions import OperationalError
from kombu.transport import pyamqp

from app.domain.status_messages import body_bytes
from app.outbound.broker_tls import broker_tls_options
from app.outbound.message_properties import lenient_frame_handler

log = structlog.get_logger()

DEAD_LETTER_QUEUE_NAME = "data_source_status.dead"
# The exchange of our own tasks.
TASK_EXCHANGE_NAME = "rita"

# AMQP 0-9-1's short string, and what RabbitMQ names its own queues by.
MAX_QUEUE_NAME_BYTES, RESERVED_QUEUE_PREFIX = 255, "amq."

# The only bound on a publish to a frozen broker that holds (confirm timeouts alone do not): limits on the socket.
CONFIRM_TIMEOUT_SECONDS = 5
CONFIRM_OPTIONS = {"confirm_publish": True, "confirm_timeout": CONFIRM_TIMEOUT_SECONDS}
CONFIRMED_PUBLISH_OPTIONS = CONFIRM_OPTIONS | {"read_timeout": 8, "write_timeout": 8}
# Of a worker's own connections: without a limit, it would wait for ever for a dead one to say that it is closed. The
# heartbeats that have found it dead took most of the half minute in which a worker must be back.
SOCKET_TIMEOUT_OPTIONS = {"read_timeout": 3, "write_timeout": 3}
# Whatever a message says of itself must not end who receives it.
LENIENT_FRAME_OPTIONS = {"frame_handler": lenient_frame_handler}
# Redis answers each command, so that a limit on its socket is all it takes.
REDIS_TIMEOUT_OPTIONS = {"socket_connect_timeout": 4, "socket_timeout": 8}

# What a queue that is ours alone is declared with. The same as no argument where queues are classic by default.
CLASSIC_QUEUE_ARGUMENTS = {"x-queue-type": "classic"}
# How often a quorum queue has had a message back: RabbitMQ's own headers, the second one since 4.3.
RETURN_COUNT_HEADERS = ("x-delivery-count", "x-acquired-count")
# RabbitMQ 4 deletes what a quorum queue has had back 20 times, and may count five seconds behind. A worker that is
# killed again and again takes longer than a second to be back.
MAX_RETURNS_BEFORE_REPUBLISH = 10
# How often we have published a message anew, so that it is counted from nothing.
REPUBLISH_COUNT_HEADER = "x-rita-moves"
# A publisher may have written any number there, of which the next would fit no header.
MAX_REPUBLISH_COUNT = 2**31

__all__ = ["BrokerError", "Connection", "Message", "Queue", "broker_tls_options"]

# A broker that is there and refuses (another password, no such virtual host) says so with its client's own exceptions.
BrokerError = (OperationalError, amqp.AMQPError)
# Of what the broker does not let us do: it says so each time until somebody changes something.
BrokerRefusal = (amqp.ChannelError, amqp.IrrecoverableConnectionError)


def celery_task_queue(name: str) -> Queue:
    """Return a queue of Celery's own messages."""
    return Queue(name, exchange=Exchange(TASK_EXCHANGE_NAME, type="direct"), routing_key=name, durable=True)


def undeclared_queue(name: str) -> Queue:
    """Return a queue for Celery to consume that it neither declares nor binds; `declare_durable_queue` does."""
    return Queue(name, exchange="", routing_key=name, no_declare=True)


def declare_durable_queue(channel: Any, name: str, *, arguments: Mapping[str, str] | None = None) -> None:
    """Declare a queue with `durable` and no other argument, on the default exchange: exactly CONTRACT's section 5."""
    channel.queue_declare(queue=name, durable=True, auto_delete=False, exclusive=False, arguments=arguments)


def ensure_queue_exists(connection: Connection, name: str, *, arguments: Mapping[str, str] | None = None) -> str | None:
    """See that a queue is there: None if it is declared as we declare it, else why it could not be declared so.

    It may well be used then: somebody else made it otherwise, or this user may read it and not configure it. Raises
    what the broker says where it is not there and cannot be made.
    """
    with connection.channel() as channel:
        try:
            declare_durable_queue(channel, name, arguments=arguments)
        except (amqp.AccessRefused, amqp.PreconditionFailed, amqp.ResourceLocked) as problem:
            refusal = problem
        else:
            return None
    if queue_exists(connection, name):
        return str(refusal)
    raise refusal


def queue_exists(connection: Connection, name: str) -> bool:
    """Tell whether there is a queue of that name; one that this user may not ask for counts as there.

    A name that AMQP cannot say is no queue's, nor is one of RabbitMQ's own, which takes no plain message.
    """
    if len(name.encode(errors="surrogatepass")) > MAX_QUEUE_NAME_BYTES or name.startswith(RESERVED_QUEUE_PREFIX):
        return False
    with connection.channel() as channel:
        try:
            channel.queue_declare(queue=name, passive=True)
        except amqp.NotFound:
            return False
        except (amqp.AccessRefused, amqp.ResourceLocked):
            return True
    return True


def acknowledge_each(messages: Sequence[Message], *, errors: tuple[type[Exception], ...]) -> None:
    """Acknowledge messages one by one; a connection that has broken is logged."""
    for message in messages:
        message.ack_log_error(log, errors)


def acknowledge_up_to(message: Message, *, errors: tuple[type[Exception], ...]) -> None:
    """Acknowledge a message and all on its channel that are older, in one frame; on RabbitMQ only."""
    message.ack_log_error(log, errors, multiple=True)


def is_amqp(channel: Any) -> bool:
    """Tell a channel to RabbitMQ from one of kombu's Redis transport."""
    return isinstance(channel, pyamqp.Channel)


class _UndecodedMessage(pyamqp.Message):
    """A delivery as it came: a header that claims compression is not obeyed, for what it hides may be a bomb."""

    def __init__(self, msg: Any, **options: Any) -> None:
        claimed = (msg.properties.get("application_headers") or {}).pop("compression", None)
        super().__init__(msg, **options)  # type: ignore[no-untyped-call]
        if claimed is not None:
            self.headers["compression"] = claimed


def disable_body_decoding(channel: Any) -> None:
    """Let a channel deliver bodies byte for byte, whatever their headers say of encoding or compression.

    Kombu's Redis transport wraps bodies in JSON of its own and has no such choice.
    """
    if is_amqp(channel):
        channel.auto_decode = False
        channel.Message = _UndecodedMessage


def limit_prefetch_per_consumer(connection: Connection) -> None:
    """Have a limit on what is sent ahead count for each consumer, not for their channel.

    Kombu asks for the latter before RabbitMQ 4.0, where a quorum queue then refuses to be consumed (540).
    """
    connection.transport.qos_semantics_matches_spec = lambda _: True


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A raw message on its way to a queue; `properties` are AMQP's, by their names there, without the headers."""

    queue: str
    body: bytes
    headers: Mapping[str, Any]
    properties: Mapping[str, Any]


# Of a message's properties: what it says of itself is kept. A user's name, which RabbitMQ checks, would be refused.
_COPIED_PROPERTIES = (
    "content_type", "content_encoding", "priority", "correlation_id", "reply_to", "expiration", "message_id",
    "timestamp", "type", "app_id",
)  # fmt: skip


def message_properties(message: Message) -> dict[str, Any]:
    """Return what a message says of itself, beside its headers."""
    content = {"content_type": message.content_type, "content_encoding": message.content_encoding}
    properties = message.properties | content
    return {name: properties[name] for name in _COPIED_PROPERTIES if properties.get(name) is not None}


def return_count(message: Message) -> int:
    """Return how often a quorum queue has had a message back, as far as it says; 0 on any other."""
    if not message.headers:
        return 0
    counts = (message.headers.get(name) for name in RETURN_COUNT_HEADERS)
    return max((count for count in counts if isinstance(count, int)), default=0)


def copy_for_republish(message: Message, *, queue: str) -> OutgoingMessage:
    """Return a message as it came, for its queue to count its returns anew."""
    headers = {name: value for name, value in message.headers.items() if name not in RETURN_COUNT_HEADERS}
    moves = headers.get(REPUBLISH_COUNT_HEADER)
    headers[REPUBLISH_COUNT_HEADER] = moves + 1 if isinstance(moves, int) and moves in range(MAX_REPUBLISH_COUNT) else 1
    return OutgoingMessage(queue, body_bytes(message.body), headers, message_properties(message))


def publish_to_queue(channel: Any, outgoing: OutgoingMessage) -> None:
    """Publish a message, persistent, to its queue alone. Where the channel waits for confirms, RabbitMQ has it then.

    Raises BrokerError, or TimeoutError; also where there is no such queue, which RabbitMQ confirms like any other.
    """
    properties = {**outgoing.properties, "delivery_mode": 2}
    # What kombu's channels take by themselves.
    separate = {name: properties.pop(name, None) for name in ("priority", "content_type", "content_encoding")}
    headers = {name: value for name, value in outgoing.headers.items() if name not in _ROUTING_HEADERS}
    message = channel.prepare_message(outgoing.body, headers=headers, properties=properties, **separate)
    channel.basic_publish(
        message, exchange="", routing_key=outgoing.queue, mandatory=True, confirm_timeout=CONFIRM_TIMEOUT_SECONDS
    )


# By these, RabbitMQ sends a message to further queues: its publisher's wish, and carried out when it was published.
_ROUTING_HEADERS = frozenset(("CC", "BCC"))


def build_task_message(task: str, task_id: str, *, argument: Sequence[Any], origin: str) -> Message:
    """Return a message, as if it had come from the broker, that asks a worker to run `task(argument)`.

    The reprs are constants, so no content reaches logs, events or Flower.
    """
    message = Message(delivery_info={"exchange": "", "routing_key": "", "redelivered": False})
    reprs = (f"<{len(argument)} messages>", "{}")
    rewrite_as_task_message(message, task, task_id, args=[argument], kwargs={}, reprs=reprs)
    message.headers["origin"] = origin
    return message


def rewrite_as_task_message(
    message: Message, task: str, task_id: str, *, args: list[Any], kwargs: dict[str, Any], reprs: tuple[str, str]
) -> None:
    """Have a message ask for one run of a task and for nothing else, whatever it has said before.

    Celery's message protocol 2: https://docs.celeryq.dev/en/stable/internals/protocol.html.
    """
    content = (args, kwargs, {"callbacks": None, "errbacks": None, "chain": None, "chord": None})
    message.body = pydantic_core.to_json(content).decode()
    message.content_type, message.content_encoding = "application/json", "utf-8"
    message.headers = {
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
        "argsrepr": reprs[0],
        "kwargsrepr": reprs[1],
        "origin": "",
        "ignore_result": True,
    }
    message.properties = {"correlation_id": task_id, "reply_to": None}
    # The worker looks at the payload to tell the protocol's versions apart; this saves it decoding what we encoded.
    message._decoded_cache = content  # noqa: SLF001 - there is no public way to hand it over


def consumer_transport_options(url: str) -> dict[str, Any]:
    """Return the transport's options with which nothing a worker asks of its broker waits for ever."""
    return SOCKET_TIMEOUT_OPTIONS | LENIENT_FRAME_OPTIONS if url.startswith("amqp") else {}


def confirmed_transport_options(url: str) -> dict[str, Any]:
    """Return the transport's options with which a publish is confirmed, or fails, within a limit."""
    return CONFIRMED_PUBLISH_OPTIONS | LENIENT_FRAME_OPTIONS if url.startswith("amqp") else dict(REDIS_TIMEOUT_OPTIONS)


def create_connection(url: str, *, timeout: timedelta = timedelta(seconds=4), **options: Any) -> Connection:
    """Return a connection to a broker, which is not opened yet."""
    return Connection(url, ssl=broker_tls_options(url), connect_timeout=timeout.total_seconds(), **options)


@contextmanager
def open_confirmed_connection(url: str, *, timeout: timedelta = timedelta(seconds=4)) -> Iterator[Connection]:
    """Open a connection whose publishes are confirmed and bounded. Raises BrokerError."""
    with create_connection(url, timeout=timeout, transport_options=confirmed_transport_options(url)) as connection:
        connection.ensure_connection(max_retries=1, interval_start=0.1, reraise_as_library_errors=True)
        yield connection


def is_reachable(url: str, *, timeout: timedelta) -> bool:
    """Tell whether the broker takes a connection."""
    try:
        with create_connection(url, timeout=timeout) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_max=0)
    except (*BrokerError, OSError):
        return False
    return True
