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

READ_SIZE = 64 * 1024

# Type, channel, and the size of the content, which an octet of a fixed value follows.
_FRAME_HEADER = Struct(">BHI")
_FRAME_END = 0xCE

Frame = tuple[int, int, bytes]


def install_frame_reader(connection: Any, *, call_soon: Callable[[Callable[[], object]], None]) -> None:
    """Let a kombu connection read so, if it is one to RabbitMQ; `call_soon` calls something in the loop's next turn."""
    opened = connection.connection
    if isinstance(opened, amqp.Connection):
        opened.blocking_read = BufferedFrameReader(opened, call_soon=call_soon)


class BufferedFrameReader:
    """An amqp connection's `blocking_read`."""

    def __init__(self, connection: Any, *, call_soon: Callable[[Callable[[], object]], None]) -> None:
        self._connection = connection
        self._call_soon = call_soon
        self._frames: deque[Frame] = deque()
        self._buffer = b""

    def __call__(self, timeout: float | None = None) -> bool:
        """Take the frames that are there, and return whether they made a method whole.

        All of them when the loop asks, with a timeout of 0, for it goes round once for each call. Who waits for an
        answer is given one method at a time: what follows it may count on what the answer brings about, as a delivery
        does on its consumer. The loop takes the rest in its next turn. What handles a frame may call this again.

        Raises TimeoutError when none has come within `timeout` seconds (0: none is there, None: as long as the socket
        waits), OSError when the connection is gone, UnexpectedFrame when what came is no frame.
        """
        while not self._frames:
            self._buffer += self._receive(timeout)
            self._frames.extend(self._split_whole_frames())
        if timeout == 0:
            return self._handle_all_frames()
        made_whole = False
        while self._frames and not made_whole:
            made_whole = self._handle_one_frame()
        if self._frames:
            self._call_soon(self._handle_all_frames)
        return made_whole

    def _handle_one_frame(self) -> bool:
        return bool(self._connection.on_inbound_frame(self._frames.popleft()))

    def _handle_all_frames(self) -> bool:
        made_whole = False
        while self._frames:
            made_whole |= self._handle_one_frame()
        return made_whole

    def _receive(self, timeout: float | None) -> bytes:
        transport = self._connection.transport
        try:
            with transport.having_timeout(timeout):
                received: bytes = transport.sock.recv(READ_SIZE)
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

    def _split_whole_frames(self) -> Iterator[Frame]:
        """Take the whole frames off what was received."""
        data, at = self._buffer, 0
        while at + _FRAME_HEADER.size <= len(data):
            kind, channel, size = _FRAME_HEADER.unpack_from(data, at)
            end = at + _FRAME_HEADER.size + size
            if end >= len(data):
                break
            if data[end] != _FRAME_END:
                raise UnexpectedFrame(f"a frame ends with {data[end]:#04x}")
            yield kind, channel, data[at + _FRAME_HEADER.size : end]
            at = end + 1
        self._buffer = data[at:]
