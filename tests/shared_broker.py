"""One RabbitMQ for all of pytest's processes, each in a virtual host of its own: a node costs more than most tests do.

It belongs to the process that gives the tests out. Without several processes, with a broker that the environment names,
or with one of which virtual hosts differ in more than their names, each process starts its own.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from devstack import brokers, rabbitmq
from devstack.rabbitmq import RabbitMQ

_URL = "rabbitmq_url"


def url_for(config: pytest.Config) -> str:
    """Return where this process finds its virtual host, or nothing."""
    return str(getattr(config, "workerinput", {}).get(_URL, ""))


@pytest.hookimpl
def pytest_xdist_setupnodes(config: pytest.Config, specs: Any) -> None:  # noqa: ARG001 - the hook's signature
    """Start it while the processes collect their tests."""
    if os.environ.get("TEST_RABBITMQ_URL") or not rabbitmq.is_installed(os.environ):
        return
    if brokers.select_combination(os.environ).queues == brokers.CLASSIC:
        config.pluginmanager.register(_SharedBroker())


class _SharedBroker:
    """Hooks of the process that gives the tests out."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="rita-broker-"))
        self._node = RabbitMQ(self._directory / "rabbitmq", environ=os.environ)
        self._wanted: list[str] = []
        self._node.launch()

    def pytest_configure_node(self, node: Any) -> None:
        """Tell a process where its virtual host will be."""
        name = node.gateway.id
        self._wanted.append(name)
        node.workerinput[_URL] = urlsplit(self._node.url)._replace(path=f"/{name}").geturl()

    def pytest_xdist_node_collection_finished(self) -> None:
        """Make the virtual hosts before any test is given out."""
        if not self._node.has_answered:
            self._node.wait()
        if self._wanted:
            everything = dict.fromkeys(("configure", "write", "read"), ".*")
            definitions = self._directory / "definitions.json"
            definitions.write_text(
                json.dumps(
                    {
                        "vhosts": [{"name": name} for name in self._wanted],
                        "permissions": [{"user": "guest", "vhost": name, **everything} for name in self._wanted],
                    }
                )
            )
            self._node.control("import_definitions", str(definitions))
            self._wanted.clear()

    def pytest_unconfigure(self) -> None:
        """Stop it, when the processes have ended."""
        self._node.stop()
        shutil.rmtree(self._directory, ignore_errors=True)
