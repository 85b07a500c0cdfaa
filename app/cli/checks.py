"""What the doctor looks at, one function for each server: found as it should be, or what to do."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import cast
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from alembic.script import ScriptDirectory
from flask import current_app
from redis.exceptions import RedisError
from sqlalchemy import Connection, create_engine, inspect, make_url, pool, text
from sqlalchemy.exc import SQLAlchemyError

from app import extensions, jobs
from app.cli import flask_migrate
from app.cli.findings import Finding, compare_clock
from app.cli.redis_checks import check_redis
from app.domain.texts import count_with_noun
from app.extensions import UnsafeDatabaseRole
from app.outbound import broker, broker_inspection, credential_store, jwks, trust_store, webhook
from app.services import backlog
from app.unit_of_work import unit_of_work

# The dispatcher looks every second; what has been due for longer is looked at by nobody.
MAX_DISPATCH_DELAY = timedelta(minutes=1)
# What the application's role must be allowed, and nothing more; migrations 116 to 119 grant it.
REQUIRED_TABLE_RIGHTS = {
    "organizations": "SELECT, INSERT",
    "audit_logs": "SELECT, INSERT, DELETE",
    "data_source_connections": "SELECT, INSERT, UPDATE",
    "operations": "SELECT, INSERT, UPDATE, DELETE",
}
_ROW_SECURITY_QUERY = text(
    "SELECT relname, relrowsecurity AND relforcerowsecurity AS forced FROM pg_class"
    " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version' ORDER BY relname"
)
_TABLES_WITHOUT_AUTOVACUUM_QUERY = text(
    "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    " AND reloptions && ARRAY['autovacuum_enabled=false', 'autovacuum_enabled=off'] ORDER BY relname"
)


def check_database() -> Iterator[Finding]:
    """Look at role, migrations, row-level security, rights, clock, and whether anybody does what is due."""
    try:
        extensions.check_database_role()
        with extensions.engine().connect() as connection:
            version = connection.scalar(text("SHOW server_version"))
            yield Finding("database", ok=True, found=f"PostgreSQL {version} answers, the role is an ordinary one")
            yield _check_migrations()
            yield from _check_tables(connection)
            yield compare_clock("database's", cast(datetime, connection.scalar(text("SELECT clock_timestamp()"))))
        yield _check_deliveries()
    except UnsafeDatabaseRole as unsafe:
        yield Finding("database", ok=False, found="the role is an unsafe one", mend=str(unsafe))
    except SQLAlchemyError as problem:
        found = f"does not answer as it should: {type(getattr(problem, 'orig', problem)).__name__}"
        yield Finding("database", ok=False, found=found, mend="look at DATABASE_URL, the server and its log")


def _check_migrations() -> Finding:
    script = ScriptDirectory.from_config(flask_migrate(current_app).get_config())
    wanted = script.get_current_head()
    owner = make_url(extensions.settings().owner_database_url).set(drivername="postgresql+psycopg2")
    with create_engine(owner, poolclass=pool.NullPool).connect() as connection:
        is_made = inspect(connection).has_table("alembic_version")
        there = connection.scalar(text("SELECT version_num FROM alembic_version")) if is_made else None
    mend = "run the release line of the Procfile: flask --app app db upgrade"
    return Finding("migrations", ok=there == wanted, found=f"at {there}, the newest is {wanted}", mend=mend)


def _check_tables(connection: Connection) -> Iterator[Finding]:
    forced = {row.relname: row.forced for row in connection.execute(_ROW_SECURITY_QUERY)}
    open_to_all = [name for name, is_forced in forced.items() if not is_forced]
    found = f"forced on {count_with_noun(len(forced), 'table')}"
    if open_to_all:
        found = f"not forced on {', '.join(open_to_all)}"
    mend = "; ".join(f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY" for name in open_to_all)
    yield Finding("isolation", ok=not open_to_all, found=f"row-level security is {found}", mend=mend)
    needed = [(table, rights.split(", ")) for table, rights in REQUIRED_TABLE_RIGHTS.items() if table in forced]
    wanted = [(table, right) for table, rights in needed for right in rights]
    has = text("SELECT has_table_privilege(current_user, :table, :right)")
    missing = [pair for pair in wanted if not connection.scalar(has, {"table": pair[0], "right": pair[1]})]
    role = connection.scalar(text("SELECT quote_ident(current_user)"))
    found = ", ".join(f"no {right} on {table}" for table, right in missing) or "the role has what it needs"
    mend = "; ".join(f"GRANT {right} ON {table} TO {role}" for table, right in missing)
    yield Finding("rights", ok=not missing, found=found, mend=mend)
    yield _check_autovacuum(connection)


def _check_autovacuum(connection: Connection) -> Finding:
    is_on = connection.scalar(text("SHOW autovacuum")) == "on"
    left_out = list(connection.scalars(_TABLES_WITHOUT_AUTOVACUUM_QUERY))
    whole = "autovacuum is off; statements grow slower by the day"
    found = f"autovacuum leaves out {', '.join(left_out)}" if left_out else "autovacuum is on"
    mend = "ALTER SYSTEM SET autovacuum = on; SELECT pg_reload_conf(); then VACUUM ANALYZE once"
    if is_on and left_out:
        mend = "; ".join(f"ALTER TABLE {name} RESET (autovacuum_enabled)" for name in left_out)
    return Finding("vacuum", ok=is_on and not left_out, found=found if is_on else whole, mend=mend)


def _check_deliveries() -> Finding:
    with unit_of_work(all_tenants=True) as work:
        measured = backlog.measure_backlog(work.session, now=work.now)
    due, overlooked = measured.oldest_due_age, measured.never_attempted_count
    count = count_with_noun(sum(measured.open_counts.values()), "operation")
    found = f"{count} open, {overlooked} overlooked, the oldest due for {due.total_seconds():.0f} s"
    mend = "start beat and webhook_worker, or look into their logs; flask --app app operations list shows which"
    return Finding("deliveries", ok=not overlooked and due < MAX_DISPATCH_DELAY, found=found, mend=mend)


def check_broker() -> Iterator[Finding]:
    """Look at the broker: whether it takes what we send, and its queues."""
    settings = extensions.settings()
    try:
        with broker.open_confirmed_connection(settings.rabbitmq_url) as connection:
            yield Finding("broker", ok=True, found="answers")
            yield _check_publishing(connection)
            for name in (*settings.status_queues, *[queue.name for queue in jobs.task_queues()]):
                worker = "worker" if name in settings.status_queues else "webhook_worker"
                inspection = broker_inspection.inspect_queue(connection, name)
                yield _check_queue(inspection, queue_name=name, worker_name=worker)
                yield from _check_policies(name)
            found = broker_inspection.inspect_queue(
                connection, broker.DEAD_LETTER_QUEUE_NAME, arguments=broker.CLASSIC_QUEUE_ARGUMENTS
            )
            yield _check_dead_letters(found)
            yield from _check_policies(broker.DEAD_LETTER_QUEUE_NAME)
    except (*broker.BrokerError, OSError) as problem:
        mend = "look at RABBITMQ_URL, the server and its log; until it answers, requests wait in the database"
        yield Finding("broker", ok=False, found=f"does not answer: {type(problem).__name__}", mend=mend)


def _check_publishing(connection: broker.Connection) -> Finding:
    wrong = broker_inspection.test_publish(connection)
    mend = (
        "rabbitmq-diagnostics alarms, and the rights of this user (docs/operations.md, Rights at the broker); until "
        "then no webhook is sent and no dead letter kept, and requests wait in the database"
    )
    return Finding("publishing", ok=wrong is None, found=wrong or "is confirmed", mend=mend)


def _check_queue(inspection: broker_inspection.QueueInspection, *, queue_name: str, worker_name: str) -> Finding:
    if inspection.messages is None:
        found = f"this user may not look into {queue_name}: {inspection.refusal}"
        return Finding("queue", ok=False, found=found, mend="look with a user who may read it; change nothing before")
    messages = count_with_noun(inspection.messages, "message")
    if inspection.is_forbidden:
        found = f"{queue_name}: {messages}; this user may not configure it, and {worker_name} consumes it all the same"
        return Finding("queue", ok=True, found=found)
    if inspection.refusal and "'x-queue-type'" not in inspection.refusal:
        found = f"{queue_name} was declared with other arguments than durable, and has {messages}: {inspection.refusal}"
        mend = f"have its publishers declare durable: true alone; {worker_name} consumes it as it is"
        return Finding("queue", ok=False, found=found, mend=mend + _wrong_declaration_consequence(inspection))
    kind = f", {inspection.type}{QUORUM_QUEUE_NOTE if inspection.type == 'quorum' else ''}" if inspection.type else ""
    if inspection.consumers == 0:
        mend = f"start {worker_name}, or look into its log"
        found = f"{queue_name} has {messages} and no consumer{kind}"
        return Finding("queue", ok=False, found=found, mend=mend)
    consumers = "" if inspection.consumers is None else f", {count_with_noun(inspection.consumers, 'consumer')}"
    return Finding("queue", ok=True, found=f"{queue_name}: {messages}{consumers}{kind}")


# What a quorum queue does that a classic one does not.
QUORUM_QUEUE_NOTE = (
    ", which counts what comes back and from RabbitMQ 4 on deletes it at the 21st time: Rita moves it before"
)


def _wrong_declaration_consequence(inspection: broker_inspection.QueueInspection) -> str:
    if "'auto_delete'" in inspection.refusal:
        return "; until then it vanishes, with what is in it, whenever its last consumer leaves"
    return "" if inspection.messages else "; once that is so and it is empty, it may be deleted and declared anew"


def _check_policies(queue_name: str) -> Iterator[Finding]:
    """Look, where there is a management page to ask, for what has the broker drop confirmed messages."""
    settings = extensions.settings()
    if settings.rabbitmq_management_url is None:
        return
    url, virtual_host = settings.rabbitmq_management_url, unquote(urlsplit(settings.rabbitmq_url).path[1:]) or "/"
    try:
        asked = broker_inspection.fetch_queue_from_management(url, virtual_host=virtual_host, queue=queue_name)
    except (OSError, ValueError) as problem:
        if getattr(problem, "code", None) != HTTPStatus.NOT_FOUND:
            found = f"{queue_name}: the management page does not say: {type(problem).__name__}"
            yield Finding("policies", ok=False, found=found, mend="look at RABBITMQ_MANAGEMENT_URL and its user")
        return
    dropping = broker_inspection.message_dropping_rules(asked)
    limits = ", ".join([asked.get("type") or "of an unknown type", *broker_inspection.limiting_rules(asked)])
    found = f"{queue_name}: {limits}; {', '.join(dropping) or 'nothing'} has it drop messages"
    mend = "rabbitmqctl list_policies: take it off this queue, or messages that were confirmed vanish unseen"
    yield Finding("policies", ok=not dropping, found=found, mend=mend)


def _check_dead_letters(inspection: broker_inspection.QueueInspection) -> Finding:
    if inspection.messages is None:
        return Finding("dead letters", ok=True, found="this user may not look at them")
    mend = "flask --app app dead-letters list says why; then replay or drop them"
    found = count_with_noun(inspection.messages, "message")
    return Finding("dead letters", ok=not inspection.messages, found=found, mend=mend)


def check_receiver() -> Iterator[Finding]:
    """Look whether the external service can be reached, and whom a POST trusts; nothing is sent to it."""
    target = webhook.WebhookTarget.from_settings(extensions.settings())
    if urlsplit(target.url).scheme == "https":
        yield _check_trust_store(target.ca_file)
    failure = webhook.test_connection(target)
    found = "can be reached" if failure is None else f"cannot be reached: {failure}"
    mend = "look at AUTOMATION_WEBHOOK_URL (and WEBHOOK_CA_FILE), name resolution and firewalls"
    yield Finding("receiver", ok=failure is None, found=found, mend=mend)


def _check_trust_store(ca_file: str | None) -> Finding:
    stores = [
        f"{place}, changed on {datetime.fromtimestamp(place.resolve().stat().st_mtime, UTC):%Y-%m-%d %H:%M} UTC"
        for place in trust_store.trust_store_paths(ca_file)
    ]
    found = f"a POST trusts the authorities of {' and of '.join(stores)}" if stores else "a POST trusts nobody"
    unused = "certifi's list and REQUESTS_CA_BUNDLE are not used"
    mend = f"install ca-certificates, or name a file in WEBHOOK_CA_FILE or SSL_CERT_FILE; {unused}"
    return Finding("trust store", ok=bool(stores), found=found, mend=mend)


def check_keys() -> Iterator[Finding]:
    """Look whether credentials can be encrypted, and tokens verified."""
    settings, store, probe = extensions.settings(), credential_store.current_credential_store(), uuid4()
    try:
        of_nobody = {"organization_id": probe, "connection_id": probe}
        store.store(probe, {"probe": True}, **of_nobody, ttl=timedelta(seconds=10))
        opened = store.load(probe, **of_nobody)
        store.delete(probe)
        mend = "look whether something between Rita and Redis changes values"
        found = f"{count_with_noun(len(settings.seal_keys), 'key')}; what is sealed opens again"
        yield Finding("seal keys", ok=opened == {"probe": True}, found=found, mend=mend)
    except RedisError as problem:
        yield Finding("seal keys", ok=False, found=f"not tried: {type(problem).__name__}", mend="fix redis first")
    if settings.jwt_jwks_url:
        yield _check_issuer_keys(settings.jwt_jwks_url)


def _check_issuer_keys(jwks_url: str) -> Finding:
    try:
        keys = jwks.fetch_key_set(jwks_url)
    except jwks.KeysMisconfigured as problem:
        key_set = "the issuer's key set (the jwks_uri of its discovery document)"
        mend = f"set JWT_JWKS_URL to {key_set}; waiting does not help"
        return Finding("token keys", ok=False, found=f"JWT_JWKS_URL {problem}", mend=mend)
    except jwks.KeysUnavailable as problem:
        until = "until it answers, nobody can sign in once the keys are old"
        mend = f"look at the issuer and the way to JWT_JWKS_URL: {until}"
        return Finding("token keys", ok=False, found=f"JWT_JWKS_URL {problem}", mend=mend)
    others = ""
    if keys.unusable_reasons:
        others = f"; {len(keys.unusable_reasons)} not: {'; '.join(dict.fromkeys(keys.unusable_reasons))[:200]}"
    return Finding("token keys", ok=True, found=f"JWT_JWKS_URL lists {len(keys.keys)} that verify tokens{others}")


def check_collector() -> Iterator[Finding]:
    """Look whether traces can be sent, where they are wanted."""
    endpoint = extensions.settings().otel_exporter_otlp_endpoint
    if endpoint is None:
        return
    parts = urlsplit(endpoint)
    try:
        usual = {"https": 443, "http": 80}[parts.scheme]
        socket.create_connection((parts.hostname, parts.port or usual), timeout=3).close()
        yield Finding("traces", ok=True, found="the collector can be reached")
    except OSError as problem:
        mend = "look at OTEL_EXPORTER_OTLP_ENDPOINT: OTLP over HTTP; until it answers, spans are lost"
        yield Finding("traces", ok=False, found=f"cannot be sent: {type(problem).__name__}", mend=mend)


SERVER_CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    check_database, check_redis, check_broker, check_receiver, check_keys, check_collector,
)  # fmt: skip
