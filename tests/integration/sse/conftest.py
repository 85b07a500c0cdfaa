"""The application behind a real web server in this process, with short times, on the session's database and Redis."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server

from app import create_app
from app.config import Settings
from app.extensions import db
from app.outbound import events
from devstack.valkey import Valkey
from tests.e2e.browser import Person

HEARTBEAT = timedelta(seconds=0.5)
TICKET_LIFETIME = timedelta(seconds=1)


# Collected, their Redis clients would close the connection that the reader waits on.
_ended: list[Flask] = []


class QuietHandler(WSGIRequestHandler):
    # Streams are sent in chunks only since HTTP/1.1.
    protocol_version = "HTTP/1.1"

    def log_request(self, *_: Any) -> None:
        pass


@dataclass(frozen=True)
class Web:
    """A running web server and the application in it."""

    app: Flask
    base_url: str

    def person(self, **options: Any) -> Person:
        return Person(self.base_url, secret=self.app.extensions["settings"].jwt_secret, **options)

    def publish(self, organization_id: UUID, *numbers: int, **data: Any) -> list[str]:
        """Publish an event for each number, and return their ids."""
        channel = events.channel_of_organization(organization_id)
        with self.app.app_context():
            for number in numbers:
                events.event_stream.publish({"number": number} | data, channel=channel)
        entries: list[Any] = self.app.extensions["redis"].xrevrange(f"{channel}:events", count=len(numbers))
        return [entry_id.decode() for entry_id, _ in reversed(entries)]

    @property
    def clients(self) -> int:
        """How many browsers the fan-out serves."""
        return len(self.app.extensions["event_fanout"])


@contextmanager
def serving(settings: Settings) -> Iterator[Web]:
    made = create_app(settings)
    server = make_server("127.0.0.1", 0, made, threaded=True, request_handler=QuietHandler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield Web(made, f"http://127.0.0.1:{server.port}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        # The reader ends with its process only, which is not near: it shall not go on asking for a Redis meanwhile.
        made.extensions["event_fanout"]._connect = threading.Event().wait  # noqa: SLF001 - it has no stop
        _ended.append(made)
        with made.app_context():
            db.engine.dispose()


@pytest.fixture(scope="package")
def short_settings(settings: Settings, flask_app: Flask) -> Settings:
    """Settings with short times; the session's application has migrated their database."""
    assert flask_app.extensions["settings"] is settings
    short = {"sse_heartbeat_seconds": HEARTBEAT, "sse_ticket_seconds": TICKET_LIFETIME}
    return settings.model_copy(update=short)


@pytest.fixture(scope="package")
def web(short_settings: Settings) -> Iterator[Web]:
    with serving(short_settings) as started:
        yield started


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A Redis that only this test has, and may stop."""
    with Valkey(tmp_path / "valkey", environ=os.environ) as started:
        yield started


@pytest.fixture
def private_web(short_settings: Settings, valkey: Valkey) -> Iterator[Web]:
    """The application on a Redis that may be stopped."""
    with serving(short_settings.model_copy(update={"redis_url": valkey.url})) as started:
        yield started
