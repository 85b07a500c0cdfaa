"""Images and services for the package; outside the namespaces of `make containers` all of it is skipped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers import places
from tests.containers.compose import Stack, read
from tests.containers.podman import build, podman
from tests.demo import made_by_the_script
from tests.project import PROJECT

HERE = Path(__file__).parent
IMAGE, DEMO = "rita-data-sources", "rita-data-sources-demo"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is in here, unless it runs where it may."""
    if os.environ.get(places.INSIDE):
        return
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.skip(reason="`make containers` runs these, in namespaces of their own"))


@pytest.fixture(scope="session")
def images() -> None:
    """This tree's images, production's and the demo's; what was built of former ones goes after a while."""
    # Under a name, so that it outlives those.
    build(f"{IMAGE}-dependencies", context=PROJECT, target="dependencies")
    build(IMAGE, context=PROJECT, target="production")
    build(DEMO, context=PROJECT, target="demo")
    podman("image", "prune", "--force", "--filter", "until=48h")


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's own file of secrets, as `docker/demo.sh` makes it."""
    folder = tmp_path_factory.mktemp("demo")
    made_by_the_script(folder)
    return folder / ".env.demo"


@pytest.fixture(scope="module")
def stack(images: None, environment: Path) -> Iterator[Stack]:  # noqa: ARG001 - they must be there
    """Everything of docker-compose.yml, started."""
    made = Stack("rita-containers", read(environment))
    try:
        made.up()
        yield made
    finally:
        made.remove()
    assert podman("ps", "--all", "--quiet", "--filter", "name=rita-containers") == ""
