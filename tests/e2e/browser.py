"""A signed-in person with a browser: HTTP calls, and an event stream read as the WHATWG's specification reads it."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from urllib.parse import urlencode, urlsplit
from uuid import UUID, uuid4

import jwt
import requests

from tests.e2e.processes import JWT_SECRET
from tests.waiting import eventually

CREDENTIALS = {"api_token": "a-token", "email": "ada@example.org", "url": "https://acme.example.org"}


@dataclass(frozen=True)
class Event:
    """One event as a page would get it, and when."""

    id: str
    type: str
    data: Any
    at: float


@dataclass
class Stream:
    """An open `EventSource`, without its reconnecting: that is what the tests do themselves."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    reads: bool = True
    receive_buffer: int | None = None
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        self._is_open = False

    def __enter__(self) -> Self:
        return self if self._is_open else self.open()

    def open(self) -> Self:
        """Ask for the stream, and read it in the background."""
        self._is_open = True
        parts = urlsplit(self.url)
        self.events: list[Event] = []
        self.comments: list[str] = []
        self.retry: int | None = None
        self.ended = threading.Event()
        self.opened_at = time.monotonic()
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        self._socket = socket.socket()
        if self.receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        self._socket.settimeout(60)
        # The response takes the connection over and drops its socket; until then, a failure must not leave it open.
        with ExitStack() as unanswered:
            unanswered.callback(self._socket.close)
            self._socket.connect((parts.hostname, parts.port))
            if self.tls:
                self._socket = self.tls.wrap_socket(self._socket, server_hostname=parts.hostname)
            self._connection.sock = self._socket
            self._connection.request("GET", f"{parts.path}?{parts.query}", headers=dict(self.headers))
            self.response = self._connection.getresponse()
            unanswered.pop_all()
        self.status = self.response.status
        self._thread = threading.Thread(target=self._read, daemon=True)
        if self.reads:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close as a browser that is left does: the connection just ends."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            self.ended.set()
        if self._thread.is_alive():
            self._thread.join(5)
        self.response.close()
        self._connection.close()
        self._socket.close()

    def read_on(self) -> None:
        """Begin to read, after having been asleep."""
        self._thread.start()

    @property
    def last_id(self) -> str:
        return self.events[-1].id

    @property
    def updates(self) -> list[Event]:
        return [event for event in self.events if event.type == "data_source_update"]

    def wait_for(self, wanted: Callable[[Any], Any], *, within: float = 15.0) -> Event:
        """Return the first event whose data is wanted."""
        return eventually(lambda: next((event for event in self.events if wanted(event.data)), None), within=within)

    def _read(self) -> None:
        pending = b""
        try:
            while chunk := self.response.read1(65536):
                *blocks, pending = (pending + chunk).split(b"\n\n")
                for block in blocks:
                    self._dispatch(block.decode())
        except (OSError, http.client.HTTPException, ValueError):
            pass
        finally:
            self.ended.set()

    def _dispatch(self, block: str) -> None:
        fields: dict[str, list[str]] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if not name:
                self.comments.append(value)
            else:
                fields.setdefault(name, []).append(value)
        if "retry" in fields:
            self.retry = int(fields["retry"][-1])
        if "data" in fields:
            data = json.loads("\n".join(fields["data"]))
            event = Event(fields.get("id", [""])[-1], fields.get("event", ["message"])[-1], data, time.monotonic())
            self.events.append(event)


class Person:
    """Calls the API with a token of their own."""

    def __init__(
        self,
        base_url: str,
        *,
        organization_id: UUID | None = None,
        role: str = "admin",
        secret: str = JWT_SECRET,
        lifetime: timedelta = timedelta(hours=1),
    ) -> None:
        self.base_url = base_url
        self.organization_id = organization_id or uuid4()
        claims = {
            "sub": str(uuid4()),
            "email": "ada@example.org",
            "organization_id": str(self.organization_id),
            "role": role,
            "exp": datetime.now(UTC) + lifetime,
        }
        self.headers = {"Authorization": f"Bearer {jwt.encode(claims, secret)}"}

    def ask(self, method: str, path: str, body: Any = None) -> requests.Response:
        return requests.request(method, self.base_url + path, json=body, headers=self.headers, timeout=30)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.ask(method, path, body)
        assert answer.ok, (answer.status_code, answer.text)
        return answer.json()

    def seeded(self, type_name: str = "confluence") -> dict[str, Any]:
        """Seed, and return one type's connection."""
        self.call("POST", "/api/data-sources/seed")
        return self.connection(type_name)

    def connection(self, type_name: str = "confluence") -> dict[str, Any]:
        (found,) = self.call("GET", f"/api/data-sources?type={type_name}")["data"]
        return dict(found)

    def verify(self, connection: Mapping[str, Any], credentials: Mapping[str, Any] = CREDENTIALS) -> Any:
        path = f"/api/data-sources/{connection['id']}/verify"
        return self.call("POST", path, {"credentials": credentials, "settings": {"spaces": "ENG"}})

    def sync(self, connection: Mapping[str, Any]) -> Any:
        return self.call("POST", f"/api/data-sources/{connection['id']}/sync", {})

    def ticket(self) -> str:
        return str(self.call("POST", "/api/sse/tickets")["ticket"])

    def stream(self, *, ticket: str | None = None, after: str | None = None, **options: Any) -> Stream:
        """Open the event stream, by ticket or else by token; enter it to use it."""
        query = urlencode(options.pop("query", {}) | ({"ticket": ticket} if ticket else {}))
        headers = {} if ticket else dict(self.headers)
        if after is not None:
            headers["Last-Event-ID"] = after
        return Stream(f"{self.base_url}/api/sse?{query}", headers, **options)
