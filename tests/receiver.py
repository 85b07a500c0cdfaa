"""A real HTTP server that stands where the external service stands, and does what a test tells it."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Behaviour = Callable[[BaseHTTPRequestHandler], None]


@dataclass(frozen=True)
class Received:
    """One webhook as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def answer(status: int, *, body: bytes = b"{}", headers: dict[str, str] | None = None) -> Behaviour:
    """Answer with a status."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return behave


@dataclass
class Receiver:
    """Answers 200 unless `script` holds other behaviours, taken one for each request."""

    received: list[Received] = field(default_factory=list)
    script: deque[Behaviour] = field(default_factory=deque)
    otherwise: Behaviour = field(default_factory=lambda: answer(200))

    def __enter__(self) -> Self:
        outer = self
        # Set when the server stops, so that no behaviour outlives the tests by waiting on it.
        self.stopped = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                # For behaviours that depend on what was asked.
                self.webhook = Received(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                outer.received.append(self.webhook)
                behave = outer.script.popleft() if outer.script else outer.otherwise
                try:
                    behave(self)
                except ConnectionError:
                    # The sender has had enough, which is often what the test is about.
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/webhook"

    def reset(self) -> None:
        self.received.clear()
        self.script.clear()
        self.otherwise = answer(200)
