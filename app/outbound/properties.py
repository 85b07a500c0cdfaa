"""What a message says of itself, as far as amqp can read it, and write it again.

amqp (5.4) reads a message's properties and headers (AMQP 0-9-1, section 2.3.5.2) within the worker's loop and raises
whatever it stumbles over. That would end the worker and, as the message is delivered again, each one after it. Here
what cannot be read and written again is left out, and the rest is as it was sent: bodies, by which alone messages are
judged, are not touched.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import structlog
from amqp.basic_message import Message
from amqp.exceptions import AMQPError
from amqp.method_framing import frame_handler
from amqp.serialization import decode_properties_basic, dumps

log = structlog.get_logger()

Frame = tuple[int, int, Any]

# The kind of frame that begins a message's content: class, weight and size of the body, and which properties follow.
_HEADER = 2
_FLAGS_AT, _BEGIN_AT = 12, 14
# What brokers and clients write has three levels: RabbitMQ's `x-death`.
_DEEPEST = 20
# In bytes.
_LONGEST_OF_MANY = 200
_FAULTS = (ValueError, TypeError, LookupError, ArithmeticError, OSError, RecursionError, struct.error, AMQPError)


def tolerant(connection: Any, callback: Callable[..., Any]) -> Callable[[Frame], bool]:
    """Return what takes each frame of an amqp connection: amqp's own, of what can be read."""
    take: Callable[[Frame], bool] = frame_handler(connection, callback)
    said: set[str] = set()

    def take_readable(frame: Frame) -> bool:
        kind, channel, content = frame
        if kind != _HEADER or _is_readable(content):
            return take(frame)
        kept, left_out = readable_part(bytes(content))
        if not said.issuperset(left_out):
            said.update(left_out)
            log.warning("message_properties_unreadable", properties=left_out)
        return take((kind, channel, kept))

    return take_readable


def readable_part(content: bytes) -> tuple[bytes, list[str]]:
    """Return a header frame's content without the properties that cannot be read, and their names."""
    (flags,) = struct.unpack_from(">H", content, _FLAGS_AT)
    at, kept_flags, kept, left_out = _BEGIN_AT, 0, b"", []
    for place, (name, kind) in enumerate(Message.PROPERTIES):
        flag = 0x8000 >> place
        if not flags & flag:
            continue
        size = _size(content, at, kind=kind)
        own, at = content[at : at + size], at + size
        if _is_readable(content[:_FLAGS_AT] + struct.pack(">H", flag) + own):
            kept_flags |= flag
            kept += own
        else:
            left_out.append(name)
    return content[:_FLAGS_AT] + struct.pack(">H", kept_flags) + kept, left_out


def _size(content: bytes, at: int, *, kind: str) -> int:
    """Return how many bytes a property takes: a short text, a table, an octet or a number of 64 bits."""
    if kind == "s":
        return 1 + content[at]
    if kind == "F":
        return 4 + int(struct.unpack_from(">I", content, at)[0])
    return 1 if kind == "o" else 8


def _is_readable(content: Any) -> bool:
    said = bytes(content[_FLAGS_AT:])
    return _is_readable_of_many(said) if len(said) <= _LONGEST_OF_MANY else _reads(said)


# Most publishers say the same of each message.
@lru_cache(maxsize=500)
def _is_readable_of_many(said: bytes) -> bool:
    return _reads(said)


def _reads(said: bytes) -> bool:
    try:
        properties, _ = decode_properties_basic(said, 0)
        if headers := properties.get("application_headers"):
            # A dead letter has to be written as it was read.
            dumps("F", [headers])
            return _is_shallow(headers)
    except _FAULTS:
        return False
    return True


def _is_shallow(headers: Any) -> bool:
    level = [headers]
    for _ in range(_DEEPEST):
        inner = [value for each in level for value in (each.values() if isinstance(each, dict) else each)]
        level = [value for value in inner if isinstance(value, dict | list)]
        if not level:
            return True
    return False
