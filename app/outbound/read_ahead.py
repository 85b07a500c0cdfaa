"""Reading from the broker ahead: what has come is taken from the socket in one go, not in six pieces a message.

amqp (5.4) asks the system for the head, the content and the end of each frame by themselves, a message is three frames,
and around each it sets the socket's time limit and sets it back. Only the reading is replaced; what frames mean stays
amqp's. See `docs/decisions/0024-reading-ahead.md`; frames are of AMQP 0-9-1, section 2.3.5.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from struct import Struct
from typing import Any

import amqp
from amqp.exceptions import UnexpectedFrame

AT_ONCE = 64 * 1024

# Type, channel, and the size of the content, which an octet of a fixed value follows.
_HEAD = Struct(">BHI")
_END = 0xCE

Frame = tuple[int, int, bytes]


def read_ahead(connection: Any, *, soon: Callable[[Callable[[], object]], None]) -> None:
    """Let a kombu connection read so, if it is one to RabbitMQ; `soon` has the loop call something in its next turn."""
    opened = connection.connection
    if isinstance(opened, amqp.Connection):
        opened.blocking_read = ReadAhead(opened, soon=soon)


class ReadAhead:
    """An amqp connection's `blocking_read`."""

    def __init__(self, connection: Any, *, soon: Callable[[Callable[[], object]], None]) -> None:
        self._connection = connection
        self._soon = soon
        self._frames: deque[Frame] = deque()
        self._rest = b""

    def __call__(self, timeout: float | None = None) -> bool:
        """Take the frames that are there, and return whether they made a method whole.

        All of them when the loop asks, with a timeout of 0, for it goes round once for each call. Who waits for an
        answer is given one method at a time: what follows it may count on what the answer brings about, as a delivery
        does on its consumer. The loop takes the rest in its next turn. What handles a frame may call this again.

        Raises TimeoutError when none has come within `timeout` seconds (0: none is there, None: as long as the socket
        waits), OSError when the connection is gone, UnexpectedFrame when what came is no frame.
        """
        while not self._frames:
            self._rest += self._receive(timeout)
            self._frames.extend(self._whole())
        if timeout == 0:
            return self._take_all()
        made_whole = False
        while self._frames and not made_whole:
            made_whole = self._take_one()
        if self._frames:
            self._soon(self._take_all)
        return made_whole

    def _take_one(self) -> bool:
        return bool(self._connection.on_inbound_frame(self._frames.popleft()))

    def _take_all(self) -> bool:
        made_whole = False
        while self._frames:
            made_whole |= self._take_one()
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
