"""One web process for all proxies, each of which is started once."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from urllib.parse import urlsplit

import pytest
from redis import Redis

from devstack import certificates, run
from devstack.certificates import Certificate
from devstack.child import LOOPBACK, stop_all
from devstack.servers import Servers
from tests.databases import Template
from tests.e2e.browser import Person, Stream
from tests.e2e.processes import READY_WITHIN, Processes, environment
from tests.e2e.processes import show_logs as pytest_runtest_makereport  # noqa: F401 - pytest finds it by this name
from tests.proxies.fronts import KINDS, Front, Kind, Times
from tests.proxies.variants import COMPRESSING

# Apart from what the other tests use.
REDIS_NUMBER = 12
# In seconds: 15 is what it is in production, and takes minutes.
HEARTBEAT = float(os.environ.get("PROXIES_HEARTBEAT", "1"))
TIMES = Times(idle=4 * HEARTBEAT, grace=1)


ALL = (*KINDS, COMPRESSING)


@pytest.fixture(scope="module")
def own_redis(private_servers: Servers) -> Iterator[Redis]:
    url = urlsplit(private_servers.admin_redis_url)._replace(path=f"/{REDIS_NUMBER}").geturl()
    with Redis.from_url(url) as client:
        client.flushdb()
        yield client
        client.flushdb()


@pytest.fixture(scope="module")
def rita(
    template: Template, private_servers: Servers, own_redis: Redis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Processes]:
    """The web process; nothing is pressed that would need the others."""
    own_redis.ping()
    with template.copied("proxies") as urls:
        environ = environment(
            database_urls=urls,
            redis_url=urlsplit(private_servers.redis_url)._replace(path=f"/{REDIS_NUMBER}").geturl(),
            rabbitmq_url="amqp://nobody:listens@127.0.0.1:1//",
            webhook_url=f"http://{LOOPBACK}:1/",
            SSE_HEARTBEAT_SECONDS=str(HEARTBEAT),
            TRUSTED_PROXIES=LOOPBACK,
        )
        with Processes(environ, directory=tmp_path_factory.mktemp("processes")) as processes:
            web = processes.launch("web", as_name="web")
            # Without a broker it does not call itself ready.
            alive = partial(run.answers, int(environ["PORT"]), "/healthz", instance=environ["INSTANCE_ID"])
            web.wait_until(alive, within=timedelta(seconds=READY_WITHIN))
            yield processes
            processes.stop_all()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificates.create_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def trust(certificate: Certificate) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate.authority)


@pytest.fixture(scope="module")
def fronts(
    rita: Processes, certificate: Certificate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Kind, Front]]:
    """Every proxy that this machine has, started side by side."""
    upstream = int(rita.environ["PORT"])
    with ExitStack() as started:
        made = {}
        for kind in ALL:
            if kind.is_there:
                directory = tmp_path_factory.mktemp("front")
                front = Front(kind, upstream=upstream, certificate=certificate, directory=directory, times=TIMES)
                front.launch()
                started.callback(front.kill)
                made[kind] = front
        for front in made.values():
            front.wait()
        yield made
        stop_all([front.child for front in made.values()], within=front.child.patience)


@pytest.fixture(scope="module")
def lasting(fronts: dict[Kind, Front], trust: ssl.SSLContext) -> Iterator[dict[Kind, Stream]]:
    """A stream through each proxy on which nothing but heartbeats is said, from the beginning."""
    with ExitStack() as opened:
        yield {kind: opened.enter_context(Person(front.url).stream(tls=trust)) for kind, front in fronts.items()}


@pytest.fixture(params=ALL, ids=[kind.name for kind in ALL])
def front(request: pytest.FixtureRequest, fronts: dict[Kind, Front], lasting: dict[Kind, Stream]) -> Front:
    """One proxy; without it on this machine, the test is skipped, or fails."""
    kind: Kind = request.param
    kind.demand()
    assert kind in lasting
    return fronts[kind]


@pytest.fixture
def ada(front: Front) -> Person:
    return Person(front.url)
