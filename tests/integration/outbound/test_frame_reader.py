"""Frames from a socket, whatever pieces they come in: without TLS and with, and as amqp itself reads them."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from amqp.exceptions import UnexpectedFrame
from amqp.transport import TCPTransport
from kombu import Connection, Consumer, Message, Producer, Queue

from app.outbound.frame_reader import READ_SIZE, BufferedFrameReader, Frame, install_frame_reader
from tests.integration.outbound.sockets import a_certificate


def written(frame: Frame) -> bytes:
    kind, channel, content = frame
    return struct.pack(">BHI", kind, channel, len(content)) + content + b"\xce"


FRAMES = [
    (1, 1, b"\x00\x3c\x00\x3c deliver"),
    (2, 1, b"head"),
    (3, 1, b'{"status": "sync_started"}'),
    (8, 0, b""),
    # What ends a frame may stand within one.
    (3, 65535, b"\xce" * 300),
    (3, 2, bytes(range(256)) * (3 * READ_SIZE // 256)),
    (1, 1, b"the last"),
]
BYTES = b"".join(map(written, FRAMES))


def at_once(act: Callable[[], object]) -> None:
    """Stand in for a loop: its next turn is now."""
    act()


class Reader:
    """An amqp connection, as far as reading goes; the last frame makes a method whole."""

    def __init__(self, sock: socket.socket) -> None:
        self.transport = TCPTransport("nowhere")
        self.transport.sock = sock
        self.transport.connected = True
        self.frames: list[Frame] = []

    def on_inbound_frame(self, frame: Frame) -> bool:
        self.frames.append(frame)
        return frame == FRAMES[-1]


@pytest.fixture(params=["plain", "TLS"])
def ends(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, socket.socket]]:
    """The broker's end of a connection and ours."""
    theirs, ours = socket.socketpair()
    if request.param == "TLS":
        certificate = a_certificate(tmp_path)
        trusting = ssl.create_default_context(cafile=certificate.ca_file)
        with ThreadPoolExecutor(1) as threads:
            wrapping = threads.submit(certificate.server.wrap_socket, theirs, server_side=True)
            ours = trusting.wrap_socket(ours, server_hostname="127.0.0.1")
            theirs = wrapping.result(timeout=10)
    with theirs, ours:
        yield theirs, ours


@pytest.mark.parametrize("piece", [1, 5, 7, 100, len(BYTES)])
def test_frames_are_whole_whatever_pieces_they_come_in(ends: tuple[socket.socket, socket.socket], piece: int) -> None:
    theirs, ours = ends
    reader = Reader(ours)
    read = BufferedFrameReader(reader, call_soon=at_once)
    # In pieces of one byte nobody wants to wait for a long frame.
    sent = BYTES if piece > 7 else b"".join(map(written, FRAMES[:5] + FRAMES[-1:]))

    with ThreadPoolExecutor(1) as threads:
        sending = threads.submit(lambda: [theirs.sendall(sent[at : at + piece]) for at in range(0, len(sent), piece)])
        while not read(timeout=10):
            pass
        sending.result(timeout=10)

    assert b"".join(map(written, reader.frames)) == sent


def test_one_call_takes_all_that_has_come_though_what_handles_a_frame_may_call_again() -> None:
    theirs, ours = socket.socketpair()

    class Asking(Reader):
        def on_inbound_frame(self, frame: Frame) -> bool:
            whole = super().on_inbound_frame(frame)
            if frame == FRAMES[0]:
                assert read(timeout=10), "what comes after it"
            return whole

    reader = Asking(ours)
    read = BufferedFrameReader(reader, call_soon=at_once)
    with theirs, ours:
        theirs.sendall(b"".join(map(written, [FRAMES[-1], *FRAMES[:4], FRAMES[-1]])))

        assert read(timeout=0)
        with pytest.raises(TimeoutError):
            read(timeout=0)

    assert reader.frames == [FRAMES[-1], *FRAMES[:4], FRAMES[-1]]


def test_who_waits_for_an_answer_gets_one_method_and_the_loop_the_rest() -> None:
    theirs, ours = socket.socketpair()
    reader = Reader(ours)
    later: list[Callable[[], object]] = []
    read = BufferedFrameReader(reader, call_soon=later.append)
    with theirs, ours:
        theirs.sendall(b"".join(map(written, [FRAMES[0], FRAMES[-1], *FRAMES[1:4], FRAMES[-1]])))

        assert read(timeout=None)

    assert reader.frames == [FRAMES[0], FRAMES[-1]]
    (rest,) = later
    rest()
    assert reader.frames == [FRAMES[0], FRAMES[-1], *FRAMES[1:4], FRAMES[-1]]


@pytest.mark.rabbitmq
def test_what_comes_right_after_a_consumer_was_accepted_is_its_own(rabbitmq_url: str) -> None:
    came: list[Message] = []
    later: list[Callable[[], object]] = []
    with Connection(rabbitmq_url) as connection:
        channel = connection.default_channel
        queue = Queue(f"test_read_ahead_{uuid4()}", exchange="", durable=False, auto_delete=True, no_declare=True)
        channel.queue_declare(queue=queue.name, durable=False, auto_delete=True)
        sending = Producer(channel)
        for number in range(100):
            sending.publish(str(number), routing_key=queue.name)
        install_frame_reader(connection, call_soon=later.append)

        with Consumer(channel, [queue], on_message=came.append, no_ack=True, auto_declare=False):
            for take in later:
                take()
            while len(came) < 100:
                connection.drain_events(timeout=10)

    assert [message.body for message in came] == [str(number) for number in range(100)]
    assert not any(message.delivery_info["redelivered"] for message in came)


def test_amqp_reads_the_same_frames() -> None:
    theirs, ours = socket.socketpair()
    reader = Reader(ours)
    reader.transport._setup_transport()  # noqa: SLF001 - what amqp does when it connects

    with theirs, ours, ThreadPoolExecutor(1) as threads:
        threads.submit(theirs.sendall, BYTES)
        frames = [reader.transport.read_frame() for _ in FRAMES]

    assert frames == FRAMES


@pytest.mark.parametrize("timeout", [0, 0.05])
def test_half_a_frame_is_waited_for_and_not_lost(ends: tuple[socket.socket, socket.socket], timeout: float) -> None:
    theirs, ours = ends
    reader = Reader(ours)
    read = BufferedFrameReader(reader, call_soon=at_once)
    half = len(written(FRAMES[-1])) // 2

    for missing in (b"", written(FRAMES[-1])[:half]):
        theirs.sendall(missing)
        with pytest.raises(TimeoutError):
            read(timeout)
    assert reader.transport.connected
    theirs.sendall(written(FRAMES[-1])[half:])

    assert read(timeout=10)
    assert reader.frames == [FRAMES[-1]]
    assert ours.gettimeout() is None


def test_the_sockets_own_limit_is_a_timeout_too() -> None:
    # Python's TLS begins again when it has passed.
    theirs, ours = socket.socketpair()
    reader = Reader(ours)
    read = BufferedFrameReader(reader, call_soon=at_once)

    with theirs, ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 50_000))
        with pytest.raises(TimeoutError):
            read()
        theirs.sendall(written(FRAMES[-1]))

        assert reader.transport.connected
        assert read()


def test_a_broker_that_is_gone_is_an_error_of_the_connection(ends: tuple[socket.socket, socket.socket]) -> None:
    theirs, ours = ends
    reader = Reader(ours)
    theirs.sendall(written(FRAMES[0])[:9])
    theirs.shutdown(socket.SHUT_RDWR)

    with pytest.raises(ConnectionError):
        BufferedFrameReader(reader, call_soon=at_once)(timeout=10)

    assert not reader.transport.connected
    assert reader.frames == []


def test_what_is_no_frame_is_said(ends: tuple[socket.socket, socket.socket]) -> None:
    theirs, ours = ends
    theirs.sendall(written(FRAMES[0])[:-1] + b"\x00" + written(FRAMES[-1]))

    with pytest.raises(UnexpectedFrame, match="0x00"):
        BufferedFrameReader(Reader(ours), call_soon=at_once)(timeout=10)
