"""The doctor: each planted fault is found, alone, and its mend is named."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import amqp
import psycopg2
import pytest
from cryptography.fernet import Fernet
from flask import Flask
from redis import Redis
from sqlalchemy import text
from uuid_utils.compat import uuid7

from app.cli.public_address_check import check_public_address
from app.outbound import public_address, sweep_times
from app.outbound.broker import DEAD_LETTER_QUEUE_NAME
from app.outbound.credential_store import REDIS_KEY_PREFIX
from app.outbound.dead_letters import DeadLetter
from app.unit_of_work import unit_of_work
from devstack import certificates
from devstack.databases import create_database, drop_database
from devstack.ports import free_port
from devstack.valkey import Valkey
from tests.e2e.service import Service, channel
from tests.factories import Browser
from tests.integration.api.test_keys import KeyServer
from tests.letters import bury_reliably
from tests.receiver import Receiver
from tests.waiting import eventually

Rows = list[dict[str, Any]]
Doctor = Callable[..., Rows]


@pytest.fixture
def doctor(web: Flask, another_app: Callable[..., Flask]) -> Doctor:
    """Return what the doctor says of an application with these settings, and see that the exit code agrees."""
    assert web

    def examine(**settings: Any) -> Rows:
        done = another_app(**settings).test_cli_runner().invoke(args=["doctor", "--json"])
        rows = [json.loads(line) for line in done.output.splitlines() if line.startswith("{")]
        assert rows, done.output
        assert done.exit_code == (0 if all(row["ok"] for row in rows) else 1)
        return rows

    return examine


def found(rows: Rows, what: str) -> dict[str, Any]:
    """Return the first row about something that is not as it should be, or else the first."""
    about = [row for row in rows if row["what"] == what]
    return next((row for row in about if not row["ok"]), about[0])


@contextmanager
def as_owner(app: Flask, before: str, after: str) -> Iterator[None]:
    """Break something of the database for a while."""
    url = app.extensions["settings"].owner_database_url
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(before)
        try:
            yield
        finally:
            cursor.execute(after)


def nowhere(scheme: str) -> str:
    return f"{scheme}://rita:hunter2@127.0.0.1:{free_port()}/0"


def test_what_is_as_it_should_be_passes(doctor: Doctor, receiver: Receiver, redis: Redis, rabbitmq_url: str) -> None:
    Service(rabbitmq_url).delete(DEAD_LETTER_QUEUE_NAME)
    for name in (sweep_times.DISPATCH_SWEEP, sweep_times.EXPIRE_SWEEP):
        sweep_times.record_sweep(redis, name)

    rows = doctor(automation_webhook_url=receiver.url, environment="development")

    # No worker runs in these tests.
    assert {row["what"] for row in rows if not row["ok"]} == {"queue"}
    passed = {row["what"] for row in rows if row["ok"]}
    assert passed >= {"database", "migrations", "isolation", "rights", "clock", "deliveries", "redis", "seals"}
    assert passed >= {"broker", "dead letters", "receiver", "seal keys", "persistence", "sweeps"}


@pytest.mark.parametrize(
    ("setting", "scheme", "what"),
    [
        ("database_url", "postgresql", "database"),
        ("redis_url", "redis", "redis"),
        ("rabbitmq_url", "amqp", "broker"),
        ("automation_webhook_url", "http", "receiver"),
        ("otel_exporter_otlp_endpoint", "http", "traces"),
    ],
)
def test_a_server_that_is_away_is_found_and_the_others_are_looked_at(
    doctor: Doctor, setting: str, scheme: str, what: str
) -> None:
    rows = doctor(**{setting: nowhere(scheme).replace("rita:hunter2@", "") if scheme == "http" else nowhere(scheme)})

    assert not found(rows, what)["ok"]
    assert setting.upper() in found(rows, what)["mend"]
    others = {"database", "redis", "broker"} - {what}
    assert all(found(rows, other)["ok"] for other in others)
    assert "hunter2" not in str(rows)


def test_a_role_that_sees_every_organization_is_found(doctor: Doctor, admin_database_url: str) -> None:
    row = found(doctor(database_url=admin_database_url), "database")

    assert not row["ok"]
    assert "superuser" in row["mend"]


def test_a_database_that_was_not_migrated_is_found(doctor: Doctor, admin_database_url: str) -> None:
    name = f"rita_test_{uuid4().hex[:8]}"
    owner_url, application_url = create_database(admin_database_url, name=name)
    try:
        row = found(doctor(database_url=application_url, migration_database_url=owner_url), "migrations")
    finally:
        drop_database(admin_database_url, name=name)

    assert not row["ok"]
    assert "db upgrade" in row["mend"]


def test_a_table_open_to_all_is_found(web: Flask, doctor: Doctor) -> None:
    statement = "ALTER TABLE operations {} ROW LEVEL SECURITY"
    with as_owner(web, statement.format("NO FORCE"), statement.format("FORCE")):
        row = found(doctor(), "isolation")

    assert not row["ok"]
    assert "ALTER TABLE operations" in row["mend"]


def test_a_right_that_is_missing_is_found(web: Flask, doctor: Doctor) -> None:
    role = web.extensions["settings"].database_url.split("//")[1].split(":")[0]
    with as_owner(web, f"REVOKE INSERT ON audit_logs FROM {role}", f"GRANT INSERT ON audit_logs TO {role}"):
        row = found(doctor(), "rights")

    assert row["found"] == "no INSERT on audit_logs"
    assert row["mend"] == f"GRANT INSERT ON audit_logs TO {role}"


def test_a_table_that_is_never_vacuumed_is_found(web: Flask, doctor: Doctor) -> None:
    assert found(doctor(), "vacuum")["ok"]
    statement = "ALTER TABLE operations {} (autovacuum_enabled{})"
    with as_owner(web, statement.format("SET", " = false"), statement.format("RESET", "")):
        row = found(doctor(), "vacuum")

    assert not row["ok"]
    assert row["found"] == "autovacuum leaves out operations"
    assert row["mend"] == "ALTER TABLE operations RESET (autovacuum_enabled)"


def test_a_server_that_vacuums_nothing_is_found(doctor: Doctor, admin_database_url: str) -> None:
    with closing(psycopg2.connect(admin_database_url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("ALTER SYSTEM SET autovacuum = off")
        try:
            cursor.execute("SELECT pg_reload_conf()")
            row = eventually(lambda: None if (row := found(doctor(), "vacuum"))["ok"] else row)
        finally:
            cursor.execute("ALTER SYSTEM RESET autovacuum")
            cursor.execute("SELECT pg_reload_conf()")

    assert "autovacuum is off" in row["found"]
    assert "autovacuum = on" in row["mend"]


def test_what_nobody_delivers_is_found(web: Flask, doctor: Doctor) -> None:
    person = Browser(web)
    person.post(f"/api/data-sources/{person.seeded()}/verify", {"credentials": {"api_token": "hunter2"}})
    with web.app_context(), unit_of_work(all_tenants=True) as work:
        work.session.execute(text("UPDATE operations SET created_at = now() - interval '1 hour'"))

    row = found(doctor(), "deliveries")

    assert not row["ok"]
    assert "beat" in row["mend"]


@pytest.mark.parametrize("environment", ["production", "development"])
def test_a_redis_that_writes_to_disk_is_found(doctor: Doctor, tmp_path: Path, environment: str) -> None:
    with Valkey(tmp_path / "valkey", keeps=True) as persistent:
        row = found(doctor(redis_url=persistent.url, environment=environment), "persistence")

    assert not row["ok"]
    assert "appendonly" in row["mend"]


@pytest.mark.parametrize(
    ("limit", "policy", "ok", "says"),
    [
        ("0", "allkeys-lru", True, "any number"),
        ("1gb", "noeviction", True, "of 1024 MiB, noeviction"),
        ("1gb", "volatile-ttl", False, "noeviction"),
        ("2mb", "noeviction", False, "more memory"),
    ],
)
def test_a_redis_that_throws_away_or_is_nearly_full_is_found(
    doctor: Doctor, tmp_path: Path, *, limit: str, policy: str, ok: bool, says: str
) -> None:
    with Valkey(tmp_path / "valkey") as own, Redis.from_url(own.url) as its:
        its.config_set("maxmemory-policy", policy)
        if limit == "2mb":
            its.set("filling", "x" * 2**20)
        its.config_set("maxmemory", limit)
        row = found(doctor(redis_url=own.url), "memory")

    assert row["ok"] is ok
    assert says in row["found"] + row["mend"]


def test_what_somebody_else_has_written_beside_them_is_found_too(web: Flask, doctor: Doctor, redis: Redis) -> None:
    assert web
    names = [f"{REDIS_KEY_PREFIX}of-nobody", REDIS_KEY_PREFIX.encode() + b"\xff", f"{REDIS_KEY_PREFIX}{uuid7()}"]
    for name in names[:2]:
        redis.set(name, "x", ex=60)
    redis.rpush(names[2], "of another type")
    try:
        rows = doctor()
    finally:
        redis.delete(*names)

    row = found(rows, "seals")
    assert not row["ok"]
    expected = "0 verifications under way, 0 sealed with an unknown key, 3 keys beside them that Rita did not write"
    assert row["found"] == expected
    assert f"see what lies under {REDIS_KEY_PREFIX}*" in row["mend"]
    assert found(rows, "redis")["ok"]


def test_credentials_sealed_with_a_key_that_was_dropped_are_found(web: Flask, doctor: Doctor) -> None:
    seals, parked = web.extensions["credential_store"], uuid7()
    seals.store(parked, {}, organization_id=uuid7(), connection_id=uuid7(), ttl=timedelta(minutes=1))
    try:
        row = found(doctor(seal_keys=(Fernet.generate_key().decode(),)), "seals")
    finally:
        seals.delete(parked)

    assert not row["ok"]
    assert "SEAL_KEYS" in row["mend"]


def test_a_queue_declared_otherwise_is_found(doctor: Doctor, rabbitmq_url: str) -> None:
    name = f"status.{uuid4().hex[:8]}"
    with channel(rabbitmq_url) as opened:
        opened.queue_declare(name, durable=True, auto_delete=False, arguments={"x-max-length": 5})
    try:
        row = found(doctor(status_queues=(name,)), "queue")
    finally:
        Service(rabbitmq_url).delete(name)

    assert row["found"].startswith(f"{name} was declared with other arguments")
    assert "durable: true" in row["mend"]


def test_no_advice_costs_messages_and_what_follows_from_a_declaration_is_said(
    doctor: Doctor, rabbitmq_url: str
) -> None:
    service = Service(rabbitmq_url, queue=f"status.{uuid4().hex[:8]}")
    with channel(rabbitmq_url) as opened:
        opened.queue_declare(service.queue, durable=True, auto_delete=True)
    service.send({"a": 1})
    try:
        row = found(doctor(status_queues=(service.queue,)), "queue")
    finally:
        service.delete(service.queue)

    assert "auto_delete" in row["found"]
    assert "vanishes" in row["mend"]
    assert "deleted" not in row["mend"]


def test_the_type_of_a_queue_is_said_and_what_follows_from_it(doctor: Doctor, rabbitmq_url: str) -> None:
    name = f"status.{uuid4().hex[:8]}"
    with channel(rabbitmq_url) as opened:
        opened.queue_declare(name, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
    try:
        row = found(doctor(status_queues=(name,)), "queue")
    finally:
        Service(rabbitmq_url).delete(name)

    assert "no consumer, quorum, which counts what comes back" in row["found"]


def test_a_queue_that_is_somebody_elses_alone_is_not_judged(doctor: Doctor, rabbitmq_url: str) -> None:
    name = f"status.{uuid4().hex[:8]}"
    with channel(rabbitmq_url) as opened:
        opened.queue_declare(name, durable=True, exclusive=True)
        row = found(doctor(status_queues=(name,)), "queue")

    assert row["found"].startswith(f"this user may not look into {name}")
    assert "change nothing" in row["mend"]


@pytest.mark.parametrize(
    ("policy", "arguments", "ok", "says"),
    [
        ({"max-length": 10, "message-ttl": 60_000}, {}, False, "quorum; max-length 10, message-ttl 60000 has it drop"),
        ({"delivery-limit": 5}, {}, False, "quorum, delivery-limit 5; delivery-limit 5 (Rita moves a message at"),
        ({}, {"x-delivery-limit": -1}, True, "quorum, delivery-limit -1; nothing has it drop messages"),
        ({"delivery-limit": 20}, {}, True, "quorum, delivery-limit 20; nothing has it drop messages"),
    ],
)
def test_a_queues_type_and_limits_are_told_and_a_policy_that_has_it_drop_messages_is_found(
    doctor: Doctor, receiver: Receiver, policy: Any, arguments: Any, *, ok: bool, says: str
) -> None:
    policies = {"type": "quorum", "effective_policy_definition": policy, "arguments": arguments}

    def behave(handler: BaseHTTPRequestHandler) -> None:
        body = json.dumps(policies).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    with HTTPServer(("127.0.0.1", 0), type("Page", (BaseHTTPRequestHandler,), {"do_GET": behave})) as page:
        threading.Thread(target=page.serve_forever, daemon=True).start()
        row = found(doctor(rabbitmq_management_url=f"http://u:p@127.0.0.1:{page.server_port}"), "policies")
        page.shutdown()

    assert receiver
    assert row["ok"] is ok
    assert says in row["found"]


def test_a_queue_that_no_worker_consumes_is_found_and_not_made(doctor: Doctor, rabbitmq_url: str) -> None:
    name = f"status.{uuid4().hex[:8]}"

    row = found(doctor(status_queues=(name,)), "queue")

    assert row["found"] == f"{name} has 0 messages and no consumer"
    assert "start worker" in row["mend"]
    with channel(rabbitmq_url) as opened, pytest.raises(amqp.NotFound):
        opened.queue_declare(name, passive=True)


def test_dead_letters_are_found(doctor: Doctor, rabbitmq_url: str) -> None:
    bury_reliably(rabbitmq_url, [DeadLetter(b"{}", "wrong_shape")])
    try:
        row = found(doctor(), "dead letters")
    finally:
        Service(rabbitmq_url).delete(DEAD_LETTER_QUEUE_NAME)

    assert (row["ok"], row["found"]) == (False, "1 message")
    assert "dead-letters list" in row["mend"]


def test_keys_for_tokens_that_cannot_be_fetched_are_found(doctor: Doctor) -> None:
    row = found(doctor(jwt_secret=None, jwt_jwks_url=f"http://127.0.0.1:{free_port()}/keys"), "token keys")

    assert (row["ok"], row["found"]) == (False, "JWT_JWKS_URL does not answer: ConnectionRefusedError")
    assert "until it answers" in row["mend"]


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"<html>", "a page (HTML)"), (b'{"jwks_uri": "https://a.example/keys"}', "https://a.example/keys")],
)
def test_an_address_that_will_never_list_keys_is_told_from_an_outage(
    doctor: Doctor, content: bytes, words: str
) -> None:
    with KeyServer(content) as issuer:
        row = found(doctor(jwt_secret=None, jwt_jwks_url=issuer.url), "token keys")

    assert not row["ok"]
    assert words in row["found"]
    assert "waiting does not help" in row["mend"]


def test_listed_keys_of_tokens_are_counted(doctor: Doctor) -> None:
    with KeyServer() as issuer:
        row = found(doctor(jwt_secret=None, jwt_jwks_url=issuer.url), "token keys")

    assert (row["ok"], row["found"]) == (True, "JWT_JWKS_URL lists 1 that verify tokens")


@pytest.mark.parametrize(
    ("age", "says"),
    [(None, "dispatch: none for a day"), (timedelta(minutes=2), r"dispatch: the last 1[2-9]\d s ago")],
    ids=str,
)
def test_sweeps_that_nobody_makes_are_found(doctor: Doctor, redis: Redis, age: timedelta | None, says: str) -> None:
    sweep_times.record_sweep(redis, sweep_times.EXPIRE_SWEEP)
    if age is not None:
        redis.set(f"{sweep_times.REDIS_KEY_PREFIX}{sweep_times.DISPATCH_SWEEP}", "1", px=sweep_times.TIME_TO_LIVE - age)

    stale, fresh = [row for row in doctor() if row["what"] == "sweeps"]

    assert (stale["ok"], fresh["ok"]) == (False, True)
    # A second or more may go by until it looks.
    assert re.fullmatch(says, stale["found"])
    assert "beat" in stale["mend"]


@pytest.mark.parametrize(
    ("ahead", "ok", "says"),
    [
        (-7.25, False, "beat: 7.2 s behind the database's"),
        (60.0, False, "beat: 60.0 s ahead of the database's"),
        (0.5, True, "beat: 0.5 s ahead of the database's"),
        ("no clock's", True, "no worker has said in ten minutes how its clock goes"),
    ],
)
def test_a_process_whose_clock_is_wrong_is_found(
    doctor: Doctor, redis: Redis, ahead: object, *, ok: bool, says: str
) -> None:
    redis.set("rita:clock:beat", str(ahead))
    redis.rpush("rita:clock:of another type", "1")
    try:
        rows = doctor()
    finally:
        redis.delete("rita:clock:beat", "rita:clock:of another type")

    of_processes = [row for row in rows if row["what"] == "clock" and "machine" not in row["found"]]
    assert [(row["ok"], row["found"]) for row in of_processes] == [(ok, says)]


def test_the_store_that_a_post_trusts_is_named_with_its_age(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = certificates.create_certificate(tmp_path).authority
    os.utime(own, (0, 0))
    elsewhere = {"automation_webhook_url": f"https://127.0.0.1:{free_port()}/"}

    named = found(doctor(webhook_ca_file=str(own), **elsewhere), "trust store")
    # Another library's variable, which Rita does not go by.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(own))
    of_openssl = found(doctor(**elsewhere), "trust store")
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    monkeypatch.setenv("SSL_CERT_DIR", "/nowhere")
    nobody = found(doctor(**elsewhere), "trust store")

    assert (named["ok"], named["found"]) == (
        True,
        f"a POST trusts the authorities of {own}, changed on 1970-01-01 00:00 UTC",
    )
    assert f"{own}, changed on 1970-01-01 00:00 UTC" in of_openssl["found"]
    assert (nobody["ok"], nobody["found"]) == (False, "a POST trusts nobody")


@pytest.mark.parametrize(
    ("encoding", "says"),
    [("gzip", "the event stream is compressed on the way"), ("identity", "events are held back on the way")],
)
def test_of_a_stream_whose_events_do_not_come_through_nothing_else_is_said(
    web: Flask, monkeypatch: pytest.MonkeyPatch, encoding: str, says: str
) -> None:
    monkeypatch.setattr(public_address, "READ_TIMEOUT_SECONDS", 0.5)
    ended = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        is_stream = handler.path.startswith("/api/sse")
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream" if is_stream else "application/json")
        if is_stream:
            handler.send_header("Content-Encoding", encoding)
        handler.end_headers()
        if is_stream:
            ended.wait(30)
        else:
            handler.wfile.write(b'{"status": "ok"}')

    with HTTPServer(("127.0.0.1", 0), type("Page", (BaseHTTPRequestHandler,), {"do_GET": answer})) as page:
        threading.Thread(target=page.serve_forever, daemon=True).start()
        with web.app_context():
            address = public_address.PublicAddress(f"http://127.0.0.1:{page.server_port}")
            findings = list(check_public_address(address))
        ended.set()
        page.shutdown()

    assert [(each.what, each.ok) for each in findings] == [("front", True), ("front events", False)]
    assert findings[1].found == says


def test_people_get_a_line_for_each_and_what_to_do_below_it(web: Flask, another_app: Callable[..., Flask]) -> None:
    assert web
    deaf = another_app(redis_url=nowhere("redis"))

    done = deaf.test_cli_runner().invoke(args=["doctor"])

    lines = done.output.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("FAIL  redis"))
    assert "REDIS_URL" in lines[at + 1]
    assert any(line.startswith("pass  database") for line in lines)
