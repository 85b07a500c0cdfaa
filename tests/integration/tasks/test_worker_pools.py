"""A webhook worker whose receiver is slow: who waits at a screen goes first, and nobody has all of its threads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest
from redis import Redis

from app.config import Settings
from app.jobs import HOUSEKEEPING
from app.outbound import sweep_times
from tasks.beat_schedule import DISPATCH_TASK
from tests.e2e.processes import Processes, environment
from tests.e2e.processes import show_logs as pytest_runtest_makereport  # noqa: F401 - pytest finds it by this name
from tests.integration.tasks.conftest import Desk
from tests.receiver import Receiver, answer
from tests.waiting import eventually

pytestmark = pytest.mark.rabbitmq
# As many as the Procfile's line says, and far more syncs than that.
THREADS, SYNCS = 16, 300
# A second or two on a machine that has nothing else to do; without lanes it takes a minute.
SOON = 6.0


@pytest.fixture
def held(receiver: Receiver) -> Iterator[Event]:
    """A receiver that answers no sync until the event is set, and verifications at once."""
    let_go = Event()

    def behave(handler: Any) -> None:
        if handler.webhook.json["action"] != "verify_credentials":
            let_go.wait(60)
        answer(202)(handler)

    receiver.otherwise = behave
    yield let_go
    let_go.set()


@pytest.fixture
def worker(settings: Settings, rabbitmq_url: str, tmp_path: Path, receiver: Receiver) -> Iterator[Processes]:
    """A webhook worker as the Procfile starts it, which takes up this process's presses; to be started by the test."""
    environ = environment(
        database_urls=(settings.owner_database_url, settings.database_url),
        redis_url=settings.redis_url,
        rabbitmq_url=rabbitmq_url,
        webhook_url=receiver.url,
        SEAL_KEYS=",".join(settings.seal_keys),
        WEBHOOK_READ_SECONDS="60",
        WEBHOOK_TOTAL_SECONDS="60",
    )
    with Processes(environ, directory=tmp_path) as processes:
        yield processes
        # By now all are let go; what a killed worker has would come back to the queue after the test.
        processes.stop_all()


def posts(receiver: Receiver, organization_id: UUID) -> int:
    return sum(received.json["tenant_id"] == str(organization_id) for received in list(receiver.received))


@pytest.mark.alone
def test_a_verification_and_the_sweeps_go_past_the_slow_syncs_of_others(
    desk: Desk, worker: Processes, receiver: Receiver, held: Event, redis: Redis, celery_module: ModuleType
) -> None:
    for _ in range(SYNCS):
        desk.another().sync()
    worker.start("webhook_worker")
    eventually(lambda: len(receiver.received) == THREADS)

    desk.verify()
    celery_module.app.send_task(DISPATCH_TASK, queue=HOUSEKEEPING)

    eventually(lambda: posts(receiver, desk.browser.organization_id) == 1, within=SOON)
    eventually(lambda: sweep_times.sweep_age(redis, sweep_times.DISPATCH_SWEEP) is not None, within=SOON)
    assert len(receiver.received) == THREADS + 1
    assert not held.is_set()


@pytest.mark.alone
def test_one_organization_does_not_have_all_threads_and_its_last_word_is_sent_when_one_is_free(
    desk: Desk, worker: Processes, receiver: Receiver, held: Event
) -> None:
    organization_id, path = desk.browser.organization_id, f"/api/data-sources/{desk.browser.seeded('websearch')}"
    desk.browser.put(path, {})
    worker.start("webhook_worker")

    for number in range(1, 7):
        desk.browser.post(f"{path}/sync", {"force": True})
        eventually(lambda number=number: posts(receiver, organization_id) == min(number, 4))
    last = desk.browser.connection("websearch")["operation"]["id"]
    another = desk.another()
    another.sync()

    eventually(lambda: posts(receiver, another.browser.organization_id) == 1, within=SOON)
    assert posts(receiver, organization_id) == 4
    held.set()
    eventually(lambda: desk.operation(last)["state"] == "delivered")
    # The fifth was replaced by the sixth before it had its turn.
    assert posts(receiver, organization_id) == 5
