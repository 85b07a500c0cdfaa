"""The runbook's "Keys are rotated", step by step, with the real processes: nobody's press is lost on the way."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler
from typing import Any

import jwt
import pytest
from cryptography.fernet import Fernet
from redis import Redis
from standardwebhooks import Webhook

from devstack.child import LOOPBACK
from devstack.ports import free_port
from tests.e2e.browser import CREDENTIALS, Person
from tests.e2e.conftest import Rows
from tests.e2e.processes import READY_WITHIN, Processes
from tests.integration.api.test_keys import OTHER_KEYS, RSA, KeyServer, listing
from tests.project import PROJECT
from tests.receiver import Received, Receiver, answer
from tests.waiting import eventually

PATH = "/api/data-sources"
# Beside the web that the package has, and in place of its webhook worker.
WEB, WORKER = "web of rotation", "worker of rotation"
LINES = {WEB: "web", WORKER: "webhook_worker"}
OLD_KEY, NEW_KEY = RSA, OTHER_KEYS["RS256"]
AUTHORIZATION = "Bearer the-next-one"
SIGNING_SECRET = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


@pytest.fixture
def settings(rita: Processes) -> Iterator[dict[str, str]]:
    """What this test's own web and webhook worker are started with, for an operator to change."""
    # A verification must outlast the restarts; the runbook's two minutes are this setting's default.
    yield {"PORT": str(free_port()), "VERIFY_DEADLINE_SECONDS": "60", "SEAL_KEYS": rita.environ["SEAL_KEYS"]}
    rita.stop(*[name for name in (WEB, WORKER) if name in rita.children and rita.children[name].is_running])


@pytest.fixture
def _no_other_worker(rita: Processes) -> Iterator[None]:
    """Set up before this test's own and back after it has ended, since both serve their figures on one port."""
    rita.stop("webhook_worker")
    yield
    rita.start("webhook_worker")


def start(rita: Processes, name: str, settings: dict[str, str]) -> None:
    """Start one of this test's processes with the settings as they are, or restart it."""
    if name in rita.children and rita.children[name].is_running:
        rita.stop(name)
    rita.start(LINES[name], as_name=name, **settings)


def pressed(settings: dict[str, str]) -> Person:
    """Return somebody who has just pressed verify."""
    person = Person(f"http://{LOOPBACK}:{settings['PORT']}")
    assert person.verify(person.seeded())["status"] == "verifying"
    return person


def delivered(external: Receiver, person: Person) -> Received:
    """Wait for the person's one webhook, and return it."""

    def sent() -> list[Received]:
        return [webhook for webhook in external.received if webhook.json["tenant_id"] == str(person.organization_id)]

    (webhook,) = eventually(sent)
    return webhook


@pytest.mark.usefixtures("_no_other_worker")
# It starts seven processes, one after the other.
@pytest.mark.timeout(300)
def test_keys_between_rita_redis_and_the_external_service_are_rotated_and_every_verification_is_delivered(
    rita: Processes, settings: dict[str, str], external: Receiver, rows: Rows, own_redis: Redis
) -> None:
    start(rita, WEB, settings)
    waiting = [pressed(settings)]

    settings["SEAL_KEYS"] = rita.command("flask", "--app", "app", "seal-keys", "rotate").strip()
    new, old = settings["SEAL_KEYS"].split(",")
    settings |= {"AUTOMATION_AUTH": AUTHORIZATION, "WEBHOOK_SIGNING_SECRET": SIGNING_SECRET}
    external.otherwise = demand_authorization
    start(rita, WORKER, settings)
    waiting.append(pressed(settings))
    for person in waiting:
        webhook = delivered(external, person)
        assert webhook.json["credentials"] == CREDENTIALS
        Webhook(SIGNING_SECRET).verify(webhook.body, webhook.headers)
        eventually(lambda person=person: person.connection()["operation"]["state"] == "delivered")
    assert old == rita.environ["SEAL_KEYS"]

    start(rita, WEB, settings)
    assert "0 sealed with an unknown key" in seals_by_the_doctor(rita, settings)
    rita.stop(WORKER)
    last = pressed(settings)
    operation = rows.operation(last.connection()["id"], "verify")
    assert json.loads(Fernet(new).decrypt(own_redis.get(f"rita:credentials:{operation['id']}")))
    settings["SEAL_KEYS"] = new
    assert "1 verification under way, 0 sealed with an unknown key" in seals_by_the_doctor(rita, settings)
    start(rita, WORKER, settings)

    assert delivered(external, last).json["credentials"] == CREDENTIALS


def test_keys_of_tokens_are_rotated(rita: Processes, settings: dict[str, str]) -> None:
    person = Person(rita.base_url)
    person.seeded()
    settings["JWT_SECRET"] = secrets.token_urlsafe(32)

    start(rita, WEB, settings)

    person.base_url = f"http://{LOOPBACK}:{settings['PORT']}"
    assert person.ask("GET", PATH).json()["code"] == "invalid_token"
    sign(person, settings["JWT_SECRET"], "HS256")
    assert len(person.call("GET", PATH)["data"]) == 4


def test_listed_keys_of_tokens_are_rotated_and_nobody_notices(rita: Processes, settings: dict[str, str]) -> None:
    before, after = (Person(f"http://{LOOPBACK}:{settings['PORT']}") for _ in range(2))
    sign(before, OLD_KEY, "RS256", kid="old")
    sign(after, NEW_KEY, "RS256", kid="new")
    with KeyServer(listing(old=OLD_KEY)) as issuer:
        settings |= {"JWT_SECRET": "", "JWT_JWKS_URL": issuer.url}
        start(rita, WEB, settings)
        before.seeded()

        issuer.content = listing(old=OLD_KEY, new=NEW_KEY)
        eventually(lambda: after.ask("GET", PATH).ok)
        before.call("GET", PATH)
        issuer.content = listing(new=NEW_KEY)
        start(rita, WEB, settings)

        assert before.ask("GET", PATH).json()["code"] == "invalid_token"
        after.call("GET", PATH)


def test_good_tokens_do_not_wait_for_an_issuer_that_hangs(rita: Processes, settings: dict[str, str]) -> None:
    # gunicorn's greenlets share what the tests within a process use threads for.
    ada, *strangers = (Person(f"http://{LOOPBACK}:{settings['PORT']}") for _ in range(11))
    sign(ada, OLD_KEY, "RS256", kid="old")
    for number, stranger in enumerate(strangers):
        sign(stranger, NEW_KEY, "RS256", kid=f"unknown-{number}")
    with KeyServer(listing(old=OLD_KEY)) as issuer, ThreadPoolExecutor(len(strangers)) as pool:
        settings |= {"JWT_SECRET": "", "JWT_JWKS_URL": issuer.url}
        start(rita, WEB, settings)
        ada.seeded()
        issuer.gate.clear()

        # Once the pause after a fetch is over, one of them has the keys fetched anew, and all wait for that.
        waiting = [pool.submit(eventually, partial(is_unavailable, stranger)) for stranger in strangers]
        eventually(lambda: issuer.asked == 2)
        sign(ada, OLD_KEY, "RS256", kid="old", another="one")
        started = time.monotonic()
        ada.call("GET", PATH)
        waited = time.monotonic() - started

        assert waited < 2
        assert all(future.result() for future in waiting)
        assert issuer.asked == 2


def is_unavailable(person: Person) -> bool:
    return person.ask("GET", PATH).status_code == 503


def demand_authorization(handler: BaseHTTPRequestHandler) -> None:
    """Answer as the external service does that knows Rita by the new value only."""
    answer(200 if handler.headers["Authorization"] == AUTHORIZATION else 401)(handler)


def seals_by_the_doctor(rita: Processes, settings: dict[str, str]) -> str:
    """Return what the doctor says of the credentials under way; what else it finds is not looked at here."""
    words = ("flask", "--app", "app", "doctor", "--json")
    environ = rita.environ | settings
    done = subprocess.run(words, cwd=PROJECT, env=environ, capture_output=True, check=False, timeout=READY_WITHIN)
    # Between them are lines of the log.
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    return str(next(finding["found"] for finding in findings if finding.get("what") == "seals"))


def sign(person: Person, key: Any, algorithm: str, **headers: str) -> None:
    """Give a person a token of the same claims that is signed with another key."""
    claims = jwt.decode(person.headers["Authorization"].split()[1], options={"verify_signature": False})
    person.headers = {"Authorization": f"Bearer {jwt.encode(claims, key, algorithm, headers=headers)}"}
