"""A steady load: organizations that press, each with an open page, and syncs that the service starts itself."""

from __future__ import annotations

import itertools
import threading
import time
from datetime import timedelta
from typing import Any

import requests

from tests.e2e.browser import Person
from tests.faults.ledger import Press
from tests.faults.pages import Page
from tests.faults.service import ExternalService, a_sync
from tests.faults.world import World

ORGANIZATIONS = 4
# Between two presses of one organization, and between two syncs of the service's own.
PACE, OWN_PACE = 0.3, 0.4
# The longest that a person waits for the answer to a press.
PATIENCE = 20.0
# A run's people do not sign in again.
LONGEST_RUN = timedelta(days=1)


class Member:
    """An organization with its four connections, one of which it leaves to the service's own scheduler."""

    def __init__(self, base_url: str) -> None:
        self.person = Person(base_url, lifetime=LONGEST_RUN)
        self.person.call("POST", "/api/data-sources/seed")
        self.connections = [
            self.person.call("PUT", f"/api/data-sources/{row['type']}", {"enabled": True})["data"]
            for row in self.person.call("GET", "/api/data-sources")["data"]
        ]
        self.page = Page(self.person)
        self._session = requests.Session()

    @property
    def id(self) -> str:
        return str(self.person.organization_id)

    def press(self, connection: dict[str, Any], kind: str, *, base_url: str | None = None) -> Press:
        """Press a button and note the answer, whatever it is."""
        path = f"{base_url or self.person.base_url}/api/data-sources/{connection['id']}/{kind}"
        body = {"credentials": {"api_token": f"token-{time.monotonic_ns()}"}} if kind == "verify" else {}
        status, operation_id = None, None
        try:
            answer = self._session.post(path, json=body, headers=self.person.headers, timeout=PATIENCE)
            status = answer.status_code
            if status == requests.codes.ok:
                content = answer.json()
                operation_id = content.get("operation_id") or content["data"]["operation_id"]
        except requests.RequestException:
            # Nobody answered: that is noted, too.
            self._session.close()
        return Press(kind, connection["id"], status, operation_id, time.monotonic())

    def close(self) -> None:
        self.page.close()
        self._session.close()


class Load:
    """Presses without end, until `stop`; `presses` is what came of them."""

    def __init__(self, world: World, service: ExternalService) -> None:
        self.world = world
        self.service = service
        self.presses: list[Press] = []
        self.members = [Member(world.base_url) for _ in range(ORGANIZATIONS)]
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._press_on, args=(m,), daemon=True) for m in self.members]
        # Those that come later are the fault's own.
        syncing = tuple(self.members)
        self._threads.append(threading.Thread(target=self._sync_on, args=(syncing,), daemon=True))

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop pressing; the pages stay open."""
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE + 5)

    def close(self) -> None:
        self.stop()
        for member in self.members:
            member.close()

    @property
    def organization_ids(self) -> list[str]:
        return [member.id for member in self.members]

    def press(self, member: Member, connection: dict[str, Any], kind: str, **options: Any) -> Press:
        press = member.press(connection, kind, **options)
        self.presses.append(press)
        return press

    def _press_on(self, member: Member) -> None:
        wishes = itertools.cycle(itertools.product(("verify", "sync"), member.connections[1:]))
        for kind, connection in wishes:
            if self._over.wait(PACE):
                return
            self.press(member, connection, kind)

    def _sync_on(self, members: tuple[Member, ...]) -> None:
        numbers = itertools.count(1_000_000)
        for member in itertools.cycle(members):
            if self._over.wait(OWN_PACE):
                return
            self.service.send(*a_sync(member.connections[0], next(numbers)))
