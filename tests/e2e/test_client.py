"""The typed client of docs/client, compiled strictly and run on Node: what a page made with it sees."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from app.domain.aggregate import OPEN_STATES
from app.outbound.events import channel_of_organization
from devstack.child import LOOPBACK
from tests.e2e.browser import Person
from tests.e2e.conftest import Rows
from tests.e2e.processes import Processes
from tests.e2e.service import Service
from tests.factories import a_sync_message, a_verification_message
from tests.faults.proxy import Proxy
from tests.node import DOCS, installed, needs_node, run
from tests.receiver import Receiver
from tests.waiting import eventually

LAST = "the last word"
# Node starts, on a machine that does other things too.
PATIENCE = 60


@pytest.fixture(scope="module")
def built() -> Iterator[Path]:
    """The client, a page and the example of docs/frontend.md, compiled under the client's own strict settings."""
    with installed(DOCS / "client") as folder:
        for script in ("page.ts", "waits.ts"):
            shutil.copy(Path(__file__).with_name(script), folder)
        (example,) = re.findall(r"```ts\n(.*?)```", (DOCS / "frontend.md").read_text(), re.DOTALL)
        (folder / "frontend.ts").write_text(example)
        done = run(folder, "npm", "run", "--silent", "check")
        assert done.returncode == 0, done.stdout
        yield folder / "built"


@dataclass
class Page:
    """A running page, what it has told so far, and the network between it and Rita."""

    process: subprocess.Popen[bytes]
    output: Path
    network: Proxy
    person: Person

    def told(self, what: str) -> list[Any]:
        """Return what the page has told of one kind; what is not JSON, a warning of Node's too, fails."""
        *whole, _ = self.output.read_text().split("\n")
        return [line for line in map(json.loads, whole) if line.pop("what") == what]

    def sees(self, *changes: str) -> None:
        """Wait until the page's latest changes are these."""
        eventually(
            lambda: [event.get("change") for event in self.told("event")][-len(changes) :] == [*changes], within=30
        )


@pytest.fixture
def page(
    rita: Processes, ada: Person, service: Service, external: Receiver, built: Path, tmp_path: Path
) -> Iterator[Page]:
    """A page that has configured, verified and synced its Confluence."""
    token = ada.headers["Authorization"].removeprefix("Bearer ")
    output = tmp_path / "told"
    with Proxy(int(rita.environ["PORT"])) as network, output.open("w") as stdout:
        command = ["node", built / "page.js", f"http://{LOOPBACK}:{network.port}", token, LAST]
        process = subprocess.Popen(command, stdout=stdout, stderr=stdout)
        made = Page(process, output, network, ada)
        try:
            verify = eventually(lambda: external.received, within=PATIENCE)[0].json
            service.send(a_verification_message(ada.connection(), operation_id=verify["operation_id"]))
            sync = eventually(lambda: external.received[1:], within=PATIENCE)[0].json
            # One after the other: two children may swap what comes at once, and a start after its end is late.
            service.send(a_sync_message(ada.connection(), "sync_started", operation_id=sync["operation_id"]))
            made.sees("sync.started")
            service.send(a_sync_message(ada.connection(), "sync_completed", operation_id=sync["operation_id"]))
            made.sees("sync.started", "sync.succeeded")
            yield made
        finally:
            process.kill()
            process.wait()


@needs_node
def test_a_page_of_the_typed_client_configures_verifies_and_syncs_and_knows_why_it_is_refused(page: Page) -> None:
    assert shown(page) == truth(page)
    assert page.told("configured") == [{"listed": 1, "config": {"spaces": "ENG"}}]
    *refused, in_progress = page.told("refused")
    assert [(one["status"], one["code"]) for one in refused] == [
        (401, "invalid_token"),
        (401, "invalid_token"),
        (412, "changed_meanwhile"),
    ]
    assert in_progress["code"] == "sync_in_progress"
    # How far it has come by then is the service's affair.
    assert in_progress["running"] in OPEN_STATES


def truth(page: Page) -> dict[str, Any]:
    """Return what the API says of the connection, but for what no event tells."""
    return {key: value for key, value in page.person.connection().items() if key != "updated_at"}


def shown(page: Page) -> dict[str, Any]:
    last = page.told("event")[-1]["shown"]
    return {key: last[key] for key in truth(page)}


def cut(page: Page, _rita: Processes) -> Callable[[], None]:
    page.network.refuse()
    page.network.cut()
    return page.network.listen


def restart(_page: Page, rita: Processes) -> Callable[[], None]:
    rita.stop("web")
    return lambda: rita.start("web")


def silence(page: Page, _rita: Processes) -> Callable[[], None]:
    page.network.freeze()
    return page.network.thaw


@needs_node
@pytest.mark.parametrize("broken_by", [cut, restart, silence])
def test_a_page_of_the_typed_client_comes_back_and_sees_what_it_missed_once(
    broken_by: Callable[[Page, Processes], Callable[[], None]],
    page: Page,
    rita: Processes,
    service: Service,
    own_redis: Redis,
    rows: Rows,
) -> None:
    connection = page.person.connection()
    opened = len(page.told("state"))

    mend = broken_by(page, rita)
    service.send(a_sync_message(connection, "sync_started"))
    eventually(lambda: rows.operation(connection["id"], "sync")["state"] == "running")
    service.send(a_sync_message(connection, "sync_failed", error_message=LAST))
    eventually(lambda: len(page.told("state")) > opened, within=PATIENCE)
    first, *seen = page.told("event")
    missed = len(seen) + 2
    eventually(lambda: len(_published(own_redis, page, after=first["id"])) == missed, within=PATIENCE)
    mend()
    page.process.wait(timeout=PATIENCE)

    _, *events = page.told("event")
    assert {event["type"] for event in events} == {"data_source_update"}
    assert [event["id"] for event in events] == _published(own_redis, page, after=first["id"])
    assert shown(page) == truth(page)
    assert len(page.told("left")) == 1
    assert page.process.returncode == 0


# What a server may say for Retry-After, and the milliseconds that the client waits for it; 0: it says nothing.
RETRY_AFTER = {
    "2": 2_000,
    "1.5": 1_500,
    "0": 200,
    "0.0001": 200,
    "600": 300_000,
    "9" * 400: 300_000,
    "-5": 0,
    "": 0,
    "soon": 0,
    "1e9": 0,
    "Infinity": 0,
    "2026-11-30T12:00:00Z": 0,
    # By the server's own clock, which is at noon.
    "Mon, 30 Nov 2026 12:00:07 GMT": 7_000,
    "Monday, 30-Nov-26 12:00:07 GMT": 7_000,
    "Mon, 30 Nov 2026 11:00:00 GMT": 200,
    "Tue, 01 Dec 2026 12:00:00 GMT": 300_000,
    "Mon, 99 Nov 2026 12:00:00 GMT": 0,
}


@pytest.fixture(scope="module")
def waits(built: Path) -> dict[str, Any]:
    done = run(built, "node", "waits.js", json.dumps(list(RETRY_AFTER)))
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@needs_node
def test_the_typed_client_waits_as_long_as_the_server_says_within_bounds(waits: dict[str, Any]) -> None:
    assert waits["retryAfterMs"] == RETRY_AFTER


@needs_node
def test_the_typed_client_never_asks_in_a_storm(waits: dict[str, Any]) -> None:
    # Each for a second and a half, with pauses that are none: five a second at most, and the first at once.
    assert all(1 <= asked <= 9 for asked in waits["requests"].values()), waits["requests"]


@needs_node
def test_the_typed_client_takes_no_page_that_something_in_between_answers_for_ritas(waits: dict[str, Any]) -> None:
    everything, stream_alone = waits["inItsPlace"]

    called = [200, True, "Something in the place of Rita answered 200; try again in a moment"]
    assert everything == {"states": ["connecting"], "asked": 2, "called": called}
    # Each time a ticket and the stream.
    assert stream_alone == {"states": ["connecting"], "asked": 4, "called": called}


@needs_node
def test_the_typed_client_does_not_say_what_it_was_not_given(waits: dict[str, Any]) -> None:
    assert waits["asked"] == {
        "url": "https://rita.example/api/data-sources?status=failed&type=jira&type=slack&enabled=false",
        "headers": ["authorization", "content-type"],
    }
    assert waits["withoutPath"] == "The path needs connection_id"


def _published(redis: Redis, page: Page, *, after: str) -> list[str]:
    entries: list[Any] = redis.xrange(f"{channel_of_organization(page.person.organization_id)}:events", min=f"({after}")
    return [entry_id.decode() for entry_id, _ in entries]
