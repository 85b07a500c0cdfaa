"""Beat as a process: it ends when it is asked to, whatever it was doing."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.cli.findings import MAX_CLOCK_DIFFERENCE
from app.config import Settings
from app.jobs import HOUSEKEEPING
from app.outbound.broker import open_confirmed_connection
from devstack.child import LOOPBACK
from tests.e2e.processes import Processes, environment
from tests.e2e.service import Service
from tests.faults.proxy import Proxy
from tests.host_clock import HostClock, a_host_clock
from tests.waiting import eventually

pytestmark = pytest.mark.rabbitmq
# The frame of a confirm follows its head: type, channel and size.
FRAME_HEAD = 7
# Less than beat's patience with a broker that says nothing.
AT_ONCE = 5.0


@pytest.fixture
def broker(rabbitmq_url: str) -> Iterator[Proxy]:
    with Proxy(urlsplit(rabbitmq_url).port or 5672) as made:
        yield made


@pytest.fixture
def clock(tmp_path: Path) -> HostClock:
    """The clock of beat's host."""
    return a_host_clock(tmp_path)


@pytest.fixture
def queues(rabbitmq_url: str) -> Service:
    return Service(rabbitmq_url)


@pytest.fixture
def beat(
    broker: Proxy, queues: Service, settings: Settings, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Processes]:
    """Beat alone, which has sent a task: its connection to the broker stands."""
    environ = environment(
        database_urls=(settings.owner_database_url, settings.database_url),
        redis_url=settings.redis_url,
        rabbitmq_url=urlsplit(queues.url)._replace(netloc=f"guest:guest@{LOOPBACK}:{broker.port}").geturl(),
        webhook_url=settings.automation_webhook_url,
    )
    if "clock" in request.fixturenames:
        environ |= request.getfixturevalue("clock").environ
    queues.delete(HOUSEKEEPING)
    with Processes(environ, directory=tmp_path) as processes:
        processes.start("beat")
        eventually(lambda: queues.waiting(HOUSEKEEPING))
        yield processes
    queues.delete(HOUSEKEEPING)


def has_taken_in(process: Any, number: signal.Signals) -> bool:
    """Tell whether a signal has reached a process that waits for something again."""
    lines = dict(line.split(":\t", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
    pending = int(lines["SigPnd"], 16) | int(lines["ShdPnd"], 16)
    return not pending & 1 << (number - 1) and process.status() == "sleeping"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_beat_ends_when_it_is_asked_to_with_half_of_the_brokers_word_for_a_task_read(
    beat: Processes, broker: Proxy, number: signal.Signals
) -> None:
    broker.tear(after=FRAME_HEAD)
    eventually(lambda: broker.is_torn)
    child = beat.children["beat"]
    (process,) = child.family()
    process.send_signal(number)
    eventually(lambda: has_taken_in(process, number))

    broker.thaw()

    eventually(lambda: not child.is_running, within=AT_ONCE)
    assert child.exit_code == 0, child.last_lines()


@pytest.mark.parametrize("seconds", [-3600, 3600], ids=["back", "ahead"])
def test_beat_sweeps_on_when_its_hosts_clock_is_set_while_it_runs(
    beat: Processes, clock: HostClock, queues: Service, celery_module: ModuleType, seconds: int
) -> None:
    clock.set_ahead(seconds)
    queues.purge(HOUSEKEEPING)

    eventually(lambda: queues.waiting(HOUSEKEEPING) > 2, within=AT_ONCE)
    assert beat.children["beat"].is_running
    # And says by which clock, so that `doctor` can tell.
    with open_confirmed_connection(beat.environ["RABBITMQ_URL"]) as connection:
        queue = celery_module.app.amqp.queues[HOUSEKEEPING].bind(connection.default_channel)

        def said_at() -> float | None:
            message = queue.get(accept=["json"], no_ack=True)
            return message.decode()[1].get("said_at") if message else None

        # The other sweeps say nothing of it.
        ahead = eventually(said_at) - time.time()
    assert abs(ahead - seconds) < MAX_CLOCK_DIFFERENCE.total_seconds()


def test_a_sweep_that_nobody_takes_is_dropped_by_the_broker_and_not_by_another_hosts_clock(
    rabbitmq_url: str, celery_module: ModuleType
) -> None:
    app = celery_module.app
    with open_confirmed_connection(rabbitmq_url) as connection:
        queue = app.amqp.queues[HOUSEKEEPING].bind(connection.default_channel)
        queue.declare()
        queue.purge()
        for entry in app.conf.beat_schedule.values():
            app.tasks[entry["task"]].apply_async(**entry["options"])
        sent = [eventually(lambda: queue.get(accept=["json"])) for _ in app.conf.beat_schedule]
        for message in sent:
            message.ack()

    told = {message.headers["task"]: message for message in sent}
    assert [message.headers["expires"] for message in sent] == [None] * 3
    assert told["housekeeping.dispatch"].properties["expiration"] == "2000"
    assert told["housekeeping.expire"].properties["expiration"] == "10000"
    assert "expiration" not in told["housekeeping.purge"].properties
