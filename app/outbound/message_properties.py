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
_HEADER_FRAME_TYPE = 2
_FLAGS_OFFSET, _PROPERTIES_OFFSET = 12, 14
# What brokers and clients write has three levels: RabbitMQ's `x-death`.
_MAX_NESTING = 20
# In bytes.
_MAX_CACHED_BYTES = 200


def lenient_frame_handler(connection: Any, callback: Callable[..., Any]) -> Callable[[Frame], bool]:
    """Return what takes each frame of an amqp connection: amqp's own, of what can be read."""
    handle_frame: Callable[[Frame], bool] = frame_handler(connection, callback)
    logged_properties: set[str] = set()

    def handle_readable_frame(frame: Frame) -> bool:
        kind, channel, content = frame
        if kind != _HEADER_FRAME_TYPE or _is_readable_header(content):
            return handle_frame(frame)
        kept, left_out = drop_unreadable_properties(bytes(content))
        if not logged_properties.issuperset(left_out):
            logged_properties.update(left_out)
            log.warning("message_properties_unreadable", properties=left_out)
        return handle_frame((kind, channel, kept))

    return handle_readable_frame


def drop_unreadable_properties(content: bytes) -> tuple[bytes, list[str]]:
    """Return a header frame's content without the properties that cannot be read, and their names."""
    (flags,) = struct.unpack_from(">H", content, _FLAGS_OFFSET)
    at, kept_flags, kept, left_out = _PROPERTIES_OFFSET, 0, b"", []
    for place, (name, kind) in enumerate(Message.PROPERTIES):
        flag = 0x8000 >> place
        if not flags & flag:
            continue
        size = _property_size(content, at, kind=kind)
        own, at = content[at : at + size], at + size
        if _is_readable_header(content[:_FLAGS_OFFSET] + struct.pack(">H", flag) + own):
            kept_flags |= flag
            kept += own
        else:
            left_out.append(name)
    return content[:_FLAGS_OFFSET] + struct.pack(">H", kept_flags) + kept, left_out


def _property_size(content: bytes, offset: int, *, kind: str) -> int:
    """Return how many bytes a property takes: a short text, a table, an octet or a number of 64 bits."""
    if kind == "s":
        return 1 + content[offset]
    if kind == "F":
        return 4 + int(struct.unpack_from(">I", content, offset)[0])
    return 1 if kind == "o" else 8


def _is_readable_header(content: Any) -> bool:
    encoded = bytes(content[_FLAGS_OFFSET:])
    return _can_decode_cached(encoded) if len(encoded) <= _MAX_CACHED_BYTES else _can_decode(encoded)


# Most publishers say the same of each message.
@lru_cache(maxsize=500)
def _can_decode_cached(encoded: bytes) -> bool:
    return _can_decode(encoded)


def _can_decode(encoded: bytes) -> bool:
    try:
        properties, _ = decode_properties_basic(encoded, 0)
        if headers := properties.get("application_headers"):
            # A dead letter has to be written as it was read.
            dumps("F", [headers])
            return _is_nested_shallowly(headers)
    except (ValueError, TypeError, LookupError, ArithmeticError, OSError, RecursionError, struct.error, AMQPError):
        return False
    return True


def _is_nested_shallowly(headers: Any) -> bool:
    level = [headers]
    for _ in range(_MAX_NESTING):
        inner = [value for each in level for value in (each.values() if isinstance(each, dict) else each)]
        level = [value for value in inner if isinstance(value, dict | list)]
        if not level:
            return True
    return False
