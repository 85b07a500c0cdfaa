"""The stand-in within the test's process, quick, on a queue of its own; and the ways in which one can be wrong."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import Any
from uuid import uuid4

import standardwebhooks
from flask import Flask, request
from kombu import Queue
from werkzeug.serving import make_server

from devstack import external_service, scenarios
from devstack.external_service import Answer, ExternalService, Settings
from devstack.reports import Key, Report, SyncRequested, VerifyCredentials, Webhook
from devstack.scenarios import Rehearsal
from devstack.status_queue import StatusQueue
from devstack.verified_connections import VerifiedConnections
from tests.e2e.service import channel

AUTHORIZATION = "Bearer of-the-trial"
SECRET = "whsec_dGVzdC1zaWduaW5nLXNlY3JldC0wMTIzNDU2Nzg5"
# Everything at once, so that a trial takes a second; and messages that are wrong in one way each.
QUICK = """
scenarios:
  quick: {about: hardly a pause, verification: {after: 0.02}, sync: {documents: [3, 9], pace: 0.03}}
  listed: {about: options as a list, messages: {replace: {options: [ENG, PROD]}}}
  accused: {about: good credentials fail, verification: {error: nobody likes these}}
  wordless: {about: no reason is given, messages: {replace: {error: null}}}
  leaking: {about: a credential is repeated, messages: {replace: {note: "refused: a-bad-token"}}}
  untyped: {about: no type, messages: {leave_out: [type]}}
  misaddressed: {about: another connection, messages: {replace: {connection_id: 00000000-0000-4000-8000-000000000001}}}
  timeless: {about: always the same time, messages: {replace: {timestamp: "2026-11-22T10:00:00Z"}}}
  unset: {about: a clock that was never set, messages: {replace: {timestamp: "0001-01-01T00:00:00Z"}}}
  sluggish: {about: answered after the work, webhook: {delay: 9}}
"""


@dataclass(frozen=True)
class Address:
    """Where a running service is."""

    url: str
    queue: str


@dataclass(frozen=True)
class Wrong:
    """One way to be wrong: words for every verification or sync, classes of its own, a changed door or setting."""

    verification: str = "quick"
    sync: str = "quick"
    service: type[ExternalService] = ExternalService
    queue: type[StatusQueue] = StatusQueue
    door: Callable[[Flask], None] = lambda _app: None
    settings: Mapping[str, Any] = field(default_factory=dict)


NOT_WRONG = Wrong()


@contextmanager
def running(rabbitmq_url: str, *, folder: Path, wrong: Wrong = NOT_WRONG) -> Iterator[Address]:
    """Run a stand-in; its queue is deleted in the end."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    file = folder / "quick.yaml"
    file.write_text(f'{QUICK}script: {{any: {{verification: ["{wrong.verification}"], sync: ["{wrong.sync}"]}}}}\n')
    settings = Settings(rabbitmq_url, AUTHORIZATION, SECRET, port=0, status_queue=f"conformance.{uuid4().hex[:8]}")
    status_queue = wrong.queue(rabbitmq_url, name=settings.status_queue)
    service = wrong.service(status_queue, book=scenarios.load(file), chance=Random())  # noqa: S311
    stopping = Event()
    app = external_service.create_app(service, settings=replace(settings, **wrong.settings), stopping=stopping)
    wrong.door(app)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    status_queue.start()
    thread.start()
    try:
        yield Address(f"http://127.0.0.1:{server.port}/webhook", settings.status_queue)
    finally:
        stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()
        status_queue.stop(within=timedelta(seconds=5))
        with channel(rabbitmq_url) as opened:
            opened.queue_delete(settings.status_queue)


class Forgetful(ExternalService):
    """Knows no id again."""

    def receive(self, webhook: Webhook, *, webhook_id: str) -> Answer:
        return super().receive(webhook, webhook_id=f"{webhook_id}-{uuid4()}")


class Offended(ExternalService):
    """Refuses what it has seen."""

    def receive(self, webhook: Webhook, *, webhook_id: str) -> Answer:
        answer = super().receive(webhook, webhook_id=webhook_id)
        return Answer(409, "seen before") if answer.text == "already accepted" else answer


class Busy(ExternalService):
    """Takes no sync."""

    def receive(self, webhook: Webhook, *, webhook_id: str) -> Answer:
        return Answer(503, "busy") if webhook.kind == "sync" else super().receive(webhook, webhook_id=webhook_id)


class Credulous(ExternalService):
    """Likes bad credentials."""

    def _reports(self, webhook: Webhook, rehearsal: Rehearsal) -> list[Report]:
        if isinstance(webhook, VerifyCredentials) and "bad" in str(webhook.credentials):
            webhook = webhook.model_copy(update={"credentials": {"api_token": "fine"}})
        return super()._reports(webhook, rehearsal)


class Speechless(ExternalService):
    """Says nothing of a source that it cannot reach."""

    def _reports(self, webhook: Webhook, rehearsal: Rehearsal) -> list[Report]:
        reports = super()._reports(webhook, rehearsal)
        out_of_reach = isinstance(webhook, VerifyCredentials) and "unreachable" in str(webhook.credentials)
        return [] if out_of_reach else reports


class _Anyones(VerifiedConnections):
    def __contains__(self, _key: Key) -> bool:
        return bool(self._keys)


class _Forgotten(VerifiedConnections):
    def add(self, key: Key) -> None:
        pass


class Confused(ExternalService):
    """Takes anybody's credentials for a sync."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._verified = _Anyones()


class Careless(ExternalService):
    """Keeps no credentials."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._verified = _Forgotten()


class Transient(StatusQueue):
    """Publishes what a restart of the broker loses."""

    def _publish(self, producer: Any, message: Mapping[str, object]) -> None:
        producer.publish(json.dumps(message), exchange="", routing_key=self._queue.name, delivery_mode="transient")


class Ageing(StatusQueue):
    """Declares the queue with an argument."""

    def __init__(self, url: str, *, name: str) -> None:
        super().__init__(url, name=name)
        self._queue = Queue(name, durable=True, message_ttl=60)


class Fleeting(StatusQueue):
    """Declares a queue that a restart of the broker loses."""

    def __init__(self, url: str, *, name: str) -> None:
        super().__init__(url, name=name)
        self._queue = Queue(name, durable=False, expires=60)


Wsgi = Callable[[dict[str, Any], Any], Any]


def open_to_anybody(app: Flask) -> None:
    """Do not look at Authorization."""
    inner: Wsgi = app.wsgi_app
    app.wsgi_app = lambda environ, start: inner(environ | {"HTTP_AUTHORIZATION": AUTHORIZATION}, start)  # type: ignore[method-assign]


def timeless(app: Flask) -> None:
    """Check a signature, but not its age."""
    inner: Wsgi = app.wsgi_app

    def signed_anew(environ: dict[str, Any], start: Any) -> Any:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        then = datetime.fromtimestamp(int(environ["HTTP_WEBHOOK_TIMESTAMP"]), tz=UTC)
        webhook = standardwebhooks.Webhook(SECRET)
        changed = {"wsgi.input": BytesIO(body)}
        if webhook.sign(environ["HTTP_WEBHOOK_ID"], then, body.decode()) == environ["HTTP_WEBHOOK_SIGNATURE"]:
            now = datetime.now(UTC)
            changed["HTTP_WEBHOOK_TIMESTAMP"] = str(int(now.timestamp()))
            changed["HTTP_WEBHOOK_SIGNATURE"] = webhook.sign(environ["HTTP_WEBHOOK_ID"], now, body.decode())
        return inner(environ | changed, start)

    app.wsgi_app = signed_anew  # type: ignore[method-assign]


def two_faced(app: Flask) -> None:
    """Answer 401 to whoever is not authorized, and act all the same."""
    open_to_anybody(app)
    inner: Wsgi = app.wsgi_app

    def answered_401(environ: dict[str, Any], start: Any) -> Any:
        authorized = environ.get("HTTP_AUTHORIZATION") == AUTHORIZATION
        return inner(environ, lambda status, headers: start(status if authorized else "401 Unauthorized", headers))

    app.wsgi_app = answered_401  # type: ignore[method-assign]


def strict(app: Flask) -> None:
    """Refuse a body with a key that is not known."""

    @app.before_request
    def refuse() -> Any:
        known = {*VerifyCredentials.model_fields, *SyncRequested.model_fields}
        return ({"error": "unknown key"}, 422) if set(request.get_json()) - known else None
