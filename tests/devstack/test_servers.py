"""The private servers of `make run`: what is only on its way when something goes wrong leaves nothing behind."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from devstack import rabbitmq
from devstack.child import StartError
from devstack.servers import servers
from tests.project import do_without

pytestmark = pytest.mark.rabbitmq


@pytest.fixture
def directory() -> Iterator[Path]:
    """A folder that PostgreSQL's user can reach, too."""
    with tempfile.TemporaryDirectory(prefix="rita-servers-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "servers"


@pytest.fixture
def environ() -> Mapping[str, str]:
    """Name no server, so that each is a private one."""
    if not rabbitmq.is_installed(os.environ):
        do_without("no RabbitMQ: rabbitmq-server is not on the PATH")
    return {"PATH": os.environ["PATH"]}


def started_here() -> set[psutil.Process]:
    """Return what this process has started; its servers are its children, whatever session they are in."""
    return set(psutil.Process().children(recursive=True))


def test_a_broker_that_is_only_on_its_way_is_stopped_with_the_others(
    directory: Path, environ: Mapping[str, str]
) -> None:
    before = started_here()
    # With a private database the broker could be up first, on another machine.
    elsewhere = {**environ, "DATABASE_URL": "postgresql://elsewhere.example/rita"}

    with servers(directory, environ=elsewhere, keep=False) as started:
        (broker,) = [server for server in started.private if server.child.name == "RabbitMQ"]
        assert not broker.answers(), "it was left before it came up"
        assert len(started_here() - before) > len(started.private)

    assert started_here() <= before
    assert not directory.exists()


def test_a_broker_that_does_not_come_up_says_why_and_nothing_is_left(
    directory: Path, environ: Mapping[str, str], tmp_path: Path
) -> None:
    before = started_here()
    broken = tmp_path / "rabbitmq-server"
    broken.write_text("#!/bin/sh\necho no room for a node\nexit 3\n")
    broken.chmod(0o755)
    # As beside RabbitMQ's own script, which is then not taken for a package's wrapper.
    (tmp_path / "rabbitmq-env").touch()
    path = os.pathsep.join([str(tmp_path), environ["PATH"]])

    with (
        servers(directory, environ={"PATH": path}, keep=False) as started,
        pytest.raises(StartError, match=r"(?s)RabbitMQ ended with exit code 3\..*no room for a node"),
    ):
        started.wait()

    assert started_here() <= before
    assert not directory.exists()
