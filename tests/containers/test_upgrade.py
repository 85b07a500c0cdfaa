"""From the previous release to this one: each as its own docker-compose.yml has it, on the same volumes."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devstack.links import PEOPLE, sign_in_link
from tests.containers import bases
from tests.containers.compose import Stack, read
from tests.containers.conftest import IMAGE
from tests.containers.podman import build, has_image
from tests.containers.press import Person
from tests.project import PROJECT

pytestmark = pytest.mark.timeout(900)

# The state before containers were tried; its packages are today's.
COMMIT = "6b795cfc8be152da7a8f4fcea386d0f9075ee717"
NAME = "rita-upgrade"
STAND_IN = "external_service"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The previous release's files."""
    done = subprocess.run(["git", "archive", COMMIT], cwd=PROJECT, capture_output=True, check=False, timeout=60)
    if done.returncode:
        pytest.skip(f"THE PREVIOUS RELEASE, {COMMIT[:7]}, IS NOT IN THIS CLONE: it is a shallow one")
    folder = tmp_path_factory.mktemp("previous")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def previous_image(tree: Path) -> str:
    """Built by its own Dockerfile, on the Python that is there."""
    dockerfile = (tree / "Dockerfile").read_text()
    assert "FROM python:3.11-slim" in dockerfile
    python = bases.wanted()[0].names[0]
    (tree / "Dockerfile").write_text(dockerfile.replace("python:3.11-slim", python))
    name = f"{IMAGE}-previous:{COMMIT[:7]}-{python.partition(':')[2]}"
    if not has_image(name):
        build(name, context=tree)
    return name


@pytest.fixture
def before(previous_image: str, images: None, tree: Path, environment: Path) -> Iterator[Stack]:  # noqa: ARG001
    """The previous release, with a stand-in for the external service beside it, which it had none of."""
    shutil.copy(environment, tree / ".env")
    services = read(tree / ".env", project=tree)
    del services["flower"]
    today = {base.names[0].partition(":")[0]: base.names[0] for base in bases.wanted()}
    servers = {services[name]["image"]: today[name] for name in ("postgres", "rabbitmq", "redis")}
    services[STAND_IN] = stand_in(environment) | {"depends_on": {"webhook_worker": {"condition": "service_started"}}}
    services[STAND_IN]["environment"] |= {"RABBITMQ_URL": services["worker"]["environment"]["RABBITMQ_URL"]}
    stack = Stack(NAME, services, images=servers | {IMAGE: previous_image})
    try:
        yield stack
    finally:
        stack.remove()


def stand_in(environment: Path) -> dict[str, Any]:
    return dict(read(environment)[STAND_IN])


def test_what_the_previous_release_knew_and_had_begun_goes_on_in_this_one(before: Stack, environment: Path) -> None:
    variables = dict(line.split("=", 1) for line in environment.read_text().splitlines()) | {"PORT": "8000"}
    organization, user, email, role = PEOPLE["Acme, admin"]
    ada = Person(sign_in_link(variables, organization=organization, user=user, email=email, role=role))
    before.up()
    before.becomes_healthy("web")
    ada.begins()
    ada.verifies()
    ada.syncs()
    before.stop(STAND_IN, "webhook_worker", "beat")
    ada.presses("sync")

    after = Stack(NAME, {name: service for name, service in read(environment).items() if name != "flower"})
    # Its migrations come first, and what runs works on with them.
    release = after.run_beside("release")
    assert ada.confluence["status"] == "syncing"
    ended = before.stop()
    before.remove_containers()
    try:
        after.up()
        after.becomes_healthy("web")

        assert release == 0
        ours = {name: code for name, (code, _) in ended.items() if name in ("web", "worker")}
        assert ours == {"web": 0, "worker": 0}
        # The stand-in, which has forgotten its credentials, has had it and answered.
        assert "no credentials stored" in ada.sees_it_end()["last_sync_error"]
        ada.verifies()
        ada.syncs()
    finally:
        after.remove_containers()
