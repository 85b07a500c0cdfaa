"""One whole Rita for the page's tests: its processes, and the stand-in external service within this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from uuid import UUID, uuid4

import jwt
from werkzeug.serving import make_server

from devstack import external_service, scenarios
from devstack.child import LOOPBACK
from devstack.external_service import ExternalService
from devstack.links import OF_MAKE_RUN
from devstack.ports import free_port
from devstack.status_queue import StatusQueue
from tests.e2e.browser import Person
from tests.e2e.processes import JWT_SECRET, Processes, environment
from tests.e2e.service import QUEUES, STATUS, Service
from tests.waiting import eventually

# Long enough to be seen by whoever waits for the phase before, short enough to wait for.
DEADLINES = {
    "VERIFY_DEADLINE_SECONDS": "20",
    "SYNC_START_DEADLINE_SECONDS": "60",
    "VERIFY_RETRY_SECONDS": "1.5,1.5",
    "SYNC_RETRY_SECONDS": "1.5,1.5",
    "SSE_HEARTBEAT_SECONDS": "1",
}

# Of every shape at once; the stand-in takes them all.
GOOD = {"api_token": "t", "client_id": "c", "client_secret": "s"}


class Brisk(Random):
    """The stand-in's chance, without its long waits."""

    def uniform(self, a: float, b: float) -> float:  # noqa: ARG002
        return a


@dataclass
class Stack:
    """What the tests reach: addresses to sign in at, and the processes to stop and start."""

    processes: Processes

    def token(
        self,
        organization: UUID,
        *,
        email: str = "ada@acme.example",
        role: str = "admin",
        lifetime: timedelta = timedelta(hours=1),
        of_make_run: bool = True,
        user: UUID | None = None,
    ) -> str:
        claims = {
            "sub": str(user or uuid4()),
            "email": email,
            "organization_id": str(organization),
            "role": role,
            "exp": datetime.now(UTC) + lifetime,
        }
        return jwt.encode(claims | (OF_MAKE_RUN if of_make_run else {}), JWT_SECRET)

    @property
    def address(self) -> str:
        return f"{self.processes.base_url}/"

    def colleague(self, organization: UUID, *, role: str = "admin") -> Person:
        """Somebody of the organization who calls the API from elsewhere."""
        return Person(self.processes.base_url, organization_id=organization, role=role)

    @staticmethod
    def verified(person: Person, type_name: str) -> None:
        """Verify and switch on, without the page."""
        connection = person.seeded(type_name)
        person.verify(connection, GOOD)
        eventually(lambda: person.connection(type_name)["last_verification_at"], within=30)
        person.call("PUT", f"/api/data-sources/{connection['id']}", {})

    @staticmethod
    def synced(person: Person, type_name: str) -> None:
        """Sync to the end, without the page."""
        person.sync(person.connection(type_name))
        eventually(lambda: person.connection(type_name)["status"] == "idle", within=30)


@contextmanager
def running(*, database_urls: tuple[str, str], redis_url: str, rabbitmq_url: str, directory: Path) -> Iterator[Stack]:
    """Start everything, and stop it."""
    port = free_port()
    environ = environment(
        database_urls=database_urls,
        redis_url=redis_url,
        rabbitmq_url=rabbitmq_url,
        webhook_url=f"http://{LOOPBACK}:{port}/webhook",
        ENABLED_DATA_SOURCE_TYPES="gdrive",
        **DEADLINES,
    )
    broker = Service(rabbitmq_url)
    broker.delete(*QUEUES)
    try:
        with (
            _stand_in(rabbitmq_url, port=port, authorization=environ["AUTOMATION_AUTH"]),
            Processes(environ, directory=directory) as processes,
        ):
            processes.start("web", "worker", "webhook_worker", "beat")
            yield Stack(processes)
            processes.stop_all()
    finally:
        broker.delete(*QUEUES)


@contextmanager
def _stand_in(rabbitmq_url: str, *, port: int, authorization: str) -> Iterator[None]:
    settings = external_service.Settings(
        broker_url=rabbitmq_url, authorization=authorization, signing_secret=None, port=port, status_queue=STATUS
    )
    queue = StatusQueue(rabbitmq_url, name=STATUS)
    stopping = threading.Event()
    service = ExternalService(queue, book=scenarios.load(None), chance=Brisk(7))
    server = make_server(
        LOOPBACK, port, external_service.create_app(service, settings=settings, stopping=stopping), threaded=True
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    queue.start()
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        server.shutdown()
        thread.join()
        server.server_close()
        queue.stop(within=timedelta(seconds=5))
