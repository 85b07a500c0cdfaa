"""What the external service's door does to webhooks."""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from pathlib import Path

from tests.faults.ledger import Evidence
from tests.faults.scene import Scene, fault, pause
from tests.faults.service import Door
from tests.integration.outbound.sockets import a_certificate, listening, saying
from tests.receiver import Behaviour, answer

LASTS = 6.0
# The waits of world.SETTINGS and the dispatcher's own add up to 14 s, and no deadline passes.
DOWN = 26.0
# How long a request is held that came while the receiver was bad: its sender must not wait for the end of it.
HELD = 60.0
RETRY_AFTER = 3


def _door(scene: Scene, behave: Behaviour, *, takes: bool) -> None:
    """Behave so for a while."""
    scene.service.door = lambda _: Door(takes=takes, behave=behave)
    pause(LASTS)
    scene.service.door = lambda _: Door()


def _nobody_was_given_up(seen: Evidence) -> Iterator[str]:
    for row in seen.operations:
        if row["state"] == "undelivered":
            yield f"operation {row['id']} was given up in an outage that is shorter than its retries"


@fault("the receiver refuses connections")
def receiver_refuses(scene: Scene) -> None:
    scene.world.door.refuse()
    scene.world.door.cut()
    pause(LASTS)
    scene.world.door.listen()
    scene.check(_nobody_was_given_up)


@fault(f"the receiver is down for {DOWN:.0f} s, longer than all retries last")
def receiver_down(scene: Scene) -> None:
    """One probe at a time finds it back; whatever waited for that has kept its attempts, and is delivered then."""
    member = scene.bystander()
    scene.world.door.refuse()
    scene.world.door.cut()
    pause(LASTS)
    press = scene.load.press(member, member.connections[-1], "sync")
    pause(DOWN - LASTS)
    scene.world.door.listen()

    def facts(seen: Evidence) -> Iterator[str]:
        (waited,) = [row for row in seen.operations if str(row["id"]) == press.operation_id]
        if waited["state"] != "succeeded":
            yield f"an operation that only had to wait is {waited['state']} after {waited['attempts']} attempts"

    scene.check(facts)


@fault("the receiver takes connections and reads nothing")
def receiver_silent(scene: Scene) -> None:
    scene.world.door.freeze()
    pause(LASTS)
    scene.world.door.cut()
    scene.world.door.thaw()
    scene.check(_nobody_was_given_up)


@fault("the receiver takes the request and never answers")
def receiver_never_answers(scene: Scene) -> None:
    _door(scene, _hold, takes=True)


def _hold(handler: BaseHTTPRequestHandler) -> None:
    """Wait until the sender has had enough."""
    handler.connection.settimeout(HELD)
    with suppress(OSError):
        handler.connection.recv(1)


@fault("the receiver answers one byte a second")
def receiver_drips(scene: Scene) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        began = time.monotonic()
        while time.monotonic() - began < HELD:
            pause(1)
            handler.wfile.write(b"x")

    _door(scene, drip, takes=True)


@fault(f"the receiver answers 429 with Retry-After: {RETRY_AFTER}")
def receiver_limits(scene: Scene) -> None:
    _door(scene, answer(429, headers={"Retry-After": str(RETRY_AFTER)}), takes=False)

    def facts(seen: Evidence) -> Iterator[str]:
        for row in seen.operations:
            attempts = defaultdict(list)
            for entry in row["attempt_log"]:
                attempts[row["id"]].append(entry)
            for earlier, later in pairwise(attempts[row["id"]]):
                if earlier["status_code"] == 429 and _apart(earlier["at"], later["at"]) < RETRY_AFTER:
                    yield f"operation {row['id']} was sent again sooner than it was asked to"

    scene.check(facts)


def _apart(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


@fault("the receiver redirects")
def receiver_redirects(scene: Scene) -> None:
    elsewhere = scene.world.receiver.url.replace("/webhook", "/elsewhere")
    _door(scene, answer(307, headers={"Location": elsewhere}), takes=False)

    def facts(seen: Evidence) -> Iterator[str]:
        if any(webhook.path == "/elsewhere" for webhook in seen.webhooks):
            yield "a redirect was followed, with credentials"

    scene.check(facts)


@fault("the receiver answers with a body that has no end")
def receiver_endless(scene: Scene) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        began = time.monotonic()
        while time.monotonic() - began < HELD:
            # At a pace that costs this machine nothing, and a sender that reads on all its threads.
            handler.wfile.write(b"x" * 65536)
            pause(0.1)

    _door(scene, endless, takes=True)


@fault("the receiver's certificate is not to be trusted")
def receiver_untrusted(scene: Scene) -> None:
    usual = scene.world.processes.environ["AUTOMATION_WEBHOOK_URL"]
    with tempfile.TemporaryDirectory() as directory:
        certificate = a_certificate(Path(directory))
        with listening(saying(b"HTTP/1.1 200 OK\r\n\r\n"), tls=certificate.server) as address:
            scene.world.restart("webhook_worker", AUTOMATION_WEBHOOK_URL=f"https://{address}/webhook")
            pause(LASTS / 2)
            scene.world.restart("webhook_worker", AUTOMATION_WEBHOOK_URL=usual)

    def facts(seen: Evidence) -> Iterator[str]:
        if not any("certificate" in (row["error"] or "") for row in seen.operations):
            yield "nobody was told of the certificate"

    scene.check(facts)


@fault("the receiver flaps: up, refusing, 503, hanging up")
def receiver_flaps(scene: Scene) -> None:
    for _ in range(4):
        scene.world.door.refuse()
        scene.world.door.cut()
        pause(0.4)
        scene.world.door.listen()
        scene.service.door = lambda _: Door(takes=False, behave=answer(503))
        pause(0.4)
        scene.service.door = lambda _: Door(takes=True, behave=_hang_up)
        pause(0.4)
        scene.service.door = lambda _: Door()
        pause(0.4)


def _hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
