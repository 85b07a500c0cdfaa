"""Whatever people, the external service, the workers and the clock do, in whatever order: what must always hold.

The suite walks the same two thousand steps each time. With `STATE_MACHINE_EXAMPLES=1000` it walks as many other ways
of 26 steps, at random.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import psycopg2
import pytest
from flask import Flask
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from psycopg2.extensions import connection as Postgres  # noqa: N812 - it is a class

from app.domain.lifecycle import Deadlines
from app.domain.retry import RetryVerdict
from tests.integration.services.machine.house import House, Neighbour
from tests.integration.services.machine.steps import Machine

LONGER = int(os.environ.get("STATE_MACHINE_EXAMPLES", "0"))


@pytest.fixture
def postgres(web: Flask) -> Iterator[Postgres]:
    """A look at the rows of every organization, below the services."""
    with closing(psycopg2.connect(web.extensions["settings"].owner_database_url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('app.system', 'on', false)")
        yield connection


@pytest.fixture
def neighbour(web: Flask, postgres: Postgres) -> Iterator[Neighbour]:
    """An organization in the middle of a sync, whose rows nothing may touch."""
    forever = timedelta(days=36_500)
    house = House(web, postgres, patience=Deadlines(forever, forever, forever, forever))
    connection_id = house.configure_type("websearch", {"enabled": True})
    claimed = house.claim(house.press("sync", connection_id, force=False))
    assert claimed is not None
    house.record(claimed, RetryVerdict.DONE, error=None)
    ids = {"tenant_id": str(house.id), "connection_id": connection_id, "operation_id": str(claimed.id)}
    yield Neighbour(house, house.fingerprint(), ids)
    house.forget()


# Hypothesis takes up to five minutes to find the shortest way to a failure.
@pytest.mark.timeout(0 if LONGER else 600)
@pytest.mark.usefixtures("celery_module")
def test_the_database_agrees_with_the_contract_after_every_step(
    web: Flask, postgres: Postgres, neighbour: Neighbour
) -> None:
    run_state_machine_as_test(
        lambda: Machine(House(web, postgres), neighbour),
        settings=settings(
            max_examples=LONGER or 60,
            stateful_step_count=26,
            derandomize=not LONGER,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
