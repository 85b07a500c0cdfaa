"""Whatever the document allows, and much that it does not, sent to the application by schemathesis."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from flask import Flask, Response, request, request_finished
from hypothesis import HealthCheck, settings

from tests.document import document_of
from tests.factories import Browser, a_verification_message, apply_messages, forget_organizations
from tests.serving import serving

PATH = "/api/data-sources"
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
# Of each call. With four times as many walks that takes a minute on a busy machine; ask for more by night.
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "30"))
WALKS = 4 * EXAMPLES
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
    return Browser(web)


def begin(web: Flask, ada: Browser) -> list[str]:
    """Give her the seeded connections, verified, and the first of the list enabled. Return their ids."""
    ada.post(f"{PATH}/seed")
    ada.put(f"{PATH}/confluence", {})
    connections = ada.get(PATH).json["data"]
    apply_messages(web, *[a_verification_message(one, options={"spaces": "ENG"}) for one in connections])
    return [one["id"] for one in connections]


@pytest.fixture
def service(web: Flask, ada: Browser) -> Iterator[Service]:
    service = Service(web, str(ada.organization_id))
    with request_finished.connected_to(service.see, web):
        yield service


@pytest.fixture
def configuration(web: Flask, ada: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration, with the files that it names beside it."""
    ids = begin(web, ada)
    # One that was deleted can be created.
    ids.append(ada.put(f"{PATH}/jira", {}).json["data"]["id"])
    ada.delete(f"{PATH}/{ids[-1]}")
    # And one that is awaited can be ended.
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
    command = [Path(sys.executable).with_name("st"), "--config-file", configuration, "run", "--checks=all"]
    command += ["--phases=examples,coverage,fuzzing", f"--max-examples={EXAMPLES}", f"{address}/api/openapi.json"]

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
    web: Flask, ada: Browser, configuration: Path, service: Service
) -> None:
    config = schemathesis.Config.from_path(configuration)
    schema = schemathesis.openapi.from_wsgi("/api/openapi.json", web, config=config)

    class Walk(schema.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            # Each begins alike: else the same steps would do another thing the next time.
            forget_organizations(web)
            begin(web, ada)

    # How long a step takes is the application's affair, not the generator's.
    Walk.run(
        settings=settings(
            max_examples=WALKS,
            stateful_step_count=8,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
    )

    assert document_of(web)["paths"][PATH]["get"]["responses"]["200"]["links"].keys() <= service.succeeded
