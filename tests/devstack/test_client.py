"""The types of the published client are those of the document that the product serves."""

from __future__ import annotations

from devstack import client
from tests.node import installed, needs_node


@needs_node
def test_the_clients_types_are_the_ones_that_the_command_writes() -> None:
    with installed(client.CLIENT) as folder:
        generated = client.generate(folder)

    assert client.SCHEMA.read_text() == generated
