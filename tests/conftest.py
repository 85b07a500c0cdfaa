"""Real servers for every test that asks for one: those of the machine's environment, or private ones.

`devstack` starts what TEST_DATABASE_URL (a superuser's), TEST_REDIS_URL and TEST_RABBITMQ_URL do not name; the same
private servers that `make run` uses. With REQUIRE_SERVICES=1, as in CI, what is missing fails instead of skipping.
"""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from cryptography.fernet import Fernet
from flask import Flask
from redis import Redis

from app import create_app
from app.config import Settings
from app.extensions import db
from app.outbound.broker import TASK_EXCHANGE_NAME
from devstack import brokers, postgres_programs, redis_programs
from devstack.servers import Servers, servers
from tests import docker_engine, scratch, shared_broker
from tests.databases import Template, migrated_template, transaction
from tests.e2e.service import QUEUES, Service, channel
from tests.factories import forget_organizations
from tests.project import do_without
from tests.receiver import Receiver

scratch.in_memory()

# Of what is imported and collected nothing is garbage, so nobody looks for some.
gc.disable()

pytest_plugins = (
    "tests.side_by_side",
    "tests.shared_broker",
    *(docker_engine.PLUGINS if docker_engine.may_answer() else ()),
)

# The same examples each time, however busy the machine: a failure is one that anybody can see again.
hypothesis.settings.register_profile(
    "tests", derandomize=True, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("tests")

# What chooses the private servers' releases, and where they are kept.
CHOOSING = (brokers.SETTING, postgres_programs.SETTING, redis_programs.SETTING, "XDG_CACHE_HOME")

# The environment that pytest was started with must not leak into the settings under test.
for name in list(os.environ):
    if name.lower() in Settings.model_fields:
        del os.environ[name]


def pytest_collection_finish() -> None:
    """Look for garbage from now on, and not among the thousands of tests."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def private_servers(pytestconfig: pytest.Config) -> Iterator[Servers]:
    """Every server, started once for the session, or named by the environment; one RabbitMQ for several processes."""
    given = {
        "DATABASE_URL": os.environ.get("TEST_DATABASE_URL", ""),
        "REDIS_URL": os.environ.get("TEST_REDIS_URL", ""),
        "RABBITMQ_URL": os.environ.get("TEST_RABBITMQ_URL", "") or shared_broker.url_for(pytestconfig),
        "PATH": os.environ["PATH"],
        **{name: os.environ.get(name, "") for name in CHOOSING},
    }
    directory = Path(tempfile.mkdtemp(prefix="rita-tests-"))
    directory.chmod(0o755)
    try:
        with servers(directory / "servers", environ=given, keep=False) as started:
            started.wait()
            yield started
            leave_as_found(started)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def leave_as_found(named: Servers) -> None:
    """Remove what tests leave in a Redis and a RabbitMQ that outlive them."""
    with Redis.from_url(named.admin_redis_url) as redis:
        _empty_redis(redis)
    if named.rabbitmq_url.startswith("amqp"):
        Service(named.rabbitmq_url).delete(*QUEUES)
        with channel(named.rabbitmq_url) as opened:
            for exchange in (TASK_EXCHANGE_NAME, "celery"):
                opened.exchange_delete(exchange)


@pytest.fixture(scope="session")
def admin_database_url(private_servers: Servers) -> str:
    return private_servers.admin_database_url or private_servers.database_url


@pytest.fixture(scope="session")
def template(admin_database_url: str) -> Iterator[Template]:
    """What every database of this session is a copy of."""
    with migrated_template(admin_database_url) as made:
        yield made


@pytest.fixture(scope="session")
def database(template: Template) -> Iterator[tuple[str, str]]:
    """A database of this session's own, as (owner's URL, application's URL), migrated to head."""
    with template.copied("test") as urls:
        yield urls


@pytest.fixture(scope="session")
def settings(private_servers: Servers, database: tuple[str, str], receiver: Receiver) -> Settings:
    owner_url, application_url = database
    return Settings(
        environment="production",
        log_level="WARNING",
        database_url=application_url,
        migration_database_url=owner_url,
        redis_url=private_servers.redis_url,
        rabbitmq_url=private_servers.rabbitmq_url,
        automation_webhook_url=receiver.url,
        automation_auth="Bearer of-the-tests",
        webhook_signing_secret=("whsec_" + "dGVzdC1zaWduaW5nLXNlY3JldC0wMTIzNDU2Nzg5",),
        jwt_secret="a-secret-of-the-tests-that-is-long-enough",
        seal_keys=(Fernet.generate_key().decode(),),
        verify_retry_seconds=("0.2", "0.2"),
        sync_retry_seconds=("0.2", "0.2", "0.2"),
        # Of receivers that are down there are many here, one after the other.
        webhook_failures_to_park=1_000_000,
        enabled_data_source_types=("jira",),
        # Far above what a test asks for; those of the limits set their own.
        verify_rate_limit="10000/second",
        sync_rate_limit="10000/second",
        ticket_rate_limit="10000/second",
        change_rate_limit="10000/second",
    )


@pytest.fixture(scope="session")
def flask_app(settings: Settings) -> Iterator[Flask]:
    """The application on the migrated database."""
    app = create_app(settings)
    yield app
    with app.app_context():
        db.engine.dispose()
    app.extensions["redis"].close()


@pytest.fixture
def app(flask_app: Flask) -> Iterator[Flask]:
    """The application, with its context pushed, on tables that are empty again afterwards."""
    with flask_app.app_context():
        yield flask_app
    _empty_tables(flask_app.extensions["settings"].owner_database_url)
    _empty_redis(flask_app.extensions["redis"])


@pytest.fixture
def redis(flask_app: Flask) -> Redis:
    client: Redis = flask_app.extensions["redis"]
    return client


@pytest.fixture
def admin_redis(private_servers: Servers) -> Iterator[Redis]:
    """The same Redis, for what Rita itself may not do."""
    with Redis.from_url(private_servers.admin_redis_url) as client:
        yield client


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    """A real HTTP server in the external service's place."""
    with Receiver() as started:
        yield started


@pytest.fixture(autouse=True)
def _fresh_receiver(request: pytest.FixtureRequest) -> None:
    if "receiver" in request.fixturenames:
        request.getfixturevalue("receiver").reset()


@pytest.fixture(scope="session")
def rabbitmq_url(private_servers: Servers) -> str:
    """A RabbitMQ; without one the test is skipped, loudly, or fails where services are required."""
    if not private_servers.rabbitmq_url.startswith("amqp"):
        do_without("no RabbitMQ: neither rabbitmq-server on the PATH nor TEST_RABBITMQ_URL")
    return private_servers.rabbitmq_url


def _empty_tables(owner_url: str) -> None:
    with transaction(owner_url) as cursor:
        cursor.execute("TRUNCATE operations, data_source_connections, audit_logs, organizations")


def _empty_redis(redis: Redis) -> None:
    """Forget events, limits and tickets: what is kept for a day would make every look into Redis a long one."""
    if keys := list(redis.scan_iter("rita:*", count=1_000)):
        redis.delete(*keys)


@pytest.fixture
def web(flask_app: Flask) -> Iterator[Flask]:
    """The application as a server has it: no context is pushed, so that each request gets one of its own."""
    yield flask_app
    forget_organizations(flask_app)
    _empty_redis(flask_app.extensions["redis"])


@pytest.fixture
def another_app(flask_app: Flask) -> Iterator[Callable[..., Flask]]:
    """Make applications whose settings differ from those of the application under test, on the same servers."""
    made: list[Flask] = []

    def make(**settings: Any) -> Flask:
        app = create_app(Settings(**flask_app.extensions["settings"].model_dump() | settings))
        made.append(app)
        return app

    yield make
    for app in made:
        with app.app_context():
            db.engine.dispose()
        app.extensions["redis"].close()
