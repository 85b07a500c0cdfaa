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

from app.outbound import trust
from app.setting_types import LOOPBACK_HOSTS

# In seconds: of one read. What is said of a stream is at most this late.
PATIENCE = 5.0
# Of a body or a line of a stream, in bytes: more is not Rita's.
LARGEST = 2 * 1024 * 1024
# Published one by one, so that each is a packet of its own: who delays events does so after the first.
EVENTS = 3


class NotRita(Exception):
    """What answers is not Rita, or nothing does; says what was seen."""


@dataclass(frozen=True)
class Answer:
    """How the public address answers: the protocol that browsers get, and whether they are told to stay with TLS."""

    protocol: str
    keeps_tls: bool


class Front:
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

    def answer(self) -> Answer:
        """Ask whether the web process lives. Raises NotRita."""
        with self._asked("/healthz") as (found, _):
            try:
                body = json.loads(found.read(LARGEST))
            except ValueError:
                body = None
            if found.status != HTTPStatus.OK or body != {"status": "ok"}:
                raise NotRita(_seen(found))
            return Answer(self._protocol(), found.headers.get("Strict-Transport-Security") is not None)

    @contextmanager
    def stream(self, ticket: str) -> Iterator[Stream]:
        """Open the stream that a ticket stands for. Raises NotRita."""
        with self._asked(f"/api/sse?ticket={ticket}") as (found, opened):
            if found.status != HTTPStatus.OK or found.headers.get_content_type() != "text/event-stream":
                raise NotRita(_seen(found))
            yield Stream(found, opened)

    @contextmanager
    def _asked(self, path: str) -> Iterator[tuple[http.client.HTTPResponse, socket.socket]]:
        """Ask over a connection of this request alone, as browsers do, and as they would take compressed answers."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=PATIENCE)
        try:
            with closing(connection):
                connection.sock = opened = self._connected("http/1.1")
                connection.request("GET", self._prefix + path, headers={"Accept-Encoding": "gzip, deflate, br"})
                yield connection.getresponse(), opened
        except (OSError, http.client.HTTPException) as problem:
            raise NotRita(f"{type(problem).__name__}: {problem}") from None

    def _connected(self, *protocols: str) -> socket.socket:
        opened = socket.create_connection((self._host, self._port), timeout=PATIENCE)
        if not self.is_secure:
            return opened
        context = trust.context()
        context.set_alpn_protocols(list(protocols))
        return context.wrap_socket(opened, server_hostname=self._host)

    def _protocol(self) -> str:
        """Return what a browser speaks there: it offers HTTP/2 first, over TLS alone."""
        if not self.is_secure:
            return "HTTP/1.1"
        with closing(self._connected("h2", "http/1.1")) as opened:
            chosen = opened.selected_alpn_protocol()  # type: ignore[attr-defined]
        return "HTTP/2" if chosen == "h2" else "HTTP/1.1"


class Stream:
    """An open event stream, whose beginning has not been read."""

    def __init__(self, answer: http.client.HTTPResponse, opened: socket.socket) -> None:
        self._answer, self._socket = answer, opened

    @property
    def is_compressed(self) -> bool:
        """Whether somebody on the way packs the events, and so waits until there are enough."""
        return self._answer.headers.get("Content-Encoding", "identity") != "identity"

    def begin(self) -> None:
        """Read the beginning, up to the end of the snapshot. Raises TimeoutError if it is held back."""
        self._until(lambda line: line.startswith(b"data:"))

    def delay(self, publish: Callable[[], object]) -> float:
        """Publish a few events one after the other; return by how many seconds the slowest was late.

        Raises TimeoutError if one does not come.
        """
        slowest = 0.0
        for _ in range(EVENTS):
            published = time.monotonic()
            publish()
            self._until(lambda line: line.startswith(b"data:"))
            slowest = max(slowest, time.monotonic() - published)
        return slowest

    def outlasts(self, *, seconds: float) -> bool:
        """Wait as long as a silence may last, for the next heartbeat; tell whether it comes."""
        with suppress(OSError, http.client.HTTPException):
            self._socket.settimeout(seconds)
            self._until(lambda line: line.startswith(b":"))
            return True
        return False

    def _until(self, is_it: Callable[[bytes], bool]) -> None:
        while line := self._answer.readline(LARGEST):
            if is_it(line):
                return
        raise http.client.IncompleteRead(b"")


def _seen(found: http.client.HTTPResponse) -> str:
    """Return what an answer that is not Rita's looks like."""
    kind = found.headers.get_content_type()
    server = found.headers.get("Server")
    location = found.headers.get("Location")
    seen = f"answers {found.status} with {kind}"
    if server:
        seen += f", from {server}"
    return seen + (f", and leads to {location}" if location else "")
