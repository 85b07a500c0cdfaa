"""Whatever the document allows, and much that it does not, sent to the application by schemathesis."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import schemathesis
from flask import Flask, Response, request, request_finished
from hypothesis import HealthCheck, settings

from tests.document import document_of
from tests.factories import Browser, a_verification_message, apply_messages, rows
from tests.serving import serving

PATH = "/api/data-sources"
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
# Of each call, and walks. That takes half a minute, or twice that on a busy machine; ask for more by night.
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "30"))
LIMIT = 240 + 5 * EXAMPLES


@pytest.fixture
def address(web: Flask) -> Iterator[str]:
    with serving(web) as address:
        yield address


@dataclass
class Service:
    """Sees every answer, and reports on every second verification: so some find another one running, some do not."""

    web: Flask
    organization_id: str
    answered: set[tuple[str, int]] = field(default_factory=set)
    presses: int = 0

    @property
    def succeeded(self) -> set[str]:
        """The ids of the document's operations that were answered with success."""
        return {endpoint.replace(".", "_") for endpoint, status in self.answered if status < 300}

    def see(self, _: Flask, response: Response, **__: Any) -> None:
        self.answered.add((request.endpoint or "", response.status_code))
        if (request.endpoint, response.status_code) == ("operations.verify", 200):
            self.presses += 1
            if self.presses % 2:
                connection = {"id": (request.view_args or {})["connection_id"], "organization_id": self.organization_id}
                apply_messages(self.web, a_verification_message(connection, options={"spaces": "ENG"}))


@pytest.fixture
def ada(web: Flask) -> Browser:
    """Somebody whose connections are verified and enabled, but for one: that was deleted, so that it can be created."""
    ada = Browser(web)
    ada.post(f"{PATH}/seed")
    seeded = ada.get(PATH).json["data"]
    apply_messages(web, *[a_verification_message(one, options={"spaces": "ENG"}) for one in seeded])
    for one in [*seeded, {"type": "jira"}]:
        ada.put(f"{PATH}/{one['type']}", {})
    ada.delete(f"{PATH}/{ada.connection('jira')['id']}")
    return ada


@pytest.fixture
def begin_again(web: Flask, ada: Browser) -> Iterator[Callable[[], None]]:  # noqa: ARG001 - hers are the rows
    """Put every connection back to what it is now."""
    with closing(psycopg2.connect(web.extensions["settings"].owner_database_url)) as connection:

        def execute(statements: str) -> None:
            with connection, connection.cursor() as cursor:
                cursor.execute("SELECT set_config('app.system', 'on', true)")
                cursor.execute(statements)

        execute("CREATE TEMP TABLE begun AS TABLE data_source_connections")
        yield lambda: execute(
            "DELETE FROM operations; DELETE FROM data_source_connections;"
            " INSERT INTO data_source_connections TABLE begun"
        )


@pytest.fixture
def service(web: Flask, ada: Browser) -> Iterator[Service]:
    service = Service(web, str(ada.organization_id))
    with request_finished.connected_to(service.see, web):
        yield service


@pytest.fixture
def configuration(web: Flask, ada: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration, with the files that it names beside it."""
    ids = [row["id"] for row in rows(web, "SELECT id FROM data_source_connections ORDER BY type")]
    # One that is awaited can be ended.
    ada.put(f"{PATH}/websearch", {})
    pressed = ada.post(f"{PATH}/{ada.connection('websearch')['id']}/sync").json["data"]["operation_id"]
    (tmp_path / "operations.dict").write_text(f'"{pressed}"\n')
    people = [_person("ada", ada), _person("eve", Browser(web))]
    (tmp_path / "people.json").write_text(json.dumps({"auth": people}))
    (tmp_path / "connections.dict").write_text("".join(f'"{one}"\n' for one in ids))
    # It names them by their names alone.
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copy(CONFIGURATION, tmp_path))


def _person(name: str, browser: Browser) -> dict[str, Any]:
    return {"name": name, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {browser.token}"}]}


@pytest.mark.timeout(LIMIT + 60)
def test_every_call_does_what_the_document_says(
    web: Flask, address: str, configuration: Path, service: Service
) -> None:
    command = [Path(sys.executable).with_name("st"), "--config-file", configuration, "run"]
    # The document names its server relative to itself, `..`, which schemathesis puts behind the host as it is.
    document = configuration.with_name("openapi.json")
    document.write_text(json.dumps(document_of(web) | {"servers": [{"url": address}]}))
    command += ["--phases=examples,coverage,fuzzing", f"--max-examples={EXAMPLES}", f"--url={address}", document]

    done = subprocess.run(
        command,
        cwd=configuration.parent,
        env={"PATH": os.defpath, "HOME": str(configuration.parent), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    # It was no test of refusals alone: every call was also made with success, but the stream's, which has no end.
    paths = document_of(web)["paths"]
    described = {operation["operationId"] for item in paths.values() for operation in item.values()}
    assert described - service.succeeded == {"stream_stream"}


@pytest.mark.timeout(LIMIT + 60)
def test_every_walk_along_the_links_ends_as_the_document_says(
    web: Flask, begin_again: Callable[[], None], configuration: Path, service: Service
) -> None:
    config = schemathesis.Config.from_path(configuration)
    schema = schemathesis.openapi.from_wsgi("/api/openapi.json", web, config=config)

    class Walk(schema.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            # Each begins alike: else the same steps would do another thing the next time.
            begin_again()

    # How long a step takes is the application's affair, not the generator's.
    Walk.run(
        settings=settings(
            max_examples=2 * EXAMPLES,
            stateful_step_count=8,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
    )

    # Which calls succeed is a matter of luck, for Hypothesis draws from constants of whatever modules are loaded, too.
    linked = document_of(web)["paths"][PATH]["get"]["responses"]["200"]["links"].keys()
    assert len(linked & service.succeeded) > len(linked) / 2
