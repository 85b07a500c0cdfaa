"""Peers that misbehave below HTTP, on real sockets; `tests/receiver.py` is for those that speak it."""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import socket
import ssl
import struct
import termios
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from app.domain import retry
from app.outbound import webhook
from tests.waiting import eventually

# Set when the test is over, so that no peer outlives it.
Stopped = threading.Event
Peer = Callable[[socket.socket, Stopped], None]


def a_target(url: str, **fields: Any) -> webhook.WebhookTarget:
    """Return a target with limits short enough to wait for."""
    values: dict[str, Any] = {
        "url": url,
        "authorization": "Bearer of-the-tests",
        "signing_secrets": (),
        "ca_file": None,
        "connect_timeout": timedelta(seconds=0.5),
        "read_timeout": timedelta(seconds=0.5),
        "total_timeout": timedelta(seconds=1),
    }
    return webhook.WebhookTarget(**values | fields)


def post(url: str, **fields: Any) -> retry.AttemptOutcome:
    """Post a small body to an address."""
    return webhook.post_webhook({"hello": "there"}, webhook_id="id-1", request_id=None, target=a_target(url, **fields))


@contextlib.contextmanager
def listening(peer: Peer, *, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve every connection with `peer` until the end of the test; yield the address as `host:port`."""
    stopped = Stopped()

    def serve(connection: socket.socket) -> None:
        # The sender may go away at any moment, which is often what the test is about.
        with contextlib.suppress(OSError):
            served = tls.wrap_socket(connection, server_side=True) if tls else connection
            with served:
                peer(served, stopped)
        connection.close()

    def accept(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=serve, args=(connection,), daemon=True))
            threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads = [threading.Thread(target=accept, args=(listener,), daemon=True)]
        threads[0].start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        stopped.set()
        listener.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(timeout=5)


def saying(answer: bytes) -> Peer:
    """Read the request, say these bytes, and close."""

    def peer(connection: socket.socket, _: Stopped) -> None:
        connection.recv(65536)
        connection.sendall(answer)
        # Read on, or what has not been read would turn the close into a reset.
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass

    return peer


def saying_and_cutting(answer: bytes) -> Peer:
    """Read the request, say these bytes, and reset the connection once they are read."""

    def peer(connection: socket.socket, _: Stopped) -> None:
        connection.recv(65536)
        connection.sendall(answer)
        # TIOCOUTQ: bytes that the peer has not acknowledged; a reset would take them away with it.
        eventually(lambda: struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, b"\0" * 4)) == (0,))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return peer


def stopping(answer: bytes) -> Peer:
    """Read the request, say these bytes, and nothing more."""

    def peer(connection: socket.socket, stopped: Stopped) -> None:
        connection.recv(65536)
        connection.sendall(answer)
        stopped.wait()

    return peer


def dripping(at_once: bytes, then: bytes, *, pause: float = 0.2) -> Peer:
    """Say something at once and the rest a byte at a time, each well within the limit of a single read."""

    def peer(connection: socket.socket, stopped: Stopped) -> None:
        connection.recv(65536)
        connection.sendall(at_once)
        for byte in then:
            if stopped.wait(pause):
                return
            connection.sendall(bytes([byte]))

    return peer


def silent(connection: socket.socket, stopped: Stopped) -> None:
    """Read the request and say nothing."""
    connection.recv(65536)
    stopped.wait()


def endless(connection: socket.socket, stopped: Stopped) -> None:
    """Answer 200 with a body that has no end."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while not stopped.is_set():
        connection.sendall(b"x" * 65536)


@contextlib.contextmanager
def overloaded() -> Iterator[str]:
    """Listen with a queue that is full: Linux then drops whoever tries to connect, as a firewall would."""
    with socket.socket() as listener, contextlib.ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = waiting.enter_context(socket.socket())
            filler.setblocking(False)  # noqa: FBT003 - the socket module's own signature
            filler.connect_ex(listener.getsockname())
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate of 127.0.0.1, and the server's side of it."""

    ca_file: str
    server: ssl.SSLContext


def a_certificate(directory: Path, *, address: str = "127.0.0.1", days: int = 1) -> Certificate:
    """Make a certificate that is valid for so many days from yesterday."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "of the tests")])
    yesterday = datetime.now(UTC) - timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(yesterday - timedelta(days=1))
        .not_valid_after(yesterday + timedelta(days=days, hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    ca_file, both = directory / "ca.pem", directory / "server.pem"
    ca_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    both.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(both)
    return Certificate(str(ca_file), server)
