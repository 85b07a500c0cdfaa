"""What a publisher may do to a message besides its JSON: encodings, headers and sizes. The worker outlives them all."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest

from tests.e2e.processes import Processes
from tests.e2e.service import DEAD, Service, body_of
from tests.factories import a_sync_message
from tests.integration.status.conftest import Database, completions
from tests.waiting import eventually

pytestmark = pytest.mark.rabbitmq

SIZES = {"300 kB": 300_000, "10 MB": 10_000_000}


@pytest.fixture
def queue(processes: Processes, worker_queue: Service, request: pytest.FixtureRequest) -> Service:
    """The worker's queue, and no dead letter yet; a message that ended the worker shall not end the next one too."""
    worker_queue.declare()
    worker_queue.purge(worker_queue.queue, DEAD)
    assert isinstance(request.getfixturevalue("worker"), type(processes))
    return worker_queue


def assert_alive(worker: Processes, queue: Service, rows: Database) -> None:
    """Fail unless the worker has neither ended nor stopped applying."""
    (fresh,) = rows.connections(1)
    queue.send(*completions([fresh]))
    eventually(lambda: rows.row(fresh["id"])["last_sync_status"] == "completed" or not running(worker), within=10)
    assert running(worker), worker.children["worker"].account()


def running(worker: Processes) -> bool:
    return worker.children["worker"].is_running


def the_letter(worker: Processes, queue: Service) -> tuple[str, bytes]:
    """Return the reason and the body of the one dead letter."""
    eventually(lambda: queue.waiting(DEAD) or not running(worker), within=10)
    assert running(worker), worker.children["worker"].account()
    (letter,) = queue.look()
    return letter.headers["x-rita-reason"], body_of(letter)


@pytest.mark.parametrize(
    "properties",
    [
        {"headers": {"compression": "application/x-gzip"}},
        {"headers": {"compression": "no-such-compression"}},
        {"content_type": None},
        {"content_type": "text/plain"},
        {"content_type": "application/x-python-serialize"},
        {"content_encoding": "utf-8"},
        {"content_encoding": "binary"},
        {"content_encoding": "no-such-encoding"},
        {"content_type": None, "content_encoding": None, "delivery_mode": None},
        {"correlation_id": "x", "reply_to": "webhooks", "message_id": "x", "priority": 9, "type": "task"},
    ],
    ids=str,
)
def test_an_honest_body_is_applied_whatever_its_properties_claim(
    queue: Service, worker: Processes, database_rows: Database, properties: dict[str, Any]
) -> None:
    (connection,) = database_rows.connections(1)
    message = a_sync_message(connection, "sync_failed", error_message="Grüße ☃")

    queue.send_raw(json.dumps(message, ensure_ascii=False).encode(), **properties)

    eventually(lambda: database_rows.row(connection["id"])["last_sync_error"] or queue.waiting(DEAD), within=10)
    assert database_rows.row(connection["id"])["last_sync_error"] == "Grüße ☃"
    assert running(worker)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("utf-16", b"x" * 80),
        ("idna", b"x" * 80),
        ("utf-7", b'{"a": "+AOQ-"'),
        ("unicode_escape", b'{"a": "\\u00e4'),
        ("latin-1", "Grüße, kein JSON".encode()),
        ("latin-1", json.dumps({"error": "Grüße"}, ensure_ascii=False).encode("latin-1")),
        ("ascii", "Grüße, kein JSON".encode()),
        ("no-such-encoding", b"no JSON"),
        ("rot13", b"no JSON"),
        ("\x00", b"no JSON"),
    ],
    ids=["utf-16", "idna", "utf-7", "unicode_escape", "latin-1", "really latin-1", "ascii", "unknown", "rot13", "NUL"],
)
def test_a_bad_body_with_an_odd_encoding_is_kept_byte_for_byte(
    queue: Service, worker: Processes, database_rows: Database, encoding: str, body: bytes
) -> None:
    queue.send_raw(body, content_encoding=encoding)

    _, kept = the_letter(worker, queue)

    assert kept == body
    assert_alive(worker, queue, database_rows)


@pytest.mark.parametrize("compression", ["application/x-gzip", "no-such-compression"])
def test_a_compressed_body_is_kept_as_it_came(
    queue: Service, worker: Processes, database_rows: Database, compression: str
) -> None:
    (connection,) = database_rows.connections(1)
    body = zlib.compress(json.dumps(a_sync_message(connection, "sync_completed")).encode())

    queue.send_raw(body, headers={"compression": compression})

    assert the_letter(worker, queue) == ("not_json", body)
    assert database_rows.row(connection["id"])["last_sync_status"] is None


@pytest.mark.parametrize("size", SIZES.values(), ids=list(SIZES))
def test_a_message_that_is_too_large_is_kept_whole_and_holds_nothing_up(
    queue: Service, worker: Processes, database_rows: Database, size: int
) -> None:
    (connection,) = database_rows.connections(1)
    body = json.dumps(a_sync_message(connection, "sync_failed", error_message="x" * size)).encode()

    queue.send_raw(body)

    assert the_letter(worker, queue) == ("too_large", body)
    assert_alive(worker, queue, database_rows)


@pytest.mark.parametrize("timestamp", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_moment_that_utc_cannot_express_is_a_dead_letter_and_does_not_end_the_worker(
    queue: Service, worker: Processes, database_rows: Database, timestamp: str
) -> None:
    (connection,) = database_rows.connections(1)
    body = json.dumps(a_sync_message(connection, "sync_completed", timestamp=timestamp)).encode()

    queue.send_raw(body)

    assert the_letter(worker, queue) == ("impossible_time", body)
    assert_alive(worker, queue, database_rows)


@pytest.mark.parametrize(
    "body", [b"", b"\x00", b"null", b"[]", b'"text"', b"\xff\xfe", b"[" * 5_000, b"\xef\xbb\xbf{}"]
)
def test_a_body_that_is_no_json_object_is_kept(
    queue: Service, worker: Processes, database_rows: Database, body: bytes
) -> None:
    queue.send_raw(body)

    reason, kept = the_letter(worker, queue)

    assert kept == body
    assert reason in ("not_json", "wrong_shape")
    assert running(worker)
    assert database_rows
