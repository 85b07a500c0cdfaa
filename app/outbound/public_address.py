"""Rita's public address, asked as a browser asks it: through whatever stands in front of the web process."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from app.outbound import trust_store
from app.setting_types import LOOPBACK_HOSTS

# In seconds: of one read. What is said of a stream is at most this late.
READ_TIMEOUT_SECONDS = 5.0
# Of a body or a line of a stream, in bytes: more is not Rita's.
MAX_READ_BYTES = 2 * 1024 * 1024
# Published one by one, so that each is a packet of its own: who delays events does so after the first.
EVENTS_PUBLISHED = 3


class UnexpectedAnswer(Exception):
    """What answers is not Rita, or nothing does; says what was seen."""


@dataclass(frozen=True)
class PublicAnswer:
    """How the public address answers: the protocol that browsers get, and whether they are told to stay with TLS."""

    protocol: str
    has_strict_transport_security: bool


class PublicAddress:
    """The address that browsers use, `https://rita.example` or with a path."""

    def __init__(self, address: str) -> None:
        """Take an absolute address. Raises ValueError."""
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("an address such as https://rita.example is needed")
        self.is_secure = parts.scheme == "https"
        self.is_safe = self.is_secure or parts.hostname in LOOPBACK_HOSTS
        self._host, self._port = parts.hostname, parts.port or (443 if self.is_secure else 80)
        self._prefix = parts.path.rstrip("/")

    def check_health(self) -> PublicAnswer:
        """Ask whether the web process lives. Raises UnexpectedAnswer."""
        with self._send_request("/healthz") as (found, _):
            try:
                body = json.loads(found.read(MAX_READ_BYTES))
            except ValueError:
                body = None
            if found.status != HTTPStatus.OK or body != {"status": "ok"}:
                raise UnexpectedAnswer(_describe_answer(found))
            return PublicAnswer(self._browser_protocol(), found.headers.get("Strict-Transport-Security") is not None)

    @contextmanager
    def open_stream(self, ticket: str) -> Iterator[PublicStream]:
        """Open the stream that a ticket stands for. Raises UnexpectedAnswer."""
        with self._send_request(f"/api/sse?ticket={ticket}") as (found, opened):
            if found.status != HTTPStatus.OK or found.headers.get_content_type() != "text/event-stream":
                raise UnexpectedAnswer(_describe_answer(found))
            yield PublicStream(found, opened)

    @contextmanager
    def _send_request(self, path: str) -> Iterator[tuple[http.client.HTTPResponse, socket.socket]]:
        """Ask over a connection of this request alone, as browsers do, and as they would take compressed answers."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=READ_TIMEOUT_SECONDS)
        try:
            with closing(connection):
                connection.sock = open_socket = self._open_socket("http/1.1")
                connection.request("GET", self._prefix + path, headers={"Accept-Encoding": "gzip, deflate, br"})
                yield connection.getresponse(), open_socket
        except (OSError, http.client.HTTPException) as problem:
            raise UnexpectedAnswer(f"{type(problem).__name__}: {problem}") from None

    def _open_socket(self, *alpn_protocols: str) -> socket.socket:
        opened = socket.create_connection((self._host, self._port), timeout=READ_TIMEOUT_SECONDS)
        if not self.is_secure:
            return opened
        context = trust_store.create_ssl_context()
        context.set_alpn_protocols(list(alpn_protocols))
        return context.wrap_socket(opened, server_hostname=self._host)

    def _browser_protocol(self) -> str:
        """Return what a browser speaks there: it offers HTTP/2 first, over TLS alone."""
        if not self.is_secure:
            return "HTTP/1.1"
        with closing(self._open_socket("h2", "http/1.1")) as opened:
            chosen = opened.selected_alpn_protocol()  # type: ignore[attr-defined]
        return "HTTP/2" if chosen == "h2" else "HTTP/1.1"


class PublicStream:
    """An open event stream, whose beginning has not been read."""

    def __init__(self, answer: http.client.HTTPResponse, opened: socket.socket) -> None:
        self._answer, self._socket = answer, opened

    @property
    def is_compressed(self) -> bool:
        """Whether somebody on the way packs the events, and so waits until there are enough."""
        return self._answer.headers.get("Content-Encoding", "identity") != "identity"

    def read_event(self) -> None:
        """Read up to the next event, of which the first is the snapshot. Raises TimeoutError if it is held back."""
        self._read_until_line(lambda line: line.startswith(b"data:"))

    def measure_event_delay(self, publish: Callable[[], object]) -> float:
        """Publish a few events one after the other; return by how many seconds the slowest was late.

        Raises TimeoutError if one does not come.
        """
        slowest = 0.0
        for _ in range(EVENTS_PUBLISHED):
            published = time.monotonic()
            publish()
            self.read_event()
            slowest = max(slowest, time.monotonic() - published)
        return slowest

    def survives_silence(self, *, silence_seconds: float) -> bool:
        """Wait as long as a silence may last, for the next heartbeat; tell whether it comes."""
        with suppress(OSError, http.client.HTTPException):
            self._socket.settimeout(silence_seconds)
            self._read_until_line(lambda line: line.startswith(b":"))
            return True
        return False

    def _read_until_line(self, predicate: Callable[[bytes], bool]) -> None:
        while line := self._answer.readline(MAX_READ_BYTES):
            if predicate(line):
                return
        raise http.client.IncompleteRead(b"")


def _describe_answer(response: http.client.HTTPResponse) -> str:
    """Return what an answer that is not Rita's looks like."""
    server, location = response.headers.get("Server"), response.headers.get("Location")
    seen = f"answers {response.status} with {response.headers.get_content_type()}"
    if server:
        seen += f", from {server}"
    return seen + (f", and leads to {location}" if location else "")
