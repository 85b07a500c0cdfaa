"""Reading from the broker ahead: what has come is taken from the socket in one go, not in six pieces a message.

amqp (5.4) asks the system for the head, the content and the end of each frame by themselves, a message is three frames,
and around each it sets the socket's time limit and sets it back. Only the reading is replaced; what frames mean stays
amqp's. See `docs/decisions/0024-reading-ahead.md`; frames are of AMQP 0-9-1, section 2.3.5.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from struct import Struct
from typing import Any

import amqp
from amqp.exceptions import UnexpectedFrame

AT_ONCE = 64 * 1024

# Type, channel, and the size of the content, which an octet of a fixed value follows.
_HEAD = Struct(">BHI")
_END = 0xCE

Frame = tuple[int, int, bytes]


def read_ahead(connection: Any) -> None:
    """Let a kombu connection read so, if it is one to RabbitMQ."""
    opened = connection.connection
    if isinstance(opened, amqp.Connection):
        opened.blocking_read = ReadAhead(opened)


class ReadAhead:
    """An amqp connection's `blocking_read`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._frames: deque[Frame] = deque()
        self._rest = b""

    def __call__(self, timeout: float | None = None) -> bool:
        """Take the frames that are there, and return whether they made a method whole.

        All of them, for kombu's loop goes round once for each call. What handles a frame may call this again.

        Raises TimeoutError when none has come within `timeout` seconds (0: none is there, None: as long as the socket
        waits), OSError when the connection is gone, UnexpectedFrame when what came is no frame.
        """
        while not self._frames:
            self._rest += self._receive(timeout)
            self._frames.extend(self._whole())
        made_whole = False
        while self._frames:
            made_whole |= bool(self._connection.on_inbound_frame(self._frames.popleft()))
        return made_whole

    def _receive(self, timeout: float | None) -> bytes:
        transport = self._connection.transport
        try:
            with transport.having_timeout(timeout):
                received: bytes = transport.sock.recv(AT_ONCE)
        except TimeoutError:
            raise
        except BlockingIOError as limit:
            # The socket's own (SO_RCVTIMEO).
            raise TimeoutError from limit
        except OSError:
            transport.connected = False
            raise
        if not received:
            transport.connected = False
            raise ConnectionResetError("the broker closed the connection")
        return received

    def _whole(self) -> Iterator[Frame]:
        """Take the whole frames off what was received."""
        data, at = self._rest, 0
        while at + _HEAD.size <= len(data):
            kind, channel, size = _HEAD.unpack_from(data, at)
            end = at + _HEAD.size + size
            if end >= len(data):
                break
            if data[end] != _END:
                raise UnexpectedFrame(f"a frame ends with {data[end]:#04x}")
            yield kind, channel, data[at + _HEAD.size : end]
            at = end + 1
        self._rest = data[at:]
