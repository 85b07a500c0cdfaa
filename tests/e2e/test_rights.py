"""The rights at the broker that the runbook gives each process: everything works with them, and nobody may more."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import amqp
import pytest
import requests

from app.jobs import DELIVER_WEBHOOK_TASK
from devstack.child import LOOPBACK
from devstack.rabbitmq import RabbitMQ, is_installed
from tasks.batch_requests import APPLY_MESSAGES_TASK
from tests.e2e.browser import Person
from tests.e2e.processes import FLOWER_AUTH, Processes, environment
from tests.e2e.service import DEAD, STATUS, Service, channel
from tests.factories import a_sync_message, a_verification_message
from tests.project import PROJECT, do_without
from tests.receiver import Receiver
from tests.waiting import eventually

RUNBOOK = (PROJECT / "docs" / "operations.md").read_text()
GRANTED = re.findall(r"^rabbitmqctl set_permissions (\w+) +'(.*?)' +'(.*?)' +'(.*?)'$", RUNBOOK, re.MULTILINE)
RIGHTS = {user: dict(zip(("configure", "write", "read"), patterns, strict=True)) for user, *patterns in GRANTED}
LINES = ("web", "worker", "webhook_worker", "beat", "flower")
PASSWORD = "a-password-of-every-user"


def definitions(virtual_host: str) -> str:
    """Return the users and their rights as RabbitMQ imports them."""
    salt = b"salt"
    password = base64.b64encode(salt + hashlib.sha256(salt + PASSWORD.encode()).digest()).decode()
    hashing = {"password_hash": password, "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": []}
    users = [{"name": user, **hashing} for user in RIGHTS]
    permissions = [{"user": user, "vhost": virtual_host, **rights} for user, rights in RIGHTS.items()]
    return json.dumps({"users": users, "permissions": permissions})


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """A node of this module's own, on which each process and the external service is a user of its own."""
    if not is_installed(os.environ):
        do_without("no RabbitMQ: rabbitmq-server is not on the PATH")
    folder: Path = tmp_path_factory.mktemp("rights")
    with RabbitMQ(folder / "rabbitmq", environ=os.environ) as node:
        (folder / "users.json").write_text(definitions(node.virtual_host))
        node.control("import_definitions", str(folder / "users.json"))
        yield node


def url_of(broker: RabbitMQ, user: str) -> str:
    return urlsplit(broker.url)._replace(netloc=f"{user}:{PASSWORD}@{LOOPBACK}:{broker.port}").geturl()


@pytest.fixture(scope="module")
def service_of_rights(broker: RabbitMQ) -> Service:
    return Service(url_of(broker, "external_service"))


@pytest.fixture(scope="module")
def rita_of_rights(
    broker: RabbitMQ, databases: tuple[str, str], environ: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Processes]:
    own = environment(
        database_urls=databases,
        redis_url=environ["REDIS_URL"],
        rabbitmq_url=url_of(broker, "operator"),
        webhook_url=environ["AUTOMATION_WEBHOOK_URL"],
    )
    with Processes(own, directory=tmp_path_factory.mktemp("processes_of_rights")) as processes:
        for line in LINES:
            processes.start(line, RABBITMQ_URL=url_of(broker, line))
        yield processes
        processes.stop_all()


def test_a_verification_and_a_sync_go_all_the_way(
    rita_of_rights: Processes, service_of_rights: Service, external: Receiver
) -> None:
    person = Person(rita_of_rights.base_url)
    connection = person.seeded()
    service_of_rights.declare()

    person.verify(connection)
    (webhook,) = eventually(lambda: external.received)
    answer = a_verification_message(connection, options={"spaces": "ENG"}, operation_id=webhook.json["operation_id"])
    service_of_rights.send(answer)
    eventually(lambda: person.connection()["latest_options"] == {"spaces": "ENG"})
    connection = person.call("PUT", f"/api/data-sources/{connection['id']}", {"name": "Wiki", "config": {}})["data"]
    person.sync(connection)
    _, webhook = eventually(lambda: external.received[1:] and external.received)
    service_of_rights.send(
        a_sync_message(connection, "sync_completed", operation_id=webhook.json["operation_id"], documents_processed=7)
    )
    eventually(lambda: person.connection()["last_sync_status"] == "completed")


def test_what_cannot_be_applied_becomes_a_dead_letter_that_the_operator_sees(
    broker: RabbitMQ, rita_of_rights: Processes, service_of_rights: Service
) -> None:
    service_of_rights.declare()

    service_of_rights.send_raw("not JSON")

    eventually(lambda: Service(broker.url).waiting(DEAD))
    assert "not_json" in rita_of_rights.command("flask", "--app", "app", "dead-letters", "list")


def test_the_operator_may_look_at_every_queue(rita_of_rights: Processes) -> None:
    words = ["flask", "--app", "app", "doctor", "--json"]
    said = subprocess.run(words, cwd=PROJECT, env=rita_of_rights.environ, capture_output=True, text=True, check=False)
    rows = [json.loads(line) for line in said.stdout.splitlines()]

    of_broker = [row for row in rows if row["what"] in ("broker", "queue")]
    # The broker, the queue of answers and the three of jobs.
    assert len(of_broker) == 5
    assert [row["found"] for row in of_broker if not row["ok"]] == []


def test_flower_sees_what_every_process_does(rita_of_rights: Processes, service_of_rights: Service) -> None:
    service_of_rights.declare()
    service_of_rights.send_raw('{"type": "of nobody"}')

    def names() -> set[str]:
        answer = requests.get(f"{rita_of_rights.flower_url}/api/tasks", auth=FLOWER_AUTH, timeout=30)
        return {task["name"] for task in answer.json().values()}

    eventually(lambda: names() >= {APPLY_MESSAGES_TASK, DELIVER_WEBHOOK_TASK})
    workers = requests.get(f"{rita_of_rights.flower_url}/workers?json=1", auth=FLOWER_AUTH, timeout=30).json()["data"]
    assert sorted(worker["hostname"].partition("-")[0] for worker in workers) == ["status", "webhooks"]


def test_whoever_may_publish_commands_no_worker(
    broker: RabbitMQ, rita_of_rights: Processes, service_of_rights: Service
) -> None:
    service_of_rights.declare()
    queues = broker.control("list_queues", "name").split()
    assert [name for name in queues if name.endswith("celery.pidbox") and ".reply." not in name] == []
    # Whatever a queue of commands would be called, by the exchange that the service may write to.
    command = {"method": "shutdown", "arguments": {}, "destination": None, "pattern": None, "matcher": None}
    names = re.findall(r"(?:status|webhooks)-\d+@[\w.-]+", rita_of_rights.all_logs())
    with channel(url_of(broker, "external_service")) as opened:
        for name in {*names, "status@host"}:
            opened.basic_publish(
                amqp.Message(json.dumps(command), content_type="application/json"), routing_key=f"{name}.celery.pidbox"
            )
    service_of_rights.send_raw("not JSON")

    eventually(lambda: Service(broker.url).waiting(STATUS) == 0)
    assert [line for line in LINES if not rita_of_rights.children[line].is_running] == []


def test_nobody_was_refused_anything(broker: RabbitMQ, rita_of_rights: Processes) -> None:
    said = rita_of_rights.all_logs() + "".join(file.read_text() for file in broker.directory.glob("logs/*.log"))

    assert [line[:300] for line in said.splitlines() if re.search("access.*refused", line, re.IGNORECASE)] == []


REFUSED = {
    "the service reads what it sent": ("external_service", lambda opened: opened.basic_get(STATUS)),
    "the service reads dead letters": ("external_service", lambda opened: opened.basic_get(DEAD)),
    "the service makes another queue": ("external_service", lambda opened: opened.queue_declare("another")),
    "the service takes jobs": ("external_service", lambda opened: opened.basic_get("webhooks")),
    "the service commands workers": (
        "external_service",
        lambda opened: opened.basic_publish(amqp.Message("{}"), "celery.pidbox"),
    ),
    "the service answers for workers": (
        "external_service",
        lambda opened: opened.basic_publish(amqp.Message("{}"), "reply.celery.pidbox"),
    ),
    "the service sends jobs through their exchange": (
        "external_service",
        lambda opened: opened.basic_publish(amqp.Message("{}"), "rita"),
    ),
    "the web writes to any queue": ("web", lambda opened: opened.basic_publish(amqp.Message("{}"), routing_key=STATUS)),
    "beat writes to any queue": ("beat", lambda opened: opened.basic_publish(amqp.Message("{}"), routing_key=STATUS)),
    "the webhook worker writes to any queue": (
        "webhook_worker",
        lambda opened: opened.basic_publish(amqp.Message("{}"), routing_key=STATUS),
    ),
    "the web reads messages": ("web", lambda opened: opened.basic_get(STATUS)),
    "the web takes jobs": ("web", lambda opened: opened.basic_get("webhooks")),
    "the web sends workers commands": ("web", lambda opened: opened.basic_publish(amqp.Message("{}"), "celery.pidbox")),
    "beat takes jobs": ("beat", lambda opened: opened.basic_get("housekeeping")),
    "the webhook worker reads messages": ("webhook_worker", lambda opened: opened.basic_get(STATUS)),
    "the worker sends jobs": ("worker", lambda opened: opened.basic_publish(amqp.Message("{}"), exchange="rita")),
    "flower reads messages": ("flower", lambda opened: opened.basic_get(STATUS)),
    "flower sends jobs": ("flower", lambda opened: opened.basic_publish(amqp.Message("{}"), exchange="rita")),
}


@pytest.mark.parametrize("attempt", REFUSED)
def test_nobody_may_more(broker: RabbitMQ, rita_of_rights: Processes, attempt: str) -> None:
    assert rita_of_rights.children
    user, act = REFUSED[attempt]

    with channel(url_of(broker, user)) as opened, pytest.raises(amqp.AccessRefused):
        act(opened)
